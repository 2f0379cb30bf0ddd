//! Connections: who is at the other end, how many there are, and which are closed.
//!
//! A connection waits until it has made a call that it may make; then it is served. As
//! many may wait as there is room for, the oldest makes room for a new one, and none
//! waits for long. So whoever connects and says nothing takes nobody's place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use looptop_procfs::{Connection, TcpOwners};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limits::{ASKING_SHARE, Allowance, FIRST_CALL, IDLE, SERVED, WAITING};
use crate::access::counts::{Closed, Declined};
use crate::access::refusal::Refusal;
use crate::access::{Peer, Permission, User, judge, uid};
use crate::shared::Shared;
use crate::sync::lock;
use crate::thread_clock::{current_tid, thread_cpu_ns};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The Unix socket, with the user whom the kernel names.
    Socket(Option<u32>),
    /// This machine, by its loopback addresses.
    Loopback(Connection),
    /// Elsewhere.
    Network,
}

/// What of gRPC's statuses says why a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `UNAUTHENTICATED`: a token would change it.
    WantsToken,
    /// `PERMISSION_DENIED`.
    Forbidden,
    /// `RESOURCE_EXHAUSTED`: later perhaps.
    Exhausted,
}

/// Why a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Who asks may not look.
    Refused(Refusal),
    /// There are too many already.
    Declined(Declined),
}

impl Denied {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Refused(refusal) if refusal.wants_token() => Kind::WantsToken,
            Self::Refused(Refusal::Crowd) | Self::Declined(_) => Kind::Exhausted,
            Self::Refused(_) => Kind::Forbidden,
        }
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Declined(declined) => declined.fmt(f),
        }
    }
}

/// What all connections share.
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    began: Instant,
    /// Those that wait, by the listener, the oldest first.
    waiting: Mutex<[VecDeque<Waiting>; 2]>,
    served: AtomicUsize,
    ids: AtomicU64,
    owners: OnceLock<TcpOwners>,
    /// Seconds of CPU in which the kernel may be asked.
    asking: Mutex<Allowance>,
}

struct Waiting {
    id: u64,
    /// The connection is closed when this is dropped.
    _open: oneshot::Sender<()>,
}

impl Door {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            began: Instant::now(),
            waiting: Mutex::default(),
            served: AtomicUsize::new(0),
            ids: AtomicU64::new(0),
            owners: OnceLock::new(),
            // A table of some 100,000 connections at once.
            asking: Mutex::new(Allowance::new(0.1, ASKING_SHARE)),
        })
    }

    /// Opens what says whose connections are, before descriptors are short.
    pub(super) fn open_tables(&self) {
        self.owners.get_or_init(TcpOwners::open);
    }

    /// A new connection, and what ends when it is to be closed.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin) -> (Arc<Visitor>, oneshot::Receiver<()>) {
        let id = self.ids.fetch_add(1, Relaxed);
        let (open, closed) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let line = &mut waiting[line_of(origin)];
        if line.len() >= WAITING {
            line.pop_front();
            self.shared.refused.closed(Closed::Crowded);
        }
        line.push_back(Waiting { id, _open: open });
        drop(waiting);
        let visitor = Visitor {
            id,
            door: Arc::clone(self),
            origin,
            certified: AtomicBool::new(false),
            peer: OnceLock::new(),
            kept: Mutex::new(None),
            calls: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
        };
        (Arc::new(visitor), closed)
    }

    fn take_waiting(&self, origin: Origin, id: u64) -> Option<Waiting> {
        let mut waiting = lock(&self.waiting);
        let line = &mut waiting[line_of(origin)];
        let at = line.iter().position(|waiting| waiting.id == id)?;
        line.remove(at)
    }

    /// Whose the other end of a connection of this machine is.
    fn user(&self, connection: Connection) -> Result<User, Refusal> {
        let mut asking = lock(&self.asking);
        if !asking.is_left(self.began.elapsed()) {
            return Err(Refusal::Crowd);
        }
        // By what it takes of a CPU, not by how long it waits for one.
        let cpu_ns = || current_tid().and_then(thread_cpu_ns);
        let (before, cpu_before) = (Instant::now(), cpu_ns());
        let found = self.owners.get().and_then(|owners| owners.uid(connection));
        let took = cpu_before
            .zip(cpu_ns())
            .map_or(before.elapsed(), |(before, now)| {
                Duration::from_nanos(now.saturating_sub(before))
            });
        asking.use_up(took.as_secs_f64());
        Ok(found.map_or(User::Unseen, uid::user))
    }
}

/// Other users cannot reach the Unix socket, as a rule, so they take no place there.
fn line_of(origin: Origin) -> usize {
    usize::from(!matches!(origin, Origin::Socket(_)))
}

/// One connection.
pub(super) struct Visitor {
    id: u64,
    door: Arc<Door>,
    origin: Origin,
    certified: AtomicBool,
    /// Found out at its first call.
    peer: OnceLock<Peer>,
    /// Once it is served.
    kept: Mutex<Option<Waiting>>,
    calls: AtomicUsize,
    /// When a call last ended, since the door's beginning.
    last_ms: AtomicU64,
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor")
            .field("origin", &self.origin)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Visitor {
    /// It showed a certificate that is trusted.
    #[cfg(feature = "tls")]
    pub(super) fn is_certified(&self) {
        self.certified.store(true, Relaxed);
    }

    /// Whether it may make a call that shows so much, by what it shows itself.
    pub(super) fn may(
        &self,
        needed: Permission,
        token: Option<&[u8]>,
    ) -> Result<Permission, Denied> {
        self.admit(self.allowed(needed, token))
    }

    /// What it may see of `/metrics`, by what it shows itself.
    #[cfg(feature = "metrics")]
    pub(super) fn may_scrape(&self, token: Option<&[u8]>) -> Result<Permission, Denied> {
        let policy = &self.door.shared.config.policy;
        let judge = |peer| crate::access::scrapers::judge_scrape(policy, uid::own(), peer, token);
        self.admit(self.peer().and_then(judge))
    }

    /// It comes by the loopback of this machine, from whichever program.
    #[cfg(feature = "metrics")]
    pub(super) fn is_local(&self) -> bool {
        matches!(self.origin, Origin::Loopback(_))
    }

    /// Serves it from now on, or counts why not.
    fn admit(&self, judged: Result<Permission, Refusal>) -> Result<Permission, Denied> {
        let allowed = judged.map_err(|refusal| {
            self.door.shared.refused.refused(refusal);
            Denied::Refused(refusal)
        })?;
        self.serve().map_err(|declined| {
            self.door.shared.refused.declined(declined);
            Denied::Declined(declined)
        })?;
        Ok(allowed)
    }

    fn allowed(&self, needed: Permission, token: Option<&[u8]>) -> Result<Permission, Refusal> {
        let peer = self.peer()?;
        let allowed = judge(&self.door.shared.config.policy, uid::own(), peer, token)?;
        if allowed < needed {
            return Err(Refusal::NumbersAlone);
        }
        Ok(allowed)
    }

    fn peer(&self) -> Result<Peer, Refusal> {
        if let Some(known) = self.peer.get() {
            return Ok(*known);
        }
        let user = match self.origin {
            Origin::Socket(Some(uid)) => uid::user(uid),
            Origin::Socket(None) => User::Unseen,
            Origin::Loopback(connection) => self.door.user(connection)?,
            Origin::Network => User::Remote,
        };
        let certified = self.certified.load(Relaxed);
        Ok(*self.peer.get_or_init(|| Peer { user, certified }))
    }

    /// From now on it does not wait.
    fn serve(&self) -> Result<(), Declined> {
        self.touch();
        let mut kept = lock(&self.kept);
        if kept.is_some() {
            return Ok(());
        }
        let room = |served: usize| (served < SERVED).then_some(served + 1);
        if self
            .door
            .served
            .fetch_update(Relaxed, Relaxed, room)
            .is_err()
        {
            return Err(Declined::Connections);
        }
        let Some(waiting) = self.door.take_waiting(self.origin, self.id) else {
            // It was closed meanwhile.
            self.door.served.fetch_sub(1, Relaxed);
            return Err(Declined::Connections);
        };
        *kept = Some(waiting);
        Ok(())
    }

    fn touch(&self) {
        let now = self.door.began.elapsed().as_millis() as u64;
        self.last_ms.store(now, Relaxed);
    }

    /// It has a call as long as the result lives.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Relaxed);
        Call(Arc::clone(self))
    }

    /// It has a call for ever: streams of services whose ends are not seen.
    #[cfg(feature = "console")]
    pub(super) fn stays(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Why it is to be closed so long after it came, or when to ask again.
    pub(super) fn overdue(&self, since: Duration) -> Result<Duration, Closed> {
        if lock(&self.kept).is_none() {
            return match FIRST_CALL.checked_sub(since) {
                Some(left) if !left.is_zero() => Ok(left),
                _ => Err(Closed::Silent),
            };
        }
        if self.calls.load(Relaxed) > 0 {
            return Ok(IDLE);
        }
        let last = Duration::from_millis(self.last_ms.load(Relaxed));
        let idle = self.door.began.elapsed().saturating_sub(last);
        match IDLE.checked_sub(idle) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(Closed::Idle),
        }
    }

    /// It is closed by this end.
    pub(super) fn closed(&self, why: Closed) {
        self.door.shared.refused.closed(why);
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.door.shared
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if lock(&self.kept).take().is_some() {
            self.door.served.fetch_sub(1, Relaxed);
        } else {
            self.door.take_waiting(self.origin, self.id);
        }
    }
}

/// A call that goes on.
pub(super) struct Call(Arc<Visitor>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.touch();
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn door() -> Arc<Door> {
        Door::new(&Arc::new(Shared::new(Config::default(), Ok(()))))
    }

    fn own() -> Origin {
        Origin::Socket(Some(uid::own()))
    }

    fn in_a_runtime(test: impl FnOnce()) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        runtime.block_on(async { test() });
    }

    #[test]
    fn the_oldest_that_says_nothing_makes_room() {
        in_a_runtime(|| {
            let door = door();
            let (served, mut of_served) = door.enter(own());
            assert_eq!(served.may(Permission::Names, None), Ok(Permission::Memory));
            let mut silent: Vec<_> = (0..WAITING).map(|_| door.enter(own())).collect();
            let closed = |receiver: &mut oneshot::Receiver<()>| {
                receiver.try_recv() == Err(oneshot::error::TryRecvError::Closed)
            };
            assert!(!silent.iter_mut().any(|(_, receiver)| closed(receiver)));
            // Others at the port take no place at the socket.
            let _network: Vec<_> = (0..2 * WAITING)
                .map(|_| door.enter(Origin::Network))
                .collect();
            assert!(!silent.iter_mut().any(|(_, receiver)| closed(receiver)));
            let (newest, mut of_newest) = door.enter(own());
            assert!(closed(&mut silent[0].1));
            assert!(!closed(&mut silent[1].1));
            assert_eq!(newest.may(Permission::Names, None), Ok(Permission::Memory));
            assert!(!closed(&mut of_newest) && !closed(&mut of_served));
            // Whoever was closed cannot be served any more.
            assert!(silent[0].0.may(Permission::Names, None).is_err());
            let loss = door.shared.loss();
            assert_eq!(loss.refused_connections as usize, 1 + WAITING);
        });
    }

    #[test]
    fn so_many_are_served_and_places_become_free() {
        in_a_runtime(|| {
            let door = door();
            let enter = || {
                let (visitor, receiver) = door.enter(own());
                let may = visitor.may(Permission::Numbers, None);
                (may, visitor, receiver)
            };
            let mut served: Vec<_> = (0..SERVED).map(|_| enter()).collect();
            assert!(served.iter().all(|(may, ..)| may.is_ok()));
            let declined = Denied::Declined(Declined::Connections);
            assert_eq!(enter().0, Err(declined));
            served.pop();
            assert!(enter().0.is_ok());
            assert_eq!(door.served.load(Relaxed), SERVED - 1);
            drop(served);
            assert_eq!(door.served.load(Relaxed), 0);
            assert!(lock(&door.waiting).iter().all(VecDeque::is_empty));
        });
    }

    #[test]
    fn who_may_not_look_is_refused_and_counted() {
        in_a_runtime(|| {
            let door = door();
            for (origin, user) in [
                (Origin::Socket(Some(4_000_000)), User::Known(4_000_000)),
                (Origin::Socket(None), User::Unseen),
                (Origin::Network, User::Remote),
            ] {
                let (visitor, _receiver) = door.enter(origin);
                let refused = Denied::Refused(Refusal::NotAllowed(user));
                assert_eq!(visitor.may(Permission::Numbers, None), Err(refused));
                // It waits on, for as long as others.
                assert!(visitor.overdue(Duration::ZERO).is_ok());
                assert_eq!(visitor.overdue(FIRST_CALL), Err(Closed::Silent));
            }
            assert_eq!(door.shared.loss().refused_viewers, 3);
        });
    }

    #[test]
    fn a_connection_with_a_call_is_never_idle() {
        in_a_runtime(|| {
            let door = door();
            let (visitor, _receiver) = door.enter(own());
            visitor.may(Permission::Names, None).expect("it may");
            let call = visitor.call();
            assert_eq!(visitor.overdue(2 * IDLE), Ok(IDLE));
            drop(call);
            assert!(visitor.overdue(2 * IDLE).is_ok_and(|left| left <= IDLE));
        });
    }

    #[test]
    fn the_kernel_is_not_asked_all_the_time() {
        in_a_runtime(|| {
            let door = door();
            door.open_tables();
            lock(&door.asking).use_up(10.0);
            let connection = Connection {
                end: "127.0.0.1:1".parse().expect("an address"),
                other: "127.0.0.1:2".parse().expect("an address"),
            };
            let (visitor, _receiver) = door.enter(Origin::Loopback(connection));
            let refused = Denied::Refused(Refusal::Crowd);
            assert_eq!(visitor.may(Permission::Numbers, None), Err(refused));
            // It was not found out, so it is asked anew.
            assert!(visitor.peer.get().is_none());
        });
    }
}
