//! Code run by this machine's own processor, from given registers and memory, up to its
//! end or to what stops it. For tests alone: it executes what it is given.
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use looptop_interpret::{Flags, Floats, State};

/// Everything is at addresses of 32 bits, so that code needs no register for them.
const CODE: u64 = 0x1000_0000;
pub(crate) const CODE_SIZE: usize = 1 << 20;
const STATE: u64 = 0x1020_0000;
const STATE_SIZE: usize = 8192;
/// Memory that code reads and writes.
pub(crate) const DATA: u64 = 0x1030_0000;
pub(crate) const DATA_SIZE: usize = 2 * 4096;
/// And its stack.
pub(crate) const STACK: u64 = 0x1040_0000;
pub(crate) const STACK_SIZE: usize = 4096;

/// What stops code that does not come to its end, as a signal.
pub(crate) type Signal = i32;

/// At [`STATE`]. The assembly below knows these offsets.
#[repr(C, align(64))]
struct Shared {
    host_stack: u64,
    target: u64,
    flags: u64,
    signal: u64,
    exit: u64,
    inside: u64,
    unused: [u64; 2],
    general: [u64; 16],
    mask: [u64; 8],
    vector: [[u64; 8]; 32],
    float: FloatArea,
}

/// What `fxsave` writes.
#[repr(C, align(64))]
struct FloatArea {
    control: u16,
    status: u16,
    used: u16,
    opcode: u16,
    places: [u64; 2],
    mxcsr: u32,
    mxcsr_mask: u32,
    /// From the top of the stack on.
    registers: [[u64; 2]; 8],
    others: [u64; 48],
}

/// As at first, of vector arithmetic.
const MXCSR: u32 = 0x1f80;

impl FloatArea {
    fn of(float: &Floats) -> Self {
        let down = |down: usize| {
            let of = float.registers[(usize::from(float.top) + down) % 8];
            [of.digits, u64::from(of.head)]
        };
        Self {
            control: float.control,
            status: u16::from(float.top) << 11,
            used: float.used.into(),
            opcode: 0,
            places: [0; 2],
            mxcsr: MXCSR,
            mxcsr_mask: 0,
            registers: std::array::from_fn(down),
            others: [0; 48],
        }
    }

    fn floats(&self) -> Floats {
        let top = self.status >> 11 & 7;
        let mut floats = Floats {
            top: top as u8,
            used: self.used as u8,
            control: self.control,
            ..Floats::default()
        };
        for (down, [digits, head]) in self.registers.iter().enumerate() {
            let register = &mut floats.registers[(usize::from(top) + down) % 8];
            (register.digits, register.head) = (*digits, *head as u16);
        }
        floats
    }
}

global_asm!(
    ".global looptop_native_enter",
    "looptop_native_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov qword ptr [{s} + 0x00], rsp",
    "fxrstor64 [{s} + 0x900]",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "vmovdqu64 zmm\\n, zmmword ptr [{s} + 0x100 + 64 * \\n]",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7",
    "kmovq k\\n, qword ptr [{s} + 0xc0 + 8 * \\n]",
    ".endr",
    "mov rcx, qword ptr [{s} + 0x48]",
    "mov rdx, qword ptr [{s} + 0x50]",
    "mov rbx, qword ptr [{s} + 0x58]",
    "mov rbp, qword ptr [{s} + 0x68]",
    "mov rsi, qword ptr [{s} + 0x70]",
    "mov rdi, qword ptr [{s} + 0x78]",
    ".irp n, 8,9,10,11,12,13,14,15",
    "mov r\\n, qword ptr [{s} + 0x40 + 8 * \\n]",
    ".endr",
    "push qword ptr [{s} + 0x10]",
    "popfq",
    "mov rax, qword ptr [{s} + 0x40]",
    "mov rsp, qword ptr [{s} + 0x60]",
    "jmp qword ptr [{s} + 0x08]",
    ".global looptop_native_exit",
    "looptop_native_exit:",
    "mov qword ptr [{s} + 0x60], rsp",
    "mov rsp, qword ptr [{s} + 0x00]",
    "pushfq",
    "pop qword ptr [{s} + 0x10]",
    "cld",
    "mov qword ptr [{s} + 0x40], rax",
    "mov qword ptr [{s} + 0x48], rcx",
    "mov qword ptr [{s} + 0x50], rdx",
    "mov qword ptr [{s} + 0x58], rbx",
    "mov qword ptr [{s} + 0x68], rbp",
    "mov qword ptr [{s} + 0x70], rsi",
    "mov qword ptr [{s} + 0x78], rdi",
    ".irp n, 8,9,10,11,12,13,14,15",
    "mov qword ptr [{s} + 0x40 + 8 * \\n], r\\n",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "vmovdqu64 zmmword ptr [{s} + 0x100 + 64 * \\n], zmm\\n",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7",
    "kmovq qword ptr [{s} + 0xc0 + 8 * \\n], k\\n",
    ".endr",
    "vzeroupper",
    "fxsave64 [{s} + 0x900]",
    "fninit",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    s = const STATE,
);

unsafe extern "C" {
    fn looptop_native_enter();
    fn looptop_native_exit();
}

/// Can this processor run all that is tested?
pub(crate) fn is_able() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

static ONE: Mutex<()> = Mutex::new(());

/// The places in memory, for one test at a time.
pub(crate) struct Processor {
    _one: MutexGuard<'static, ()>,
}

extern "C" fn on_signal(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives the context; the state is mapped before the handler is set.
    unsafe {
        let shared = STATE as *mut Shared;
        if ptr::addr_of!((*shared).inside).read_volatile() == 0 {
            // Not of the code under test: as it would be without this handler.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        ptr::addr_of_mut!((*shared).inside).write_volatile(0);
        ptr::addr_of_mut!((*shared).signal).write_volatile(signal as u64);
        let context = context.cast::<libc::ucontext_t>();
        let exit = looptop_native_exit as *const () as i64;
        (*context).uc_mcontext.gregs[libc::REG_RIP as usize] = exit;
    }
}

const SIGNALS: [libc::c_int; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

impl Processor {
    pub(crate) fn new() -> Self {
        let one = ONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let all = [
            (CODE, CODE_SIZE, libc::PROT_EXEC),
            (STATE, STATE_SIZE, 0),
            (DATA, DATA_SIZE, 0),
            (STACK, STACK_SIZE, 0),
        ];
        for (address, size, more) in all {
            // SAFETY: fixed addresses that nothing of this process uses, or these very
            // mappings of the test before, which are replaced.
            let mapped = unsafe {
                libc::mmap(
                    address as *mut libc::c_void,
                    size,
                    libc::PROT_READ | libc::PROT_WRITE | more,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                )
            };
            assert_eq!(
                mapped as u64,
                address,
                "{}",
                std::io::Error::last_os_error()
            );
        }
        let stack = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
        let alternative = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        };
        // SAFETY: the stack is never freed; the handler touches the mapped state alone.
        unsafe {
            libc::sigaltstack(&raw const alternative, ptr::null_mut());
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in SIGNALS {
                libc::sigaction(signal, &raw const action, ptr::null_mut());
            }
        }
        Self { _one: one }
    }

    /// Puts code at an offset of [`CODE`], with the way out behind it; its address, and
    /// that of its end.
    #[allow(clippy::unused_self, reason = "who has it may use its places")]
    pub(crate) fn put_code(&mut self, offset: usize, code: &[u8]) -> (u64, u64) {
        // `jmp qword ptr [STATE + 0x20]`
        let mut whole = code.to_vec();
        whole.extend([0xff, 0x24, 0x25]);
        whole.extend((STATE as u32 + 0x20).to_le_bytes());
        assert!(offset + whole.len() <= CODE_SIZE);
        let address = CODE + offset as u64;
        Self::write(address, &whole);
        (address, address + code.len() as u64)
    }

    pub(crate) fn write(address: u64, bytes: &[u8]) {
        // SAFETY: callers write within the mapped places.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
    }

    pub(crate) fn read(address: u64, length: usize) -> Vec<u8> {
        // SAFETY: callers read within the mapped places.
        unsafe { std::slice::from_raw_parts(address as *const u8, length).to_vec() }
    }

    /// Runs the code at `state.ip`; registers afterwards, and what stopped it.
    #[allow(clippy::unused_self, reason = "who has it may use its places")]
    pub(crate) fn run(&mut self, state: &State) -> (State, Option<Signal>) {
        let shared = STATE as *mut Shared;
        // SAFETY: the state is mapped, and nobody else uses it. The code is what a test
        // put there: it touches its own places, and faults come back by the handler.
        unsafe {
            (*shared).target = state.ip;
            (*shared).flags = state.flags.bits();
            (*shared).signal = 0;
            (*shared).exit = looptop_native_exit as *const () as u64;
            (*shared).general = state.general;
            (*shared).mask = state.mask;
            (*shared).vector = state.vector;
            (*shared).float = FloatArea::of(&state.float);
            ptr::addr_of_mut!((*shared).inside).write_volatile(1);
            looptop_native_enter();
            ptr::addr_of_mut!((*shared).inside).write_volatile(0);
            let after = State {
                general: (*shared).general,
                vector: (*shared).vector,
                mask: (*shared).mask,
                flags: Flags::from_bits((*shared).flags),
                ip: state.ip,
                fs: state.fs,
                float: (*shared).float.floats(),
            };
            let signal = ptr::addr_of!((*shared).signal).read_volatile();
            (after, (signal != 0).then_some(signal as Signal))
        }
    }
}
