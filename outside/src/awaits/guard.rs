//! What lives across an await and keeps others waiting: guards, permits, ends of channels.

use std::sync::Arc;

use looptop_symbols::types::Kind;
use looptop_unwind::Memory;

use super::chain::{Held, Role};
use super::leaf;
use super::names::async_kind;
use super::view::View;
use super::walk::Walk;
use crate::waits::ResourceKind;

/// Fields within fields of a variable that are looked into.
const MAX_WITHIN: u32 = 4;
/// What is held of one async fn or block at an await.
const MAX_HELD: usize = 64;

/// How a guard leads to what it guards.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A pointer to the lock: the field of the guard, and that of the lock in which
    /// waiters meet.
    Lock(&'static str, &'static str),
    /// A pointer to that field.
    Within(&'static str),
    /// An end of a channel.
    End,
}

/// A guard's type, what it guards, how it leads to that, and how many permits it has: a
/// number, or the field that says.
const GUARDS: &[(&str, ResourceKind, Way, Permits)] = &[
    (
        "tokio::sync::mutex::MutexGuard<",
        ResourceKind::Mutex,
        Way::Lock("lock", "s"),
        Permits::One,
    ),
    (
        "tokio::sync::mutex::OwnedMutexGuard<",
        ResourceKind::Mutex,
        Way::Lock("lock", "s"),
        Permits::One,
    ),
    (
        "tokio::sync::mutex::MappedMutexGuard<",
        ResourceKind::Mutex,
        Way::Within("s"),
        Permits::One,
    ),
    (
        "tokio::sync::mutex::OwnedMappedMutexGuard<",
        ResourceKind::Mutex,
        Way::Lock("lock", "s"),
        Permits::One,
    ),
    (
        "tokio::sync::rwlock::read_guard::RwLockReadGuard<",
        ResourceKind::RwLock,
        Way::Within("s"),
        Permits::One,
    ),
    (
        "tokio::sync::rwlock::owned_read_guard::OwnedRwLockReadGuard<",
        ResourceKind::RwLock,
        Way::Lock("lock", "s"),
        Permits::One,
    ),
    (
        "tokio::sync::rwlock::write_guard::RwLockWriteGuard<",
        ResourceKind::RwLock,
        Way::Within("s"),
        Permits::Field("permits_acquired"),
    ),
    (
        "tokio::sync::rwlock::write_guard_mapped::RwLockMappedWriteGuard<",
        ResourceKind::RwLock,
        Way::Within("s"),
        Permits::Field("permits_acquired"),
    ),
    (
        "tokio::sync::rwlock::owned_write_guard::OwnedRwLockWriteGuard<",
        ResourceKind::RwLock,
        Way::Lock("lock", "s"),
        Permits::Field("permits_acquired"),
    ),
    (
        "tokio::sync::rwlock::owned_write_guard_mapped::OwnedRwLockMappedWriteGuard<",
        ResourceKind::RwLock,
        Way::Lock("lock", "s"),
        Permits::Field("permits_acquired"),
    ),
    (
        "tokio::sync::semaphore::SemaphorePermit",
        ResourceKind::Semaphore,
        Way::Lock("sem", "ll_sem"),
        Permits::Field("permits"),
    ),
    (
        "tokio::sync::semaphore::OwnedSemaphorePermit",
        ResourceKind::Semaphore,
        Way::Lock("sem", "ll_sem"),
        Permits::Field("permits"),
    ),
    (
        "std::sync::poison::mutex::MutexGuard<",
        ResourceKind::StdMutex,
        Way::Lock("lock", "inner"),
        Permits::One,
    ),
    (
        "std::sync::mutex::MutexGuard<",
        ResourceKind::StdMutex,
        Way::Lock("lock", "inner"),
        Permits::One,
    ),
    (
        "std::sync::poison::rwlock::RwLockWriteGuard<",
        ResourceKind::StdRwLock,
        Way::Lock("lock", "inner"),
        Permits::All,
    ),
    (
        "std::sync::poison::rwlock::RwLockReadGuard<",
        ResourceKind::StdRwLock,
        Way::Within("inner_lock"),
        Permits::One,
    ),
    (
        "lock_api::mutex::MutexGuard<",
        ResourceKind::ParkingLotMutex,
        Way::Lock("mutex", "raw"),
        Permits::One,
    ),
    (
        "lock_api::mutex::ArcMutexGuard<",
        ResourceKind::ParkingLotMutex,
        Way::Lock("mutex", "raw"),
        Permits::One,
    ),
    (
        "lock_api::rwlock::RwLockReadGuard<",
        ResourceKind::ParkingLotRwLock,
        Way::Lock("rwlock", "raw"),
        Permits::One,
    ),
    (
        "lock_api::rwlock::RwLockWriteGuard<",
        ResourceKind::ParkingLotRwLock,
        Way::Lock("rwlock", "raw"),
        Permits::All,
    ),
    (
        "lock_api::rwlock::ArcRwLockReadGuard<",
        ResourceKind::ParkingLotRwLock,
        Way::Lock("rwlock", "raw"),
        Permits::One,
    ),
    (
        "lock_api::rwlock::ArcRwLockWriteGuard<",
        ResourceKind::ParkingLotRwLock,
        Way::Lock("rwlock", "raw"),
        Permits::All,
    ),
    (
        "tokio::sync::mpsc::bounded::Receiver<",
        ResourceKind::Mpsc,
        Way::End,
        Permits::Receiver,
    ),
    (
        "tokio::sync::mpsc::unbounded::UnboundedReceiver<",
        ResourceKind::Mpsc,
        Way::End,
        Permits::Receiver,
    ),
    (
        "tokio::sync::mpsc::bounded::Sender<",
        ResourceKind::Mpsc,
        Way::End,
        Permits::Sender,
    ),
    (
        "tokio::sync::mpsc::unbounded::UnboundedSender<",
        ResourceKind::Mpsc,
        Way::End,
        Permits::Sender,
    ),
    (
        "tokio::sync::oneshot::Sender<",
        ResourceKind::Oneshot,
        Way::End,
        Permits::Sender,
    ),
];

/// How many permits a guard has.
#[derive(Debug, Clone, Copy)]
enum Permits {
    One,
    All,
    Field(&'static str),
    Receiver,
    Sender,
}

/// Whether a value is a guard, and not only an end of a channel.
pub(super) fn is_guard(view: &View) -> bool {
    let known = GUARDS.iter().find(|(guard, ..)| view.is(guard));
    known.is_some_and(|(_, _, way, _)| !matches!(way, Way::End))
}

/// Adds what a variable holds; if it is tokio's own, without the ends of channels.
pub(super) fn held<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    variable: &View,
    name: &str,
    guards_only: bool,
    held: &mut Vec<Held>,
) {
    let before = held.len();
    within(walk, variable, name, MAX_WITHIN, held);
    if guards_only {
        let mut number = 0;
        held.retain(|one| {
            number += 1;
            number <= before || one.role == Role::Guard
        });
    }
}

fn within<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    view: &View,
    name: &str,
    levels: u32,
    held: &mut Vec<Held>,
) {
    if held.len() >= MAX_HELD || view.ty.kind != Kind::Struct {
        return;
    }
    let known = GUARDS.iter().find(|(guard, ..)| view.is(guard));
    if let Some((_, kind, way, permits)) = known {
        let found = one(walk, view, name, *kind, *way, *permits);
        let is_new = |found: &Held| {
            !held
                .iter()
                .any(|other| other.address == found.address && other.name == found.name)
        };
        held.extend(found.filter(is_new));
        return;
    }
    // A future's are found when it is walked.
    if levels == 0 || async_kind(&view.ty.name).is_some() || leaf::is(&view.ty.name) {
        return;
    }
    for (field, inner) in walk.reader.fields(view) {
        let is_plain = inner.ty.kind != Kind::Struct;
        if is_plain {
            continue;
        }
        // What a wrapper or a variant calls it is no name for a reader.
        let inner_name = match &*field {
            "__0" | "value" | "pointer" | "__pointer" | "data" => name.to_owned(),
            field => format!("{name}.{field}"),
        };
        within(walk, &inner, &inner_name, levels - 1, held);
    }
}

fn one<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    guard: &View,
    name: &str,
    kind: ResourceKind,
    way: Way,
    permits: Permits,
) -> Option<Held> {
    let mut total = None;
    let address = match way {
        Way::Lock(field, semaphore) => {
            let lock = walk.reader.field(guard, field)?;
            let lock = walk.reader.behind(&lock)?;
            if let Some(readers) = walk.reader.field(&lock, "mr") {
                total = walk.reader.number(&readers);
            }
            walk.reader.field(&lock, semaphore)?.at
        }
        Way::Within(field) => {
            let semaphore = walk.reader.field(guard, field)?;
            walk.reader.target(&semaphore)?.at
        }
        Way::End => {
            if kind == ResourceKind::Oneshot {
                let inner = walk.reader.field(guard, "inner")?;
                let arc = walk.reader.find_type(&inner, "alloc::sync::Arc<")?;
                walk.reader.target(&arc)?.at
            } else {
                leaf::channel(walk, guard)?.at
            }
        }
    };
    let (role, amount) = match permits {
        Permits::One => (Role::Guard, 1),
        Permits::All => (Role::Guard, u64::from(u32::MAX)),
        Permits::Field(field) => {
            let amount = walk.reader.field(guard, field)?;
            (Role::Guard, walk.reader.number(&amount)?)
        }
        Permits::Receiver => (Role::Receiver, 0),
        Permits::Sender => (Role::Sender, 0),
    };
    if matches!(kind, ResourceKind::Mutex) {
        total = Some(1);
    }
    Some(Held {
        kind,
        address,
        role,
        amount,
        name: Arc::from(name),
        resource: walk.name_of(address),
        total,
    })
}
