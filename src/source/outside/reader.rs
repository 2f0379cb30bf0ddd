//! The thread that reads where tasks wait.
//!
//! It takes each listing from the thread that lists, and reads chains of it within a
//! budget; more at first, so that something is there within a second, and without a rest
//! where one answer is wanted soon ([`Effort`]). It looks at the threads once a second, and
//! at once when somebody is seen to wait for a lock.

use std::{
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use looptop_outside::{
    Subject,
    tasks::{AddressSet, Listing, Task, Types},
    waiting::{self, LiveProcess, ReadSoFar, Waiting},
    waits::LISTED_OFTEN,
};
use looptop_symbols::Resolver;
use tokio::sync::mpsc;

use super::{
    driver::{Message, What},
    seen::Waits,
    stop::Stop,
};
use crate::source::{
    Effort, Options,
    budget::{self, Budget, ThreadCpu},
};

/// The share of a core that reading may take for somebody who watches: after so many times
/// as long as one turn took comes the next.
const REST: u32 = 9;
/// Without rests at first it reads no longer than this.
const AT_FIRST: Duration = Duration::from_secs(15);
/// The same of more than [`LISTED_OFTEN`], once it has read for [`BEGINS`], unless something
/// is urgent: of so many some have run whenever one looks.
const REST_OF_MANY: u32 = 66;
const BEGINS: Duration = Duration::from_secs(3);
/// No rest is longer: what takes much longer than a turn (a program's types, read once)
/// does not come again.
const MOST_REST: Duration = Duration::from_millis(500);
const MOST_REST_OF_MANY: Duration = Duration::from_secs(4);
/// One turn reads for so long, the first ones longer.
const TURN: Duration = Duration::from_millis(20);
const FIRST_TURN: Duration = Duration::from_millis(150);
const FIRST_TURNS: u32 = 2;
/// Between two looks at the threads, at most; and at least, while some wait for a lock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How much may be read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) effort: Effort,
    /// Shared with others, whose turns come between.
    pub(super) budget: Option<Budget>,
}

impl Reading {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            effort: options.effort,
            budget: options.budget.clone(),
        }
    }
}

/// How one turn goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    reads_for: Duration,
    /// After so many times as long as it took comes the next, and no later than that.
    rest: u32,
    most_rest: Duration,
}

/// The turn after so many others; `is_eased` where the target has many tasks, and has been
/// read for a while.
fn turn(effort: Effort, turns: u32, is_eased: bool) -> Turn {
    let is_first = turns < FIRST_TURNS;
    let (reads_for, rest, most_rest) = match effort {
        Effort::Full | Effort::FullAtFirst => (FIRST_TURN, 0, MOST_REST),
        Effort::Sparing if is_first => (FIRST_TURN, 1, MOST_REST),
        Effort::Sparing if is_eased => (TURN, REST_OF_MANY, MOST_REST_OF_MANY),
        Effort::Sparing => (TURN, REST, MOST_REST),
    };
    Turn {
        reads_for,
        rest,
        most_rest,
    }
}

/// What is left of an effort after so long.
fn effort_after(effort: Effort, is_complete: bool, reads_since: Duration) -> Effort {
    match effort {
        Effort::FullAtFirst if is_complete || reads_since >= AT_FIRST => Effort::Sparing,
        effort => effort,
    }
}

impl Turn {
    fn rest_after(self, took: Duration) -> Duration {
        (took * self.rest).min(self.most_rest)
    }
}

/// Of a holder that is not found so many listings are made before their time.
const MOST_ASKS: u32 = 8;
/// It is asked at least so often whether it is to end.
const ALIVE_EVERY: Duration = Duration::from_millis(200);
/// Between two words, at least, unless somebody waits for a lock.
const SEND_EVERY: Duration = Duration::from_millis(100);

/// What the other threads let this one know.
#[derive(Debug, Default)]
pub(super) struct Desk {
    now: Mutex<Pending>,
    news: Condvar,
    /// A listing is wanted before its time.
    wants_listing: Mutex<bool>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    listing: Option<Listed>,
    /// Tasks that have run since the newest listing that was taken.
    have_run: AddressSet,
    /// A thread stalls that waits for a lock.
    some_wait: bool,
}

#[derive(Debug)]
struct Listed {
    tasks: Arc<[Task]>,
    /// Those that it should have and does not.
    lacks: u64,
    at: Instant,
}

impl Pending {
    fn add(&mut self, news: Self) {
        self.listing = news.listing.or(self.listing.take());
        self.have_run.extend(news.have_run);
        self.some_wait |= news.some_wait;
    }
}

impl Desk {
    /// There is a newer listing.
    pub(super) fn listed(&self, listing: &Listing, have_run: &AddressSet, at: Instant) {
        let mut pending = self.lock();
        pending.listing = Some(Listed {
            tasks: listing.tasks.as_slice().into(),
            lacks: listing.lacks(),
            at,
        });
        pending.have_run.extend(have_run);
        drop(pending);
        self.news.notify_one();
    }

    /// A thread stalls that waits for a lock: who holds it is to be seen now.
    pub(super) fn some_wait(&self) {
        self.lock().some_wait = true;
        self.news.notify_one();
    }

    /// The newest listing is too old: who holds a lock for which somebody waits is not in it.
    fn ask_for_listing(&self) {
        *self.wanted() = true;
        self.asked.notify_one();
    }

    /// Rests until `due`, or from `soonest` on until somebody asks for a listing; `true`
    /// once it is time to end.
    pub(super) fn rest(&self, due: Instant, soonest: Instant, stop: &Stop) -> bool {
        *self.wanted() = false;
        loop {
            let now = Instant::now();
            if stop.is_due() || now >= due {
                return stop.is_due();
            }
            // So soon it ends.
            let rest = due.saturating_duration_since(now).min(ALIVE_EVERY);
            let slept = self
                .asked
                .wait_timeout_while(self.wanted(), rest, |wanted| !*wanted);
            let (wanted, _) = slept.unwrap_or_else(PoisonError::into_inner);
            if *wanted {
                drop(wanted);
                return stop.sleep_until(due.min(soonest));
            }
        }
    }

    fn wanted(&self) -> MutexGuard<'_, bool> {
        let wanted = self.wants_listing.lock();
        wanted.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done, once there is something, or after `rest`.
    fn wait(&self, rest: Duration) -> Pending {
        let pending = self.lock();
        let nothing = |pending: &mut Pending| pending.listing.is_none() && !pending.some_wait;
        let waited = self.news.wait_timeout_while(pending, rest, nothing);
        let (mut pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *pending)
    }
}

/// Begins to read; what is read goes to `out`.
pub(super) fn start(
    subject: &Subject,
    types: Arc<Types>,
    (desk, Reading { effort, budget }): (Arc<Desk>, Reading),
    out: mpsc::Sender<Message>,
    stop: Stop,
) -> io::Result<()> {
    let subject = subject.clone();
    let waits = thread::Builder::new().name("looptop-waits".into());
    // What names stacks stays on its thread.
    waits.spawn(move || {
        waiting::give_way();
        let ends = || stop.is_due();
        let Some(turn) = budget::turn_for_once(budget.as_ref(), ends) else {
            return;
        };
        let resolver = Resolver::new(Some(subject.pid()));
        let live = LiveProcess::new(&subject);
        let mut waiting = Waiting::new(live, types, resolver);
        drop(turn);
        if effort == Effort::Full {
            waiting.search_often();
        }
        let reader = Reader {
            waiting,
            effort,
            budget,
            began: Instant::now(),
            subject,
            desk,
            out,
            stop,
            cpu: ThreadCpu::default(),
            pending: Pending::default(),
            has_asked: false,
            asks: 0,
            turns: 0,
            last_turn: None,
            looked: None,
            said: None,
        };
        reader.run();
    })?;
    Ok(())
}

struct Reader {
    waiting: Waiting<LiveProcess>,
    effort: Effort,
    budget: Option<Budget>,
    began: Instant,
    subject: Subject,
    desk: Arc<Desk>,
    out: mpsc::Sender<Message>,
    stop: Stop,
    cpu: ThreadCpu,
    /// What is to be taken in when it is time for a turn.
    pending: Pending,
    /// A listing was asked for, which is taken in as soon as it comes.
    has_asked: bool,
    /// How often, since nobody held a lock for which a thread waits.
    asks: u32,
    turns: u32,
    /// When the newest turn ended, how long it took, and how many there were before it.
    last_turn: Option<(Instant, Duration, u32)>,
    looked: Option<Instant>,
    /// What was said last of how much was read, and when.
    said: Option<(ReadSoFar, Instant)>,
}

impl Reader {
    fn run(mut self) {
        loop {
            let news = self.desk.wait(self.rest(Instant::now()));
            self.pending.add(news);
            if self.stop.is_due() {
                return;
            }
            if self.has_asked && self.pending.listing.is_some() {
                self.has_asked = false;
                self.take_listing();
                // It may have the holder.
                self.looked = None;
            }
            if self.work().is_none() {
                return;
            }
        }
    }

    /// Reads and looks, where it is time for that, and sends what is new; `None` once it
    /// should end.
    fn work(&mut self) -> Option<()> {
        let now = Instant::now();
        if !self.is_to_read(now) && !self.is_to_look(now, self.some_wait()) {
            return self.send(false).then_some(());
        }
        let (budget, stop) = (self.budget.clone(), self.stop.clone());
        let has_turn = budget::turn(budget.as_ref(), || stop.is_due())?;
        let began = Instant::now();
        if self.is_to_read(began) {
            let turns = self.turns;
            let turn = turn(self.effort, turns, self.is_eased(began));
            self.turn(turn.reads_for);
            self.last_turn = Some((Instant::now(), began.elapsed(), turns));
        }
        let some_wait = self.some_wait();
        let looks = self.is_to_look(Instant::now(), some_wait);
        if looks {
            self.look()?;
        }
        // It may take long until somebody takes what was found.
        drop(has_turn);
        self.send(looks && some_wait).then_some(())
    }

    /// How long nothing is to be done.
    fn rest(&self, now: Instant) -> Duration {
        let look = if self.waiting.threads_wait() || self.waiting.wants_look() {
            LOOK_AGAIN
        } else {
            LOOK_EVERY
        };
        let look = self.looked.map_or(Duration::ZERO, |at| {
            (at + look).saturating_duration_since(now)
        });
        let turn = if self.has_something() {
            self.next_turn(now).saturating_duration_since(now)
        } else {
            LOOK_EVERY
        };
        // So soon it ends.
        look.min(turn).min(ALIVE_EVERY)
    }

    /// There are many tasks, which were read for a while, and nothing is urgent.
    fn is_eased(&self, now: Instant) -> bool {
        let has_begun = now.saturating_duration_since(self.began) >= BEGINS;
        has_begun && self.waiting.tasks() > LISTED_OFTEN && !self.waiting.is_urgent()
    }

    /// When the next turn is due, as it is now: what has become urgent is not rested for.
    fn next_turn(&self, now: Instant) -> Instant {
        self.last_turn.map_or(now, |(ended, took, turns)| {
            ended + turn(self.effort, turns, self.is_eased(now)).rest_after(took)
        })
    }

    fn has_something(&self) -> bool {
        self.waiting.is_behind() || self.pending.listing.is_some()
    }

    fn is_to_read(&self, now: Instant) -> bool {
        now >= self.next_turn(now) && self.has_something()
    }

    fn some_wait(&self) -> bool {
        self.pending.some_wait || self.waiting.threads_wait() || self.waiting.wants_look()
    }

    fn is_to_look(&self, now: Instant, some_wait: bool) -> bool {
        let every = if some_wait { LOOK_AGAIN } else { LOOK_EVERY };
        let due = |at: Instant| now.saturating_duration_since(at) >= every;
        self.looked.is_none_or(due)
    }

    /// Reads some of the tasks.
    fn turn(&mut self, reads_for: Duration) {
        self.take_listing();
        if self.waiting.is_behind() {
            self.waiting.read(reads_for);
            self.turns = self.turns.saturating_add(1);
        }
    }

    fn take_listing(&mut self) {
        if let Some(listing) = self.pending.listing.take() {
            let have_run = mem::take(&mut self.pending.have_run);
            let listed = (listing.tasks, listing.lacks);
            self.waiting.take_listing(listed, &have_run, listing.at);
        }
    }

    /// Looks at the threads; `None` once the process is no longer what it was.
    fn look(&mut self) -> Option<()> {
        let now = Instant::now();
        self.subject.unchanged().ok()?;
        self.pending.some_wait = false;
        self.waiting.look_at_threads(now);
        self.looked = Some(Instant::now());
        if !self.waiting.seeks_holder() {
            self.asks = 0;
        } else if self.asks < MOST_ASKS {
            self.asks += 1;
            self.has_asked = true;
            self.desk.ask_for_listing();
        }
        Some(())
    }

    /// Sends what is new; `false` once nobody listens.
    fn send(&mut self, at_once: bool) -> bool {
        let now = Instant::now();
        let due = |at: Instant| now.saturating_duration_since(at) >= SEND_EVERY;
        let rested = self.said.as_ref().is_none_or(|(_, at)| due(*at));
        // A slow consumer gets all of it with the next.
        if !(at_once || rested) || self.out.capacity() == 0 {
            return !self.out.is_closed();
        }
        let found = self.waiting.take();
        let is_complete = found.read.is_complete;
        self.effort = effort_after(self.effort, is_complete, self.began.elapsed());
        let as_before = self
            .said
            .as_ref()
            .is_some_and(|(read, _)| *read == found.read);
        if found.is_empty() && as_before {
            return true;
        }
        self.said = Some((found.read.clone(), now));
        let message = Message {
            at: now,
            what: What::Waits(Box::new(Waits {
                found,
                at: now,
                cpu_ns: self.cpu.used_ns(),
            })),
        };
        self.out.blocking_send(message).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lists_rests_until_it_is_time_or_somebody_asks() {
        let (desk, stop) = (Arc::new(Desk::default()), Stop::default());
        let now = Instant::now();
        assert!(!desk.rest(now, now, &stop), "it is time");
        let asks = thread::spawn({
            let desk = Arc::clone(&desk);
            move || {
                // As often as it takes: what was asked before the rest began is forgotten.
                while Arc::strong_count(&desk) > 1 {
                    desk.ask_for_listing();
                    thread::yield_now();
                }
            }
        });
        let later = now + Duration::from_mins(10);
        assert!(!desk.rest(later, now, &stop), "somebody asks");
        assert!(Instant::now() < later);
        stop.now();
        assert!(desk.rest(later, later, &stop), "it ends");
        drop(desk);
        asks.join().unwrap();
    }

    #[test]
    fn who_watches_is_read_for_with_rests_and_one_answer_without() {
        let took = Duration::from_millis(30);
        // How many turns there were, whether there are many tasks, for how long the next
        // reads, and the rest after it.
        for (effort, turns, is_eased, reads_for, rest) in [
            (Effort::Sparing, 0, false, 150, 30),
            (Effort::Sparing, 1, true, 150, 30),
            (Effort::Sparing, 2, false, 20, 270),
            (Effort::Sparing, 2, true, 20, 1_980),
            (Effort::Full, 0, false, 150, 0),
            (Effort::Full, 9, true, 150, 0),
            (Effort::FullAtFirst, 9, true, 150, 0),
        ] {
            let turn = turn(effort, turns, is_eased);
            let found = (
                turn.reads_for.as_millis(),
                turn.rest_after(took).as_millis(),
            );
            assert_eq!(found, (reads_for, rest), "{effort:?} after {turns}");
        }
        for (is_eased, expected) in [(false, MOST_REST), (true, MOST_REST_OF_MANY)] {
            let long = turn(Effort::Sparing, 2, is_eased).rest_after(Duration::from_secs(3));
            assert_eq!(long, expected, "a program's types do not come again");
        }
    }

    #[test]
    fn reading_without_rests_at_first_ends() {
        use Effort::{Full, FullAtFirst, Sparing};
        for (before, is_complete, seconds, expected) in [
            (FullAtFirst, false, 14, FullAtFirst),
            (FullAtFirst, true, 1, Sparing),
            (FullAtFirst, false, 15, Sparing),
            (Full, true, 99, Full),
            (Sparing, false, 0, Sparing),
        ] {
            let after = effort_after(before, is_complete, Duration::from_secs(seconds));
            assert_eq!(after, expected, "{before:?} after {seconds} s");
        }
    }

    #[test]
    fn the_newest_listing_is_taken_with_all_that_have_run_meanwhile() {
        let desk = Desk::default();
        let at = Instant::now();
        for header in [16, 32] {
            let mut have_run = AddressSet::default();
            have_run.insert(header);
            let listing = Listing::default();
            desk.listed(&listing, &have_run, at + Duration::from_secs(header));
        }
        let mut pending = desk.wait(Duration::ZERO);
        let mut have_run = AddressSet::default();
        have_run.insert(48);
        desk.listed(&Listing::default(), &have_run, at + Duration::from_secs(64));
        desk.some_wait();
        pending.add(desk.wait(Duration::ZERO));
        assert_eq!(pending.have_run.len(), 3);
        assert!(pending.some_wait);
        let taken = pending.listing.map(|listing| listing.at);
        assert_eq!(taken, Some(at + Duration::from_secs(64)));
        let nothing = desk.wait(Duration::ZERO);
        assert!(nothing.listing.is_none() && nothing.have_run.is_empty());
    }
}
