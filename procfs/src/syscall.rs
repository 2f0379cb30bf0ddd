//! `syscall`: where a thread stands with respect to the kernel.

/// Where a thread stands with respect to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallState {
    /// On a CPU or ready for one, not blocked.
    Running,
    /// Blocked in a system call.
    In {
        /// Of this architecture.
        number: u64,
        /// As it was called.
        args: [u64; 6],
        /// Stack pointer at the call.
        sp: u64,
        /// Code address after the call instruction.
        pc: u64,
    },
    /// Blocked outside any system call, for example by a page fault.
    Outside {
        /// Stack pointer.
        sp: u64,
        /// Code address.
        pc: u64,
    },
    /// It may not or cannot be read.
    Unknown,
}

/// A blocked thread's call, what it works on, and how deep the stack was: the same again
/// is the same place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The call, as in [`SyscallState::In`].
    pub number: u64,
    /// Its first argument.
    pub argument: u64,
    /// Stack pointer at the call.
    pub sp: u64,
    /// Code address after the call instruction.
    pub pc: u64,
}

impl Signature {
    /// Of a thread that is blocked in a call.
    pub fn of(state: SyscallState) -> Option<Self> {
        match state {
            SyscallState::In {
                number,
                args,
                sp,
                pc,
            } => Some(Self {
                number,
                argument: args[0],
                sp,
                pc,
            }),
            _ => None,
        }
    }
}

impl SyscallState {
    /// Parses the file's only line; never [`SyscallState::Unknown`].
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let first = words.next()?;
        if first == "running" {
            return Some(Self::Running);
        }
        let mut hex = words.map(|w| u64::from_str_radix(w.strip_prefix("0x").unwrap_or(w), 16));
        if first == "-1" {
            return Some(Self::Outside {
                sp: hex.next()?.ok()?,
                pc: hex.next()?.ok()?,
            });
        }
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = hex.next()?.ok()?;
        }
        Some(Self::In {
            number: first.parse().ok()?,
            args,
            sp: hex.next()?.ok()?,
            pc: hex.next()?.ok()?,
        })
    }

    /// Stack pointer and code address, where the thread is blocked.
    pub fn blocked_at(self) -> Option<(u64, u64)> {
        match self {
            Self::In { sp, pc, .. } | Self::Outside { sp, pc } => Some((sp, pc)),
            Self::Running | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(
            SyscallState::parse("running\n"),
            Some(SyscallState::Running)
        );
        let text = "230 0x1 0x0 0x7ffd 0x7ffe 0x0 0x0 0x7ffc 0x7f01";
        let blocked = SyscallState::In {
            number: 230,
            args: [1, 0, 0x7ffd, 0x7ffe, 0, 0],
            sp: 0x7ffc,
            pc: 0x7f01,
        };
        assert_eq!(SyscallState::parse(text), Some(blocked));
        assert_eq!(blocked.blocked_at(), Some((0x7ffc, 0x7f01)));
        assert_eq!(
            SyscallState::parse("-1 0x10 0x20"),
            Some(SyscallState::Outside { sp: 16, pc: 32 })
        );
        for bad in ["", "0 0x1", "x", "-1 0x10", "202 1 2 3 4 5 6 7", "\u{fffd}"] {
            assert_eq!(SyscallState::parse(bad), None, "{bad:?}");
        }
    }
}
