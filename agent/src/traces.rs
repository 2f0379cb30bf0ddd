//! The ids of the trace to which a stalled poll belongs, where the application traces with
//! `tracing-opentelemetry` and has the agent's layer beside.
//!
//! Only the thread that has entered a span may ask for its ids without a race, and to do so
//! at each entry would cost more than to watch the poll. So the watchdog, which sees that a
//! poll lasts, leaves a question in the thread's [`Place`], and the thread answers it at its
//! next entry or exit of a span, before that changes anything: whatever was entered when it
//! was asked still is. Otherwise an entry costs an addition to a list of the thread's own,
//! and the look whether somebody asks.
//!
//! A poll that never goes on is never asked about its trace, which has not ended then either.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize};

use crate::ids::Tid;
use crate::stall::TraceIds;

/// Threads that enter spans and can be asked.
const PLACES: usize = 1_024;
/// Spans that are entered within each other and remembered; those within are not.
const DEPTH: usize = 16;

static TABLE: [Place; PLACES] = [const { Place::new() }; PLACES];
/// Places from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The newest question's.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Where a thread is asked, and answers.
#[derive(Debug)]
#[repr(align(64))]
struct Place {
    /// 0 while nobody has it.
    tid: AtomicU64,
    /// The question, 0 for none.
    asked: AtomicU64,
    /// The question that was answered last; what follows is the answer.
    answered: AtomicU64,
    /// All 0 where there was no trace.
    trace: [AtomicU64; 2],
    span: AtomicU64,
    flags: AtomicU8,
}

impl Place {
    const fn new() -> Self {
        Self {
            tid: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            trace: [AtomicU64::new(0), AtomicU64::new(0)],
            span: AtomicU64::new(0),
            flags: AtomicU8::new(0),
        }
    }

    /// A free place for the calling thread.
    fn claim(tid: u64) -> Option<&'static Self> {
        let free = |place: &Place| place.tid.compare_exchange(0, tid, Acquire, Relaxed).is_ok();
        let index = TABLE.iter().position(free)?;
        TABLE[index].asked.store(0, Relaxed);
        // Release: who sees the new bound may read the places below it.
        USED.fetch_max(index + 1, Release);
        Some(&TABLE[index])
    }

    fn of(tid: Tid) -> Option<&'static Self> {
        let mut used = TABLE[..USED.load(Acquire)].iter();
        used.find(|place| place.tid.load(Relaxed) == tid.0)
    }

    /// Called by the owner only.
    fn answer(&self, ids: Option<TraceIds>) {
        let question = self.asked.load(Acquire);
        let (trace, span, flags) = ids.map_or((0, 0, 0), |ids| {
            let trace = u128::from_be_bytes(ids.trace);
            (trace, u64::from_be_bytes(ids.span), ids.flags)
        });
        self.trace[0].store((trace >> 64) as u64, Relaxed);
        self.trace[1].store(trace as u64, Relaxed);
        self.span.store(span, Relaxed);
        self.flags.store(flags, Relaxed);
        // Release: who sees that it is answered sees the answer.
        self.answered.store(question, Release);
        let _ = self.asked.compare_exchange(question, 0, Relaxed, Relaxed);
    }

    fn answer_to(&self, question: u64) -> Option<TraceIds> {
        // Acquire: with what was stored before.
        if self.answered.load(Acquire) != question {
            return None;
        }
        let trace = self.trace.each_ref().map(|half| half.load(Relaxed));
        let ids = TraceIds {
            trace: (u128::from(trace[0]) << 64 | u128::from(trace[1])).to_be_bytes(),
            span: self.span.load(Relaxed).to_be_bytes(),
            flags: self.flags.load(Relaxed),
        };
        (trace != [0, 0]).then_some(ids)
    }
}

/// What the watchdog wants to know of one poll.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// 0 before it is asked.
    number: u64,
    place: Option<&'static Place>,
    answer: Option<TraceIds>,
}

impl Question {
    /// Asks the thread that polls; once.
    pub(crate) fn ask(&mut self, tid: Option<Tid>) {
        if self.place.is_some() {
            return;
        }
        // A thread without a place has never entered a span.
        if let Some(place) = tid.and_then(Place::of) {
            self.number = LAST.fetch_add(1, Relaxed) + 1;
            self.place = Some(place);
            place.asked.store(self.number, Release);
        }
    }

    /// What the thread has answered until now.
    pub(crate) fn answer(&mut self) -> Option<TraceIds> {
        if let (None, Some(place)) = (self.answer, self.place) {
            self.answer = place.answer_to(self.number);
        }
        self.answer
    }
}

impl Drop for Question {
    /// The poll is over: what the thread enters now is another's.
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let asked = &place.asked;
            let _ = asked.compare_exchange(self.number, 0, Relaxed, Relaxed);
        }
    }
}

/// What a thread knows of itself.
struct Here {
    place: Cell<Option<&'static Place>>,
    /// It was looked for.
    claimed: Cell<bool>,
    /// Spans that are entered; of those within [`DEPTH`] the ids.
    depth: Cell<usize>,
    spans: [Cell<u64>; DEPTH],
}

thread_local! {
    static HERE: Here = const {
        Here {
            place: Cell::new(None),
            claimed: Cell::new(false),
            depth: Cell::new(0),
            spans: [const { Cell::new(0) }; DEPTH],
        }
    };
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.tid.store(0, Release);
        }
    }
}

impl Here {
    #[inline]
    fn is_asked(&self) -> bool {
        let place = self.place.get();
        place.is_some_and(|place| place.asked.load(Relaxed) != 0)
    }

    /// Answers with the innermost span that has a trace.
    #[cold]
    #[inline(never)]
    fn answer(&self, ids_of: &dyn Fn(u64) -> Option<TraceIds>) {
        let Some(place) = self.place.get() else {
            return;
        };
        let entered = &self.spans[..self.depth.get().min(DEPTH)];
        let ids = entered.iter().rev().find_map(|span| ids_of(span.get()));
        place.answer(ids);
    }

    #[cold]
    #[inline(never)]
    fn claim(&self) {
        self.claimed.set(true);
        let tid = crate::thread_clock::current_tid();
        self.place.set(tid.and_then(|tid| Place::claim(tid.0)));
    }

    #[inline]
    fn push(&self, span: u64) {
        let depth = self.depth.get();
        if let Some(place) = self.spans.get(depth) {
            place.set(span);
        }
        self.depth.set(depth + 1);
    }

    #[inline]
    fn pop(&self, span: u64) {
        let Some(last) = self.depth.get().checked_sub(1) else {
            return;
        };
        if self.spans.get(last).is_none_or(|top| top.get() == span) {
            self.depth.set(last);
        } else {
            self.pop_below(last, span);
        }
    }

    /// Spans may be left in another order than they were entered.
    #[cold]
    fn pop_below(&self, last: usize, span: u64) {
        let mut below = self.spans[..last].iter();
        let Some(at) = below.rposition(|entered| entered.get() == span) else {
            return;
        };
        for next in at..last {
            self.spans[next].set(self.spans[next + 1].get());
        }
        self.depth.set(last);
    }
}

/// A span is entered on this thread. `ids_of` finds the trace of one that is entered here.
#[inline]
pub(crate) fn entered(span: u64, ids_of: &dyn Fn(u64) -> Option<TraceIds>) {
    // A thread that ends has no list any more.
    let _ = HERE.try_with(|here| {
        if here.is_asked() {
            here.answer(ids_of);
        }
        if !here.claimed.get() {
            here.claim();
        }
        here.push(span);
    });
}

/// A span is left on this thread, and is still there.
#[inline]
pub(crate) fn left(span: u64, ids_of: &dyn Fn(u64) -> Option<TraceIds>) {
    let _ = HERE.try_with(|here| {
        if here.is_asked() {
            here.answer(ids_of);
        }
        here.pop(span);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread_clock::current_tid;

    fn ids(trace: u8, span: u64) -> TraceIds {
        TraceIds {
            trace: [trace; 16],
            span: span.to_be_bytes(),
            flags: 1,
        }
    }

    /// Spans below 100 have no trace.
    fn ids_of(span: u64) -> Option<TraceIds> {
        (span >= 100).then(|| ids(9, span))
    }

    /// A question to this thread.
    fn ask() -> Question {
        let mut question = Question::default();
        question.ask(current_tid());
        question
    }

    /// Runs on a thread that has entered no span.
    fn on_a_thread(test: fn()) {
        std::thread::spawn(test).join().expect("it passes");
    }

    #[test]
    fn the_thread_answers_with_what_was_entered_when_it_was_asked() {
        on_a_thread(|| {
            assert!(ask().place.is_none(), "it has entered nothing yet");
            entered(100, &ids_of);
            entered(5, &ids_of);
            let mut at_exit = ask();
            assert_eq!(at_exit.answer(), None);
            left(5, &ids_of);
            assert_eq!(at_exit.answer(), Some(ids(9, 100)));
            let mut at_entry = ask();
            entered(101, &ids_of);
            assert_eq!(at_entry.answer(), Some(ids(9, 100)));
            let mut later = ask();
            left(101, &ids_of);
            assert_eq!(later.answer(), Some(ids(9, 101)));
            // What was answered stays so.
            assert_eq!(at_entry.answer(), Some(ids(9, 100)));
            left(100, &ids_of);
        });
    }

    #[test]
    fn nobody_gets_the_trace_of_another_poll() {
        on_a_thread(|| {
            entered(100, &ids_of);
            left(100, &ids_of);
            let mut without = ask();
            // The next poll.
            entered(101, &ids_of);
            assert_eq!(without.answer(), None);
            let place = current_tid().and_then(Place::of).expect("a place");
            let withdrawn = ask();
            assert_eq!(place.asked.load(Relaxed), withdrawn.number);
            drop(withdrawn);
            assert_eq!(place.asked.load(Relaxed), 0);
            left(101, &ids_of);
            assert_eq!(without.answer(), None);
        });
    }

    #[test]
    fn spans_are_left_in_any_order_and_as_deep_as_they_like() {
        entered(100, &ids_of);
        entered(101, &ids_of);
        entered(102, &ids_of);
        left(100, &ids_of);
        left(102, &ids_of);
        let mut question = ask();
        left(101, &ids_of);
        assert_eq!(question.answer(), Some(ids(9, 101)));
        let deep = 3 * DEPTH as u64;
        for span in 0..deep {
            entered(200 + span, &ids_of);
        }
        let mut question = ask();
        for span in (0..deep).rev() {
            left(200 + span, &ids_of);
        }
        let deepest = 200 + DEPTH as u64 - 1;
        assert_eq!(question.answer(), Some(ids(9, deepest)));
        HERE.with(|here| assert_eq!(here.depth.get(), 0));
    }

    #[test]
    fn a_thread_that_ends_gives_its_place_back() {
        let ended = std::thread::spawn(|| {
            entered(100, &ids_of);
            let own = current_tid();
            assert!(own.and_then(Place::of).is_some());
            left(100, &ids_of);
            own
        });
        let tid = ended.join().expect("it ends");
        assert!(tid.and_then(Place::of).is_none());
    }
}
