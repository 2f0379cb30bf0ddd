//! What one input may take: no allocation, and no sum of them that live, over
//! [`MAX_BYTES`]; no more than [`MAX_TIME`] of the processor.
//!
//! libFuzzer's own limit for allocations needs a sanitizer, with which times say little; and
//! it does not see what is asked for and never touched. So the allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Bytes that an input may have allocated at once.
pub const MAX_BYTES: usize = 256 << 20;
/// Time of the process on a processor that an input may take.
pub const MAX_TIME: Duration = Duration::from_secs(1);

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static ARMED: AtomicBool = AtomicBool::new(false);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn take(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Relaxed).wrapping_add(bytes);
        if (bytes > MAX_BYTES || live > LIMIT.load(Relaxed)) && ARMED.swap(false, Relaxed) {
            eprintln!(
                "an input took {bytes} bytes at once, {live} in all; allowed are {MAX_BYTES}\n{}",
                Backtrace::force_capture()
            );
            std::process::abort();
        }
    }

    fn give(bytes: usize) {
        LIVE.fetch_sub(bytes, Relaxed);
    }
}

// SAFETY: all is handed on to the system's allocator; what is counted is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::give(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::take(size);
        Self::give(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs what is done with an input, and panics where it takes too much.
pub fn guarded(work: impl FnOnce()) {
    let took = measured(work);
    assert!(took <= MAX_TIME, "an input took {took:?}");
}

/// The same of work that reads files of the program once, which is nothing of the input's:
/// where it takes too long, it is judged by a second time.
pub fn guarded_twice(mut work: impl FnMut()) {
    if measured(&mut work) > MAX_TIME {
        guarded(work);
    }
}

/// Runs it within the bound of memory; how long it took.
fn measured(work: impl FnOnce()) -> Duration {
    LIMIT.store(LIVE.load(Relaxed).saturating_add(MAX_BYTES), Relaxed);
    ARMED.store(true, Relaxed);
    let began = processor_time();
    work();
    let took = processor_time().saturating_sub(began);
    ARMED.store(false, Relaxed);
    took
}

/// What the process has had of processors: others of the machine do not count.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is writable and of the right size.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
