//! What the application and the environment ask of the agent.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::access::Policy;
use crate::access::settings::Asked;

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// No port.
    Off,
    /// `host:port`; port 0 takes a free one.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(std::path::PathBuf),
}

/// Host and port where only the other is given.
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 6669;

impl FromStr for Bind {
    type Err = BadBind;

    /// `off`, or what the viewer takes for a target: `host:port`, `host`, `:port`, a bare
    /// port, any of these behind `http://`, `unix:PATH` (also `unix://PATH` and
    /// `file://PATH`); and port 0.
    fn from_str(text: &str) -> Result<Self, BadBind> {
        let bad = || BadBind(text.to_owned());
        let address = text.trim();
        if address.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        if let Some(path) = strip_scheme(address, "unix:").or(strip_scheme(address, "file:")) {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(bad()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let address = match strip_scheme(address, "http://") {
            Some(address) => address.strip_suffix('/').unwrap_or(address),
            None => address,
        };
        if address.is_empty() || address.contains(['/', '\\', ' ']) {
            return Err(bad());
        }
        let (host, port) = host_and_port(address).ok_or_else(bad)?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| bad())?,
        };
        Ok(Self::Tcp(match host {
            "" => format!("{DEFAULT_HOST}:{port}"),
            host if host.contains(':') => format!("[{host}]:{port}"),
            host => format!("{host}:{port}"),
        }))
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(tail)
}

/// The parts of `host:port`, `[v6]:port`, `v6`, `host`, `:port` or `port`.
fn host_and_port(address: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    if address.bytes().all(|b| b.is_ascii_digit()) {
        return Some(("", Some(address)));
    }
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((address, None));
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    (!host.contains([':', ']'])).then_some((host, port))
}

impl Bind {
    /// What whoever starts the application should know of the address that it
    /// got: the port where none was asked for, and who else can attach.
    pub(crate) fn notice(&self, got: SocketAddr, encrypted: bool) -> Option<String> {
        let Self::Tcp(asked) = self else {
            return None;
        };
        if !got.ip().to_canonical().is_loopback() && !encrypted {
            return Some(format!(
                "listens at {got} without encryption: who sees the network's traffic can read \
                 the token, and names, fields, stacks and paths of this program; \
                 LOOPTOP_TLS_CERT and LOOPTOP_TLS_KEY encrypt it"
            ));
        }
        asked.ends_with(":0").then(|| format!("listens at {got}"))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: give host:port, for example 127.0.0.1:6669, a port alone, or unix:PATH"
)]
pub(crate) struct BadBind(String);

/// Everything that can be set, with the environment's word applied.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    pub(crate) bind: String,
    /// Nobody asked for this address.
    pub(crate) bind_is_default: bool,
    /// Who may look: what was asked for, and what came of it.
    pub(crate) access: Asked,
    pub(crate) policy: Policy,
    pub(crate) stall_threshold: Duration,
    pub(crate) watchdog_interval: Duration,
    pub(crate) frame_interval: Duration,
    pub(crate) retention: Retention,
    pub(crate) capture: bool,
    /// Whether the agent reads in its process's memory where tasks wait, when asked.
    pub(crate) waits: bool,
    /// The share of a core that this may take, in percent.
    pub(crate) waits_percent: u32,
    /// Where `/metrics` is.
    pub(crate) metrics: Metrics,
    /// Where things are sent to by OTLP.
    #[cfg(feature = "otlp")]
    pub(crate) otlp: crate::otlp::settings::Asked,
    /// `None`: where nobody else can set one.
    #[cfg_attr(not(all(tokio_unstable, feature = "tracing")), allow(dead_code))]
    pub(crate) install_subscriber: Option<bool>,
    /// As on the wire: 0 and 1 are in earnest.
    pub(crate) time_scale: f64,
    /// Where the flight recorder writes to, and how many bytes it holds.
    #[cfg(feature = "flight-recorder")]
    pub(crate) flight: Option<(std::path::PathBuf, u64)>,
}

/// Where `/metrics` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metrics {
    /// At the agent's port and socket.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
    pub(crate) at_agent: bool,
    /// At a port of its own.
    pub(crate) bind: Option<String>,
}

impl Metrics {
    /// Nowhere.
    const OFF: Self = Self {
        at_agent: false,
        bind: None,
    };
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            at_agent: true,
            bind: None,
        }
    }
}

/// How much of finished tasks is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) tasks: usize,
    pub(crate) bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            bind: looptop_wire::DEFAULT_ADDR.to_owned(),
            bind_is_default: true,
            access: Asked::default(),
            policy: Policy::default(),
            stall_threshold: Duration::from_millis(10),
            watchdog_interval: Duration::from_millis(5),
            frame_interval: Duration::from_millis(100),
            retention: Retention {
                tasks: 10_000,
                bytes: 8 << 20,
            },
            capture: true,
            waits: false,
            waits_percent: 2,
            metrics: Metrics::default(),
            #[cfg(feature = "otlp")]
            otlp: crate::otlp::settings::Asked::default(),
            install_subscriber: None,
            time_scale: 0.0,
            #[cfg(feature = "flight-recorder")]
            flight: None,
        }
    }
}

/// Limits of what can be set, so that a typing error harms nobody.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
const WAITS: (u32, u32) = (1, 50);
const FRAMES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

impl Config {
    /// Applies the environment's variables, which beat the builder.
    pub(crate) fn with_environment(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(bind) = get("LOOPTOP_BIND").filter(|b| !b.is_empty()) {
            self.bind = bind;
            self.bind_is_default = false;
        }
        self.access = self.access.with_environment(&get);
        if get("LOOPTOP_CAPTURE").is_some_and(|v| is_off(&v)) {
            self.capture = false;
        }
        let waits = get("LOOPTOP_WAITS").unwrap_or_default();
        let percent = waits.strip_suffix('%').and_then(|n| n.trim().parse().ok());
        self.waits_percent = percent.unwrap_or(self.waits_percent);
        self.waits = is_on(&waits) || percent.is_some() || (self.waits && !is_off(&waits));
        match get("LOOPTOP_METRICS").as_deref().map(str::trim) {
            None | Some("") => {}
            Some(off) if is_off(off) => self.metrics = Metrics::OFF,
            Some(on) if is_on(on) => self.metrics.at_agent = true,
            Some(bind) => self.metrics.bind = Some(bind.to_owned()),
        }
        #[cfg(feature = "otlp")]
        {
            self.otlp = self.otlp.with_environment(&get);
        }
        let tasks = get("LOOPTOP_TASKS").unwrap_or_default();
        if is_on(&tasks) {
            self.install_subscriber = Some(true);
        } else if is_off(&tasks) {
            self.install_subscriber = Some(false);
        }
        self
    }

    /// The share of a core that reading in memory may take, in percent.
    #[cfg_attr(not(feature = "waits"), allow(dead_code))]
    pub(crate) fn waits_percent(&self) -> u32 {
        self.waits_percent.clamp(WAITS.0, WAITS.1)
    }

    pub(crate) fn stall_threshold_ns(&self) -> u64 {
        self.stall_threshold.max(INTERVALS.0).as_nanos() as u64
    }

    pub(crate) fn watchdog_interval_ns(&self) -> u64 {
        self.watchdog_interval
            .clamp(INTERVALS.0, INTERVALS.1)
            .as_nanos() as u64
    }

    /// Time between frames: what the viewer asks for, within limits.
    pub(crate) fn frame_interval(&self, asked_ns: u64) -> Duration {
        let asked = match asked_ns {
            0 => self.frame_interval,
            ns => Duration::from_nanos(ns),
        };
        asked.clamp(FRAMES.0, FRAMES.1)
    }
}

/// The environment switches the agent off altogether.
pub(crate) fn is_switched_off(get: impl Fn(&str) -> Option<String>) -> bool {
    get("LOOPTOP").is_some_and(|v| is_off(&v))
}

/// Whether the application's spans name tasks; `LOOPTOP_TASK_NAMES=off` says no.
#[cfg(feature = "tracing")]
pub(crate) fn names_by_spans() -> bool {
    !environment("LOOPTOP_TASK_NAMES").is_some_and(|v| is_off(&v))
}

pub(crate) fn is_off(value: &str) -> bool {
    ["off", "0", "false", "no"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

pub(crate) fn is_on(value: &str) -> bool {
    ["on", "1", "true", "yes"]
        .iter()
        .any(|on| value.eq_ignore_ascii_case(on))
}

/// A variable of the process's environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_memory_is_read_and_how_much_that_may_take() {
        for (builder, variable, on, percent) in [
            (false, "", false, 2),
            (true, "", true, 2),
            (false, "on", true, 2),
            (true, "off", false, 2),
            (false, "10%", true, 10),
            (false, "10 %", true, 10),
            (false, "0%", true, 1),
            (false, "400%", true, 50),
            (false, "much", false, 2),
        ] {
            let config = Config {
                waits: builder,
                ..Config::default()
            };
            let get = |name: &str| (name == "LOOPTOP_WAITS").then(|| variable.to_owned());
            let config = config.with_environment(get);
            assert_eq!(
                (config.waits, config.waits_percent()),
                (on, percent),
                "{variable}"
            );
        }
    }

    #[test]
    fn where_metrics_are() {
        let own = Some("127.0.0.1:9464");
        for (builder, variable, on, bind) in [
            ((true, None), "", true, None),
            ((true, None), "on", true, None),
            ((true, None), "off", false, None),
            ((true, own), "off", false, None),
            ((false, None), "on", true, None),
            ((true, None), "0.0.0.0:9464", true, Some("0.0.0.0:9464")),
            ((false, own), "9465", false, Some("9465")),
            ((false, own), "", false, own),
        ] {
            let config = Config {
                metrics: Metrics {
                    at_agent: builder.0,
                    bind: builder.1.map(str::to_owned),
                },
                ..Config::default()
            };
            let get = |name: &str| (name == "LOOPTOP_METRICS").then(|| variable.to_owned());
            let config = config.with_environment(get);
            let got = (config.metrics.at_agent, config.metrics.bind.as_deref());
            assert_eq!(got, (on, bind), "{variable}");
        }
    }

    #[test]
    fn addresses() {
        let good = [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:6669", "localhost:6669"),
            ("localhost", "localhost:6669"),
            ("22405", "127.0.0.1:22405"),
            (":22405", "127.0.0.1:22405"),
            (" 7000 ", "127.0.0.1:7000"),
            ("0", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:6669"),
            ("::1", "[::1]:6669"),
            ("http://127.0.0.1:6670", "127.0.0.1:6670"),
            ("HTTP://Example.com:80/", "Example.com:80"),
            ("http://[::1]:7000", "[::1]:7000"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
            ("file:///run/x.sock", "unix:/run/x.sock"),
            ("off", "off"),
        ];
        for (text, bound) in good {
            let parsed = text.parse::<Bind>().map(|b| b.to_string());
            assert_eq!(parsed, Ok(bound.into()), "{text}");
        }
        let bad = [
            "",
            "host:",
            "host:99999",
            "99999",
            "host:x",
            "unix:",
            "[::1",
            "[x]:1",
            "a:b:1",
            "https://host:1",
            "http://host:1/metrics",
            "/run/x.sock",
            "a b:1",
        ];
        for text in bad {
            let error = text.parse::<Bind>().expect_err(text).to_string();
            assert!(error.contains("host:port"), "{error}");
        }
    }

    #[test]
    fn what_is_said_of_an_address() {
        let notice = |bind: &str, got: &str| {
            let bind: Bind = bind.parse().unwrap();
            bind.notice(got.parse().unwrap(), false)
        };
        assert_eq!(notice("127.0.0.1:6669", "127.0.0.1:6669"), None);
        assert_eq!(notice("[::1]:6669", "[::1]:6669"), None);
        assert_eq!(
            notice("0", "127.0.0.1:41234").as_deref(),
            Some("listens at 127.0.0.1:41234")
        );
        for (bind, got) in [
            ("0.0.0.0:6669", "0.0.0.0:6669"),
            ("::", "[::]:6669"),
            ("10.0.0.1:0", "10.0.0.1:41234"),
            ("name-of-this-host", "[fd00::1]:6669"),
        ] {
            let text = notice(bind, got).expect(bind);
            let begins = format!("listens at {got} without encryption: ");
            assert!(text.starts_with(&begins), "{text}");
            assert!(!text.contains('\n'), "{text}");
            let encrypted: Bind = bind.parse().unwrap();
            let text = encrypted.notice(got.parse().unwrap(), true);
            assert_eq!(text.is_some(), bind.ends_with(":0"), "{text:?}");
        }
    }

    #[test]
    fn the_environment_beats_the_builder() {
        let get = |name: &str| match name {
            "LOOPTOP_BIND" => Some("unix:/tmp/x".to_owned()),
            "LOOPTOP_CAPTURE" => Some("OFF".to_owned()),
            "LOOPTOP_TASKS" => Some("On".to_owned()),
            _ => None,
        };
        let config = Config::default().with_environment(get);
        assert_eq!(
            (config.bind.as_str(), config.capture),
            ("unix:/tmp/x", false)
        );
        assert_eq!(config.install_subscriber, Some(true));
        let off = |name: &str| (name == "LOOPTOP_TASKS").then(|| "off".to_owned());
        let config = Config {
            install_subscriber: Some(true),
            ..Config::default()
        };
        assert_eq!(config.with_environment(off).install_subscriber, Some(false));
        assert!(!is_switched_off(get));
        assert!(is_switched_off(|_| Some("off".into())));
        assert!(!is_switched_off(|_| Some("on".into())));
        let empty = Config::default().with_environment(|_| Some(String::new()));
        assert_eq!(
            (empty.bind.as_str(), empty.capture),
            ("127.0.0.1:6669", true)
        );
    }

    #[test]
    fn intervals_are_clamped() {
        let config = Config::default();
        assert_eq!(config.frame_interval(0), Duration::from_millis(100));
        assert_eq!(config.frame_interval(1), Duration::from_millis(20));
        assert_eq!(config.frame_interval(u64::MAX), Duration::from_secs(10));
        let zero = Config {
            watchdog_interval: Duration::ZERO,
            stall_threshold: Duration::ZERO,
            ..Config::default()
        };
        assert_eq!(zero.watchdog_interval_ns(), 1_000_000);
        assert_eq!(zero.stall_threshold_ns(), 1_000_000);
    }
}
