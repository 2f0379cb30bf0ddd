//! What is known of one thread, from census to census.

use looptop_procfs::{Signature, SyscallState};
use looptop_symbols::scheduler::{Kind, Place, Snapshot, Ticks, Wait};

use super::Threads;
use crate::evidence;
use crate::ids::Tid;

/// A thread that is nobody's is looked at again after this, and then ever more rarely.
const FIRST_AGAIN_NS: u64 = 1_000_000_000;
/// A poll that computes for so long is looked at more closely: its stack is taken.
const COMPUTES_NS: u64 = 20_000_000;
/// Between two looks at a parked thread that teach where its counters are.
const LEARN_NS: u64 = 50_000_000;
/// Places where one thread waits for work: the driver, its condition variable.
const MAX_PARKS: usize = 4;

/// What is known of one thread that is nobody's.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) standing: Standing,
    /// Times that it was given a CPU, at the last look.
    slices: Option<u64>,
    /// CPU that it had used just before that.
    pub(super) cpu_ns: Option<u64>,
    /// Since when that has not changed.
    pub(super) still_ns: u64,
    /// The place where it is now is judged: not to be looked at before it runs.
    pub(super) judged: bool,
    pub(super) blocked: bool,
    pub(super) parks: Vec<Signature>,
    pub(super) again_ns: u64,
    pub(super) wait_ns: u64,
    pub(super) ticks: Ticks,
    /// The next look that may teach them.
    learn_ns: u64,
    turn: Option<Turn>,
}

/// One turn of a scheduler's loop, for as long as its counters stand still.
#[derive(Debug)]
struct Turn {
    counters: Vec<u32>,
    since_ns: u64,
    /// CPU that the thread had used then.
    cpu_ns: u64,
    /// Whether it is a poll; `None` before its stack was taken.
    polls: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its stack could not be read yet.
    Unread,
    /// No thread of a runtime.
    Nobody,
    Stranger {
        kind: Kind,
        since_ns: u64,
        cpu_ns: u64,
    },
}

/// What a blocked thread waits for.
pub(super) fn wait_in(call: Signature) -> Wait {
    Wait::of(&evidence::name(call.number))
}

impl Seen {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            standing: Standing::Unread,
            slices: None,
            cpu_ns: None,
            still_ns: now_ns,
            judged: false,
            blocked: false,
            parks: Vec::new(),
            again_ns: now_ns,
            wait_ns: FIRST_AGAIN_NS,
            ticks: Ticks::default(),
            learn_ns: now_ns,
            turn: None,
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self.standing {
            Standing::Stranger { kind, .. } => Some(kind),
            Standing::Unread | Standing::Nobody => None,
        }
    }

    /// Its CPU clock says that it has not run since that look.
    pub(super) fn has_not_run(&self, cpu_ns: Option<u64>) -> bool {
        cpu_ns.is_some() && cpu_ns == self.cpu_ns && self.slices.is_some()
    }

    /// Notes how often it ran; true where it has not since the last look.
    pub(super) fn stands_still(&mut self, now_ns: u64, slices: Option<u64>) -> bool {
        let same = slices.is_some() && slices == self.slices;
        if !same {
            self.slices = slices;
            self.still_ns = now_ns;
            self.judged = false;
            self.blocked = false;
        }
        same
    }

    /// It is parked, as `state` says: its scheduler's counters may be learned.
    pub(super) fn learn(
        &mut self,
        tid: Tid,
        state: SyscallState,
        now_ns: u64,
        threads: &mut impl Threads,
    ) {
        let SyscallState::In { sp, .. } = state else {
            return;
        };
        if now_ns < self.learn_ns || !self.ticks.wants() {
            return;
        }
        self.learn_ns = now_ns + LEARN_NS;
        let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
        let snapshot = Snapshot::take(sp, &read);
        let stayed = threads.syscall(tid) == state
            && threads.sched_often(tid).map(|s| s.slices) == self.slices;
        if stayed {
            self.ticks.learn(snapshot);
        }
    }

    /// Since when it is in one poll that has computed for some time, if it is.
    pub(super) fn computes(
        &mut self,
        tid: Tid,
        now_ns: u64,
        threads: &mut impl Threads,
    ) -> Option<u64> {
        let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
        let Some(counters) = self.ticks.now(&read) else {
            self.turn = None;
            return None;
        };
        let cpu_ns = threads.cpu_ns(tid)?;
        let turn = match &mut self.turn {
            Some(turn) if turn.counters == counters => turn,
            other => other.insert(Turn {
                counters,
                since_ns: now_ns,
                cpu_ns,
                polls: None,
            }),
        };
        if turn.polls.is_none() && cpu_ns.saturating_sub(turn.cpu_ns) >= COMPUTES_NS {
            let place = threads.place(tid, Wait::Other);
            let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
            // The stack may have been taken in the next turn.
            let same = self.ticks.now(&read).as_ref() == Some(&turn.counters);
            if let Some(place) = place.filter(|_| same) {
                turn.polls = Some(matches!(
                    place,
                    Place::InPoll(Kind::Worker | Kind::CurrentThread)
                ));
            }
        }
        (turn.polls == Some(true)).then_some(turn.since_ns)
    }

    /// Draws the conclusion from where it stands.
    pub(super) fn judge(
        &mut self,
        place: Place,
        state: SyscallState,
        now_ns: u64,
        cpu_ns: Option<u64>,
    ) {
        self.judged = true;
        self.blocked = matches!(place, Place::InPoll(_));
        let kind = match place {
            Place::Parked(kind) | Place::InPoll(kind) => Some(kind),
            Place::InFuture => Some(Kind::BlockOn),
            // It drove a worker before it entered: it is still a stranger then.
            Place::HandedOver => self.kind(),
            Place::Pool | Place::Waits | Place::Elsewhere => None,
        };
        let unchanged = kind == self.kind();
        self.standing = match kind {
            Some(_) if unchanged => self.standing,
            Some(kind) => Standing::Stranger {
                kind,
                since_ns: now_ns,
                cpu_ns: cpu_ns.unwrap_or_default(),
            },
            None if place == Place::HandedOver => self.standing,
            None => Standing::Nobody,
        };
        if let (Place::Parked(_), Some(signature)) = (place, Signature::of(state)) {
            if self.parks.len() == MAX_PARKS {
                self.parks.remove(0);
            }
            self.parks.push(signature);
        }
    }
}
