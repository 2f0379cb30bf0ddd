//! A program with tasks that wait, one of each kind. It knows of tokio, and of nothing
//! that looks at it. Each kind's line is marked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, RwLock, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(100_000);

async fn locks(mutex: Arc<Mutex<u32>>) {
    let guard = mutex.lock().await; // at: mutex
    drop(guard);
}

async fn writes(lock: Arc<RwLock<u32>>) {
    let guard = lock.write().await; // at: rwlock
    drop(guard);
}

async fn permits(semaphore: Arc<Semaphore>) {
    let permit = semaphore.acquire().await; // at: semaphore
    drop(permit);
}

async fn receives(mut receiver: mpsc::Receiver<u32>) {
    receiver.recv().await; // at: mpsc
}

async fn sends(sender: mpsc::Sender<u32>) {
    let _ = sender.send(2).await; // at: send
}

async fn once(receiver: oneshot::Receiver<u32>) {
    let _ = receiver.await; // at: oneshot
}

async fn hears(mut receiver: broadcast::Receiver<u32>) {
    let _ = receiver.recv().await; // at: broadcast
}

async fn watches(mut receiver: watch::Receiver<u32>) {
    let _ = receiver.changed().await; // at: watch
}

async fn notified(notify: Arc<Notify>) {
    notify.notified().await; // at: notify
}

async fn sleeps() {
    sleep(LONG).await; // at: sleep
}

async fn joins(handle: JoinHandle<()>) {
    let _ = handle.await; // at: join-handle
}

async fn reads(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    let _ = stream.read(&mut buffer).await; // at: tcp
}

async fn selects(mut receiver: mpsc::Receiver<u32>, notify: Arc<Notify>) {
    tokio::select! { // at: select
        _ = receiver.recv() => {}
        () = notified(notify) => {}
    }
}

async fn both(receiver: oneshot::Receiver<u32>) {
    tokio::join!(once(receiver), sleeps()); // at: join
}

async fn in_time(receiver: mpsc::Receiver<u32>) {
    let _ = timeout(LONG, receives(receiver)).await; // at: timeout
}

fn boxed(notify: Arc<Notify>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        notified(notify).await; // at: boxed-inner
    })
}

async fn dynamic(notify: Arc<Notify>) {
    boxed(notify).await; // at: boxed
}

async fn outer(notify: Arc<Notify>) {
    middle(notify).await; // at: nested
}

async fn middle(notify: Arc<Notify>) {
    let data = [3_u64; 20];
    notified(notify).await; // at: nested-middle
    std::hint::black_box(data);
}

fn place<T>(of: &Arc<T>) -> (u64, u64) {
    (Arc::as_ptr(of) as u64, size_of::<T>() as u64)
}

/// Spawns the tasks, says which is what, and waits until its input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(all());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

async fn all() {
    let say = |kind: &str, task: tokio::task::Id, (at, size): (u64, u64)| {
        println!("\ntask {kind} {task} {at} {size}");
    };
    let nothing = (0, 0);
    let mutex = Arc::new(Mutex::new(1));
    let held = Box::new(Arc::clone(&mutex).lock_owned().await);
    let task = tokio::spawn(locks(Arc::clone(&mutex)));
    say("mutex", task.id(), place(&mutex));

    let lock = Arc::new(RwLock::new(1));
    let read = Box::new(Arc::clone(&lock).read_owned().await);
    let task = tokio::spawn(writes(Arc::clone(&lock)));
    say("rwlock", task.id(), place(&lock));

    let semaphore = Arc::new(Semaphore::new(0));
    let task = tokio::spawn(permits(Arc::clone(&semaphore)));
    say("semaphore", task.id(), place(&semaphore));

    let (sender, receiver) = mpsc::channel(1);
    say("mpsc", tokio::spawn(receives(receiver)).id(), nothing);
    let (full, kept) = mpsc::channel(1);
    full.send(1).await.unwrap();
    say("send", tokio::spawn(sends(full.clone())).id(), nothing);
    let (first, receiver) = oneshot::channel();
    say("oneshot", tokio::spawn(once(receiver)).id(), nothing);
    let (loud, receiver) = broadcast::channel(4);
    say("broadcast", tokio::spawn(hears(receiver)).id(), nothing);
    let (shown, receiver) = watch::channel(4);
    say("watch", tokio::spawn(watches(receiver)).id(), nothing);

    let notify = Arc::new(Notify::new());
    let task = tokio::spawn(notified(Arc::clone(&notify)));
    say("notify", task.id(), place(&notify));
    let sleeper = tokio::spawn(sleeps());
    say("sleep", sleeper.id(), nothing);
    say("join-handle", tokio::spawn(joins(sleeper)).id(), nothing);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    say("tcp", tokio::spawn(reads(server)).id(), nothing);

    let (second, receiver) = mpsc::channel(1);
    let task = tokio::spawn(selects(receiver, Arc::clone(&notify)));
    say("select", task.id(), nothing);
    let (third, receiver) = oneshot::channel();
    say("join", tokio::spawn(both(receiver)).id(), nothing);
    let (fourth, receiver) = mpsc::channel(1);
    say("timeout", tokio::spawn(in_time(receiver)).id(), nothing);
    let task = tokio::spawn(dynamic(Arc::clone(&notify)));
    say("boxed", task.id(), nothing);
    let task = tokio::spawn(outer(notify));
    say("nested", task.id(), nothing);

    // Nobody gives them what they wait for.
    std::mem::forget((held, read, sender, full, kept, first, loud, shown));
    std::mem::forget((client, second, third, fourth));
    sleep(Duration::from_millis(300)).await;
    println!("\nready");
}
