//! The agent's clock: cheap ticks for hot paths, and their meaning in
//! nanoseconds.
//!
//! A tick is one count of the CPU's time-stamp counter where that runs at a
//! constant rate in every power state and the operating system trusts it
//! (x86-64 with an invariant TSC, `CNTVCT_EL0` on aarch64). Elsewhere a tick is
//! a nanosecond of [`Instant`]: correct, and about 20 ns dearer to read.
//!
//! The rate is measured against `Instant` (`CLOCK_MONOTONIC` on Linux), first
//! over [`FIRST_BASELINE`] and again whenever the time since the origin has
//! doubled, later every second. Every measurement spans the whole time since
//! the origin, so its error is the few ten nanoseconds of one reading and
//! does not grow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An instant on the CPU's counter. Only differences and [`to_ns`] mean
/// something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Ticks(pub(crate) u64);

/// Time over which the rate is measured first: one reading is uncertain by
/// about 50 ns, so 200 µs make the rate right to 0.05 %.
const FIRST_BASELINE: Duration = Duration::from_micros(200);
/// The rate is measured again at least this often.
const LAST_BASELINE: Duration = Duration::from_secs(1);

/// Nanoseconds per tick as a fixed-point number with 32 binary places; 0 until
/// the origin is fixed. `Relaxed`: it is a number by itself, and every value
/// ever stored is a valid rate.
static RATE: AtomicU64 = AtomicU64::new(0);
/// Ticks at which the rate is due to be measured again.
static NEXT_MEASUREMENT: AtomicU64 = AtomicU64::new(0);
static ORIGIN: OnceLock<Origin> = OnceLock::new();

const ONE: u64 = 1 << 32;

#[derive(Debug)]
struct Origin {
    counter: Counter,
    ticks: u64,
    instant: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Cpu,
    Instant,
}

/// Now. About 8 ns with a CPU counter (one instruction), 30 ns without.
#[inline]
pub(crate) fn ticks() -> Ticks {
    quick_ticks().unwrap_or_else(slow_ticks)
}

/// As [`ticks`], where that is one instruction.
#[inline]
pub(crate) fn quick_ticks() -> Option<Ticks> {
    // A rate of exactly 1 says that ticks are nanoseconds of `Instant`.
    let is_quick = !matches!(RATE.load(Relaxed), 0 | ONE);
    is_quick.then(|| Ticks(cpu::counter()))
}

#[cold]
#[inline(never)]
fn slow_ticks() -> Ticks {
    let origin = origin();
    match origin.counter {
        Counter::Cpu => Ticks(cpu::counter()),
        Counter::Instant => Ticks(nanoseconds(origin.instant.elapsed())),
    }
}

/// `ticks` in nanoseconds since the agent's origin; 0 for an earlier instant.
/// Measures the rate again where that is due.
pub(crate) fn to_ns(ticks: Ticks) -> u64 {
    let origin = origin();
    if ticks.0 >= NEXT_MEASUREMENT.load(Relaxed) {
        measure(origin);
    }
    duration_ns(ticks.0.saturating_sub(origin.ticks))
}

/// A difference of ticks in nanoseconds. One multiplication; right to 0.1 %.
#[inline]
pub(crate) fn duration_ns(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(RATE.load(Relaxed))) >> 32) as u64
}

/// Nanoseconds as a difference of ticks, for thresholds.
pub(crate) fn duration_ticks(ns: u64) -> u64 {
    origin();
    ((u128::from(ns) << 32) / u128::from(RATE.load(Relaxed).max(1))) as u64
}

/// Nanoseconds since the agent's origin, read from the operating system.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(origin().instant.elapsed())
}

/// An instant in nanoseconds since the agent's origin; 0 for an earlier one.
#[cfg_attr(not(feature = "waits"), allow(dead_code))]
pub(crate) fn at_ns(instant: Instant) -> u64 {
    nanoseconds(instant.saturating_duration_since(origin().instant))
}

fn origin() -> &'static Origin {
    ORIGIN.get_or_init(|| {
        if !cpu::counter_is_steady() {
            RATE.store(ONE, Relaxed);
            NEXT_MEASUREMENT.store(u64::MAX, Relaxed);
            return Origin {
                counter: Counter::Instant,
                ticks: 0,
                instant: Instant::now(),
            };
        }
        let (ticks, instant) = reading();
        let origin = Origin {
            counter: Counter::Cpu,
            ticks,
            instant,
        };
        while origin.instant.elapsed() < FIRST_BASELINE {
            std::hint::spin_loop();
        }
        measure(&origin);
        origin
    })
}

fn measure(origin: &Origin) {
    let (ticks, instant) = reading();
    let elapsed_ticks = ticks.saturating_sub(origin.ticks).max(1);
    let elapsed = instant.saturating_duration_since(origin.instant);
    let rate = (u128::from(nanoseconds(elapsed)) << 32) / u128::from(elapsed_ticks);
    // Never exactly 1, which is the mark of the other counter.
    let rate = match rate as u64 {
        0 | ONE => ONE + 1,
        rate => rate,
    };
    RATE.store(rate, Relaxed);
    let wait = nanoseconds(elapsed.min(LAST_BASELINE));
    let wait = (u128::from(wait) << 32) / u128::from(rate);
    NEXT_MEASUREMENT.store(ticks + wait as u64, Relaxed);
}

/// Counter and clock at the same instant, as nearly as five attempts allow: an
/// attempt that was interrupted shows as a long way from counter to counter.
fn reading() -> (u64, Instant) {
    let attempt = || {
        let before = cpu::counter();
        let instant = Instant::now();
        let after = cpu::counter();
        (after.wrapping_sub(before), before / 2 + after / 2, instant)
    };
    let best = (0..4).fold(attempt(), |best, _| {
        let next = attempt();
        if next.0 < best.0 { next } else { best }
    });
    (best.1, best.2)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(target_arch = "x86_64")]
mod cpu {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    #[inline]
    pub(super) fn counter() -> u64 {
        // SAFETY: RDTSC is part of the x86-64 baseline; that user space may
        // run it (CR4.TSD) is what every Linux, macOS and Windows grants.
        unsafe { _rdtsc() }
    }

    /// CPUID leaf `8000_0007h`, EDX bit 8: constant rate in all power states. A kernel
    /// that found the counters of two CPUs apart takes another clock source.
    #[allow(unused_unsafe, reason = "`__cpuid` became safe in newer compilers")]
    pub(super) fn counter_is_steady() -> bool {
        const POWER: u32 = 0x8000_0007;
        const INVARIANT: u32 = 1 << 8;
        // SAFETY: CPUID is part of the x86-64 baseline, and leaf `8000_0000h`
        // says whether the leaf that is read exists.
        let invariant =
            unsafe { __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0 };
        invariant && super::kernel_trusts_counter()
    }
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    #[inline]
    pub(super) fn counter() -> u64 {
        let count: u64;
        // SAFETY: reads the virtual counter, which Linux and macOS let user
        // space read; it touches neither memory nor flags.
        unsafe {
            std::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack, preserves_flags));
        }
        count
    }

    /// The architecture defines the counter as constant in rate and the same
    /// on all CPUs.
    pub(super) fn counter_is_steady() -> bool {
        true
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cpu {
    pub(super) fn counter() -> u64 {
        0
    }

    pub(super) fn counter_is_steady() -> bool {
        false
    }
}

/// Whether the kernel's own choice of clock speaks against the counter. Where
/// it does not say (not Linux, no sysfs), CPUID alone decides.
#[cfg(target_arch = "x86_64")]
fn kernel_trusts_counter() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match std::fs::read_to_string(path) {
        Ok(source) => !matches!(
            source.trim(),
            "hpet" | "acpi_pm" | "jiffies" | "refined-jiffies"
        ),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_run_backwards() {
        let mut last = ticks();
        for _ in 0..10_000 {
            let now = ticks();
            assert!(now >= last);
            last = now;
        }
    }

    /// Compares ticks with the operating system's clock, both read between two
    /// readings of the other: whatever the load on the machine, the truth lies
    /// between the brackets.
    #[test]
    fn ticks_agree_with_the_monotonic_clock() {
        let deadline = Instant::now() + Duration::from_millis(300);
        while Instant::now() < deadline {
            let before = now_ns();
            let ticks = ticks();
            let after = now_ns();
            let ns = to_ns(ticks);
            let slack = after / 1_000 + 1_000;
            assert!(
                ns + slack >= before && ns <= after + slack,
                "{ns} outside {before}..{after}"
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn durations_convert_both_ways() {
        ticks();
        let tick = duration_ns(1) + 1;
        for ns in [0, 1_000, 3_000_000, 86_400_000_000_000] {
            let back = duration_ns(duration_ticks(ns));
            assert!(
                ns.abs_diff(back) <= ns / 1_000_000 + tick,
                "{ns} became {back}"
            );
        }
    }

    #[test]
    fn an_instant_before_the_origin_is_zero() {
        ticks();
        assert_eq!(to_ns(Ticks(0)), 0);
    }
}
