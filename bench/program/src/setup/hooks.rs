//! What level 2 cannot do without: tokio's hooks, and a reading of the clock when
//! a task is spawned, and when a poll begins and ends.

use std::{hint::black_box, io};

use tokio::runtime::{Builder, Runtime, TaskMeta};

pub(super) type Keep = ();

pub(super) fn start(mut builder: Builder) -> io::Result<(Runtime, Keep)> {
    let read_clock = |meta: &TaskMeta<'_>| {
        black_box((meta.id(), ticks()));
    };
    builder
        .on_task_spawn(read_clock)
        .on_before_task_poll(read_clock)
        .on_after_task_poll(read_clock)
        .on_task_terminate(|meta| {
            black_box(meta.id());
        });
    Ok((builder.build()?, ()))
}

/// As the agent reads it on this architecture.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "an instruction of every x86-64")]
fn ticks() -> u64 {
    // SAFETY: RDTSC is part of the x86-64 baseline.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> std::time::Instant {
    std::time::Instant::now()
}
