//! How a fact about a process was had.

/// How a fact about a process was had. Each is as true as the others; they differ in
/// what they cost the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Read from memory and procfs, while the thread was blocked or went on unhindered.
    Read,
    /// The kernel copied registers and stack at a tick of its clock, without a stop.
    Sampled,
    /// The thread was stopped for it, some tens of microseconds.
    Stopped,
}
