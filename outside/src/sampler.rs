//! The kernel's own sampler: registers and stack of a thread that computes, taken at a
//! tick of its CPU's clock, and a watch on one word of its memory. Neither stops it.
//!
//! Both need `perf_event_open`: `kernel.perf_event_paranoid` of 2 or less (Debian has 3,
//! Ubuntu 4) or `CAP_PERFMON`, and no seccomp filter in the way.
//!
//! A sample costs the thread some 5 µs, a word that is written while it is watched one
//! debug exception of some 2 µs, once. Opening a watch takes 30 µs of ours.

use std::io;
use std::time::Duration;

use looptop_unwind::Registers;
use perf_event::data::{Record, SampleRegsAbi};
use perf_event::events::{Breakpoint, Software};
use perf_event::{Builder, Counter, SampleFlag};

use crate::sys;

/// Bytes of the stack in a sample; less is there where the stack is shorter.
const STACK: u32 = 32 << 10;
/// Pages of samples that are not read yet: three of the longest.
const RING: usize = 32 * 4096;
/// CPU time from sample to sample.
const PERIOD_NS: u64 = 4_000_000;
/// RBP, RSP and RIP, in the order of their numbers.
const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;

/// What the kernel copied.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) registers: Registers,
    /// From the stack pointer upwards.
    pub(crate) stack: Vec<u8>,
}

/// Samples one thread, while it is enabled and the thread is on a CPU.
pub(crate) struct Sampler {
    ring: perf_event::Sampler,
    enabled: bool,
    lost: u64,
}

impl Sampler {
    /// Of a thread; not enabled yet.
    pub(crate) fn open(tid: i32) -> io::Result<Self> {
        let mut builder = Builder::new(Software::CPU_CLOCK);
        builder
            .observe_pid(tid)
            .any_cpu()
            .exclude_kernel(true)
            .exclude_hv(true)
            .sample_period(PERIOD_NS)
            .sample(SampleFlag::REGS_USER | SampleFlag::STACK_USER)
            .sample_regs_user(REGISTERS)
            .sample_stack_user(STACK);
        Ok(Self {
            ring: builder.build()?.sampled(RING)?,
            enabled: false,
            lost: 0,
        })
    }

    pub(crate) fn enable(&mut self, enabled: bool) {
        if self.enabled != enabled {
            let done = if enabled {
                self.ring.enable()
            } else {
                self.ring.disable()
            };
            // It fails where the thread has ended: there are no samples then.
            self.enabled = enabled && done.is_ok();
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// What was taken since it was asked last.
    pub(crate) fn take(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        // The kernel can fill the ring no faster than the clock ticks.
        for _ in 0..64 {
            let Some(record) = self.ring.next_record() else {
                break;
            };
            match record.parse_record() {
                Ok(Record::Sample(sample)) => samples.extend(read(&sample)),
                Ok(Record::Lost(lost)) => self.lost = self.lost.saturating_add(lost.lost),
                Ok(_) | Err(_) => {}
            }
        }
        samples
    }

    /// Samples for which there was no room, since it was asked last.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler")
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

fn read(sample: &perf_event::data::Sample<'_>) -> Option<Sample> {
    let registers = sample.regs_user()?;
    if registers.abi != SampleRegsAbi::ABI_64 {
        return None;
    }
    let &[fp, sp, pc] = &*registers.regs else {
        return None;
    };
    Some(Sample {
        registers: Registers {
            pc,
            sp,
            fp: Some(fp),
            lr: None,
        },
        stack: sample.stack_user()?.to_vec(),
    })
}

/// Whether a thread writes to one word of its memory: 8 bytes at a multiple of 8.
///
/// It notices the first write of that thread, in a hardware breakpoint that is gone then.
/// A machine has four for each thread.
#[derive(Debug)]
pub(crate) struct WordWatch {
    counter: Counter,
}

impl WordWatch {
    /// From now on.
    pub(crate) fn open(tid: i32, address: u64) -> io::Result<Self> {
        let mut builder = Builder::new(Breakpoint::write(address, 8));
        builder
            .observe_pid(tid)
            .any_cpu()
            .exclude_kernel(true)
            .exclude_hv(true)
            .sample_period(1);
        let counter = builder.build()?;
        sys::enable_once(&counter)?;
        Ok(Self { counter })
    }

    /// The time that the thread was on a CPU since it was opened, to the nanosecond, if
    /// nothing was written meanwhile; `None` where something was, or it is not known.
    pub(crate) fn untouched(&mut self) -> Option<Duration> {
        let read = self.counter.read_full().ok()?;
        (read.count() == 0).then(|| read.time_running())?
    }
}
