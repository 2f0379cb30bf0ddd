//! Registers and stack of a thread that computes, by stopping it for a moment.
//!
//! `PTRACE_SEIZE` does not stop a thread; `PTRACE_INTERRUPT` does, without a signal that
//! the program could see. The stop ends at `PTRACE_DETACH`, or when the tracing thread
//! ends, of whatever. The kernel binds a traced thread to the thread that traces it, so
//! one thread does all of it.
//!
//! A stop makes some system calls return `EINTR`, so nobody may ask for a thread that was
//! just seen in a call. It can enter one before the stop comes: such a stop has
//! [`Stop::in_call`].

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use looptop_unwind::Registers;

use crate::sys::{self, Waited};
use crate::{ProcessSpace, Space};

/// Bytes of the stack that are copied: what fits in some 10 µs.
const STACK: usize = 32 << 10;
/// The stop is awaited without giving up the CPU for so long: to be woken takes longer
/// than the stop, and all of that time the thread stands still.
const SPIN: Duration = Duration::from_micros(200);
/// Between two looks at a thread that has not stopped yet: it is without a CPU.
const AGAIN: Duration = Duration::from_micros(500);
/// Who asked waits for so long.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a stop has shown.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) registers: Registers,
    /// From the stack pointer upwards.
    pub(crate) stack: Vec<u8>,
    /// How long it stood still.
    pub(crate) held: Duration,
    /// It had entered a system call, which may now have returned `EINTR`.
    pub(crate) in_call: bool,
}

/// Why there was no stop, or none in time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoStop {
    #[error("the thread could not be stopped: {0}")]
    Refused(std::io::Error),
    #[error("the thread has ended")]
    Ended,
    #[error("the thread got no CPU to stop on")]
    NotYet,
}

struct Request {
    tid: i32,
    answer: Sender<Result<Stop, NoStop>>,
}

/// The thread that stops others.
#[derive(Debug)]
pub(crate) struct Stopper {
    requests: Sender<Request>,
}

impl Stopper {
    /// Starts the thread for a process, which ends with the stopper.
    pub(crate) fn start(space: ProcessSpace) -> std::io::Result<Self> {
        let (requests, receiver) = channel();
        thread::Builder::new()
            .name("looptop-stop".into())
            .spawn(move || serve(&space, &receiver))?;
        Ok(Self { requests })
    }

    /// Stops a thread that computes for as long as it takes to copy its stack. Where it
    /// does not stop within 20 ms the stop is undone as soon as it comes.
    pub(crate) fn stop(&self, tid: i32) -> Result<Stop, NoStop> {
        let (answer, answers) = channel();
        let sent = self.requests.send(Request { tid, answer });
        sent.map_err(|_| NoStop::Ended)?;
        match answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(NoStop::NotYet),
            Err(RecvTimeoutError::Disconnected) => Err(NoStop::Ended),
        }
    }
}

fn serve(space: &ProcessSpace, requests: &Receiver<Request>) {
    let mut buffer = vec![0; STACK];
    // Those that were asked to stop and have not yet.
    let mut traced: Vec<i32> = Vec::new();
    loop {
        let request = if traced.is_empty() {
            requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            requests.recv_timeout(AGAIN)
        };
        match request {
            Ok(request) if !traced.contains(&request.tid) => {
                match answer(request.tid, space, &mut buffer) {
                    Err(NoStop::NotYet) => traced.push(request.tid),
                    // Nobody may be there any more who wants to know.
                    done => drop(request.answer.send(done)),
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            // The kernel lets go of all that are traced when this thread ends.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        traced.retain(|tid| release(*tid));
    }
}

fn answer(tid: i32, space: &ProcessSpace, buffer: &mut [u8]) -> Result<Stop, NoStop> {
    sys::seize(tid).map_err(NoStop::Refused)?;
    if let Err(error) = sys::interrupt(tid) {
        // It has ended, or it would be stopped.
        return Err(NoStop::Refused(error));
    }
    let asked = Instant::now();
    let signal = loop {
        match sys::wait(tid) {
            Ok(Waited::Stopped) => break 0,
            Ok(Waited::Signalled(signal)) => break signal,
            Ok(Waited::Ended) => return Err(NoStop::Ended),
            Err(error) => return Err(NoStop::Refused(error)),
            Ok(Waited::NotYet) if asked.elapsed() < SPIN => std::hint::spin_loop(),
            Ok(Waited::NotYet) if asked.elapsed() < PATIENCE => thread::yield_now(),
            Ok(Waited::NotYet) => return Err(NoStop::NotYet),
        }
    };
    let stopped = Instant::now();
    let registers = sys::registers(tid);
    let length = match &registers {
        Ok(registers) => space.read_stack(registers.rsp, buffer),
        Err(_) => 0,
    };
    #[cfg(feature = "planted")]
    if std::env::var_os("LOOPTOP_PLANTED").is_some_and(|d| d == "stopped-thread") {
        return Err(NoStop::Ended);
    }
    let detached = sys::detach(tid, signal);
    let held = stopped.elapsed();
    let registers = registers.map_err(NoStop::Refused)?;
    detached.map_err(NoStop::Refused)?;
    Ok(Stop {
        registers: Registers {
            pc: registers.rip,
            sp: registers.rsp,
            fp: Some(registers.rbp),
            lr: None,
        },
        stack: buffer[..length].to_vec(),
        held,
        // The kernel keeps -1 there where the thread was in no call.
        in_call: registers.orig_rax as i64 >= 0,
    })
}

/// Lets a thread go that has stopped after all; `true` where it has not yet.
fn release(tid: i32) -> bool {
    match sys::wait(tid) {
        Ok(Waited::NotYet) => true,
        Ok(Waited::Stopped) => {
            // It fails where the thread was killed meanwhile.
            sys::detach(tid, 0).ok();
            false
        }
        Ok(Waited::Signalled(signal)) => {
            sys::detach(tid, signal).ok();
            false
        }
        Ok(Waited::Ended) | Err(_) => false,
    }
}
