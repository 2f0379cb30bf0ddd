//! The thread that reads where tasks wait.
//!
//! It takes each listing from the thread that lists, and reads chains of it within a
//! budget; more at first, so that something is there within a second. It looks at the
//! threads once a second, and at once when somebody is seen to wait for a lock.

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
};
use looptop_symbols::Resolver;
use tokio::sync::mpsc;

use super::{
    driver::{Message, OwnCpu, What},
    seen::Waits,
    stop::Stop,
};

/// The share of a core that reading may take: after so many times as long as one turn took
/// comes the next.
const REST: u32 = 9;
/// No rest is longer: what takes much longer than a turn (a program's types, read once)
/// does not come again.
const MOST_REST: Duration = Duration::from_millis(500);
/// One turn reads for so long, the first ones longer.
const TURN: Duration = Duration::from_millis(20);
const FIRST_TURN: Duration = Duration::from_millis(150);
const FIRST_TURNS: u32 = 2;
/// Between two looks at the threads, at most; and at least, while some wait for a lock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
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
    desk: Arc<Desk>,
    out: mpsc::Sender<Message>,
    stop: Stop,
) -> io::Result<()> {
    let subject = subject.clone();
    let waits = thread::Builder::new().name("looptop-waits".into());
    // What names stacks stays on its thread.
    waits.spawn(move || {
        waiting::give_way();
        let resolver = Resolver::new(Some(subject.pid()));
        let live = LiveProcess::new(&subject);
        let reader = Reader {
            waiting: Waiting::new(live, types, resolver),
            subject,
            desk,
            out,
            stop,
            cpu: OwnCpu::default(),
            pending: Pending::default(),
            has_asked: false,
            asks: 0,
            turns: 0,
            next_turn: Instant::now(),
            looked: None,
            said: None,
        };
        reader.run();
    })?;
    Ok(())
}

struct Reader {
    waiting: Waiting<LiveProcess>,
    subject: Subject,
    desk: Arc<Desk>,
    out: mpsc::Sender<Message>,
    stop: Stop,
    cpu: OwnCpu,
    /// What is to be taken in when it is time for a turn.
    pending: Pending,
    /// A listing was asked for, which is taken in as soon as it comes.
    has_asked: bool,
    /// How often, since nobody held a lock for which a thread waits.
    asks: u32,
    turns: u32,
    next_turn: Instant,
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
            let began = Instant::now();
            if began >= self.next_turn {
                self.turn();
                let first = self.turns < FIRST_TURNS;
                let rest = if first { 1 } else { REST };
                let rest = (began.elapsed() * rest).min(MOST_REST);
                self.next_turn = Instant::now() + rest;
            }
            if !self.send(false) || self.look().is_none() {
                return;
            }
        }
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
        let turn = if self.waiting.is_behind() || self.pending.listing.is_some() {
            self.next_turn.saturating_duration_since(now)
        } else {
            LOOK_EVERY
        };
        // So soon it ends.
        look.min(turn).min(ALIVE_EVERY)
    }

    /// Reads some of the tasks.
    fn turn(&mut self) {
        self.take_listing();
        if self.waiting.is_behind() {
            self.turns = self.turns.saturating_add(1);
            let first = self.turns <= FIRST_TURNS;
            self.waiting.read(if first { FIRST_TURN } else { TURN });
        }
    }

    fn take_listing(&mut self) {
        if let Some(listing) = self.pending.listing.take() {
            let have_run = mem::take(&mut self.pending.have_run);
            let listed = (listing.tasks, listing.lacks);
            self.waiting.take_listing(listed, &have_run, listing.at);
        }
    }

    /// Looks at the threads, where it is time for that; `None` once the process is no
    /// longer what it was, or nobody listens.
    fn look(&mut self) -> Option<()> {
        let now = Instant::now();
        let some_wait = self.pending.some_wait || self.waiting.threads_wait();
        let some_wait = some_wait || self.waiting.wants_look();
        let every = if some_wait { LOOK_AGAIN } else { LOOK_EVERY };
        let due = |at: Instant| now.saturating_duration_since(at) >= every;
        if !self.looked.is_none_or(due) {
            return Some(());
        }
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
        self.send(some_wait).then_some(())
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
