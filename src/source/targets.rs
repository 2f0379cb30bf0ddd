//! Several targets at once: one after another, in a file, or as the addresses of a name.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Target, TargetError,
    problem::quote,
    target::{strip_scheme, tcp},
};

/// So many targets at most are looked at together.
pub const MOST: usize = 256;

/// A file of targets is no longer.
const MOST_BYTES: u64 = 1 << 20;

/// How long the addresses of a name are awaited.
const PATIENCE: Duration = Duration::from_secs(5);

/// A target, with what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// As the user wrote it, or as it was found.
    pub name: String,
    /// The target.
    pub target: Target,
}

/// What a user may name where several targets can be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One target.
    One(Named),
    /// All addresses of a name.
    Dns(Dns),
}

/// What is meant by all that a user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// One target, named by itself.
    Alone(Named),
    /// Several, or what may be several: a file, or the addresses of a name.
    Several(Vec<Wanted>),
}

/// A name of which all addresses are meant, at one port: `dns:NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dns {
    /// The name.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// Why what was given names no targets. Displays as a sentence that says what would.
#[derive(Debug, thiserror::Error)]
pub enum TargetsError {
    /// One of them is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// One of them is no target, in a file.
    #[error("line {line} of {}: {error}", .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        error: TargetError,
    },
    /// `@` alone.
    #[error("`@` names no file; write @FILE, a file with a target on each line")]
    NoFile,
    /// The file is too large.
    #[error(
        "{} is larger than {} MiB, which no list of targets is; it has a target on each line, and \
         comments behind #", .file.display(), MOST_BYTES >> 20
    )]
    Large {
        /// The file.
        file: PathBuf,
    },
    /// The file cannot be read.
    #[error("could not read the targets in {}: {error}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// There is no target in the file.
    #[error("{} names no target; write one on each line, and comments behind #", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// Two of them are one target.
    #[error("{}; name it once", doubled(.one, .other))]
    Doubled {
        /// What was given first.
        one: String,
        /// What was given then.
        other: String,
    },
    /// There are too many.
    #[error(
        "{given} targets were given, and looptop looks at {MOST} together at most; run it once for \
         each part of them"
    )]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

fn doubled(one: &str, other: &str) -> String {
    if one == other {
        format!("`{one}` was given twice")
    } else {
        format!("`{one}` and `{other}` are the same target")
    }
}

/// A name has no addresses. Displays as a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` {why}; is it spelt right, and does this machine's resolver know it?")]
pub struct Unresolved {
    name: String,
    why: String,
}

/// What `texts` name: targets, `@FILE` for those in a file, `dns:NAME:PORT` for all
/// addresses of a name. Reads the files.
pub fn wanted(texts: &[String]) -> Result<Vec<Wanted>, TargetsError> {
    let mut all = Vec::new();
    for text in texts {
        match text.trim().strip_prefix('@') {
            Some("") => return Err(TargetsError::NoFile),
            Some(file) => all.extend(in_file(Path::new(file))?),
            None => all.push(Wanted::parse(text)?),
        }
    }
    let mut seen: HashMap<String, String> = HashMap::new();
    for one in &all {
        // A number and an address may be one target.
        let (key, name) = (one.key(), one.to_string());
        if let Some(before) = seen.insert(key, name.clone()) {
            return Err(TargetsError::Doubled {
                one: before,
                other: name,
            });
        }
    }
    if all.len() > MOST {
        return Err(TargetsError::TooMany { given: all.len() });
    }
    Ok(all)
}

/// The same, where one that is named by itself is apart. Whether several are meant does not
/// depend on how many lines a file has or how many addresses a name.
pub fn meant(texts: &[String]) -> Result<Meant, TargetsError> {
    let mut wanted = wanted(texts)?;
    let by_itself = matches!(texts, [text] if !text.trim().starts_with('@'));
    Ok(match wanted.pop() {
        Some(Wanted::One(named)) if by_itself => Meant::Alone(named),
        last => {
            wanted.extend(last);
            Meant::Several(wanted)
        }
    })
}

/// A target a line; what stands behind a `#` at the line's beginning or behind a space is a
/// comment.
fn in_file(file: &Path) -> Result<Vec<Wanted>, TargetsError> {
    let read = |error| TargetsError::Read {
        file: file.to_owned(),
        error,
    };
    let mut text = String::new();
    let opened = File::open(file).map_err(read)?;
    opened
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(TargetsError::Large {
            file: file.to_owned(),
        });
    }
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = without_comment(line);
        if line.is_empty() {
            continue;
        }
        let parsed = Wanted::parse(line).map_err(|error| TargetsError::Line {
            file: file.to_owned(),
            line: at + 1,
            error,
        });
        all.push(parsed?);
    }
    if all.is_empty() {
        return Err(TargetsError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(all)
}

fn without_comment(line: &str) -> &str {
    let comments = line.match_indices('#').map(|(at, _)| at);
    let begins = |at: &usize| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    };
    let end = comments.into_iter().find(begins).unwrap_or(line.len());
    line[..end].trim()
}

impl Wanted {
    /// One target, or a name of which all addresses are meant.
    fn parse(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        let Some(address) = strip_scheme(text, "dns:") else {
            let target = text.parse()?;
            let name = text.to_owned();
            return Ok(Self::One(Named { name, target }));
        };
        let named = !address.is_empty() && !address.starts_with(':');
        match tcp(text, address)? {
            Target::Tcp { host, port } if named => Ok(Self::Dns(Dns { host, port })),
            _ => Err(TargetError::Host {
                text: text.to_owned(),
                host: address.to_owned(),
            }),
        }
    }

    /// The same for what is the same target.
    fn key(&self) -> String {
        match self {
            Self::One(named) => named.target.to_string(),
            Self::Dns(dns) => dns.to_string(),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(named) => f.write_str(&named.name),
            Self::Dns(dns) => dns.fmt(f),
        }
    }
}

impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dns:{}:{}", self.host, self.port)
    }
}

impl Dns {
    /// All addresses of the name, in order. Takes 5 s at most.
    pub async fn resolve(&self) -> Result<Vec<Named>, Unresolved> {
        let unresolved = |why: String| Unresolved {
            name: self.to_string(),
            why,
        };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = match timeout(PATIENCE, found).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let why = quote(&error.to_string());
                return Err(unresolved(format!("could not be resolved: {why}")));
            }
            Err(_) => {
                let why = format!("was not resolved within {} s", PATIENCE.as_secs());
                return Err(unresolved(why));
            }
        };
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(unresolved("has no address".to_owned()));
        }
        let named = |address: SocketAddr| {
            let target = Target::Tcp {
                host: address.ip().to_string(),
                port: address.port(),
            };
            Named {
                name: target.to_string(),
                target,
            }
        };
        Ok(addresses.into_iter().map(named).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Result<Vec<Wanted>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        wanted(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_named_is_what_is_meant() {
        let all = texts(&["7000", "pid:7", "dns:orders:7001", "dns:shop"]).unwrap();
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["7000", "pid:7", "dns:orders:7001", "dns:shop:6669"]);
        assert!(matches!(&all[0], Wanted::One(n) if n.target == Target::Number(7_000)));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let many: Vec<String> = (1..=300).map(|n| (10_000 + n).to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (given, expected) in [
            (
                &["7000", "7000"][..],
                "`7000` was given twice; name it once",
            ),
            (
                &["7000", "127.0.0.1:7000"],
                "`7000` and `127.0.0.1:7000` are the same target; name it once",
            ),
            (
                &["dns:a", "dns:a:6669"],
                "`dns:a:6669` was given twice; name it once",
            ),
            (&["@"], "`@` names no file"),
            (
                &["@/nowhere/at/all"],
                "could not read the targets in /nowhere/at/all: ",
            ),
            (&["dns:"], "not a host name"),
            (&["dns::7000"], "not a host name"),
            (&["dns:a:0"], "`0` in `dns:a:0` is not a port"),
            (
                &many,
                "300 targets were given, and looptop looks at 256 together at most",
            ),
        ] {
            let error = texts(given).unwrap_err();
            assert!(error.contains(expected), "{given:?}: {error}");
        }
    }

    #[test]
    fn a_file_has_a_target_on_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let written = |text: &str| {
            let path = folder.path().join("targets");
            std::fs::write(&path, text).unwrap();
            texts(&[&format!("@{}", path.display())])
        };
        let all = written("# the shop\n\n 127.0.0.1:7000  # the first\nunix:/run/a#b\r\n").unwrap();
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["127.0.0.1:7000", "unix:/run/a#b"]);
        for (text, expected) in [
            ("", "names no target; write one on each line"),
            ("# nothing\n", "names no target"),
            ("7000\n7000", "`7000` was given twice"),
            ("7000\n\npid:x", "line 3 of "),
            ("@other", "names several targets"),
            ("\u{1}", "is not a host name"),
        ] {
            let error = written(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        // One line may become two.
        std::fs::write(folder.path().join("targets"), "7000").unwrap();
        let file = format!("@{}", folder.path().join("targets").display());
        assert!(matches!(meant(&[file]).unwrap(), Meant::Several(all) if all.len() == 1));
        assert!(matches!(meant(&["7000".into()]).unwrap(), Meant::Alone(_)));
        let long = "#".repeat(MOST_BYTES as usize + 1);
        assert!(written(&long).unwrap_err().contains("larger than 1 MiB"));
    }

    #[tokio::test]
    async fn a_name_has_all_its_addresses_or_a_reason() {
        let dns = |host: &str| Dns {
            host: host.to_owned(),
            port: 7_000,
        };
        let found = dns("127.0.0.1").resolve().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "127.0.0.1:7000");
        let error = dns("no-such-name.invalid").resolve().await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("`dns:no-such-name.invalid:7000` "),
            "{error}"
        );
        assert!(
            error.ends_with("does this machine's resolver know it?"),
            "{error}"
        );
    }
}
