//! The thread that reads.

use std::sync::Arc;
use std::time::Duration;

use looptop_outside::Subject;
use looptop_outside::tasks::{Tasks, Types};
use looptop_outside::waiting::{LiveProcess, Readable, ThreadAt};

use super::names::Names;
use super::seen::{self, Own, Seen};
use crate::clock::now_ns;
use crate::shared::Shared;
use crate::thread_clock::{current_tid, thread_cpu_ns};

/// It rests so many times as long as it has read: 2 % of a core.
const REST: u32 = 49;
/// It rests at least so long, and at most.
const LEAST_REST: Duration = Duration::from_secs(1);
const MOST_REST: Duration = Duration::from_mins(5);

/// Reads until nobody asks any more.
///
/// # Errors
///
/// This process cannot be read, or is not understood.
pub(super) fn run(shared: &Arc<Shared>) -> Result<(), String> {
    let mut reader = Reader::new()?;
    loop {
        let spent = reader.round(shared);
        if !shared.waits.rest(rest_after(spent)) {
            return Ok(());
        }
    }
}

/// How long to rest after so much of a CPU.
fn rest_after(spent: Duration) -> Duration {
    (spent * REST).clamp(LEAST_REST, MOST_REST)
}

struct Reader {
    subject: Subject,
    process: LiveProcess,
    tasks: Tasks,
    names: Names,
    rounds: u64,
}

impl Reader {
    fn new() -> Result<Self, String> {
        let subject = Subject::own().map_err(|error| error.to_string())?;
        let types = Types::load(&subject).map_err(|error| error.to_string())?;
        Ok(Self {
            process: LiveProcess::new(&subject),
            tasks: Tasks::new(&subject, Arc::new(types)),
            names: Names::default(),
            subject,
            rounds: 0,
        })
    }

    /// One look; returns the CPU that it took. What is read of the program's file at the first
    /// is not counted: it would only come later.
    fn round(&mut self, shared: &Shared) -> Duration {
        let began = cpu();
        let threads = self.process.threads().into_iter();
        let blocked = |thread: ThreadAt| Some((thread.tid, thread.stack()?));
        let stacks: Vec<(u64, u64)> = threads.filter_map(blocked).collect();
        self.tasks.read(&stacks);
        let listed = cpu();
        let (found, types) = (self.tasks.listing(), self.tasks.types());
        let file = |path: &std::path::Path| self.process.file(path);
        self.names.learn(found, types, self.subject.memory(), file);
        let named = if self.rounds == 0 { cpu() } else { listed };
        self.rounds += 1;
        let seen = seen::tasks(found, types, &self.names, &Own::of(shared));
        shared.waits.put(Seen {
            number: self.rounds,
            at_ns: now_ns(),
            ..seen
        });
        listed.saturating_sub(began) + cpu().saturating_sub(named)
    }
}

/// What this thread has used.
fn cpu() -> Duration {
    let used = current_tid().and_then(thread_cpu_ns);
    Duration::from_nanos(used.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_is_a_share_of_a_core() {
        let ms = Duration::from_millis;
        for (spent, rest) in [(0, 1_000), (20, 1_000), (100, 4_900), (60_000, 300_000)] {
            assert_eq!(rest_after(ms(spent)), ms(rest));
        }
    }
}
