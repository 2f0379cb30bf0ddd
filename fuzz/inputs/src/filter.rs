//! The filter language, as it is typed.

use looptop::app::column::Key;
use looptop::app::filter::Filter;
use looptop::app::tables::{TableId, heads};

use crate::guard::guarded;

/// The input is the filter's text.
pub fn run(data: &[u8]) {
    guarded(|| {
        let text = String::from_utf8_lossy(data);
        let heads = heads(TableId::Tasks);
        let (filter, error) = Filter::read(&text, &heads);
        let characters = text.chars().count();
        if let Some(error) = error {
            assert!(
                error.at.start <= error.at.end && error.at.end <= characters,
                "{error:?}"
            );
            let _ = error.to_string();
        }
        let _ = filter.is_empty();
        for number in [0.0, 1_000.0, f64::NAN] {
            filter.matches(|column| match column % 3 {
                0 => Key::Number(number),
                1 => Key::Unknown,
                _ => Key::Text(text.as_ref().into()),
            });
        }
    });
}
