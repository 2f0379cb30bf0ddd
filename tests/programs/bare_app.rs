//! A tokio application that knows nothing of looptop, of console-subscriber or of
//! tracing: tasks that wait, and one that blocks its worker again and again.
//!
//! `bare_app [TASKS]` prints `ready` once its tasks run, and ends with its standard input.
//! After a line that has a number it is started anew in its process (exec), with so many
//! tasks.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use tokio::time::sleep;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = std::env::args().nth(1).map_or(Ok(5), |n| n.parse())?;
    std::thread::spawn(|| {
        let mut lines = std::io::stdin().lock().lines();
        if let Some(Ok(tasks)) = lines.next() {
            start_anew(&tasks);
        }
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async move {
            for _ in 0..tasks {
                tokio::spawn(waits_for_a_customer());
            }
            tokio::spawn(blocks_its_worker());
            tokio::task::yield_now().await;
            // Started anew nobody may listen.
            let _ = writeln!(std::io::stdout(), "ready");
            std::future::pending::<()>().await;
        });
    Ok(())
}

#[cfg(unix)]
fn start_anew(tasks: &str) {
    use std::os::unix::process::CommandExt;
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = std::process::Command::new(program).arg(tasks).exec();
    eprintln!("{error}");
}

#[cfg(not(unix))]
fn start_anew(_: &str) {}

async fn waits_for_a_customer() {
    sleep(Duration::from_hours(1)).await;
}

async fn blocks_its_worker() {
    loop {
        std::thread::sleep(Duration::from_millis(700));
        sleep(Duration::from_millis(300)).await;
    }
}
