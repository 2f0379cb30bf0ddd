//! Words on the stacks of other threads: whose stack points at a lock?
//!
//! A blocked thread is only read. A running one is asked by the signal of a
//! capture, for as long as a capture takes. Only what lies in a function's frame
//! counts: above the outermost one are the thread's own variables, and behind those
//! another thread's memory.

use looptop_procfs::SyscallState;
use looptop_unwind::Unwound;

use super::engine::engine;
use super::signal::{self, STACK_BYTES};
use super::unwind::StackUnwinder;
use super::{NoStack, memory, thread};
use crate::ids::Tid;
use crate::procfs;

/// What the used part of a stack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// Where the wanted words are, innermost first, and what they are.
    pub(crate) hits: Vec<(u64, u64)>,
}

/// Hits that are kept of one stack.
const MAX_HITS: usize = 64;

/// Copies this process's memory from `address` on; gives the number of bytes,
/// which is less where memory is not mapped.
pub(crate) fn read_memory(address: u64, buffer: &mut [u8]) -> usize {
    memory::read(address, buffer)
}

/// The words in the used stack of a thread that `wanted` wants, where the thread
/// is blocked as `state` says; 64 KiB are looked at. `None` where it has moved on
/// meanwhile. About 20 µs.
pub(crate) fn words_of_blocked(
    tid: Tid,
    state: SyscallState,
    wanted: impl Fn(u64) -> bool,
) -> Option<Words> {
    let (sp, pc) = state.blocked_at()?;
    let end = match thread::find(tid.0) {
        Some(known) if (known.stack.0..known.stack.1).contains(&sp) => known.stack.1,
        // Its stack ends where its memory does, at the latest.
        _ => sp.checked_add(STACK_BYTES as u64)?,
    };
    let mut copy = vec![0; ((end - sp) as usize).min(STACK_BYTES)];
    let length = memory::read_stack(sp, &mut copy);
    let stack = &copy[..length];
    let mut words = scan(sp, stack, wanted);
    if !words.hits.is_empty() {
        let found = unwound(|unwinder| unwinder.unwind_blocked(pc, sp, stack))?;
        words.keep_frames(&found);
    }
    (procfs::syscall(tid) == state).then_some(words)
}

/// The same of a thread that runs and is registered; the thread is held up for
/// some microseconds, the caller for up to 5 ms.
pub(crate) fn words_of_running(tid: Tid, wanted: impl Fn(u64) -> bool) -> Result<Words, NoStack> {
    // One capture at a time.
    let mut engine = engine();
    let engine = engine.as_mut().ok_or(NoStack::NotInstalled)?;
    let mut known = thread::find(tid.0).ok_or(NoStack::NotRegistered)?;
    if signal::late(tid.0, &known).is_some() {
        // What it did when an earlier capture asked says nothing of now.
        known = thread::find(tid.0).ok_or(NoStack::NotRegistered)?;
    }
    let snapshot = signal::take(tid.0, &known)?;
    let mut words = scan(snapshot.registers.sp, &snapshot.stack, wanted);
    if !words.hits.is_empty() {
        let unwind = |unwinder: &mut StackUnwinder| unwinder.unwind_copy(&snapshot);
        let found = engine.with_unwinder(unwind).ok_or(NoStack::Internal)?;
        words.keep_frames(&found);
    }
    Ok(words)
}

impl Words {
    /// Keeps those in the frames of the stack. Of one that could not be unwound to its
    /// end the outer frames are unknown, and no word there counts.
    fn keep_frames(&mut self, found: &Unwound) {
        // A single frame is where it was looked for: there is nothing to go by.
        let is_stack = found.stack.frames.len() > 1;
        let end = if is_stack { found.end } else { 0 };
        self.hits.retain(|(at, _)| *at < end);
    }
}

fn unwound(unwind: impl FnOnce(&mut StackUnwinder) -> Unwound) -> Option<Unwound> {
    engine().as_mut()?.with_unwinder(unwind)
}

/// A thread whose stack can be taken while it runs.
pub(crate) fn is_registered(tid: Tid) -> bool {
    thread::find(tid.0).is_some()
}

fn scan(base: u64, bytes: &[u8], wanted: impl Fn(u64) -> bool) -> Words {
    // Words lie at multiples of 8.
    let skip = (base.wrapping_neg() % 8) as usize;
    let words = bytes.get(skip..).unwrap_or_default().chunks_exact(8);
    let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let at = (0_u64..).map(|n| base + skip as u64 + n * 8);
    Words {
        hits: at
            .zip(words)
            .filter(|(_, word)| wanted(*word))
            .take(MAX_HITS)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_at_multiples_of_eight() {
        let mut bytes = vec![0; 44];
        bytes[4..12].copy_from_slice(&0x1234_u64.to_le_bytes());
        bytes[20..28].copy_from_slice(&0x1238_u64.to_le_bytes());
        bytes[29..37].copy_from_slice(&0x1234_u64.to_le_bytes());
        let found = scan(0x1004, &bytes, |word| (0x1200..=0x1240).contains(&word));
        assert_eq!(found.hits, [(0x1008, 0x1234), (0x1018, 0x1238)]);
        assert_eq!(scan(0x1004, &bytes[..3], |_| true).hits, []);
    }
}
