//! The thread that reads.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::tasks::{Activity, Tasks, Types};
use looptop_outside::waiting::{LiveProcess, Readable, ThreadAt, Waiting};
use looptop_symbols::Resolver;

use super::Read;
use super::names::Names;
use super::seen::{self, Own, Seen};
use crate::clock::now_ns;
use crate::shared::Shared;
use crate::thread_clock::{current_tid, thread_cpu_ns};

/// After a look it rests at least so long, and at most.
const LEAST_REST: Duration = Duration::from_secs(1);
const MOST_REST: Duration = Duration::from_mins(5);
/// Chains are read for so long at a look for each percent of a core; longer at the first, so
/// that who asks sees those of most programs at once, and of the others some of each kind.
const CHAINS: Duration = Duration::from_millis(25);
const FIRST_CHAINS: Duration = Duration::from_secs(1);

/// Reads until nobody asks any more.
///
/// # Errors
///
/// This process cannot be read, or is not understood.
pub(super) fn run(shared: &Arc<Shared>) -> Result<(), String> {
    let percent = shared.config.waits_percent();
    let mut reader = Reader::new(percent)?;
    loop {
        let spent = reader.round(shared);
        if !shared.waits.rest(rest_after(spent, percent)) {
            return Ok(());
        }
    }
}

/// How long to rest after so much of a CPU, of which that is to be so many percent.
fn rest_after(spent: Duration, percent: u32) -> Duration {
    let share = f64::from(percent) / 100.0;
    let rest = spent.min(MOST_REST).mul_f64(1.0 / share - 1.0);
    rest.clamp(LEAST_REST, MOST_REST)
}

struct Reader {
    subject: Subject,
    process: LiveProcess,
    tasks: Tasks,
    names: Names,
    activity: Activity,
    /// Made once there is a listing, which comes first.
    waiting: Option<Waiting<LiveProcess>>,
    percent: u32,
    rounds: u64,
    /// CPU that chains took so far.
    chains: Duration,
}

impl Reader {
    fn new(percent: u32) -> Result<Self, String> {
        let subject = Subject::own().map_err(|error| error.to_string())?;
        let types = Types::load(&subject).map_err(|error| error.to_string())?;
        Ok(Self {
            process: LiveProcess::new(&subject),
            tasks: Tasks::new(&subject, Arc::new(types)),
            names: Names::default(),
            activity: Activity::default(),
            waiting: None,
            subject,
            percent,
            rounds: 0,
            chains: Duration::ZERO,
        })
    }

    /// One look; returns the CPU that it took. The first is not counted, for which the
    /// program's symbols and types are read: that would only come later.
    fn round(&mut self, shared: &Shared) -> Duration {
        let began = cpu();
        self.rounds += 1;
        let is_first = self.rounds == 1;
        let threads = self.process.threads().into_iter();
        let blocked = |thread: ThreadAt| Some((thread.tid, thread.stack()?));
        let stacks: Vec<(u64, u64)> = threads.filter_map(blocked).collect();
        self.tasks.read(&stacks);
        let at = Instant::now();
        let (found, types) = (self.tasks.listing(), self.tasks.types());
        let memory = self.subject.memory();
        let file = |path: &Path| self.process.file(path);
        self.names.learn(found, types, memory, file);
        let (seen, listed) = seen::tasks(found, types, &self.names, &Own::of(shared));
        shared.waits.put(Seen {
            number: self.rounds,
            at_ns: now_ns(),
            ..seen
        });
        let before = cpu();
        let have_run = self.activity.of(found, types, memory);
        let (subject, types) = (&self.subject, Arc::clone(types));
        let waiting = self.waiting.get_or_insert_with(|| {
            let resolver = Resolver::new(Some(subject.pid()));
            Waiting::new(LiveProcess::new(subject), types, resolver)
        });
        waiting.take_listing((listed.into(), found.lacks()), &have_run, at);
        if is_first {
            // With the first one the names of functions are read.
            waiting.read(Duration::ZERO);
        }
        waiting.read(if is_first {
            FIRST_CHAINS
        } else {
            CHAINS * self.percent
        });
        waiting.look_at_threads(Instant::now());
        let found = waiting.take();
        self.chains += cpu().saturating_sub(before);
        shared.waits.put_found(Read {
            found,
            cpu_ns: u64::try_from(self.chains.as_nanos()).unwrap_or(u64::MAX),
        });
        if is_first {
            Duration::ZERO
        } else {
            cpu().saturating_sub(began)
        }
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
        for (spent, percent, rest) in [
            (0, 2, 1_000),
            (20, 2, 1_000),
            (100, 2, 4_900),
            (60_000, 2, 300_000),
            (2_000, 50, 2_000),
            (100, 1, 9_900),
        ] {
            assert_eq!(rest_after(ms(spent), percent), ms(rest));
        }
    }
}
