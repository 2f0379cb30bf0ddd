//! Guards that live across an await.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard, RwLock, RwLockReadGuard, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::{forever, known, settle, spawn as task};

async fn owned_mutex(lock: Arc<Mutex<u8>>) {
    let guard: OwnedMutexGuard<u8> = lock.lock_owned().await;
    forever().await; // #owned_mutex
    drop(guard);
}

async fn mapped_mutex(lock: Arc<Mutex<(u8, u8)>>) {
    let guard = MutexGuard::map(lock.lock().await, |pair| &mut pair.1);
    forever().await; // #mapped_mutex
    drop(guard);
}

async fn read_guard(lock: Arc<RwLock<u64>>) {
    let guard: RwLockReadGuard<'_, u64> = lock.read().await;
    forever().await; // #read_guard
    drop(guard);
}

async fn owned_read(lock: Arc<RwLock<u64>>) {
    let guard = lock.read_owned().await;
    forever().await; // #owned_read
    drop(guard);
}

async fn owned_write(lock: Arc<RwLock<u64>>) {
    let guard = lock.write_owned().await;
    forever().await; // #owned_write
    drop(guard);
}

struct Session {
    permit: tokio::sync::OwnedSemaphorePermit,
    number: u32,
}

/// The guard is within what lives across the await.
async fn in_struct(gate: Arc<Semaphore>) {
    let session = Session {
        permit: gate.acquire_many_owned(3).await.unwrap(),
        number: 1,
    };
    forever().await; // #in_struct
    std::hint::black_box(session.number);
    drop(session.permit);
}

/// The guard is in an `Option`, once there and once not.
async fn optional(lock: Arc<Mutex<u8>>, take: bool) {
    let guard = if take { Some(lock.lock().await) } else { None };
    forever().await; // #optional
    drop(guard);
}

/// Nothing is held any more.
async fn let_go(lock: Arc<Mutex<u8>>) {
    let guard = lock.lock().await;
    drop(guard);
    forever().await; // #let_go
}

async fn parking_lot(lock: Arc<parking_lot::Mutex<u32>>) {
    let guard = lock.lock();
    forever().await; // #parking_lot
    drop(guard);
}

async fn parking_lot_read(lock: Arc<parking_lot::RwLock<u32>>) {
    let guard = lock.read();
    forever().await; // #parking_lot_read
    drop(guard);
}

async fn std_mutex(lock: Arc<std::sync::Mutex<u32>>) {
    let guard = lock.lock().unwrap();
    forever().await; // #std_mutex
    drop(guard);
}

async fn std_write(lock: Arc<std::sync::RwLock<u32>>) {
    let guard = lock.write().unwrap();
    forever().await; // #std_write
    drop(guard);
}

async fn std_read(lock: Arc<std::sync::RwLock<u32>>) {
    let guard = lock.read().unwrap();
    forever().await; // #std_read
    drop(guard);
}

/// Each poll makes its timer anew, as servers do with the time that a connection may be idle.
/// It is the next one of its runtime, whose driver is woken for it.
struct Renewed(Pin<Box<Sleep>>);

impl Renewed {
    fn timer() -> Pin<Box<Sleep>> {
        Box::pin(sleep(Duration::from_secs(2_700)))
    }
}

impl Future for Renewed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0 = Self::timer();
        self.0.as_mut().poll(context)
    }
}

async fn renewed() {
    Renewed(Renewed::timer()).await; // #renewed
}

pub async fn spawn() {
    let lock = Arc::new(Mutex::new(0));
    known("owned_mutex", &*lock);
    task("owned_mutex", owned_mutex(lock));
    let lock = Arc::new(Mutex::new((0, 0)));
    known("mapped_mutex", &*lock);
    task("mapped_mutex", mapped_mutex(lock));
    let lock = Arc::new(RwLock::new(0));
    known("read_guard", &*lock);
    task("read_guard", read_guard(lock.clone()));
    task("owned_read", owned_read(lock));
    let lock = Arc::new(RwLock::new(0));
    known("owned_write", &*lock);
    task("owned_write", owned_write(lock));
    let gate = Arc::new(Semaphore::new(3));
    known("in_struct", &*gate);
    task("in_struct", in_struct(gate));
    let lock = Arc::new(Mutex::new(0));
    known("optional", &*lock);
    task("taken", optional(lock.clone(), true));
    settle().await;
    task("not_taken", optional(lock, false));
    let lock = Arc::new(Mutex::new(0));
    known("let_go", &*lock);
    task("let_go", let_go(lock));
    let lock = Arc::new(parking_lot::Mutex::new(0));
    known("parking_lot", &*lock);
    task("parking_lot", parking_lot(lock));
    let lock = Arc::new(parking_lot::RwLock::new(0));
    known("parking_lot_read", &*lock);
    task("parking_lot_read", parking_lot_read(lock));
}

/// Guards that must stay on their thread, and a timer of a runtime that has no others.
pub async fn local() {
    let local = |name: &str, future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        println!("task {name} {}", tokio::task::spawn_local(future).id());
    };
    let lock = Arc::new(std::sync::Mutex::new(0));
    known("std_mutex", &*lock);
    local("std_mutex", Box::pin(std_mutex(lock)));
    let lock = Arc::new(std::sync::RwLock::new(0));
    known("std_write", &*lock);
    local("std_write", Box::pin(std_write(lock)));
    let lock = Arc::new(std::sync::RwLock::new(0));
    known("std_read", &*lock);
    local("std_read", Box::pin(std_read(lock)));
    local("renewed", Box::pin(renewed()));
}
