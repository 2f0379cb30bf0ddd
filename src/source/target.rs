//! What the user may name as a target, and what is understood by it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The port that is assumed where none is given.
const DEFAULT_PORT: u16 = 6669;
const DEFAULT_HOST: &str = "127.0.0.1";

/// Something to attach to, or to replay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A TCP port; `host` is a name or an address, without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// A TCP port, encrypted; its certificate must be for `host`.
    Tls {
        /// Name or address.
        host: String,
        /// Port, never 0.
        port: u16,
    },
    /// A bare number: this port of this machine, never 0. Somebody who writes it
    /// may mean a process, which is said where nothing listens there.
    Number(u16),
    /// A Unix socket.
    Unix(PathBuf),
    /// A process of this machine, by its id, never 0: its agent where it has one,
    /// otherwise the process as it is, read from outside.
    Process(u32),
    /// A recording.
    Recording(PathBuf),
    /// A core dump of a process.
    Core(PathBuf),
}

/// Why a text names no target. Displays as a sentence that says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A scheme that is not spoken.
    #[error(
        "`{text}` asks for {scheme}, which looptop does not speak; \
         use HOST:PORT, http://HOST:PORT, https://HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a \
         recording"
    )]
    Scheme {
        /// What was given.
        text: String,
        /// The part before the colon.
        scheme: String,
    },
    /// A port that is none.
    #[error("`{port}` in `{text}` is not a port; a port is a number from 1 to 65535")]
    Port {
        /// What was given.
        text: String,
        /// The part that should be a port.
        port: String,
    },
    /// A path behind an address.
    #[error(
        "`{text}` has `{path}` behind the address; \
         a target is an address alone, such as http://{DEFAULT_HOST}:{DEFAULT_PORT}"
    )]
    PathInUrl {
        /// What was given.
        text: String,
        /// The superfluous part.
        path: String,
    },
    /// No host, or one that cannot be a name.
    #[error("`{host}` in `{text}` is not a host name or an address")]
    Host {
        /// What was given.
        text: String,
        /// The part that should be a host.
        host: String,
    },
    /// `unix:` or `core:` alone.
    #[error("`{text}` names no path; write {example}")]
    NoPath {
        /// What was given.
        text: String,
        /// What would name one.
        example: &'static str,
    },
    /// The name of several targets, where one is meant.
    #[error(
        "`{text}` names several targets, which `looptop` and `looptop check` look at together; \
         name one here"
    )]
    Several {
        /// What was given.
        text: String,
    },
    /// No process can have this id.
    #[error(
        "`{id}` in `{text}` is not the id of a process; write pid:N with a number from 1 to {}, \
         for example pid:4211",
        i32::MAX
    )]
    Process {
        /// What was given.
        text: String,
        /// The part that should be an id.
        id: String,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::Tcp {
            host: DEFAULT_HOST.into(),
            port: DEFAULT_PORT,
        }
    }
}

impl Target {
    /// Whether the target is, by its address, on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } | Self::Tls { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
            }
            Self::Number(_)
            | Self::Unix(_)
            | Self::Process(_)
            | Self::Recording(_)
            | Self::Core(_) => true,
        }
    }

    /// Host and port of a TCP target.
    pub(super) fn tcp(&self) -> Option<(&str, u16)> {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } => Some((host, *port)),
            Self::Number(port) => Some((DEFAULT_HOST, *port)),
            Self::Unix(_) | Self::Process(_) | Self::Recording(_) | Self::Core(_) => None,
        }
    }

    /// Whether it is a file in which nothing comes any more.
    pub fn is_past(&self) -> bool {
        matches!(self, Self::Recording(_) | Self::Core(_))
    }
}

impl TargetError {
    /// The number that stands alone and is no port: perhaps a process's id.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Port { text, port } if text == port => port.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
            Self::Number(port) => write!(f, "{DEFAULT_HOST}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Process(pid) => write!(f, "pid:{pid}"),
            Self::Recording(path) => write!(f, "{}", path.display()),
            Self::Core(path) => write!(f, "core:{}", path.display()),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// `http://host:port`, `https://host:port`, `host:port`, `host`, `:port` or a bare port number,
    /// `unix:PATH` (also `unix://PATH` and tokio-console's `file://PATH`), `pid:N`, `core:FILE`,
    /// or the path of a recording: what contains a slash, or exists as a file.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        if let Some(path) = strip_scheme(text, "unix:").or_else(|| strip_scheme(text, "file:")) {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(TargetError::NoPath {
                    text: text.into(),
                    example: "unix:PATH, for example unix:/run/app.sock",
                }),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if let Some(path) = strip_scheme(text, "core:") {
            return match path {
                "" => Err(TargetError::NoPath {
                    text: text.into(),
                    example: "core:FILE, for example core:/var/crash/core.4211",
                }),
                path => Ok(Self::Core(path.into())),
            };
        }
        if let Some(id) = strip_scheme(text, "pid:") {
            return process(text, id);
        }
        if text.starts_with('@') || strip_scheme(text, "dns:").is_some() {
            return Err(TargetError::Several { text: text.into() });
        }
        if let Some(address) = strip_scheme(text, "http://") {
            return tcp(text, address);
        }
        if let Some(address) = strip_scheme(text, "https://") {
            return Ok(match tcp(text, address)? {
                Self::Tcp { host, port } => Self::Tls { host, port },
                other => other,
            });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(TargetError::Scheme {
                text: text.into(),
                scheme: scheme.into(),
            });
        }
        if text.contains(['/', '\\']) || Path::new(text).is_file() {
            return Ok(Self::Recording(text.into()));
        }
        tcp(text, text)
    }
}

pub(super) fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(tail)
}

/// The process with `id`, out of `text`: the kernel counts them in 31 bits.
fn process(text: &str, id: &str) -> Result<Target, TargetError> {
    let pid = is_number(id).then(|| id.parse::<i32>().ok()).flatten();
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    let target = pid.filter(|pid| *pid > 0).map(Target::Process);
    target.ok_or_else(|| TargetError::Process {
        text: text.into(),
        id: id.into(),
    })
}

/// `address` out of `text`: `host:port`, `[v6]:port`, `host`, `:port` or `port`.
pub(super) fn tcp(text: &str, address: &str) -> Result<Target, TargetError> {
    let (address, path) = match address.find(['/', '?', '#']) {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    if !matches!(path, "" | "/") {
        return Err(TargetError::PathInUrl {
            text: text.into(),
            path: path.into(),
        });
    }
    let (host, port) = host_and_port(address);
    let host = if host.is_empty() { DEFAULT_HOST } else { host };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let valid = host.parse::<std::net::IpAddr>().is_ok() || host.chars().all(name);
    if !valid {
        return Err(TargetError::Host {
            text: text.into(),
            host: host.into(),
        });
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(number) if number != 0 => number,
            _ => {
                return Err(TargetError::Port {
                    text: text.into(),
                    port: port.into(),
                });
            }
        },
    };
    if is_number(text) {
        return Ok(Target::Number(port));
    }
    Ok(Target::Tcp {
        host: host.into(),
        port,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn host_and_port(address: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    if is_number(address) {
        return ("", Some(address));
    }
    if address.matches(':').count() > 1 {
        return (address, None);
    }
    match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp {
            host: host.into(),
            port,
        }
    }

    #[test]
    fn what_is_understood() {
        let tls = |host: &str, port| Target::Tls {
            host: host.into(),
            port,
        };
        let unix = |path: &str| Target::Unix(path.into());
        let file = |path: &str| Target::Recording(path.into());
        let core = |path: &str| Target::Core(path.into());
        let cases = [
            ("", tcp("127.0.0.1", 6669)),
            ("http://127.0.0.1:6669", tcp("127.0.0.1", 6669)),
            ("HTTP://Example.com:80/", tcp("Example.com", 80)),
            ("http://example.com", tcp("example.com", 6669)),
            ("localhost:7000", tcp("localhost", 7000)),
            ("localhost", tcp("localhost", 6669)),
            (":7000", tcp("127.0.0.1", 7000)),
            ("7000", Target::Number(7000)),
            ("http://7000", tcp("127.0.0.1", 7000)),
            ("[::1]:7000", tcp("::1", 7000)),
            ("http://[::1]:7000", tcp("::1", 7000)),
            ("https://example.com", tls("example.com", 6669)),
            ("HTTPS://[::1]:7000/", tls("::1", 7000)),
            ("https://7000", tls("127.0.0.1", 7000)),
            ("::1", tcp("::1", 6669)),
            ("unix:/run/app.sock", unix("/run/app.sock")),
            ("unix:app.sock", unix("app.sock")),
            ("unix:///run/app.sock", unix("/run/app.sock")),
            ("file:///run/app.sock", unix("/run/app.sock")),
            ("core:core.4211", core("core.4211")),
            ("CORE:/var/crash/a b", core("/var/crash/a b")),
            ("pid:4211", Target::Process(4_211)),
            ("PID:1", Target::Process(1)),
            ("pid:2147483647", Target::Process(2_147_483_647)),
            ("./run.looptop", file("./run.looptop")),
            ("/no/such/file", file("/no/such/file")),
            ("Cargo.toml", file("Cargo.toml")),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let cases = [
            (
                "https://host:1/metrics",
                "has `/metrics` behind the address",
            ),
            ("https://host:0", "`0` in `https://host:0` is not a port"),
            ("vsock://2:6669", "asks for vsock"),
            ("host:0", "`0` in `host:0` is not a port"),
            ("host:99999", "`99999` in `host:99999` is not a port"),
            ("99999", "`99999` in `99999` is not a port"),
            ("host:http", "`http` in `host:http` is not a port"),
            ("http://host:1/metrics", "has `/metrics` behind the address"),
            ("a b:1", "`a b` in `a b:1` is not a host name"),
            ("unix:", "names no path; write unix:PATH"),
            ("core:", "names no path; write core:FILE"),
            ("[::1", "is not a host name"),
            ("pid:", "`` in `pid:` is not the id of a process"),
            ("pid:0", "`0` in `pid:0` is not the id"),
            ("pid:-1", "`-1` in `pid:-1` is not the id"),
            ("pid:2147483648", "a number from 1 to 2147483647"),
            ("pid:app", "`app` in `pid:app` is not the id"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_target_displays_as_what_parses_to_it() {
        for text in [
            "127.0.0.1:6669",
            "[::1]:7000",
            "https://app.example:7000",
            "https://[::1]:7000",
            "unix:/a/b",
            "pid:4211",
            "core:/var/crash/core",
            "./x.looptop",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(Target::Number(7000).to_string(), "127.0.0.1:7000");
    }

    #[test]
    fn a_bare_number_that_is_no_port_may_be_a_process() {
        let number = |text: &str| text.parse::<Target>().unwrap_err().number();
        assert_eq!(number("99999"), Some(99_999));
        assert_eq!(number(":99999"), None);
        assert_eq!(number("host:99999"), None);
        assert_eq!(number("unix:"), None);
    }

    #[test]
    fn local_targets() {
        let local = [
            "localhost",
            "127.0.0.1",
            "[::1]:1",
            "7000",
            "unix:/x",
            "127.8.9.1",
            "pid:1",
        ];
        for text in local {
            assert!(text.parse::<Target>().unwrap().is_local(), "{text}");
        }
        for text in ["example.com", "10.0.0.1", "[2001:db8::1]:1"] {
            assert!(!text.parse::<Target>().unwrap().is_local(), "{text}");
        }
    }
}
