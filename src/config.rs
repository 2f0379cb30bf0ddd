//! The configuration file: what the command line leaves open.
//!
//! Command line over environment over file. Unknown keys are refused, with the
//! place in the file.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::app::{ColumnChoice, SourceMap, bindings::Keymap};
use crate::cli::{ColorChoice, DEFAULT_TARGET, Editing, LinkChoice, Screen};
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
    /// Theme: colour-blind (which is taken without it), dark, light, high-contrast, or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<PathBuf>,
    /// Editor that opens a line, `code -g {file}:{line}`; `$VISUAL` or `$EDITOR` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub editor: Option<String>,
    /// It has a window of its own, or needs the terminal; by its name without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub editor_window: Option<bool>,
    /// Places on the screen are links of the terminal: auto, on or off.
    pub links: LinkChoice,
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
    /// Folders of machines where programs were built, and where their files are here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_map: Vec<SourceMap>,
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
            editor: None,
            editor_window: None,
            links: LinkChoice::Auto,
            token_file: None,
            trust: Vec::new(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            tls_name: None,
            columns: ColumnChoice::default(),
            source_map: Vec::new(),
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
            editing: Editing {
                editor: self.editor.clone(),
                editor_window: self.editor_window,
                source_map: self.source_map.clone(),
                links: self.links,
            },
            keys: self.keys.clone(),
        }
    }
}

/// Keeps a theme in the file, and says so, or why not and what to do. What else is in the
/// file stays as it is.
pub fn keep_theme(theme: &str) -> String {
    let path = path();
    match keep_theme_in(&path, theme) {
        Ok(()) => format!("theme {theme}, kept in {}", path.display()),
        Err(why) => format!("theme {theme}, not kept in {}: {why}", path.display()),
    }
}

fn keep_theme_in(path: &Path, theme: &str) -> Result<(), String> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.to_string()),
    };
    let after = with_theme(&before, theme).ok_or("write theme there by hand")?;
    replace(path, &after).map_err(|error| error.to_string())
}

/// The text of a file with another theme; `None` where it would say something else than
/// before.
fn with_theme(text: &str, theme: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Themed {
        theme: Option<toml::Spanned<String>>,
    }
    let value = toml::Value::String(theme.to_owned());
    let themed: Themed = toml::from_str(text).ok()?;
    let after = match themed.theme {
        Some(old) => {
            let mut after = text.to_owned();
            after.replace_range(old.span(), &value.to_string());
            after
        }
        None => format!("theme = {value}\n{text}"),
    };
    let wanted = Config {
        theme: Some(theme.into()),
        ..Config::parse(text).ok()?
    };
    (Config::parse(&after).ok()? == wanted).then_some(after)
}

/// Writes a file anew, which nobody sees half written.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Where it is a link, what it leads to is written.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(new);
    fs::write(&new, text)?;
    let permissions = fs::metadata(&path).map(|before| before.permissions());
    let done = match permissions {
        Ok(permissions) => fs::set_permissions(&new, permissions),
        Err(_) => Ok(()),
    };
    done.and_then(|()| fs::rename(&new, &path))
        .inspect_err(|_| drop(fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back() {
        let config = Config {
            theme: Some("dark.toml".into()),
            editor: Some("code -g {file}:{line}".into()),
            source_map: vec![SourceMap {
                from: "/build".into(),
                to: "/home/me".into(),
            }],
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
    fn the_document_is_a_configuration() {
        let document = include_str!("../docs/configuration.md");
        let (_, rest) = document.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let config = Config::parse(text).unwrap();
        assert_eq!(config.theme, Some("dark".into()));
        assert!(config.editor.is_some() && !config.keys.is_empty());
        assert_eq!(config.source_map.len(), 1);
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
            ("source_map = [{ from = '/a' }]", "missing field `to`"),
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
    fn a_theme_is_kept_and_nothing_else_changes() {
        for (before, after) in [
            ("", "theme = \"light\"\n"),
            (
                "# mine\ntheme = 'dark' # as my terminal\nascii = true\n",
                "# mine\ntheme = \"light\" # as my terminal\nascii = true\n",
            ),
            (
                "trust = [\n  'theme = 1',\n]\n[keys]\nhelp = 'H'\n",
                "theme = \"light\"\ntrust = [\n  'theme = 1',\n]\n[keys]\nhelp = 'H'\n",
            ),
        ] {
            assert_eq!(with_theme(before, "light").as_deref(), Some(after));
        }
        assert_eq!(with_theme("not toml", "light"), None);
        assert_eq!(with_theme("themes = 1", "light"), None);
    }

    #[test]
    fn the_file_of_a_theme_is_written_whole_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("looptop/config.toml");
        keep_theme_in(&path, "light").unwrap();
        let link = directory.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        keep_theme_in(&link, "dark").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theme = \"dark\"\n");
        let folder = fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(folder.count(), 1, "nothing else is left behind");
        let no_folder = path.join("config.toml");
        keep_theme_in(&no_folder, "light").unwrap_err();
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
