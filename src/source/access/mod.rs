//! What this viewer shows of itself, and whom it believes.
//!
//! The settings are the whole process's ([`set`]), as its environment is. A token is sent
//! only where the user attaches to, never to what is merely found, and only once the
//! other end asks for one.

#[cfg(unix)]
mod peer;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
mod without_tls;

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{Problem, ProblemKind, Target};

#[cfg(unix)]
pub(super) use peer::believe;
#[cfg(feature = "tls")]
pub(super) use tls::{connect, sentence};
#[cfg(not(feature = "tls"))]
pub(super) use without_tls::{connect, sentence};

/// Where a token comes from; never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenFrom {
    /// The environment.
    Text(String),
    /// A file, which is read when the token is asked for.
    File(PathBuf),
}

impl fmt::Debug for TokenFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What the environment and the configuration say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What stands for a user who may look.
    pub token: Option<TokenFrom>,
    /// Users, by name or number, whose sockets are believed to be what they say.
    pub trust: Vec<String>,
    /// Who signs the certificates of applications.
    pub authority: Option<PathBuf>,
    /// This viewer's certificate, and its key.
    pub certificate: Option<PathBuf>,
    /// The key of the certificate.
    pub key: Option<PathBuf>,
    /// The name in the application's certificate, where it is not the host's.
    pub name: Option<String>,
}

impl Settings {
    /// What the environment says, and `file` where it says nothing.
    #[must_use]
    pub fn of_environment(get: impl Fn(&str) -> Option<String>, file: Self) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let token = get("LOOPTOP_TOKEN").map(TokenFrom::Text);
        let token = token.or_else(|| path("LOOPTOP_TOKEN_FILE").map(TokenFrom::File));
        let trust = get("LOOPTOP_TRUST").map(|users| {
            let users = users
                .split(',')
                .map(str::trim)
                .filter(|user| !user.is_empty());
            users.map(str::to_owned).collect()
        });
        Self {
            token: token.or(file.token),
            trust: trust.unwrap_or(file.trust),
            authority: path("LOOPTOP_TLS_CA").or(file.authority),
            certificate: path("LOOPTOP_TLS_CLIENT_CERT").or(file.certificate),
            key: path("LOOPTOP_TLS_CLIENT_KEY").or(file.key),
            name: get("LOOPTOP_TLS_NAME").or(file.name),
        }
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets them for this process; the first time counts.
pub fn set(settings: Settings) {
    let _ = SETTINGS.set(settings);
}

fn settings() -> &'static Settings {
    SETTINGS.get_or_init(|| {
        Settings::of_environment(|name| std::env::var(name).ok(), Settings::default())
    })
}

/// Which targets may have the token, once they ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Each to which this process attaches: the user has named it.
    Attached,
    /// This one alone: others are named by somebody else.
    Only(Target),
}

impl Recipient {
    fn is(&self, target: &Target) -> bool {
        match self {
            Self::Attached => true,
            Self::Only(only) => only == target,
        }
    }
}

static RECIPIENT: OnceLock<Recipient> = OnceLock::new();

/// Says for this process who may have the token; the first time counts. Otherwise
/// [`Recipient::Attached`].
pub fn show_to(recipient: Recipient) {
    let _ = RECIPIENT.set(recipient);
}

fn may_have_token(target: &Target) -> bool {
    RECIPIENT.get().is_none_or(|recipient| recipient.is(target))
}

/// Calls on a connection, which show the token once the other end has asked for it.
pub(crate) type Calls = InterceptedService<Channel, Shown>;

/// What the calls on a connection show.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    to: Arc<Target>,
    header: Arc<OnceLock<MetadataValue<Ascii>>>,
}

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.header.get() {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Targets that have asked for the token: each new connection to one shows it at once.
fn asked() -> std::sync::MutexGuard<'static, HashSet<Target>> {
    static ASKED: OnceLock<Mutex<HashSet<Target>>> = OnceLock::new();
    let asked = ASKED.get_or_init(Mutex::default);
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shown {
    /// For a new connection to `target`.
    pub(super) fn to(target: &Target) -> Self {
        let shown = Self {
            to: Arc::new(target.clone()),
            header: Arc::default(),
        };
        if asked().contains(target)
            && may_have_token(target)
            && let Ok(Some(token)) = token()
        {
            let _ = shown.header.set(token);
        }
        shown
    }

    /// Shows the token from now on, since the other end has asked for it and the user
    /// attaches to it; `false` where there is none or it was shown before.
    pub(super) fn show(&self) -> Result<bool, Problem> {
        if !may_have_token(&self.to) {
            return Ok(false);
        }
        let Some(token) = token()? else {
            return Ok(false);
        };
        asked().insert(Target::clone(&self.to));
        Ok(self.header.set(token).is_ok())
    }
}

/// The header of the token, if there is one.
fn token() -> Result<Option<MetadataValue<Ascii>>, Problem> {
    match &settings().token {
        None => Ok(None),
        Some(TokenFrom::Text(text)) => header(text, "LOOPTOP_TOKEN").map(Some),
        Some(TokenFrom::File(path)) => header(&read(path)?, &path.display().to_string()).map(Some),
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        Problem::new(
            ProblemKind::Forbidden,
            format!("a token is needed, and its file {path} cannot be read: {error}"),
            "LOOPTOP_TOKEN_FILE or `token_file` of the configuration names it",
        )
    })
}

/// The header; `from` says where the token is from, which itself is not repeated.
fn header(token: &str, from: &str) -> Result<MetadataValue<Ascii>, Problem> {
    let header = format!("Bearer {}", token.trim()).parse::<MetadataValue<Ascii>>();
    let mut header = header.map_err(|_| {
        Problem::new(
            ProblemKind::Forbidden,
            format!("the token of {from} holds characters that no token has"),
            "it is visible ASCII without spaces",
        )
    })?;
    // Not shown by `Debug`, and not kept in a table of headers.
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_beats_the_file() {
        let file = || Settings {
            token: Some(TokenFrom::File("/etc/token".into())),
            trust: vec!["alice".into()],
            authority: Some("/etc/ca.pem".into()),
            name: Some("app".into()),
            ..Settings::default()
        };
        let get = |name: &str| match name {
            "LOOPTOP_TOKEN" => Some("a-secret-of-the-environment".to_owned()),
            "LOOPTOP_TRUST" => Some("bob, 1001".to_owned()),
            "LOOPTOP_TLS_CA" => Some(String::new()),
            _ => None,
        };
        let settings = Settings::of_environment(get, file());
        let text = TokenFrom::Text("a-secret-of-the-environment".into());
        assert_eq!(settings.token, Some(text));
        assert_eq!(settings.trust, ["bob", "1001"]);
        assert_eq!(settings.authority, file().authority);
        assert_eq!(Settings::of_environment(|_| None, file()), file());
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn where_others_name_targets_the_token_is_for_the_users_own() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        let only = Recipient::Only(target("app:6669"));
        for (recipient, named, may) in [
            (&Recipient::Attached, "other:6669", true),
            (&only, "http://app:6669", true),
            (&only, "other:6669", false),
        ] {
            assert_eq!(recipient.is(&target(named)), may, "{recipient:?} {named}");
        }
    }

    #[test]
    fn a_token_is_shown_by_nothing_but_its_header() {
        let shown = header(" a-secret-of-16-and-more\n", "x").unwrap();
        assert_eq!(shown.to_str().unwrap(), "Bearer a-secret-of-16-and-more");
        assert!(!format!("{shown:?}").contains("secret"));
        let problem = header("a\nsecret", "LOOPTOP_TOKEN").unwrap_err();
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
}
