//! Programs that a run starts of this one: a tokio program without an agent that becomes
//! another program, and one that uses up a CPU.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// Tasks that it has.
const TASKS: u64 = 50;

/// Runs until standard input ends; at SIGUSR1 it becomes `then`, with the same process id.
pub(crate) fn run(then: &[OsString]) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let becomes = runtime.block_on(async {
        let mut asked = signal(SignalKind::user_defined1())?;
        for n in 0..TASKS {
            tokio::spawn(async move {
                loop {
                    sleep(Duration::from_millis(5 + n)).await;
                    // Some of its polls are long.
                    if n == 0 {
                        spin(Duration::from_millis(30));
                    }
                }
            });
        }
        let over = async {
            let mut ignored = [0; 64];
            let mut input = tokio::io::stdin();
            while matches!(input.read(&mut ignored).await, Ok(1..)) {}
        };
        tokio::select! {
            _ = asked.recv() => anyhow::Ok(true),
            () = over => Ok(false),
        }
    })?;
    if !becomes {
        // Its thread that reads standard input may never return.
        runtime.shutdown_background();
        return Ok(true);
    }
    let (program, arguments) = then.split_first().context("there is nothing to become")?;
    // All other threads end with that, in the middle of whatever they do.
    let error = Command::new(program).args(arguments).exec();
    Err(error).context("it could not become another program")
}

/// Computes for a while.
pub(crate) fn spin(window: Duration) {
    let began = Instant::now();
    while began.elapsed() < window {
        std::hint::spin_loop();
    }
}
