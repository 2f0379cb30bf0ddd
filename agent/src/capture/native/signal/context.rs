//! What the kernel passes to a handler about the thread that it interrupted.

use std::mem::offset_of;
use std::ops::Range;

use looptop_unwind::Registers;

/// Registers as a handler leaves them: numbers alone, so that an unused buffer is all
/// zero.
#[derive(Clone, Copy)]
pub(super) struct Saved {
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) fp: u64,
    /// Return address register; 0 on x86-64, which has none.
    pub(super) lr: u64,
}

impl From<Saved> for Registers {
    fn from(Saved { pc, sp, fp, lr }: Saved) -> Self {
        Self {
            pc,
            sp,
            fp: Some(fp),
            lr: Some(lr),
        }
    }
}

/// How much of the alternate signal stack is in use, where `sp` is on it.
pub(super) fn on_signal_stack(sp: u64, stack: &libc::stack_t) -> Option<usize> {
    let offset = sp.checked_sub(stack.ss_sp as u64)?;
    let length = (stack.ss_size as u64).checked_sub(offset)?;
    (length > 0).then_some(length as usize)
}

/// The stack pointer on the thread's `own` stack that was interrupted by the signal whose
/// handler's stack begins with `copied`. The kernel has put a context there, which is
/// known by the description of the alternate stack in it.
pub(super) fn interrupted_sp(
    copied: &[u8],
    stack: &libc::stack_t,
    own: &Range<u64>,
) -> Option<u64> {
    const DESCRIBED: usize = offset_of!(libc::ucontext_t, uc_stack);
    const BEGIN: usize = DESCRIBED + offset_of!(libc::stack_t, ss_sp);
    const SIZE: usize = DESCRIBED + offset_of!(libc::stack_t, ss_size);
    const SP: usize = offset_of!(libc::ucontext_t, uc_mcontext) + SP_OF_CONTEXT;
    let word = |at: usize| {
        let bytes = copied.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    };
    let context = |at: usize| {
        let same =
            word(at + BEGIN)? == stack.ss_sp as u64 && word(at + SIZE)? == stack.ss_size as u64;
        word(at + SP).filter(|sp| same && own.contains(sp))
    };
    (0..copied.len()).step_by(8).find_map(context)
}

#[cfg(target_arch = "x86_64")]
const SP_OF_CONTEXT: usize = offset_of!(libc::mcontext_t, gregs) + 8 * libc::REG_RSP as usize;
#[cfg(target_arch = "aarch64")]
const SP_OF_CONTEXT: usize = offset_of!(libc::mcontext_t, sp);

/// Those of the interrupted thread.
#[cfg(target_arch = "x86_64")]
pub(super) fn registers(context: &libc::ucontext_t) -> Saved {
    let all = &context.uc_mcontext.gregs;
    Saved {
        pc: all[libc::REG_RIP as usize] as u64,
        sp: all[libc::REG_RSP as usize] as u64,
        fp: all[libc::REG_RBP as usize] as u64,
        lr: 0,
    }
}

/// Those of the interrupted thread.
#[cfg(target_arch = "aarch64")]
pub(super) fn registers(context: &libc::ucontext_t) -> Saved {
    let all = &context.uc_mcontext;
    Saved {
        pc: all.pc,
        sp: all.sp,
        fp: all.regs[29],
        lr: all.regs[30],
    }
}
