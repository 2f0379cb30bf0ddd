//! Stacks of this process, by its modules as they are now.

use looptop_unwind::{Beyond, ModuleInfo, Registers, StackCopy, Unwinder, Unwound, modules};

use super::memory::OwnMemory;
use super::signal::Snapshot;
use crate::procfs;

/// Unwinds stacks of this process.
pub(super) struct StackUnwinder {
    /// What the loader had done when the modules were read.
    changes: Option<(u64, u64)>,
    memory: OwnMemory,
    unwinder: Unwinder,
}

impl StackUnwinder {
    pub(super) fn new() -> Self {
        Self {
            changes: None,
            memory: OwnMemory::default(),
            unwinder: Unwinder::new(),
        }
    }

    /// Every module ever seen, by index.
    pub(super) fn modules(&self) -> &[ModuleInfo] {
        self.unwinder.modules()
    }

    /// Reads the modules again if the loader changed them.
    pub(super) fn refresh(&mut self) {
        let changes = changes();
        if self.changes == Some(changes) {
            return;
        }
        self.changes = Some(changes);
        let mappings = procfs::own().mappings().unwrap_or_default();
        self.memory = OwnMemory::of(&mappings);
        self.unwinder.set_modules(modules(&mappings, &self.memory));
    }

    /// Unwinds what a handler copied.
    pub(super) fn unwind_copy(&mut self, snapshot: &Snapshot) -> Unwound {
        let stack = StackCopy {
            bytes: &snapshot.stack,
            beyond: snapshot
                .interrupted
                .as_ref()
                .map_or(Beyond::Gone, |(sp, bytes)| Beyond::Interrupted {
                    sp: *sp,
                    bytes,
                }),
        };
        self.unwinder
            .unwind(&self.memory, snapshot.registers, stack)
    }

    /// Unwinds the stack of a thread that is blocked, from code and stack pointer
    /// alone. `stack` is a copy from `sp` upwards; more is read where it is.
    pub(super) fn unwind_blocked(&mut self, pc: u64, sp: u64, stack: &[u8]) -> Unwound {
        let stack = StackCopy {
            bytes: stack,
            beyond: Beyond::InMemory,
        };
        let registers = Registers::blocked(pc, sp);
        self.unwinder.unwind(&self.memory, registers, stack)
    }
}

/// How often the loader added and removed modules; changes when
/// others are mapped. About 0.1 µs.
fn changes() -> (u64, u64) {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        data: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader passes a valid `info`; `data` is the pair below.
        unsafe {
            *data.cast::<(u64, u64)>() = ((*info).dlpi_adds, (*info).dlpi_subs);
        }
        1
    }
    let mut counts = (0_u64, 0_u64);
    // SAFETY: `first` matches the signature and writes only to `counts`.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut counts).cast()) };
    counts
}
