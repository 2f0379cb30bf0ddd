//! What kind of source the frames come from.

use std::fmt;

/// The kind of source that feeds a session. No peer sends it: whoever attached knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// looptop's agent.
    Agent,
    /// console-subscriber, and the host where it is local.
    Console,
    /// The process as it is, read from outside.
    Outside,
    /// A recording.
    Replay,
    /// A core dump: one moment.
    Core,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Console => "console-subscriber",
            Self::Outside => "outside",
            Self::Replay => "replay",
            Self::Core => "core dump",
        })
    }
}
