//! From registers and stack memory to return addresses, by the modules' own
//! unwind rules.
//!
//! Wrong is worse than vague: every address found must lie in code, and (x86-64)
//! behind a call instruction. The first that does not ends the stack, which is
//! then reported as truncated.

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module,
    UnwindRegsNative, Unwinder, UnwinderNative,
};
use std::collections::HashMap;

use super::module::{self, Bytes, Mapped};
use super::signal::{Registers, Snapshot};
use super::{ModuleIndex, ModuleInfo, RawFrame, RawStack, memory};

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

/// Unwinds stacks of this process.
pub(super) struct StackUnwinder {
    /// What the loader had done when `mapped` was read.
    changes: Option<(u64, u64)>,
    mapped: Vec<(ModuleIndex, Mapped)>,
    unwinder: UnwinderNative<Bytes, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
    /// Every module ever seen, by index.
    known: Vec<ModuleInfo>,
    indices: HashMap<ModuleInfo, ModuleIndex>,
}

/// Where unwinding gets memory from.
struct Memory<'a> {
    base: u64,
    copy: &'a [u8],
    /// May memory outside of the copy be read? Only while the thread is known
    /// not to run.
    live: bool,
    asked_unknown: bool,
}

impl Memory<'_> {
    fn read(&mut self, address: u64) -> Option<u64> {
        if address.abs_diff(UNKNOWN) < UNKNOWN_REACH {
            self.asked_unknown = true;
            return None;
        }
        if let Some(offset) = address.checked_sub(self.base) {
            let offset = usize::try_from(offset).ok()?;
            let word = offset
                .checked_add(8)
                .and_then(|end| self.copy.get(offset..end));
            if let Some(word) = word {
                return word.try_into().ok().map(u64::from_le_bytes);
            }
        }
        self.live.then(|| memory::read_u64(address)).flatten()
    }
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

impl StackUnwinder {
    pub(super) fn new() -> Self {
        StackUnwinder {
            changes: None,
            mapped: Vec::new(),
            unwinder: UnwinderNative::new(),
            cache: CacheNative::new(),
            known: Vec::new(),
            indices: HashMap::new(),
        }
    }

    /// Every module ever seen, by index.
    pub(super) fn modules(&self) -> &[ModuleInfo] {
        &self.known
    }

    /// Reads the modules again if the loader changed them.
    pub(super) fn refresh(&mut self) {
        let changes = module::changes();
        if self.changes == Some(changes) {
            return;
        }
        self.changes = Some(changes);
        self.unwinder = UnwinderNative::new();
        self.cache = CacheNative::new();
        self.mapped.clear();
        for mapped in module::load() {
            if let Some(rules) = mapped.rules.clone() {
                let base = mapped.info.base;
                self.unwinder.add_module(Module::new(
                    mapped.info.path.display().to_string(),
                    mapped.range.clone(),
                    mapped.range.start,
                    ExplicitModuleSectionInfo {
                        base_svma: mapped.range.start.wrapping_sub(base),
                        eh_frame_hdr_svma: Some(
                            rules.index_address..rules.index_address + rules.index.len() as u64,
                        ),
                        eh_frame_hdr: Some(rules.index),
                        eh_frame_svma: Some(
                            rules.table_address..rules.table_address + rules.table.len() as u64,
                        ),
                        eh_frame: Some(rules.table),
                        ..ExplicitModuleSectionInfo::default()
                    },
                ));
            }
            if let Some(index) = self.index_of(&mapped.info) {
                self.mapped.push((index, mapped));
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

    /// Unwinds what a handler copied.
    pub(super) fn unwind_copy(&mut self, snapshot: &Snapshot) -> RawStack {
        self.unwind_copy_to_end(snapshot).0
    }

    /// The same, and where on the stack the outermost frame begins that was found: what
    /// lies above belongs to no function's frame, or to none that was found.
    pub(super) fn unwind_copy_to_end(&mut self, snapshot: &Snapshot) -> (RawStack, u64) {
        let memory = Memory {
            base: snapshot.registers.sp,
            copy: &snapshot.stack,
            live: false,
            asked_unknown: false,
        };
        self.unwind(snapshot.registers, memory)
    }

    /// Unwinds the stack of a thread that is blocked, from code and stack pointer
    /// alone. `stack` is a copy from `sp` upwards; more is read where it is.
    pub(super) fn unwind_blocked(&mut self, pc: u64, sp: u64, stack: &[u8]) -> RawStack {
        self.unwind_blocked_to_end(pc, sp, stack).0
    }

    /// The same, with the end as [`StackUnwinder::unwind_copy_to_end`] gives it.
    pub(super) fn unwind_blocked_to_end(
        &mut self,
        pc: u64,
        sp: u64,
        stack: &[u8],
    ) -> (RawStack, u64) {
        let registers = Registers {
            pc,
            sp,
            fp: UNKNOWN,
            lr: UNKNOWN,
        };
        let memory = Memory {
            base: sp,
            copy: stack,
            live: true,
            asked_unknown: false,
        };
        self.unwind(registers, memory)
    }

    fn unwind(&mut self, start: Registers, mut memory: Memory<'_>) -> (RawStack, u64) {
        let mut registers = self.native_registers(start);
        let mut end = start.sp;
        let mut address = FrameAddress::from_instruction_pointer(start.pc);
        let mut frames = vec![self.locate(start.pc)];
        let mut assumed_from: Option<usize> = None;
        let complete = loop {
            if frames.len() >= MAX_FRAMES {
                break false;
            }
            let mut step = self.step(address, &mut registers, &mut memory);
            if let Step::AssumedCaller(caller) = step {
                assumed_from.get_or_insert(frames.len());
                step = Step::Caller(caller);
            }
            match step {
                Step::Caller(caller) if self.plausible(caller) => {
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
        };
        if !complete {
            if let Some(sure) = assumed_from {
                frames.truncate(sure);
            }
            // A rule that could not be evaluated for want of memory is cached as
            // "walk frame pointers"; the next stack shall not inherit that.
            self.cache = CacheNative::new();
        }
        let stack = RawStack {
            frames,
            truncated: !complete,
        };
        (stack, end)
    }

    fn step(
        &mut self,
        address: FrameAddress,
        registers: &mut UnwindRegsNative,
        memory: &mut Memory<'_>,
    ) -> Step {
        if is_signal_return(address.address()) {
            // Its stack may lie anywhere, which the unwinder would take for an
            // error.
            let found = interrupted_registers(registers.sp(), memory);
            return found.map_or(Step::Lost, Step::Interrupted);
        }
        let before = *registers;
        let mut read = |address| memory.read(address).ok_or(());
        let unwinder = &self.unwinder;
        match unwinder.unwind_frame(address, registers, &mut self.cache, &mut read) {
            Ok(Some(caller)) => Step::Caller(caller),
            Ok(None) if self.has_rule(address.address_for_lookup()) => Step::Root,
            Err(_) if std::mem::take(&mut memory.asked_unknown) => {
                *registers = before;
                self.cache = CacheNative::new();
                self.step_without_frame_pointer(address, registers, memory)
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
        memory: &mut Memory<'_>,
    ) -> Step {
        let lookup = address.address_for_lookup();
        let Some(function) = self.function(lookup) else {
            return Step::Lost;
        };
        let fp = super::prologue::frame_pointer(
            function.start,
            lookup,
            registers.sp(),
            |address| memory.read(address),
            |address| self.function(address),
        );
        let Some((fp, evidence)) = fp else {
            return Step::Lost;
        };
        registers.set_bp(fp);
        let mut read = |address| memory.read(address).ok_or(());
        match self
            .unwinder
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
        _memory: &mut Memory<'_>,
    ) -> Step {
        Step::Lost
    }

    fn module_at(&self, address: u64) -> Option<&(ModuleIndex, Mapped)> {
        self.mapped
            .iter()
            .find(|(_, mapped)| mapped.range.contains(&address))
    }

    fn locate(&self, address: u64) -> RawFrame {
        match self.module_at(address) {
            Some((index, mapped)) => (Some(*index), address.wrapping_sub(mapped.info.base)),
            None => (None, address),
        }
    }

    /// Bounds in memory of the function around `address`.
    fn function(&self, address: u64) -> Option<std::ops::Range<u64>> {
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
    fn plausible(&self, address: u64) -> bool {
        address > 0
            && self.in_code(address - 1)
            && (follows_call(address) || is_signal_return(address))
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(clippy::unused_self)]
    fn native_registers(&self, start: Registers) -> UnwindRegsNative {
        UnwindRegsNative::new(start.pc, start.sp, start.fp)
    }

    #[cfg(target_arch = "aarch64")]
    fn native_registers(&self, start: Registers) -> UnwindRegsNative {
        // Return addresses may be signed; the mask removes the signature.
        let highest = self.unwinder.max_known_code_address();
        let mask = framehop::aarch64::PtrAuthMask::from_max_known_address(highest);
        UnwindRegsNative::new_with_ptr_auth_mask(mask, start.lr, start.sp, start.fp)
    }
}

#[cfg(target_arch = "x86_64")]
use super::prologue::{Evidence, follows_call};

/// Calls are not told from other instructions; lying in code has to do.
#[cfg(target_arch = "aarch64")]
fn follows_call(_address: u64) -> bool {
    true
}

/// The registers that the kernel saved before it called a handler; `sp` is the
/// stack pointer when the handler has returned.
#[cfg(target_arch = "x86_64")]
fn interrupted_registers(sp: u64, memory: &mut Memory<'_>) -> Option<Registers> {
    // The handler's return address was on top of the context.
    let offset = std::mem::offset_of!(libc::ucontext_t, uc_mcontext)
        + std::mem::offset_of!(libc::mcontext_t, gregs);
    let mut register =
        |number: libc::c_int| memory.read(sp.wrapping_add(offset as u64 + number as u64 * 8));
    Some(Registers {
        pc: register(libc::REG_RIP)?,
        sp: register(libc::REG_RSP)?,
        fp: register(libc::REG_RBP)?,
        lr: 0,
    })
}

/// See above; on top of the context is a `siginfo_t`.
#[cfg(target_arch = "aarch64")]
fn interrupted_registers(sp: u64, memory: &mut Memory<'_>) -> Option<Registers> {
    let context =
        size_of::<libc::siginfo_t>() + std::mem::offset_of!(libc::ucontext_t, uc_mcontext);
    let mut register = |offset: usize| memory.read(sp.wrapping_add((context + offset) as u64));
    let general = std::mem::offset_of!(libc::mcontext_t, regs);
    Some(Registers {
        pc: register(std::mem::offset_of!(libc::mcontext_t, pc))?,
        sp: register(std::mem::offset_of!(libc::mcontext_t, sp))?,
        fp: register(general + 29 * 8)?,
        lr: register(general + 30 * 8)?,
    })
}

/// Is there, at `address`, the code that returns from a signal handler?
fn is_signal_return(address: u64) -> bool {
    // mov rax, 15; syscall
    #[cfg(target_arch = "x86_64")]
    const CODE: &[u8] = &[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    // mov x8, #139; svc #0
    #[cfg(target_arch = "aarch64")]
    const CODE: &[u8] = &[0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];
    let mut code = [0; CODE.len()];
    memory::read(address, &mut code) == CODE.len() && code == *CODE
}
