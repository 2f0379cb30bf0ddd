//! Kinds of calls that hold up an event loop.

/// What kind of call, which decides the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// Sleeps on purpose.
    Sleep,
    /// Reads or writes files.
    File,
    /// Reads standard input.
    Terminal,
    /// Writes to standard output, standard error or a log.
    Output,
    /// Waits for a peer on a socket.
    Network,
    /// Resolves a name.
    NameResolution,
    /// A blocking HTTP client.
    Http,
    /// A blocking database client.
    Database,
    /// Waits for a lock.
    Lock,
    /// Waits for a condition, a barrier, or to be unparked.
    Condition,
    /// Waits for a message of a blocking channel.
    Channel,
    /// Waits for another thread to end.
    Join,
    /// Waits for another process.
    Process,
    /// Runs a second executor inside of a poll.
    NestedExecutor,
    /// Computes: compresses, hashes, sorts, parses.
    Compute,
}

impl CallKind {
    /// All of them.
    pub const ALL: [CallKind; 15] = [
        CallKind::Sleep,
        CallKind::File,
        CallKind::Terminal,
        CallKind::Output,
        CallKind::Network,
        CallKind::NameResolution,
        CallKind::Http,
        CallKind::Database,
        CallKind::Lock,
        CallKind::Condition,
        CallKind::Channel,
        CallKind::Join,
        CallKind::Process,
        CallKind::NestedExecutor,
        CallKind::Compute,
    ];

    /// Whoever is in it waits for somebody else; one that computes is not in it.
    pub fn only_waits(self) -> bool {
        matches!(
            self,
            CallKind::Sleep
                | CallKind::Terminal
                | CallKind::Network
                | CallKind::NameResolution
                | CallKind::Lock
                | CallKind::Condition
                | CallKind::Channel
                | CallKind::Join
                | CallKind::NestedExecutor
        )
    }

    /// A few words for documents.
    pub fn words(self) -> &'static str {
        match self {
            CallKind::Sleep => "a sleep",
            CallKind::File => "file access",
            CallKind::Terminal => "standard input",
            CallKind::Output => "standard output or a log",
            CallKind::Network => "a blocking socket",
            CallKind::NameResolution => "name resolution",
            CallKind::Http => "a blocking HTTP client",
            CallKind::Database => "a blocking database client",
            CallKind::Lock => "a lock",
            CallKind::Condition => "a condition or barrier",
            CallKind::Channel => "a blocking channel",
            CallKind::Join => "joining a thread",
            CallKind::Process => "waiting for a process",
            CallKind::NestedExecutor => "a second executor",
            CallKind::Compute => "computing",
        }
    }
}

/// A call that was recognised on a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// What kind of call.
    pub kind: CallKind,
    /// Its name as a user writes it: `std::thread::sleep`.
    pub name: String,
}
