//! The configuration and themes: both TOML that people write.

use looptop::config::Config;
use looptop::ui::{Depth, Theme};

use crate::guard::guarded;

/// The input: `t` and a theme, or anything and a configuration.
pub fn run(data: &[u8]) {
    guarded(|| {
        let Some((kind, rest)) = data.split_first() else {
            return;
        };
        let text = String::from_utf8_lossy(rest);
        if *kind == b't' {
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                match Theme::with(&text, depth, false) {
                    Ok(theme) => drop(theme.canvas()),
                    Err(error) => drop(error.to_string()),
                }
            }
            return;
        }
        match Config::parse(&text) {
            Ok(config) => {
                let printed = config.print();
                let again = Config::parse(&printed);
                assert!(again.is_ok(), "what is printed is understood: {printed}");
            }
            Err(mistake) => drop(mistake.to_string()),
        }
    });
}
