//! The subscriber that the agent offers where the application has none.
//!
//! There is one global subscriber for a process, set once, and an application
//! that sets its own after `init()` panics if the agent was first. So the agent
//! sets none at first: its subscriber is the default of the thread that called
//! `init()` only, which is the one that spawns the first tasks. From there:
//!
//! - The thread spawns a task: the subscriber becomes the global one, before the
//!   task has run, so that what it spawns is seen wherever it runs.
//! - Somebody makes another subscriber: the agent's leaves the thread at once,
//!   so that nothing of the other's is hidden.
//! - Neither happens in [`GRACE_NS`]: it becomes the global one if there is none.
//!
//! That somebody makes another shows by `tracing` asking every subscriber again
//! about every callsite, among them one that is there for nothing else.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use tracing_core::callsite::{DefaultCallsite, rebuild_interest_cache};
use tracing_core::dispatcher::{self, DefaultGuard, Dispatch};
use tracing_core::subscriber::{Interest, NoSubscriber};
use tracing_core::{Kind, Level, Metadata, metadata};
use tracing_subscriber::layer::SubscriberExt;

use super::ADD_LAYER;
use crate::clock::now_ns;
use crate::layer;
use crate::mute::Mute;
use crate::sync::lock;

/// How long an application that spawns nothing may take to bring its own.
const GRACE_NS: u64 = 2_000_000_000;

/// Nothing was offered.
const NONE: u8 = 0;
/// It is the default of one thread.
const OFFERED: u8 = 1;
/// Another subscriber was made; whether it becomes the global one is open.
const ASIDE: u8 = 2;
/// It is the global one.
const INSTALLED: u8 = 3;
/// The application's is the global one.
const REFUSED: u8 = 4;

static PHASE: AtomicU8 = AtomicU8::new(NONE);

struct Offer {
    dispatch: Dispatch,
    /// As long as `tracing` knows of one subscriber only, it asks that of the
    /// thread at hand about a new callsite, and on other threads finds none.
    _second: Dispatch,
    until_ns: u64,
}

static OFFER: Mutex<Option<Offer>> = Mutex::new(None);

thread_local! {
    /// On the thread that was offered the subscriber.
    static SCOPE: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Asked about whenever `tracing` asks about everything.
static BEACON: DefaultCallsite = DefaultCallsite::new(&BEACON_METADATA);
static BEACON_METADATA: Metadata<'static> = metadata! {
    name: "beacon",
    target: module_path!(),
    level: Level::TRACE,
    fields: &[],
    callsite: &BEACON,
    kind: Kind::EVENT,
};

/// Offers the subscriber to the calling thread, unless it has one.
pub(super) fn make() -> Result<(), &'static str> {
    let mut offer = lock(&OFFER);
    if PHASE.load(Acquire) != NONE {
        return Ok(());
    }
    if !has_no_default() {
        return Err(ADD_LAYER);
    }
    BEACON.register();
    // Interested in what the layer is, and never a default.
    let second = Dispatch::new(Mute(|metadata| {
        if layer::wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }));
    let layer = layer::layer();
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let scope = dispatcher::set_default(&dispatch);
    SCOPE.with(|here| *here.borrow_mut() = Some(scope));
    *offer = Some(Offer {
        dispatch,
        _second: second,
        until_ns: now_ns() + GRACE_NS,
    });
    PHASE.store(OFFERED, Release);
    Ok(())
}

/// Whether tasks are seen by what was offered.
pub(super) fn state() -> Result<(), &'static str> {
    match PHASE.load(Acquire) {
        OFFERED | INSTALLED => Ok(()),
        _ => Err(ADD_LAYER),
    }
}

/// Whether the agent's subscriber is that of one thread only.
pub(crate) fn is_one_threads() -> bool {
    matches!(PHASE.load(Acquire), OFFERED | ASIDE)
}

/// A task is being spawned.
#[inline]
pub(crate) fn task_seen() {
    if PHASE.load(Relaxed) == OFFERED {
        install(OFFERED);
    }
}

/// `tracing` asks the agent's layer about a callsite.
pub(crate) fn callsite(metadata: &'static Metadata<'static>) {
    let phase = PHASE.load(Acquire);
    let is_beacon = metadata.callsite() == BEACON_METADATA.callsite();
    if phase == OFFERED && is_beacon {
        // An agent that is just installing has been faster.
        let _ = PHASE.compare_exchange(OFFERED, ASIDE, AcqRel, Relaxed);
    }
    leave();
}

/// Called every 100 ms.
pub(crate) fn settle(now_ns: u64) {
    match PHASE.load(Acquire) {
        phase @ (OFFERED | ASIDE) => {
            let until_ns = lock(&OFFER).as_ref().map(|offer| offer.until_ns);
            if until_ns.is_some_and(|until_ns| now_ns >= until_ns) {
                install(phase);
            }
        }
        INSTALLED | REFUSED => {
            // What is no longer known to `tracing` does not slow others down.
            let done = lock(&OFFER).take();
            if done.is_some() {
                drop(done);
                rebuild_interest_cache();
            }
        }
        _ => {}
    }
}

#[cold]
fn install(from: u8) {
    let dispatch = lock(&OFFER).as_ref().map(|offer| offer.dispatch.clone());
    let Some(dispatch) = dispatch else { return };
    let first = PHASE.compare_exchange(from, INSTALLED, AcqRel, Relaxed);
    if first.is_ok() && dispatcher::set_global_default(dispatch).is_err() {
        PHASE.store(REFUSED, Release);
    }
}

/// An occasion to take the subscriber from this thread where it is no longer
/// needed there; cheap, but not for hot paths.
pub(crate) fn leave() {
    if matches!(PHASE.load(Acquire), ASIDE | REFUSED | INSTALLED) {
        leave_scope();
    }
}

/// Takes the subscriber from this thread, if it is this thread's.
fn leave_scope() {
    // At the thread's end there is nothing left to take.
    let _ended = SCOPE.try_with(|here| {
        let Ok(mut scope) = here.try_borrow_mut() else {
            return;
        };
        // Within a call of a subscriber the default cannot be changed; it looks
        // then as if there were none.
        if scope.is_some() && !has_no_default() {
            drop(scope.take());
        }
    });
}

fn has_no_default() -> bool {
    dispatcher::get_default(Dispatch::is::<NoSubscriber>)
}
