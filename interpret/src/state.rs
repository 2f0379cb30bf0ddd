//! Registers.

use iced_x86::Register;

use crate::flags::{Flags, cut};

/// The lowest 16 bytes of it are an XMM register, 32 a YMM register.
pub type Vector = [u64; 8];

/// The registers of a processor, as far as code of an application sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15: the order of their encoding.
    pub general: [u64; 16],
    /// ZMM0 to ZMM31.
    pub vector: [Vector; 32],
    /// K0 to K7.
    pub mask: [u64; 8],
    /// The flags.
    pub flags: Flags,
    /// Where the next instruction is.
    pub ip: u64,
    /// Where the thread's own memory is. `None`: not known.
    pub fs: Option<u64>,
    /// The x87 unit.
    pub float: Floats,
}

/// A number of 80 bits with a point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extended {
    /// The sign, and the exponent of 15 bits.
    pub head: u16,
    /// The first of them is before the point.
    pub digits: u64,
}

/// The registers of the x87 unit. Of its status is nothing here but where its stack is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floats {
    /// Eight, of which the stack goes downwards.
    pub registers: [Extended; 8],
    /// Which of them is the first.
    pub top: u8,
    /// Which of them are used: a bit each.
    pub used: u8,
    /// The control word.
    pub control: u16,
}

impl Default for Floats {
    /// As a program begins.
    fn default() -> Self {
        Self {
            registers: [Extended::default(); 8],
            top: 0,
            used: 0,
            control: 0x37f,
        }
    }
}

pub(crate) const RAX: usize = 0;
pub(crate) const RCX: usize = 1;
pub(crate) const RDX: usize = 2;
pub(crate) const RBX: usize = 3;
pub(crate) const RSP: usize = 4;
pub(crate) const RBP: usize = 5;
pub(crate) const RSI: usize = 6;
pub(crate) const RDI: usize = 7;
/// Of a function's first arguments, by the System V calling convention.
pub(crate) const ARGUMENTS: [usize; 6] = [RDI, RSI, RDX, RCX, 8, 9];

impl State {
    /// Arguments of a function by the System V calling convention.
    pub(crate) fn arguments(&self) -> [u64; 4] {
        [RDI, RSI, RDX, RCX].map(|register| self.general[register])
    }

    /// A general register's value, or the part of it.
    pub(crate) fn general(&self, register: Register) -> u64 {
        let whole = self.general[register.full_register().number()];
        match register {
            Register::AH | Register::BH | Register::CH | Register::DH => whole >> 8 & 0xff,
            _ => cut(whole, register.size()),
        }
    }

    /// Sets a general register, or a part of it. One of four bytes clears the others.
    pub(crate) fn set_general(&mut self, register: Register, value: u64) {
        let whole = &mut self.general[register.full_register().number()];
        *whole = match register {
            Register::AH | Register::BH | Register::CH | Register::DH => {
                *whole & !0xff00 | (value & 0xff) << 8
            }
            _ => match register.size() {
                8 => value,
                4 => cut(value, 4),
                size => *whole & !cut(u64::MAX, size) | cut(value, size),
            },
        };
    }
}
