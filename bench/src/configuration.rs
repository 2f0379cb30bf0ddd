//! The ways of observing a program that are compared.

use std::fmt;

use clap::ValueEnum;

/// One build of the program. Its name is the program's cargo feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Configuration {
    Bare,
    Level0,
    Level1,
    Level2,
    Console,
    Dial9,
    Unstable,
    Nosub,
    #[value(name = "level1-nowakes")]
    Level1NoWakes,
    Registry,
    Hooks,
    #[value(name = "level0-otlp")]
    Level0Otlp,
}

impl Configuration {
    pub(crate) const ALL: [Self; 12] = [
        Self::Bare,
        Self::Level0,
        Self::Level1,
        Self::Level2,
        Self::Console,
        Self::Dial9,
        Self::Unstable,
        Self::Nosub,
        Self::Level1NoWakes,
        Self::Registry,
        Self::Hooks,
        Self::Level0Otlp,
    ];

    /// Nobody would choose it: it is there to find where a cost comes from, and
    /// what takes long is not measured.
    pub(crate) fn is_control(self) -> bool {
        matches!(
            self,
            Self::Unstable
                | Self::Nosub
                | Self::Level1NoWakes
                | Self::Registry
                | Self::Hooks
                | Self::Level0Otlp
        )
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Level0 => "level0",
            Self::Level1 => "level1",
            Self::Level2 => "level2",
            Self::Console => "console",
            Self::Dial9 => "dial9",
            Self::Unstable => "unstable",
            Self::Nosub => "nosub",
            Self::Level1NoWakes => "level1-nowakes",
            Self::Registry => "registry",
            Self::Hooks => "hooks",
            Self::Level0Otlp => "level0-otlp",
        }
    }

    /// For the legend under the table.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Bare => "plain tokio: no `tokio_unstable`, no `tracing`",
            Self::Level0 => "`looptop_agent::init()`, no compiler flag",
            Self::Level1 => {
                "`tokio_unstable`, tokio's `tracing`, `looptop_agent::layer()` on a registry, `init()`"
            }
            Self::Level2 => {
                "`tokio_unstable`, `looptop_agent::instrument(&mut builder)`, `init()`; the agent without its default feature `tracing`"
            }
            Self::Console => "`tokio_unstable`, `console_subscriber::init()` 0.5.0, its defaults",
            Self::Dial9 => {
                "`tokio_unstable`, dial9-tokio-telemetry 0.5.7 attached to the runtime, task tracking on, rotating trace on disk"
            }
            Self::Unstable => "`tokio_unstable`, and nobody watches",
            Self::Nosub => "`tokio_unstable`, tokio's `tracing`, and nobody subscribes",
            Self::Level1NoWakes => "as level1, with `looptop_agent::task_layer().without_wakers()`",
            Self::Registry => {
                "the floor of level 1: tracing-subscriber's registry, and a layer that gets what level 1 gets, and does nothing"
            }
            Self::Hooks => {
                "the floor of level 2: the same hooks, which read the CPU's clock as often, and do nothing"
            }
            Self::Level0Otlp => {
                "as level0, with the agent's feature `otlp` and a collector that takes nothing"
            }
        }
    }

    /// Whether the build passes `--cfg tokio_unstable`.
    pub(crate) fn unstable(self) -> bool {
        !matches!(self, Self::Bare | Self::Level0 | Self::Level0Otlp)
    }

    /// Who can watch it live, if anybody can.
    pub(crate) fn viewer(self) -> Option<Protocol> {
        match self {
            Self::Bare
            | Self::Dial9
            | Self::Unstable
            | Self::Nosub
            | Self::Registry
            | Self::Hooks => None,
            Self::Level0 | Self::Level1 | Self::Level2 | Self::Level1NoWakes | Self::Level0Otlp => {
                Some(Protocol::Looptop)
            }
            Self::Console => Some(Protocol::Console),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a viewer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Looptop,
    Console,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Looptop => "looptop",
            Self::Console => "console",
        }
    }
}
