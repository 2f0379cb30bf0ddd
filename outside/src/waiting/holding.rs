//! Who holds what others wait for, as what they would give back says it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::cells::Pointing;
use super::chains::Chains;
use super::facts::TaskAt;
use super::holders::{Candidate, Likelihood, Who};
use super::is_tokios_lock;
use super::records::Records;
use super::resources::Resources;
use crate::awaits::interpreted::{Lock, NotPolled};
use crate::space::Space;
use crate::tasks::Task;
use crate::waits::ResourceKind;

/// One search asks for so long, and at least some; longer where one answer is wanted soon.
const ASKS_FOR: Duration = Duration::from_millis(50);
const ASKS_FOR_ONE_ANSWER: Duration = Duration::from_millis(500);
const ASKS_AT_LEAST: usize = 8;
/// A task that has moved meanwhile is asked again, so often.
const TRIES: usize = 3;
/// Answers that are remembered.
const MAX_ANSWERS: usize = 4_096;

/// What a lock's memory said.
type State = [Option<u64>; 3];

/// What tasks have answered, and who holds what.
#[derive(Debug)]
pub(super) struct Holding {
    asks_for: Duration,
    answers: HashMap<TaskAt, Answer>,
    by_lock: HashMap<u64, Vec<(TaskAt, u64)>>,
    /// Locks of which everybody who points at them has answered.
    complete: HashSet<u64>,
}

/// What one would give back.
#[derive(Debug)]
struct Answer {
    asked: Instant,
    /// Permits of each lock, and how the lock was then.
    permits: HashMap<u64, (u64, State)>,
    /// There is nothing else.
    is_whole: bool,
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            asks_for: ASKS_FOR,
            answers: HashMap::new(),
            by_lock: HashMap::new(),
            complete: HashSet::new(),
        }
    }
}

impl Holding {
    /// From now on asks for longer: for one answer that is wanted soon.
    pub(super) fn ask_long(&mut self) {
        self.asks_for = ASKS_FOR_ONE_ANSWER;
    }

    /// Asks the tasks that point at locks, as far as their answers are not known, and says
    /// of each candidate whether it holds its lock; others that do become candidates.
    pub(super) fn ask<S: Space + Clone>(
        &mut self,
        found: &mut HashMap<u64, Pointing>,
        locks: &HashSet<u64>,
        tasks: &[Task],
        (space, chains, records, resources): (&S, &mut Chains<S>, &Records, &Resources),
        now: Instant,
    ) {
        let state = |lock: u64| lock_of(lock, resources).state(space);
        self.answers.retain(|task, answer| {
            let since = records.waits_since(*task);
            since.is_some_and(|since| since <= answer.asked)
        });
        let by_header: HashMap<u64, &Task> = if found.is_empty() {
            HashMap::new()
        } else {
            tasks.iter().map(|task| (task.header, task)).collect()
        };
        let mut asked = 0;
        for (task, locks) in wanted(found, locks) {
            let Some(task) = by_header.get(&task.header).filter(|t| t.id == task.id) else {
                continue;
            };
            let at = at(task);
            let states: Vec<State> = locks.iter().map(|lock| state(*lock)).collect();
            let is_known = self.answers.get(&at).is_some_and(|answer| {
                let mut locks = locks.iter().zip(&states);
                locks.all(|(lock, state)| {
                    let known = answer.permits.get(lock);
                    known.is_some_and(|(_, then)| then == state)
                })
            });
            let is_over = asked >= ASKS_AT_LEAST && now.elapsed() >= self.asks_for;
            if is_known || is_over || self.answers.len() >= MAX_ANSWERS {
                continue;
            }
            asked += 1;
            let began = Instant::now();
            let which: Vec<Lock> = locks.iter().map(|lock| lock_of(*lock, resources)).collect();
            let mut given = chains.gives_back(task, &which);
            for _ in 0..TRIES {
                if !matches!(given, Err(NotPolled::Moved)) {
                    break;
                }
                given = chains.gives_back(task, &which);
            }
            if let Ok(given) = given {
                let is_whole = given.is_whole();
                let answer = Answer {
                    asked: began,
                    permits: locks
                        .into_iter()
                        .zip(given.permits.into_iter().zip(states))
                        .collect(),
                    is_whole,
                };
                self.answers.insert(at, answer);
            }
        }
        self.by_lock.clear();
        self.complete.clear();
        let found = found.iter_mut().filter(|(lock, _)| locks.contains(lock));
        for (lock, pointing) in found {
            self.take_in(*lock, state(*lock), pointing);
        }
    }

    /// What was answered while the lock was as it is now.
    fn take_in(&mut self, lock: u64, state: State, pointing: &mut Pointing) {
        let answers = &self.answers;
        let answer = |task: TaskAt| {
            let answer = answers.get(&task)?;
            let (permits, then) = answer.permits.get(&lock)?;
            (*then == state).then_some((*permits, answer.is_whole))
        };
        let mut holders: Vec<(TaskAt, u64)> = Vec::new();
        let mut tasks = pointing
            .candidates
            .iter()
            .filter_map(|candidate| match candidate.who {
                Who::Task(task) => Some(task),
                Who::Thread(_) => None,
            });
        let has_answered = |task| answer(task).is_some_and(|(_, is_whole)| is_whole);
        let others = pointing.others.iter().map(at);
        if !pointing.is_cut && tasks.all(has_answered) && others.clone().all(has_answered) {
            self.complete.insert(lock);
        }
        pointing.candidates.retain_mut(|candidate| {
            let Who::Task(task) = candidate.who else {
                return true;
            };
            match answer(task) {
                Some((0, is_whole)) => !is_whole,
                Some((permits, _)) => {
                    candidate.likelihood = Likelihood::Holds;
                    holders.push((task, permits));
                    true
                }
                None => true,
            }
        });
        for task in pointing.others.iter().map(at) {
            let known = holders.iter().any(|(holder, _)| *holder == task);
            if let Some((permits @ 1.., _)) = answer(task).filter(|_| !known) {
                holders.push((task, permits));
                pointing.candidates.push(Candidate {
                    who: Who::Task(task),
                    likelihood: Likelihood::Holds,
                    hits: Vec::new(),
                    sleep: None,
                });
            }
        }
        if !holders.is_empty() {
            self.by_lock.insert(lock, holders);
        }
    }

    /// Who holds a lock for certain, and how many permits.
    pub(super) fn of(&self, lock: u64) -> &[(TaskAt, u64)] {
        self.by_lock.get(&lock).map_or(&[], Vec::as_slice)
    }

    /// Everybody who points at a lock has answered: those that hold it are known.
    pub(super) fn is_complete(&self, lock: u64) -> bool {
        self.complete.contains(&lock)
    }

    /// Forgets who holds what is in none of these.
    pub(super) fn keep(&mut self, locks: &HashSet<u64>) {
        self.by_lock.retain(|lock, _| locks.contains(lock));
        self.complete.retain(|lock| locks.contains(lock));
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, TaskAt, u64)> {
        self.by_lock
            .iter()
            .flat_map(|(lock, holders)| holders.iter().map(|(task, n)| (*lock, *task, *n)))
    }
}

/// The tasks to ask, with the locks that they point at: the candidates first.
fn wanted(found: &HashMap<u64, Pointing>, of: &HashSet<u64>) -> Vec<(TaskAt, Vec<u64>)> {
    let mut order: Vec<TaskAt> = Vec::new();
    let mut locks: HashMap<TaskAt, Vec<u64>> = HashMap::new();
    let mut seen: HashSet<(TaskAt, u64)> = HashSet::new();
    let mut add = |task: TaskAt, lock: u64| {
        if seen.insert((task, lock)) {
            let of_task = locks.entry(task).or_default();
            if of_task.is_empty() {
                order.push(task);
            }
            of_task.push(lock);
        }
    };
    let mut by_lock: Vec<(&u64, &Pointing)> =
        found.iter().filter(|(lock, _)| of.contains(lock)).collect();
    by_lock.sort_unstable_by_key(|(lock, _)| **lock);
    for (lock, pointing) in &by_lock {
        for candidate in &pointing.candidates {
            if let Who::Task(task) = candidate.who {
                add(task, **lock);
            }
        }
    }
    for (lock, pointing) in &by_lock {
        for task in &pointing.others {
            add(at(task), **lock);
        }
    }
    order
        .into_iter()
        .map(|task| (task, locks.remove(&task).unwrap_or_default()))
        .collect()
}

fn at(task: &Task) -> TaskAt {
    TaskAt {
        header: task.header,
        id: task.id,
    }
}

/// What a lock is to the interpreter; those of threads are where their word is.
fn lock_of(address: u64, resources: &Resources) -> Lock {
    match resources.kind(address) {
        Some(kind) if is_tokios_lock(kind) => Lock::Semaphore(address),
        Some(ResourceKind::Mpsc) => Lock::Receiver(address),
        _ => Lock::Word(address & !7),
    }
}
