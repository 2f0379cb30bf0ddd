//! A share of a core for all threads that read processes together, in turns.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use looptop_procfs::{ProcFile, SchedStat};

/// What is read once, such as a program's symbols, is rested for no longer than this: it
/// does not come again.
const REST_AFTER_ONCE: Duration = Duration::from_millis(500);
/// Who waits sees so soon that it is to end.
const ALIVE_EVERY: Duration = Duration::from_millis(500);

/// Shared by those who read: one of them at a time, in the order in which they ask, so that
/// whose turn was longest ago is next. After each turn nobody's is for as long as the share
/// demands.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// So many times as long as a turn took nobody has the next.
    rest: f64,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    /// In the order in which they came.
    waiting: VecDeque<(u64, Thread)>,
    next: u64,
    is_taken: bool,
    free_at: Instant,
}

/// One's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    /// Nothing where there is no budget.
    _taken: Option<Taken>,
}

/// A turn of a budget's.
#[derive(Debug)]
struct Taken {
    budget: Budget,
    cpu: ThreadCpu,
    began_ns: u64,
    began: Instant,
    most_rest: Duration,
}

impl Budget {
    /// A share of a core, over 0 and at most 1.
    pub fn new(share: f64) -> Self {
        Self(Arc::new(Shared {
            rest: 1.0 / share.clamp(0.01, 1.0) - 1.0,
            line: Mutex::new(Line {
                waiting: VecDeque::new(),
                next: 0,
                is_taken: false,
                free_at: Instant::now(),
            }),
        }))
    }

    /// Waits for a turn; `None` once `ends` says so. It blocks.
    fn turn(&self, ends: impl Fn() -> bool) -> Option<Taken> {
        self.wait(ends, Duration::MAX)
    }

    /// The same for what is read once.
    fn turn_for_once(&self, ends: impl Fn() -> bool) -> Option<Taken> {
        self.wait(ends, REST_AFTER_ONCE)
    }

    fn wait(&self, ends: impl Fn() -> bool, most_rest: Duration) -> Option<Taken> {
        let mut line = self.lock();
        let mine = line.next;
        line.next += 1;
        line.waiting.push_back((mine, thread::current()));
        loop {
            if ends() {
                line.waiting.retain(|(number, _)| *number != mine);
                line.wake_next();
                return None;
            }
            let now = Instant::now();
            let is_first = line
                .waiting
                .front()
                .is_some_and(|(first, _)| *first == mine);
            let mut rest = ALIVE_EVERY;
            if is_first && !line.is_taken {
                let rests = line.free_at.saturating_duration_since(now);
                if rests.is_zero() {
                    break;
                }
                rest = rest.min(rests);
            }
            drop(line);
            thread::park_timeout(rest);
            line = self.lock();
        }
        line.waiting.pop_front();
        line.is_taken = true;
        drop(line);
        let mut cpu = ThreadCpu::default();
        Some(Taken {
            budget: self.clone(),
            began_ns: cpu.used_ns(),
            cpu,
            began: Instant::now(),
            most_rest,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        let line = self.0.line.lock();
        line.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn wake_next(&self) {
        if let Some((_, thread)) = self.waiting.front() {
            thread.unpark();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Where the clock of the thread is not known, its time stands for it.
        let spent = match self.cpu.used_ns().saturating_sub(self.began_ns) {
            0 => self.began.elapsed(),
            ns => Duration::from_nanos(ns),
        };
        let rest = spent.mul_f64(self.budget.0.rest).min(self.most_rest);
        let mut line = self.budget.lock();
        line.is_taken = false;
        line.free_at = Instant::now() + rest;
        line.wake_next();
    }
}

/// A turn where there is a budget; without one it is always one's own. `None` once `ends`
/// says so.
pub(super) fn turn(budget: Option<&Budget>, ends: impl Fn() -> bool) -> Option<Turn> {
    turn_by(budget, |budget| budget.turn(ends))
}

/// The same for what is read once.
pub(super) fn turn_for_once(budget: Option<&Budget>, ends: impl Fn() -> bool) -> Option<Turn> {
    turn_by(budget, |budget| budget.turn_for_once(ends))
}

fn turn_by(budget: Option<&Budget>, take: impl FnOnce(&Budget) -> Option<Taken>) -> Option<Turn> {
    let taken = match budget {
        None => None,
        Some(budget) => Some(take(budget)?),
    };
    Some(Turn { _taken: taken })
}

/// The CPU time of the thread that asks.
#[derive(Debug, Default)]
pub(super) struct ThreadCpu(Option<ProcFile>);

impl ThreadCpu {
    /// So far; 0 where the kernel does not say.
    pub(super) fn used_ns(&mut self) -> u64 {
        if self.0.is_none() {
            self.0 = ProcFile::open(std::path::Path::new("/proc/thread-self/schedstat"));
        }
        let file = self.0.as_ref();
        file.and_then(|file| file.parse(SchedStat::parse))
            .map_or(0, |stat| stat.cpu_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
    }

    /// Uses a CPU for so long at least; how long that was.
    fn work(ns: u64) -> u64 {
        let mut cpu = ThreadCpu::default();
        let before = cpu.used_ns();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let used = cpu.used_ns() - before;
            if used >= ns {
                return used;
            }
            assert!(Instant::now() < deadline);
        }
    }

    #[test]
    fn one_at_a_time_in_the_order_in_which_they_ask() {
        let budget = Budget::new(1.0);
        let first = budget.turn(|| false).unwrap();
        let order = Mutex::new(Vec::new());
        let at_work = AtomicUsize::new(0);
        thread::scope(|scope| {
            for n in 0..6 {
                let (budget, order, at_work) = (&budget, &order, &at_work);
                scope.spawn(move || {
                    let _turn = budget.turn(|| false).unwrap();
                    assert_eq!(at_work.fetch_add(1, Ordering::Relaxed), 0);
                    order.lock().unwrap().push(n);
                    at_work.fetch_sub(1, Ordering::Relaxed);
                });
                until(|| budget.lock().waiting.len() == n + 1);
            }
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn who_is_to_end_leaves_the_line_and_the_next_is_not_kept() {
        let budget = Budget::new(1.0);
        let first = budget.turn(|| false).unwrap();
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let gone = scope.spawn(|| budget.turn(|| ends.load(Ordering::Relaxed)).is_none());
            until(|| budget.lock().waiting.len() == 1);
            let next = scope.spawn(|| budget.turn(|| false).is_some());
            until(|| budget.lock().waiting.len() == 2);
            ends.store(true, Ordering::Relaxed);
            assert!(gone.join().unwrap());
            assert!(!next.is_finished(), "it is not its turn yet");
            drop(first);
            assert!(next.join().unwrap());
        });
    }

    #[test]
    fn it_takes_no_more_than_its_share_however_many_read() {
        let budget = Budget::new(0.25);
        let began = Instant::now();
        let used = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let _turn = budget.turn(|| false).unwrap();
                        *used.lock().unwrap() += work(3_000_000);
                    }
                });
            }
        });
        // After the last turn nobody rests.
        let least = Duration::from_nanos(*used.lock().unwrap()) * 3;
        assert!(
            began.elapsed() >= least,
            "{:?} of {least:?}",
            began.elapsed()
        );
    }

    #[test]
    fn what_is_read_once_is_not_rested_for_long() {
        let budget = Budget::new(0.01);
        let turn = budget.turn_for_once(|| false).unwrap();
        work(20_000_000);
        drop(turn);
        let rest = budget
            .lock()
            .free_at
            .saturating_duration_since(Instant::now());
        assert!(rest <= REST_AFTER_ONCE, "{rest:?}");
    }
}
