//! Where in tokio a blocked thread stands, by the landmarks on its stack.

use super::landmarks::{Landmark, Landmarks};

/// What a thread drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A worker of a multi-thread runtime.
    Worker,
    /// A current-thread runtime: its tasks and the future of its `block_on`.
    CurrentThread,
    /// The future of a `block_on` beside a multi-thread runtime, and perhaps a
    /// `LocalSet` within it.
    BlockOn,
}

/// Where a blocked thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waits for work.
    Parked(Kind),
    /// In the poll of a task, or of the future that drives a current-thread runtime:
    /// other tasks wait.
    InPoll(Kind),
    /// In the future of `block_on` of a multi-thread runtime: nobody else waits.
    InFuture,
    /// In `block_in_place`: its worker has gone to another thread.
    HandedOver,
    /// A thread of the blocking pool.
    Pool,
    /// In no poll of a task; it may wait for work of tokio's.
    Waits,
    /// In no function of tokio's.
    Elsewhere,
}

/// The call in which the thread is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For events of descriptors.
    Events,
    /// On a futex.
    Futex,
    /// Anything else.
    Other,
}

impl Wait {
    /// By the name of the call.
    pub fn of(call: &str) -> Self {
        match call {
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Self::Events,
            "futex" => Self::Futex,
            _ => Self::Other,
        }
    }
}

/// Where a stack stands whose landmarks are `marks`, innermost first. `parks_apart`
/// as [`Landmarks::parks_apart`].
///
/// The outermost scheduler on the stack counts, up to the poll that it does: what
/// is further inside, another executor perhaps, is inside that poll.
pub fn place(marks: &[Landmark], wait: Wait, parks_apart: bool) -> Place {
    use Landmark::{BlockOn, CurrentThreadPark, InPlace, Park, Poll, Pool, Worker};
    if inlined_scheduler(marks).is_some() {
        return place_by_polls(marks, wait).0;
    }
    let Some(outermost) = marks.iter().rposition(|mark| mark.schedules()) else {
        let pool = marks.iter().any(|m| matches!(m, Pool | Poll));
        return if pool { Place::Pool } else { Place::Elsewhere };
    };
    let (within, outside) = marks.split_at(outermost + 1);
    let poll = poll(marks);
    let own = &within[poll.map_or(0, |poll| poll + 1)..];
    let kind = if own.contains(&Worker) {
        Kind::Worker
    } else if own.iter().all(|m| matches!(m, BlockOn | Park)) {
        Kind::BlockOn
    } else {
        Kind::CurrentThread
    };
    if kind == Kind::BlockOn && outside.contains(&Pool) {
        return Place::Pool;
    }
    if within.contains(&InPlace) {
        return Place::HandedOver;
    }
    // A worker has no future of its own: outside of a poll it waits for work.
    let parked = poll.is_none()
        && (kind == Kind::Worker
            || matches!(within.first(), Some(Park | CurrentThreadPark))
            || wait == Wait::Events
            || (wait == Wait::Futex && !parks_apart));
    match (parked, kind, poll) {
        (true, ..) => Place::Parked(kind),
        (false, Kind::BlockOn, None) => Place::InFuture,
        (false, ..) => Place::InPoll(kind),
    }
}

/// Which of a stack's `marks`, innermost first, is the task's poll that the outermost
/// scheduler does, where there is one; or the one whose scheduler is inlined.
pub fn poll(marks: &[Landmark]) -> Option<usize> {
    if let Some(task) = inlined_scheduler(marks) {
        return Some(task);
    }
    let outermost = marks.iter().rposition(|mark| mark.schedules())?;
    marks[..outermost].iter().rposition(|mark| mark.polls())
}

/// The poll of a task that is further out than all schedulers: its own is inlined in what
/// runs it.
fn inlined_scheduler(marks: &[Landmark]) -> Option<usize> {
    let task = marks.iter().rposition(|mark| *mark == Landmark::Task);
    task.filter(|_| task > marks.iter().rposition(|mark| mark.schedules()))
}

/// Where a stack stands where only the polls of tasks are known, the jobs of the blocking
/// pool, and `block_in_place`; with the index of the outermost task's poll among `marks`.
///
/// The future of `block_on` is not seen, and whether a thread waits for work or for
/// something else is not distinguished. A worker of a multi-thread runtime is itself a
/// job of the pool.
pub fn place_by_polls(marks: &[Landmark], wait: Wait) -> (Place, Option<usize>) {
    let poll = marks.iter().rposition(|mark| mark.polls());
    let job = marks.contains(&Landmark::Pool);
    let place = match poll {
        Some(poll) if marks[..poll].contains(&Landmark::InPlace) => Place::HandedOver,
        Some(poll) if marks[poll..].contains(&Landmark::Pool) => Place::InPoll(Kind::Worker),
        Some(_) => Place::InPoll(Kind::CurrentThread),
        None => match wait {
            Wait::Events => Place::Waits,
            Wait::Futex if job => Place::Waits,
            _ if job => Place::Pool,
            _ => Place::Elsewhere,
        },
    };
    (place, poll)
}

impl Landmark {
    /// A task's poll, if it is no job of the pool.
    fn polls(self) -> bool {
        matches!(self, Self::Poll | Self::Task)
    }

    /// Some scheduler's own function, or one around it.
    fn schedules(self) -> bool {
        matches!(
            self,
            Self::Worker
                | Self::CurrentThread
                | Self::CurrentThreadPark
                | Self::Scoped
                | Self::BlockOn
        )
    }
}

impl Landmarks {
    /// The landmarks of return addresses, as the file counts them.
    pub fn on(&self, addresses: impl Iterator<Item = u64>) -> Vec<Landmark> {
        addresses.filter_map(|address| self.at(address)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table of cases")]
    fn where_a_stack_stands() {
        use Kind::{BlockOn as Main, CurrentThread as Single, Worker as Multi};
        use Landmark::{
            BlockOn, CurrentThread, CurrentThreadPark, InPlace, Park, Poll, Pool, Scoped, Task,
            Worker,
        };
        use Wait::{Events, Futex, Other};
        let cases: [(&str, &[Landmark], Wait, Place); 28] = [
            ("rayon, idle", &[], Futex, Place::Elsewhere),
            (
                "a worker parks on its condition variable",
                &[Park, Worker, Scoped, Worker, Poll, Pool],
                Futex,
                Place::Parked(Multi),
            ),
            (
                "a worker parks in the driver, all of it inlined",
                &[Worker, Scoped, Poll, Pool],
                Events,
                Place::Parked(Multi),
            ),
            (
                "a worker's task sleeps",
                &[Poll, Worker, Worker, Scoped, Worker, Poll, Pool],
                Other,
                Place::InPoll(Multi),
            ),
            (
                "the same where the launch is known to be a job of the pool",
                &[Poll, Worker, Scoped, Worker, Pool, Pool],
                Other,
                Place::InPoll(Multi),
            ),
            (
                "a worker's task blocks on another runtime",
                &[
                    Park,
                    CurrentThread,
                    Scoped,
                    BlockOn,
                    Poll,
                    Worker,
                    Scoped,
                    Worker,
                    Poll,
                    Pool,
                ],
                Events,
                Place::InPoll(Multi),
            ),
            (
                "block_in_place",
                &[InPlace, Poll, Worker, Scoped, Worker, Poll, Pool],
                Other,
                Place::HandedOver,
            ),
            ("the blocking pool, idle", &[Pool], Futex, Place::Pool),
            (
                "a job of the blocking pool",
                &[Poll, Pool],
                Other,
                Place::Pool,
            ),
            (
                "a job that blocks on a future",
                &[Park, BlockOn, BlockOn, Poll, Pool],
                Futex,
                Place::Pool,
            ),
            (
                "a job that drives a runtime of its own",
                &[Park, CurrentThread, Scoped, BlockOn, Poll, Pool],
                Events,
                Place::Parked(Single),
            ),
            (
                "a current-thread runtime parks",
                &[Park, CurrentThreadPark, CurrentThread, Scoped, BlockOn],
                Events,
                Place::Parked(Single),
            ),
            (
                "the same, the driver inlined",
                &[CurrentThreadPark, CurrentThread],
                Events,
                Place::Parked(Single),
            ),
            (
                "all inlined into block_on",
                &[Scoped, BlockOn],
                Events,
                Place::Parked(Single),
            ),
            (
                "a task of a current-thread runtime sleeps",
                &[Poll, CurrentThread, Scoped, CurrentThread, BlockOn],
                Other,
                Place::InPoll(Single),
            ),
            (
                "its main future sleeps",
                &[CurrentThread, Scoped, CurrentThread, BlockOn],
                Other,
                Place::InPoll(Single),
            ),
            (
                "the thread of main waits for its future",
                &[Park, BlockOn, BlockOn],
                Futex,
                Place::Parked(Main),
            ),
            (
                "the future of main sleeps",
                &[BlockOn, BlockOn],
                Other,
                Place::InFuture,
            ),
            (
                "the future of main joins a thread",
                &[BlockOn, BlockOn],
                Futex,
                Place::InFuture,
            ),
            (
                "a task of a LocalSet in main sleeps",
                &[Poll, BlockOn, BlockOn],
                Other,
                Place::InPoll(Main),
            ),
            (
                "a current-thread runtime without drivers parks",
                &[Park, CurrentThread, Scoped, BlockOn],
                Futex,
                Place::Parked(Single),
            ),
            (
                "a job that is all that is known of the pool",
                &[Poll],
                Other,
                Place::Pool,
            ),
            (
                "a task, its scheduler inlined in what runs it",
                &[Task],
                Other,
                Place::InPoll(Single),
            ),
            (
                "the same of a worker",
                &[Task, Pool],
                Other,
                Place::InPoll(Multi),
            ),
            (
                "the same, of which the task blocks on another runtime",
                &[Park, CurrentThread, Scoped, BlockOn, Task],
                Events,
                Place::InPoll(Single),
            ),
            (
                "the same in block_in_place",
                &[InPlace, Task, Pool],
                Other,
                Place::HandedOver,
            ),
            (
                "a task that is known to be one",
                &[Task, Worker, Scoped, Worker, Pool, Pool],
                Futex,
                Place::InPoll(Multi),
            ),
            (
                "a worker parks, its launch is known to be a job",
                &[Park, Worker, Scoped, Worker, Pool, Pool],
                Futex,
                Place::Parked(Multi),
            ),
        ];
        for (name, marks, wait, expected) in cases {
            assert_eq!(place(marks, wait, true), expected, "{name}");
        }
        // Where the wait of block_on has no function of its own, it is not distinguished
        // from a future that waits on a futex: no false alarm.
        let nested: &[Landmark] = &[Park, CurrentThread, BlockOn, Poll, Poll, Worker, Poll, Pool];
        assert_eq!(poll(nested), Some(4));
        assert_eq!(poll(&[Poll, Pool]), None);
        assert_eq!(poll(&[Task, Task, Pool]), Some(1));
        let single: &[Landmark] = &[CurrentThread];
        assert_eq!(place(single, Futex, true), Place::InPoll(Single));
        assert_eq!(place(single, Futex, false), Place::Parked(Single));
        assert_eq!(place(single, Other, false), Place::InPoll(Single));
    }

    #[test]
    fn where_a_stack_stands_by_its_polls_alone() {
        type Case = (
            &'static str,
            &'static [Landmark],
            Wait,
            Place,
            Option<usize>,
        );
        use Landmark::{InPlace, Poll, Pool};
        use Wait::{Events, Futex, Other};
        let multi = Place::InPoll(Kind::Worker);
        let single = Place::InPoll(Kind::CurrentThread);
        let cases: [Case; 12] = [
            (
                "a worker's task sleeps",
                &[Poll, Pool],
                Other,
                multi,
                Some(0),
            ),
            ("the same, on a lock", &[Poll, Pool], Futex, multi, Some(0)),
            (
                "a runtime in a task",
                &[Poll, Poll, Pool],
                Events,
                multi,
                Some(1),
            ),
            ("one thread's task", &[Poll], Other, single, Some(0)),
            ("a job within a task", &[Pool, Poll], Other, single, Some(1)),
            (
                "given away",
                &[InPlace, Poll, Pool],
                Other,
                Place::HandedOver,
                Some(1),
            ),
            (
                "given away outside",
                &[Poll, InPlace, Poll],
                Other,
                Place::HandedOver,
                Some(2),
            ),
            ("around a poll", &[Poll, InPlace], Other, single, Some(0)),
            ("a worker parks", &[Pool], Futex, Place::Waits, None),
            ("a job", &[Pool], Other, Place::Pool, None),
            ("block_on waits", &[], Events, Place::Waits, None),
            ("anybody", &[], Futex, Place::Elsewhere, None),
        ];
        for (name, marks, wait, place, poll) in cases {
            assert_eq!(place_by_polls(marks, wait), (place, poll), "{name}");
        }
    }
}
