//! What the application and the environment ask of the agent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// `host:port`; port 0 takes a free one.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(std::path::PathBuf),
}

impl FromStr for Bind {
    type Err = BadBind;

    fn from_str(text: &str) -> Result<Self, BadBind> {
        let bad = || BadBind(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(bad()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that is neither `host:port` nor `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: give host:port, for example 127.0.0.1:6669, or unix:PATH")]
pub(crate) struct BadBind(String);

/// Everything that can be set, with the environment's word applied.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    pub(crate) bind: String,
    pub(crate) stall_threshold: Duration,
    pub(crate) watchdog_interval: Duration,
    pub(crate) frame_interval: Duration,
    pub(crate) retention: Retention,
    pub(crate) capture: bool,
    pub(crate) signal_offset: i32,
    /// `None`: where nobody else can set one.
    #[cfg_attr(not(all(tokio_unstable, feature = "tracing")), allow(dead_code))]
    pub(crate) install_subscriber: Option<bool>,
    /// As on the wire: 0 and 1 are in earnest.
    pub(crate) time_scale: f64,
    /// Where the flight recorder writes to, and how many bytes it holds.
    #[cfg(feature = "flight-recorder")]
    pub(crate) flight: Option<(std::path::PathBuf, u64)>,
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
            stall_threshold: Duration::from_millis(10),
            watchdog_interval: Duration::from_millis(5),
            frame_interval: Duration::from_millis(100),
            retention: Retention {
                tasks: 10_000,
                bytes: 8 << 20,
            },
            capture: true,
            signal_offset: DEFAULT_SIGNAL_OFFSET,
            install_subscriber: None,
            time_scale: 0.0,
            #[cfg(feature = "flight-recorder")]
            flight: None,
        }
    }
}

/// The signal for stack capture is `SIGRTMIN` plus this. Far from the first
/// ones, which libraries take when they need any.
const DEFAULT_SIGNAL_OFFSET: i32 = 9;

/// Limits of what can be set, so that a typing error harms nobody.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
const FRAMES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));

impl Config {
    /// Applies `LOOPTOP_BIND`, `LOOPTOP_CAPTURE` and `LOOPTOP_TASKS`, which beat the
    /// builder.
    pub(crate) fn with_environment(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(bind) = get("LOOPTOP_BIND").filter(|b| !b.is_empty()) {
            self.bind = bind;
        }
        if get("LOOPTOP_CAPTURE").is_some_and(|v| is_off(&v)) {
            self.capture = false;
        }
        let tasks = get("LOOPTOP_TASKS").unwrap_or_default();
        if is_on(&tasks) {
            self.install_subscriber = Some(true);
        } else if is_off(&tasks) {
            self.install_subscriber = Some(false);
        }
        self
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

fn is_off(value: &str) -> bool {
    ["off", "0", "false", "no"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

fn is_on(value: &str) -> bool {
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
    fn addresses() {
        let good = [
            "127.0.0.1:0",
            "localhost:6669",
            "[::1]:80",
            "unix:/run/x.sock",
        ];
        for text in good {
            assert_eq!(text.parse::<Bind>().map(|b| b.to_string()), Ok(text.into()));
        }
        for text in ["", "6669", ":80", "host:", "host:99999", "host:x", "unix:"] {
            let error = text.parse::<Bind>().expect_err(text).to_string();
            assert!(error.contains("host:port"), "{error}");
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
