//! The configuration file: what the command line leaves open.
//!
//! Command line over environment over file. Unknown keys are refused, with the
//! place in the file.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::app::{ColumnChoice, bindings::Keymap};
use crate::cli::{ColorChoice, DEFAULT_TARGET, Screen};
use crate::source::access::{Settings, TokenFrom};

/// The file, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Target of `looptop`, `check` and `record` without one.
    pub target: String,
    /// auto, always or never.
    pub color: ColorChoice,
    /// ASCII characters only.
    pub ascii: bool,
    /// Take the mouse.
    pub mouse: bool,
    /// Theme file; the built-in theme without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<PathBuf>,
    /// File of the token that is shown to an application which asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Other users, by name or number, whose sockets are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<String>,
    /// File of the authority that signs the certificates of applications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// File of this viewer's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// File of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// The name in the application's certificate, where it is not the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_name: Option<String>,
    /// Columns that tables show, in their order, by the ids that the help lists.
    #[serde(skip_serializing_if = "ColumnChoice::is_empty")]
    pub columns: ColumnChoice,
    /// Keys of actions, by the names that docs/keys.md lists.
    #[serde(skip_serializing_if = "Keymap::is_empty")]
    pub keys: Keymap,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: DEFAULT_TARGET.to_owned(),
            color: ColorChoice::Auto,
            ascii: false,
            mouse: true,
            theme: None,
            token_file: None,
            trust: Vec::new(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_name: None,
            columns: ColumnChoice::default(),
            keys: Keymap::default(),
        }
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is there and cannot be read.
    #[error("could not read the configuration {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// It makes no sense.
    #[error("the configuration {path} cannot be used: {error}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: Mistake,
    },
}

/// What is wrong with a file's text.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// It is no TOML, or names what there is not.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// Two actions have one key; with their lines.
    #[error("{0}")]
    Keys(String),
}

/// Where the file is looked for: `$LOOPTOP_CONFIG`, or `looptop/config.toml` in
/// `$XDG_CONFIG_HOME`, by default `~/.config`.
pub fn path() -> PathBuf {
    if let Some(path) = env::var_os("LOOPTOP_CONFIG") {
        return path.into();
    }
    let base = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let base = base.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".config")));
    base.unwrap_or_default().join("looptop/config.toml")
}

/// Reads the file; the defaults where there is none.
pub fn load() -> Result<Config, ConfigError> {
    let path = path();
    match fs::read_to_string(&path) {
        Ok(text) => Config::parse(&text).map_err(|error| ConfigError::Parse { path, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(error) => Err(ConfigError::Read { path, error }),
    }
}

impl Config {
    /// The configuration that a file of this text is.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let config: Self = toml::from_str(text)?;
        let keys = config.keys.check();
        keys.map_err(|wrong| Mistake::Keys(wrong.sentence(text)))?;
        Ok(config)
    }

    /// The file that would give this configuration.
    pub fn print(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    /// What is shown to applications, and whom this viewer believes: the environment's
    /// word, and what it leaves open from the file.
    #[must_use]
    pub fn access(&self, get: impl Fn(&str) -> Option<String>) -> Settings {
        let file = Settings {
            token: self.token_file.clone().map(TokenFrom::File),
            trust: self.trust.clone(),
            authority: self.tls_ca.clone(),
            certificate: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            name: self.tls_name.clone(),
        };
        Settings::of_environment(get, file)
    }

    /// What the command line leaves open, from the file.
    #[must_use]
    pub fn complete(&self, screen: Screen) -> Screen {
        Screen {
            color: match screen.color {
                ColorChoice::Auto => self.color,
                chosen => chosen,
            },
            ascii: screen.ascii || self.ascii,
            no_mouse: screen.no_mouse || !self.mouse,
            theme: screen.theme.or_else(|| self.theme.clone()),
            columns: self.columns.clone(),
            keys: self.keys.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back() {
        let config = Config {
            theme: Some("dark.toml".into()),
            token_file: Some("/run/token".into()),
            trust: vec!["alice".into()],
            tls_ca: Some("ca.pem".into()),
            ascii: true,
            columns: toml::from_str("tasks = ['name', 'id']").unwrap(),
            keys: toml::from_str("help = 'F2'\nquit = []").unwrap(),
            ..Config::default()
        };
        assert_eq!(Config::parse(&config.print()).unwrap(), config);
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, hint) in [
            ("colour = 'never'", "unknown field `colour`"),
            ("color = 'blue'", "unknown variant `blue`"),
            ("ascii = 3", "invalid type"),
            (
                "columns.tasks = ['id', 'bussy']",
                "no column \"bussy\"; it has warn",
            ),
            ("columns.tasks = ['id', 'id']", "\"id\" is named twice"),
            ("columns.workers = []", "at least one column"),
            ("columns.task = ['id']", "unknown variant `task`"),
            ("keys.halp = 'h'", "no action is called \"halp\""),
            (
                "keys.help = 'q'",
                "q is bound to help, and by default to quit",
            ),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(hint) && error.contains("line 1"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_command_line_wins() {
        let file = Config {
            color: ColorChoice::Never,
            mouse: false,
            ..Config::default()
        };
        let screen = Screen {
            color: ColorChoice::Always,
            ..Screen::default()
        };
        let screen = file.complete(screen);
        assert_eq!(
            (screen.color, screen.no_mouse, screen.ascii),
            (ColorChoice::Always, true, false)
        );
    }
}
