//! What the builder and the environment say of who may look, made into a [`Policy`].

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::reading::Reader;
use super::scrapers::{Reach, Scrapers};
use super::token::{BadToken, Token};
use super::{Permission, Policy, uid};
use crate::config::{is_off, is_on};

/// What was asked for, unread and unchecked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) token: Option<TokenFrom>,
    /// Users by name or number, or `none`.
    pub(crate) allow: Vec<String>,
    pub(crate) permit: Option<Permit>,
    pub(crate) console: bool,
    /// Whether there is a Unix socket beside the port.
    pub(crate) socket: Option<bool>,
    pub(crate) tls: TlsFiles,
    /// Who may read `/metrics` alone: users by name or number, `machine` or `anybody`.
    pub(crate) scrapers: Vec<String>,
    /// Who may read the process from outside, as Yama asks.
    pub(crate) reader: Option<Result<Option<Reader>, String>>,
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub(crate) enum TokenFrom {
    Text(Result<Token, BadToken>),
    File(PathBuf),
}

/// A permission by its name, or the text that is none.
pub(crate) type Permit = Result<Permission, String>;

/// Files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The application's certificate and its key.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Who signs certificates of viewers.
    pub(crate) authority: Option<PathBuf>,
}

impl TlsFiles {
    pub(crate) fn is_asked_for(&self) -> bool {
        *self != Self::default()
    }
}

/// The word that allows nobody without a token.
const NONE: &str = "none";
/// Words that stand for more than one who may read `/metrics`.
const MACHINE: &str = "machine";
const ANYBODY: &str = "anybody";

impl Asked {
    /// Applies the environment, which beats the builder.
    pub(crate) fn with_environment(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        if let Some(text) = get("LOOPTOP_TOKEN") {
            self.token = Some(TokenFrom::Text(Token::new(&text)));
        } else if let Some(path) = get("LOOPTOP_TOKEN_FILE") {
            self.token = Some(TokenFrom::File(path.into()));
        }
        if let Some(users) = get("LOOPTOP_ALLOW") {
            self.allow = names(&users);
        }
        if let Some(permit) = get("LOOPTOP_PERMIT") {
            self.permit = Some(permission(&permit));
        }
        if let Some(console) = get("LOOPTOP_CONSOLE") {
            self.console = is_on(&console);
        }
        if let Some(socket) = get("LOOPTOP_SOCKET") {
            self.socket = Some(!is_off(&socket));
        }
        if let Some(scrapers) = get("LOOPTOP_METRICS_ALLOW") {
            self.scrapers = names(&scrapers);
        }
        if let Some(reader) = get("LOOPTOP_PTRACER") {
            self.reader = Some(Reader::parse(&reader));
        }
        let file = |name: &str| get(name).map(PathBuf::from);
        self.tls = TlsFiles {
            certificate: file("LOOPTOP_TLS_CERT").or(self.tls.certificate),
            key: file("LOOPTOP_TLS_KEY").or(self.tls.key),
            authority: file("LOOPTOP_TLS_CLIENT_CA").or(self.tls.authority),
        };
        self
    }

    /// Who is to be named as a reader, if anybody is.
    pub(crate) fn reader(&self) -> Result<Option<Reader>, BadAccess> {
        let asked = self.reader.clone().unwrap_or(Ok(None));
        asked.map_err(BadAccess::Reader)
    }

    /// The policy; `read` reads a file.
    pub(crate) fn policy(
        &self,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Policy, BadAccess> {
        let token = match &self.token {
            None => None,
            Some(TokenFrom::Text(token)) => {
                Some(token.clone().map_err(|error| BadAccess::Token {
                    from: "LOOPTOP_TOKEN or the builder".into(),
                    error,
                })?)
            }
            Some(TokenFrom::File(path)) => Some(from_file(path, &read)?),
        };
        let passwd = || read(Path::new("/etc/passwd")).unwrap_or_default();
        let uid = |name: &String| name.parse().ok().or_else(|| uid::of_name(name, &passwd()));
        let mut allowed = Vec::new();
        for name in self.allow.iter().filter(|name| *name != NONE) {
            allowed.push(uid(name).ok_or_else(|| BadAccess::User(name.clone()))?);
        }
        let mut scrapers = Scrapers::default();
        for name in &self.scrapers {
            match name.as_str() {
                ANYBODY => scrapers.reach = Reach::Anybody,
                MACHINE if scrapers.reach == Reach::Nobody => scrapers.reach = Reach::Machine,
                MACHINE => {}
                _ => {
                    let uid = uid(name).ok_or_else(|| BadAccess::Scraper(name.clone()))?;
                    scrapers.users.push(uid);
                }
            }
        }
        let guests = match &self.permit {
            None => Permission::Names,
            Some(Ok(permission)) => *permission,
            Some(Err(text)) => return Err(BadAccess::Permit(text.clone())),
        };
        Ok(Policy {
            allowed,
            trusts_users: !self.allow.iter().any(|name| name == NONE),
            token,
            guests,
            console: self.console,
            scrapers,
        })
    }
}

fn from_file(path: &Path, read: &impl Fn(&Path) -> io::Result<String>) -> Result<Token, BadAccess> {
    let text = read(path).map_err(|error| BadAccess::Read {
        path: path.to_owned(),
        error,
    })?;
    Token::new(&text).map_err(|error| BadAccess::Token {
        from: path.display().to_string(),
        error,
    })
}

fn names(list: &str) -> Vec<String> {
    let names = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

pub(crate) fn permission(text: &str) -> Permit {
    match text.trim().to_ascii_lowercase().as_str() {
        "numbers" => Ok(Permission::Numbers),
        "names" => Ok(Permission::Names),
        "memory" => Ok(Permission::Memory),
        _ => Err(text.to_owned()),
    }
}

/// Why the settings cannot be used. Holds nothing of a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAccess {
    #[error("the token of {from} cannot be used: {error}")]
    Token { from: String, error: BadToken },
    #[error("cannot read the token of LOOPTOP_TOKEN_FILE, {path}: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error(
        "LOOPTOP_ALLOW names `{0}`, who is no user of this machine: give names or numbers, with \
         commas between them, or `none`"
    )]
    User(String),
    #[error(
        "LOOPTOP_METRICS_ALLOW names `{0}`, who is no user of this machine: give names or \
         numbers, with commas between them, or `machine` or `anybody`"
    )]
    Scraper(String),
    #[error("LOOPTOP_PERMIT is `{0}`; it is numbers, names or memory")]
    Permit(String),
    #[error(
        "LOOPTOP_PTRACER is `{0}`; it is `any` for this user's processes, the id of one, or off"
    )]
    Reader(String),
    #[error(
        "{0} can be reached from other machines, and nothing says who may look: set \
         LOOPTOP_TOKEN_FILE, or TLS with LOOPTOP_TLS_CLIENT_CA for certificates of viewers, or listen at \
         127.0.0.1"
    )]
    Open(IpAddr),
    #[error(
        "/metrics at {0} can be reached from other machines, and nothing says who may read it: \
         set LOOPTOP_METRICS_ALLOW=anybody, LOOPTOP_TOKEN_FILE, or TLS with \
         LOOPTOP_TLS_CLIENT_CA, or listen at 127.0.0.1"
    )]
    OpenMetrics(IpAddr),
}

/// As [`check_address`], of an address at which there is `/metrics` alone.
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(crate) fn check_metrics_address(
    ip: IpAddr,
    policy: &Policy,
    tls: &TlsFiles,
) -> Result<(), BadAccess> {
    if policy.scrapers.reach == Reach::Anybody {
        return Ok(());
    }
    check_address(ip, policy, tls).map_err(|_| BadAccess::OpenMetrics(ip))
}

/// Refuses an address that other machines reach, unless they show who they are.
pub(crate) fn check_address(ip: IpAddr, policy: &Policy, tls: &TlsFiles) -> Result<(), BadAccess> {
    let is_open = policy.token.is_none() && tls.authority.is_none();
    if is_open && !ip.to_canonical().is_loopback() {
        return Err(BadAccess::Open(ip));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn policy(variables: &[(&str, &str)]) -> Result<Policy, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &Path| match path.to_str() {
            Some("/etc/passwd") => Ok("alice:x:1000:1000::/home/alice:/bin/sh\n".to_owned()),
            Some("/run/token") => Ok(format!("{TOKEN}\n")),
            Some("/run/short") => Ok("hunter2".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let asked = Asked::default().with_environment(get);
        asked.policy(read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_makes_a_policy() {
        let plain = policy(&[]).unwrap();
        assert!(plain.token.is_none() && plain.trusts_users && plain.allowed.is_empty());
        assert_eq!(plain.guests, Permission::Names);
        let all = policy(&[
            ("LOOPTOP_TOKEN_FILE", "/run/token"),
            ("LOOPTOP_ALLOW", "alice, 1001,"),
            ("LOOPTOP_PERMIT", "Numbers"),
            ("LOOPTOP_CONSOLE", "on"),
        ]);
        let all = all.unwrap();
        assert!(all.token.unwrap().is(TOKEN.as_bytes()));
        assert_eq!(all.allowed, [1000, 1001]);
        assert_eq!((all.guests, all.console), (Permission::Numbers, true));
        let beats = [
            ("LOOPTOP_TOKEN_FILE", "/run/none"),
            ("LOOPTOP_TOKEN", "another-secret-text"),
        ];
        let token = policy(&beats).unwrap().token.unwrap();
        assert!(token.is(b"another-secret-text"));
        let none = policy(&[("LOOPTOP_ALLOW", "none")]).unwrap();
        assert!(!none.trusts_users && none.allowed.is_empty());
    }

    #[test]
    fn who_may_scrape_is_said_by_users_or_words() {
        for (value, users, reach) in [
            ("", &[][..], Reach::Nobody),
            ("alice,7", &[1000, 7], Reach::Nobody),
            ("machine", &[], Reach::Machine),
            ("anybody, machine,alice", &[1000], Reach::Anybody),
        ] {
            let scrapers = policy(&[("LOOPTOP_METRICS_ALLOW", value)])
                .unwrap()
                .scrapers;
            assert_eq!((scrapers.users.as_slice(), scrapers.reach), (users, reach));
        }
    }

    #[test]
    fn metrics_alone_may_be_open_to_anybody() {
        let outside = "10.0.0.1".parse().unwrap();
        let tls = TlsFiles::default();
        let plain = Policy::default();
        assert!(check_metrics_address(outside, &plain, &tls).is_err());
        let open = policy(&[("LOOPTOP_METRICS_ALLOW", "anybody")]).unwrap();
        assert!(check_metrics_address(outside, &open, &tls).is_ok());
        assert!(check_address(outside, &open, &tls).is_err());
        let own = "127.0.0.1".parse().unwrap();
        assert!(check_metrics_address(own, &plain, &tls).is_ok());
    }

    #[test]
    fn nobody_is_named_as_a_reader_unless_asked() {
        let reader = |variables: &[(&str, &str)], builder: Option<Reader>| {
            let asked = Asked {
                reader: builder.map(|reader| Ok(Some(reader))),
                ..Asked::default()
            };
            let get = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let asked = asked.with_environment(get);
            asked.reader().map_err(|error| error.to_string())
        };
        let owner = Some(Reader::Owner);
        assert_eq!(reader(&[], None), Ok(None));
        assert_eq!(reader(&[("LOOPTOP_PTRACER", "")], owner), Ok(owner));
        assert_eq!(reader(&[("LOOPTOP_PTRACER", "any")], None), Ok(owner));
        assert_eq!(reader(&[("LOOPTOP_PTRACER", "off")], owner), Ok(None));
        let wrong = reader(&[("LOOPTOP_PTRACER", "alice")], None).unwrap_err();
        assert!(wrong.contains("`alice`"), "{wrong}");
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (variable, value, part) in [
            ("LOOPTOP_TOKEN", "hunter2", "fewer than 16"),
            ("LOOPTOP_TOKEN_FILE", "/run/short", "/run/short"),
            ("LOOPTOP_TOKEN_FILE", "/run/none", "/run/none"),
            ("LOOPTOP_ALLOW", "mallory", "`mallory`"),
            ("LOOPTOP_METRICS_ALLOW", "mallory", "`mallory`"),
            ("LOOPTOP_PERMIT", "all", "`all`"),
        ] {
            let error = policy(&[(variable, value)]).unwrap_err();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_other_machines_reach_needs_to_know_who_asks() {
        let plain = Policy::default();
        let with_token = Policy {
            token: Some(Token::new(TOKEN).unwrap()),
            ..Policy::default()
        };
        let no_tls = TlsFiles::default();
        let one_sided = TlsFiles {
            certificate: Some("c".into()),
            key: Some("k".into()),
            authority: None,
        };
        let mutual = TlsFiles {
            authority: Some("a".into()),
            ..one_sided.clone()
        };
        for (ip, policy, tls, allowed) in [
            ("127.0.0.1", &plain, &no_tls, true),
            ("127.9.9.9", &plain, &no_tls, true),
            ("::1", &plain, &no_tls, true),
            ("::ffff:127.0.0.1", &plain, &no_tls, true),
            ("0.0.0.0", &plain, &no_tls, false),
            ("::", &plain, &no_tls, false),
            ("10.0.0.1", &plain, &no_tls, false),
            ("::ffff:10.0.0.1", &plain, &no_tls, false),
            ("0.0.0.0", &plain, &one_sided, false),
            ("0.0.0.0", &plain, &mutual, true),
            ("0.0.0.0", &with_token, &no_tls, true),
        ] {
            let checked = check_address(ip.parse().unwrap(), policy, tls);
            assert_eq!(checked.is_ok(), allowed, "{ip} {policy:?} {tls:?}");
        }
    }
}
