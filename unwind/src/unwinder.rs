//! From registers and stack memory to return addresses, by the modules' own
//! unwind rules.
//!
//! Wrong is worse than vague: every address found must lie in code, and (x86-64)
//! behind a call instruction. The first that does not ends the stack, which is
//! then reported as truncated.

use std::collections::HashMap;

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind,
    UnwindRegsNative, Unwinder as _, UnwinderNative,
};

use crate::module::{Bytes, Module};
#[cfg(target_arch = "x86_64")]
use crate::prologue::{Evidence, follows_call};
use crate::{Frame, Memory, ModuleIndex, ModuleInfo, Registers, Stack};

/// Frames beyond these are dropped, the outermost first.
const MAX_FRAMES: usize = 512;
/// Modules beyond these are unknown; a process that loads and unloads different
/// libraries for ever would otherwise fill the memory.
const MAX_MODULES: usize = 4096;
/// Stands for a register whose value is not known. No memory is there (the
/// address is not canonical), so a rule that needs the register shows itself.
const UNKNOWN: u64 = 0xbad0_0000_0000_0000;
/// How far from `UNKNOWN` a rule may reach.
const UNKNOWN_REACH: u64 = 1 << 24;

/// Unwinds the stacks of one process.
pub struct Unwinder {
    /// As they are mapped now.
    mapped: Vec<(ModuleIndex, Module)>,
    rules: UnwinderNative<Bytes, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    /// Every module ever seen, by index.
    known: Vec<ModuleInfo>,
    indices: HashMap<ModuleInfo, ModuleIndex>,
}

/// A copy of a stack from its stack pointer upwards, as far as it goes.
#[derive(Debug, Clone, Copy)]
pub struct StackCopy<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// What lies beyond them.
    pub beyond: Beyond<'a>,
}

/// The part of a stack that is not in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond<'a> {
    /// The thread runs on, so that it is another stack by now.
    Gone,
    /// The thread does not run: it is in memory.
    InMemory,
    /// The thread runs on, but was in a signal handler on a stack of its own: the stack
    /// that the signal interrupted was copied as well.
    Interrupted {
        /// Where the stack pointer was then.
        sp: u64,
        /// The bytes from there upwards.
        bytes: &'a [u8],
    },
}

/// A stack that was unwound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwound {
    /// Its frames.
    pub stack: Stack,
    /// Where on the stack the outermost frame begins that was found: what lies above
    /// belongs to no function's frame, or to none that was found.
    pub end: u64,
    /// For each frame that was left for its caller, where it begins on the stack: the
    /// stack pointer once it has returned. On x86-64 its return address is just below.
    pub begins: Vec<u64>,
}

/// Where unwinding gets memory from.
struct Source<'a> {
    memory: &'a dyn Memory,
    base: u64,
    stack: StackCopy<'a>,
    asked_unknown: bool,
}

impl Source<'_> {
    fn read(&mut self, address: u64) -> Option<u64> {
        if address.abs_diff(UNKNOWN) < UNKNOWN_REACH {
            self.asked_unknown = true;
            return None;
        }
        word(self.base, self.stack.bytes, address).or_else(|| match self.stack.beyond {
            Beyond::InMemory => self.memory.read_u64(address),
            Beyond::Interrupted { sp, bytes } => word(sp, bytes, address),
            Beyond::Gone => None,
        })
    }
}

/// The word at an address, of bytes that were copied from `base` on.
fn word(base: u64, bytes: &[u8], address: u64) -> Option<u64> {
    let offset = usize::try_from(address.checked_sub(base)?).ok()?;
    let word = bytes.get(offset..offset.checked_add(8)?)?;
    word.try_into().ok().map(u64::from_le_bytes)
}

/// What happened to one frame.
enum Step {
    Caller(u64),
    /// Right if the rest of the stack can be unwound to its root.
    #[cfg_attr(target_arch = "aarch64", allow(dead_code))]
    AssumedCaller(u64),
    /// A signal handler ends here; the registers of what it interrupted.
    Interrupted(Registers),
    Root,
    Lost,
}

impl Default for Unwinder {
    fn default() -> Self {
        Self::new()
    }
}

impl Unwinder {
    /// One that knows no module yet.
    pub fn new() -> Self {
        Self {
            mapped: Vec::new(),
            rules: UnwinderNative::new(),
            cache: CacheNative::new(),
            known: Vec::new(),
            indices: HashMap::new(),
        }
    }

    /// Every module ever seen, by index.
    pub fn modules(&self) -> &[ModuleInfo] {
        &self.known
    }

    /// Takes over the modules as they are mapped now; those that it knows keep their
    /// index.
    pub fn set_modules(&mut self, modules: Vec<Module>) {
        self.rules = UnwinderNative::new();
        self.cache = CacheNative::new();
        self.mapped.clear();
        for module in modules {
            if let Some(rules) = module.rules.clone() {
                let base = module.info.base;
                let bounds = |address: u64, bytes: &[u8]| {
                    Some(address..address.saturating_add(bytes.len() as u64))
                };
                self.rules.add_module(framehop::Module::new(
                    module.info.path.display().to_string(),
                    module.range.clone(),
                    module.range.start,
                    ExplicitModuleSectionInfo {
                        base_svma: module.range.start.wrapping_sub(base),
                        eh_frame_hdr_svma: bounds(rules.index_address, &rules.index),
                        eh_frame_hdr: Some(rules.index),
                        eh_frame_svma: bounds(rules.table_address, &rules.table),
                        eh_frame: Some(rules.table),
                        ..ExplicitModuleSectionInfo::default()
                    },
                ));
            }
            if let Some(index) = self.index_of(&module.info) {
                self.mapped.push((index, module));
            }
        }
    }

    fn index_of(&mut self, info: &ModuleInfo) -> Option<ModuleIndex> {
        if let Some(index) = self.indices.get(info) {
            return Some(*index);
        }
        if self.known.len() >= MAX_MODULES {
            return None;
        }
        let index = ModuleIndex(self.known.len() as u32);
        self.known.push(info.clone());
        self.indices.insert(info.clone(), index);
        Some(index)
    }

    /// Unwinds a stack from registers, a copy of it, and the code in `memory`. About
    /// 5 µs once the rules of its functions were looked up.
    pub fn unwind(
        &mut self,
        memory: &dyn Memory,
        start: Registers,
        stack: StackCopy<'_>,
    ) -> Unwound {
        let mut source = Source {
            memory,
            base: start.sp,
            stack,
            asked_unknown: false,
        };
        let mut registers = self.native_registers(start);
        let mut end = start.sp;
        let mut address = FrameAddress::from_instruction_pointer(start.pc);
        let mut frames = vec![self.locate(start.pc)];
        let mut begins = Vec::new();
        let mut assumed_from: Option<usize> = None;
        let complete = loop {
            if frames.len() >= MAX_FRAMES {
                break false;
            }
            let mut step = self.step(address, &mut registers, &mut source);
            if let Step::AssumedCaller(caller) = step {
                assumed_from.get_or_insert(frames.len());
                step = Step::Caller(caller);
            }
            match step {
                Step::Caller(caller) if self.plausible(memory, caller) => {
                    let Some(return_address) = FrameAddress::from_return_address(caller) else {
                        break false;
                    };
                    address = return_address;
                }
                Step::Interrupted(found) if self.in_code(found.pc) => {
                    registers = self.native_registers(found);
                    address = FrameAddress::from_instruction_pointer(found.pc);
                }
                Step::Root => break true,
                _ => break false,
            }
            frames.push(self.locate(address.address_for_lookup()));
            end = registers.sp();
            begins.push(end);
        };
        if !complete {
            if let Some(sure) = assumed_from {
                frames.truncate(sure);
                begins.truncate(sure.saturating_sub(1));
            }
            // A rule that could not be evaluated for want of memory is cached as
            // "walk frame pointers"; the next stack shall not inherit that.
            self.cache = CacheNative::new();
        }
        let stack = Stack {
            frames,
            truncated: !complete,
        };
        Unwound { stack, end, begins }
    }

    fn step(
        &mut self,
        address: FrameAddress,
        registers: &mut UnwindRegsNative,
        source: &mut Source<'_>,
    ) -> Step {
        if is_signal_return(source.memory, address.address()) {
            // Its stack may lie anywhere, which the unwinder would take for an
            // error.
            let found = interrupted_registers(registers.sp(), source);
            return found.map_or(Step::Lost, Step::Interrupted);
        }
        let before = *registers;
        let mut read = |address| source.read(address).ok_or(());
        let unwinder = &self.rules;
        match unwinder.unwind_frame(address, registers, &mut self.cache, &mut read) {
            Ok(Some(caller)) => Step::Caller(caller),
            Ok(None) if self.has_rule(address.address_for_lookup()) => Step::Root,
            Err(_) if std::mem::take(&mut source.asked_unknown) => {
                *registers = before;
                self.cache = CacheNative::new();
                self.step_without_frame_pointer(address, registers, source)
            }
            // Without a rule, "no more frames" is only a guess.
            Ok(None) | Err(_) => Step::Lost,
        }
    }

    /// Steps out of a function that needs a frame pointer which is not known.
    #[cfg(target_arch = "x86_64")]
    fn step_without_frame_pointer(
        &mut self,
        address: FrameAddress,
        registers: &mut UnwindRegsNative,
        source: &mut Source<'_>,
    ) -> Step {
        let lookup = address.address_for_lookup();
        let Some(function) = self.function(lookup) else {
            return Step::Lost;
        };
        let fp = crate::prologue::frame_pointer(
            source.memory,
            function.start,
            lookup,
            registers.sp(),
            |address| source.read(address),
            |address| self.function(address),
        );
        let Some((fp, evidence)) = fp else {
            return Step::Lost;
        };
        registers.set_bp(fp);
        let mut read = |address| source.read(address).ok_or(());
        match self
            .rules
            .unwind_frame(address, registers, &mut self.cache, &mut read)
        {
            Ok(Some(caller)) if evidence == Evidence::Confirmed => Step::Caller(caller),
            Ok(Some(caller)) => Step::AssumedCaller(caller),
            _ => Step::Lost,
        }
    }

    /// The C library keeps frame records, from which the frame pointer is read;
    /// a function before the first record cannot be left.
    #[cfg(target_arch = "aarch64")]
    #[allow(clippy::unused_self)]
    fn step_without_frame_pointer(
        &mut self,
        _address: FrameAddress,
        _registers: &mut UnwindRegsNative,
        _source: &mut Source<'_>,
    ) -> Step {
        Step::Lost
    }

    fn module_at(&self, address: u64) -> Option<&(ModuleIndex, Module)> {
        self.mapped
            .iter()
            .find(|(_, mapped)| mapped.range.contains(&address))
    }

    fn locate(&self, address: u64) -> Frame {
        match self.module_at(address) {
            Some((index, mapped)) => (Some(*index), address.wrapping_sub(mapped.info.base)),
            None => (None, address),
        }
    }

    /// Bounds in memory of the function around `address`, by its unwind rule.
    pub fn function(&self, address: u64) -> Option<std::ops::Range<u64>> {
        let (_, mapped) = self.module_at(address)?;
        let base = mapped.info.base;
        let range = mapped
            .rules
            .as_ref()?
            .function(address.wrapping_sub(base))?;
        Some(range.start.wrapping_add(base)..range.end.wrapping_add(base))
    }

    fn has_rule(&self, address: u64) -> bool {
        self.function(address).is_some()
    }

    fn in_code(&self, address: u64) -> bool {
        self.module_at(address)
            .is_some_and(|(_, mapped)| mapped.code.iter().any(|range| range.contains(&address)))
    }

    /// Can `address` be where a call returns to? Or a signal handler, which
    /// returns to code that never called it.
    fn plausible(&self, memory: &dyn Memory, address: u64) -> bool {
        address > 0
            && self.in_code(address - 1)
            && (follows_call(memory, address) || is_signal_return(memory, address))
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(clippy::unused_self)]
    fn native_registers(&self, start: Registers) -> UnwindRegsNative {
        UnwindRegsNative::new(start.pc, start.sp, start.fp.unwrap_or(UNKNOWN))
    }

    #[cfg(target_arch = "aarch64")]
    fn native_registers(&self, start: Registers) -> UnwindRegsNative {
        // Return addresses may be signed; the mask removes the signature.
        let highest = self.rules.max_known_code_address();
        let mask = framehop::aarch64::PtrAuthMask::from_max_known_address(highest);
        let (lr, fp) = (start.lr.unwrap_or(UNKNOWN), start.fp.unwrap_or(UNKNOWN));
        UnwindRegsNative::new_with_ptr_auth_mask(mask, lr, start.sp, fp)
    }
}

/// The instruction before it is not looked at here: that it lies in code has to do.
#[cfg(target_arch = "aarch64")]
fn follows_call(_memory: &dyn Memory, _address: u64) -> bool {
    true
}

/// The registers that the kernel saved before it called a handler; `sp` is the
/// stack pointer when the handler has returned.
#[cfg(target_arch = "x86_64")]
fn interrupted_registers(sp: u64, source: &mut Source<'_>) -> Option<Registers> {
    // The handler's return address was on top of the context.
    let offset = std::mem::offset_of!(libc::ucontext_t, uc_mcontext)
        + std::mem::offset_of!(libc::mcontext_t, gregs);
    let mut register =
        |number: libc::c_int| source.read(sp.wrapping_add(offset as u64 + number as u64 * 8));
    Some(Registers {
        pc: register(libc::REG_RIP)?,
        sp: register(libc::REG_RSP)?,
        fp: Some(register(libc::REG_RBP)?),
        lr: None,
    })
}

/// See above; on top of the context is a `siginfo_t`.
#[cfg(target_arch = "aarch64")]
fn interrupted_registers(sp: u64, source: &mut Source<'_>) -> Option<Registers> {
    let context =
        size_of::<libc::siginfo_t>() + std::mem::offset_of!(libc::ucontext_t, uc_mcontext);
    let mut register = |offset: usize| source.read(sp.wrapping_add((context + offset) as u64));
    let general = std::mem::offset_of!(libc::mcontext_t, regs);
    Some(Registers {
        pc: register(std::mem::offset_of!(libc::mcontext_t, pc))?,
        sp: register(std::mem::offset_of!(libc::mcontext_t, sp))?,
        fp: Some(register(general + 29 * 8)?),
        lr: Some(register(general + 30 * 8)?),
    })
}

/// Is there, at `address`, the code that returns from a signal handler?
fn is_signal_return(memory: &dyn Memory, address: u64) -> bool {
    // mov rax, 15; syscall
    #[cfg(target_arch = "x86_64")]
    const CODE: &[u8] = &[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    // mov x8, #139; svc #0
    #[cfg(target_arch = "aarch64")]
    const CODE: &[u8] = &[0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];
    let mut code = [0; CODE.len()];
    memory.read(address, &mut code) == CODE.len() && code == *CODE
}
