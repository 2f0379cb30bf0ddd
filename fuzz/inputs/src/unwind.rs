//! Modules, unwind rules, prologues and stacks out of a hostile memory.

use looptop_procfs::mappings;
use looptop_unwind::{Beyond, Memory, Registers, StackCopy, Unwinder, modules};

use crate::file::Input;
use crate::guard::guarded;

/// Where the module is, and its code: as the lines of `maps` below say.
pub const MODULE: u64 = 0x10_0000;
const MAPS: &[u8] = b"100000-101000 r--p 00000000 00:01 7 /app\n\
    101000-102000 r-xp 00001000 00:01 7 /app\n\
    102000-110000 r--p 00002000 00:01 7 /app\n\
    7f000000-7f100000 rw-p 00000000 00:00 0 [stack]\n";
/// Where the stack begins.
pub const STACK: u64 = 0x7f00_0000;
/// Bytes of the module.
pub const SIZE: usize = 0x1_0000;

struct Hostile<'a> {
    module: &'a [u8],
    stack: &'a [u8],
}

impl Memory for Hostile<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let (bytes, at) = match address {
            STACK.. => (self.stack, address - STACK),
            MODULE.. => (self.module, address - MODULE),
            _ => return 0,
        };
        let bytes = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
        let bytes = bytes.unwrap_or_default();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        length
    }
}

/// The input: registers, the stack with its length before it, the module's memory.
pub fn run(data: &[u8]) {
    guarded(|| {
        let mut input = Input(data);
        let kinds = input.byte();
        let pc = MODULE + 0x1000 + u64::from(input.short());
        let fp = STACK + u64::from(input.short());
        let stack = input.part();
        let memory = Hostile {
            module: &input.0[..input.0.len().min(SIZE)],
            stack,
        };
        let mappings: Vec<_> = mappings(MAPS).collect();
        let mut unwinder = Unwinder::new();
        unwinder.set_modules(modules(&mappings, &memory));
        let start = Registers {
            pc,
            sp: STACK + u64::from(kinds & 0x38),
            fp: (kinds & 1 == 1).then_some(fp),
            lr: None,
        };
        unwinder.function(pc);
        for _ in 0..2 {
            let beyond = if kinds & 2 == 2 {
                Beyond::InMemory
            } else {
                Beyond::Gone
            };
            let copy = StackCopy {
                bytes: stack.get(usize::from(kinds & 0x38)..).unwrap_or_default(),
                beyond,
            };
            unwinder.unwind(&memory, start, copy);
        }
    });
}
