//! Workers that are held, by computing or by calls that block.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{Outcome, until_dismissed};
use crate::{
    arguments::Arguments,
    setup::{self, Shape},
};

/// Prints `ready`, and holds all workers again and again: `--how compute` for 40 ms,
/// `--how block` in a call for 250 ms.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let workers = usize::try_from(arguments.required("workers")?)?;
    let how = match arguments.text("how") {
        Some("compute") => compute,
        Some("block") => block,
        other => return Err(format!("hold how? {other:?}").into()),
    };
    let observed = setup::start(Shape::Workers(workers))?;
    for worker in 0..workers {
        observed.runtime.spawn(async move {
            loop {
                how(worker);
                // Workers park now and then.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    println!("ready");
    std::io::stdout().flush()?;
    until_dismissed();
    std::process::exit(0);
}

fn compute(_: usize) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(40) {
        std::hint::spin_loop();
    }
}

/// One kind of call for each worker. A call that returned early, or with an error, would
/// end the program: nobody may disturb it.
fn block(worker: usize) {
    const TIME: Duration = Duration::from_millis(250);
    let begin = Instant::now();
    match worker % 4 {
        0 => thread::sleep(TIME),
        1 => {
            let (lock, condition) = (Mutex::new(()), Condvar::new());
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            drop(condition.wait_timeout(guard, TIME));
        }
        // An answer that comes late.
        2 => {
            let pair = UnixStream::pair();
            let (mut ours, mut theirs) = pair.unwrap_or_else(|error| give_up(&error));
            let answer = thread::spawn(move || {
                thread::sleep(TIME);
                theirs.write_all(b"late")
            });
            let read = ours.read_exact(&mut [0; 4]);
            read.unwrap_or_else(|error| give_up(&error));
            drop(answer.join());
        }
        // No answer at all: what has a time-out returns EINTR when it is stopped.
        _ => {
            let pair = UnixStream::pair();
            let (mut ours, _theirs) = pair.unwrap_or_else(|error| give_up(&error));
            drop(ours.set_read_timeout(Some(TIME)));
            match ours.read(&mut [0; 4]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => give_up(&error),
                Ok(_) => give_up(&std::io::Error::other("it has read what nobody wrote")),
            }
        }
    }
    if begin.elapsed() < TIME {
        give_up(&std::io::Error::other("a call returned too early"));
    }
    // Now and then a short call, as programs have them.
    drop(File::open("/dev/null"));
}

fn give_up(error: &std::io::Error) -> ! {
    eprintln!("looptop-bench-program: a call was disturbed: {error}");
    std::process::exit(1);
}
