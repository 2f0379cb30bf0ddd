//! What crates around tokio make: channels, streams, tokens, pools, and futures of futures.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, FutureExt};
use futures::stream::{self, FuturesOrdered, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, SetOnce, broadcast, mpsc, watch};
use tokio_stream::wrappers::{
    BroadcastStream, IntervalStream, ReceiverStream, UnboundedReceiverStream, WatchStream,
};
use tokio_util::codec::{Framed, LinesCodec};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use tokio_util::task::TaskTracker;
use tokio_util::time::DelayQueue;

use crate::{forever, known, spawn as task};

const DAY: Duration = Duration::from_secs(86_400);

async fn work() {
    forever().await; // #work
}

async fn rings(bell: Arc<Notify>) -> u8 {
    bell.notified().await; // #rings
    1
}

async fn cancelled(token: CancellationToken) {
    token.cancelled().await; // #cancelled
}

async fn cancelled_owned(token: CancellationToken) {
    token.cancelled_owned().await; // #cancelled_owned
}

async fn until_cancelled(token: CancellationToken) {
    token.run_until_cancelled(work()).await; // #until_cancelled
}

async fn until_cancelled_owned(token: CancellationToken) {
    token.run_until_cancelled_owned(work()).await; // #until_cancelled_owned
}

async fn tracks(tracker: TaskTracker) {
    tracker.wait().await; // #tracks
}

async fn poll_semaphore(gate: Arc<Semaphore>) {
    let mut gate = PollSemaphore::new(gate);
    poll_fn(|context| gate.poll_acquire(context)).await; // #poll_semaphore
}

async fn delay_queue() {
    let mut queue = DelayQueue::new();
    queue.insert(7_u8, DAY);
    queue.next().await; // #delay_queue
}

async fn framed(socket: TcpStream) {
    let mut lines = Framed::new(socket, LinesCodec::new());
    lines.next().await; // #framed
}

async fn receiver_stream(jobs: mpsc::Receiver<u8>) {
    let mut jobs = ReceiverStream::new(jobs);
    while let Some(job) = jobs.next().await {
        // #receiver_stream
        std::hint::black_box(job);
    }
}

async fn unbounded_stream(jobs: mpsc::UnboundedReceiver<u8>) {
    let mut jobs = UnboundedReceiverStream::new(jobs).map(|job| job + 1);
    while let Some(job) = jobs.next().await {
        // #unbounded_stream
        std::hint::black_box(job);
    }
}

async fn broadcast_stream(news: broadcast::Receiver<u8>) {
    let _ = BroadcastStream::new(news).next().await; // #broadcast_stream
}

async fn watch_stream(level: watch::Receiver<u8>) {
    WatchStream::from_changes(level).next().await; // #watch_stream
}

async fn interval_stream() {
    let mut beat = IntervalStream::new(tokio::time::interval(DAY));
    while beat.next().await.is_some() {
        // #interval_stream
    }
}

async fn stream_timeout(jobs: mpsc::Receiver<u8>) {
    let jobs = ReceiverStream::new(jobs);
    let mut jobs = pin!(tokio_stream::StreamExt::timeout(jobs, DAY));
    let _ = jobs.next().await; // #stream_timeout
}

async fn generated() {
    let mut items = pin!(async_stream::stream! {
        yield 1;
        work().await; // #in_generated
        yield 2;
    });
    while let Some(item) = items.next().await {
        // #generated
        std::hint::black_box(item);
    }
}

async fn shared(bell: Arc<Notify>) {
    rings(bell).shared().await; // #shared
}

async fn abortable() {
    let (work, handle) = future::abortable(work());
    work.await.unwrap(); // #abortable
    drop(handle);
}

async fn buffer_unordered(bell: Arc<Notify>) {
    let all = stream::iter(0..5).map(|_| rings(bell.clone()));
    let mut all = pin!(all.buffer_unordered(2));
    while let Some(done) = all.next().await {
        // #buffer_unordered
        std::hint::black_box(done);
    }
}

async fn ordered(bell: Arc<Notify>) {
    let mut all: FuturesOrdered<_> = (0..2).map(|_| rings(bell.clone())).collect();
    while let Some(done) = all.next().await {
        // #ordered
        std::hint::black_box(done);
    }
}

async fn either(bell: Arc<Notify>) {
    let (work, rings) = (pin!(work()), pin!(rings(bell)));
    future::select(work, rings).await; // #either
}

async fn tries_all(bell: Arc<Notify>) {
    let one = |bell: Arc<Notify>| async move {
        rings(bell).await; // #in_tries_all
        Ok::<(), ()>(())
    };
    let all = (0..2).map(|_| one(bell.clone()));
    let _ = future::try_join_all(all).await; // #tries_all
}

async fn for_each(jobs: mpsc::Receiver<u8>) {
    let jobs = ReceiverStream::new(jobs);
    let done = jobs.for_each(|job| async move { assert!(job > 0) });
    done.await; // #for_each
}

async fn merged(jobs: mpsc::Receiver<u8>, news: mpsc::UnboundedReceiver<u8>) {
    let (jobs, news) = (
        ReceiverStream::new(jobs),
        UnboundedReceiverStream::new(news),
    );
    stream::select(jobs, news).next().await; // #merged
}

async fn futures_oneshot(answer: futures::channel::oneshot::Receiver<u8>) {
    let _ = answer.await; // #futures_oneshot
}

async fn futures_channel(mut jobs: futures::channel::mpsc::Receiver<u8>) {
    jobs.next().await; // #futures_channel
}

async fn futures_lock(lock: Arc<futures::lock::Mutex<u8>>) {
    *lock.lock().await += 1; // #futures_lock
}

async fn async_channel_recv(jobs: async_channel::Receiver<u8>) {
    let _ = jobs.recv().await; // #async_channel_recv
}

async fn async_channel_send(jobs: async_channel::Sender<u8>) {
    jobs.send(1).await.unwrap();
    jobs.send(2).await.unwrap(); // #async_channel_send
}

async fn flume_recv(jobs: flume::Receiver<u8>) {
    let _ = jobs.recv_async().await; // #flume_recv
}

async fn flume_send(jobs: flume::Sender<u8>) {
    jobs.send_async(1).await.unwrap();
    jobs.send_async(2).await.unwrap(); // #flume_send
}

async fn set_once(settings: Arc<SetOnce<u8>>) {
    settings.wait().await; // #set_once
}

struct Connections;

impl deadpool::managed::Manager for Connections {
    type Type = u8;
    type Error = ();

    async fn create(&self) -> Result<u8, ()> {
        Ok(1)
    }

    async fn recycle(
        &self,
        _: &mut u8,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<()> {
        Ok(())
    }
}

type Pool = deadpool::managed::Pool<Connections>;

async fn keeps_connection(pool: Pool) {
    let connection = pool.get().await.unwrap();
    work().await; // #keeps_connection
    drop(connection);
}

async fn wants_connection(pool: Pool) {
    let _connection = pool.get().await; // #wants_connection
}

async fn copies(mut one: TcpStream, mut other: TcpStream) {
    let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await; // #copies
}

async fn lines(socket: TcpStream) {
    use tokio::io::AsyncBufReadExt;
    let (from, to) = socket.into_split();
    let mut lines = tokio::io::BufReader::new(from).lines();
    let _ = lines.next_line().await; // #lines
    drop(to);
}

async fn waits_for_child(mut child: tokio::process::Child) {
    let _ = child.wait().await; // #waits_for_child
}

async fn signal() {
    let _ = tokio::signal::ctrl_c().await; // #signal
}

pub async fn spawn() {
    let bell = Arc::new(Notify::new());
    known("bell3", &*bell);
    let token = CancellationToken::new();
    task("cancelled", cancelled(token.clone()));
    task("cancelled_owned", cancelled_owned(token.clone()));
    task("until_cancelled", until_cancelled(token.child_token()));
    task(
        "until_cancelled_owned",
        until_cancelled_owned(token.child_token()),
    );
    let tracker = TaskTracker::new();
    let tracked = tracker.token();
    tracker.close();
    task("tracks", tracks(tracker));
    let gate = Arc::new(Semaphore::new(0));
    known("gate", &*gate);
    task("poll_semaphore", poll_semaphore(gate.clone()));
    task("delay_queue", delay_queue());

    let (jobs, queue) = mpsc::channel(4);
    task("receiver_stream", receiver_stream(queue));
    let (more_jobs, queue) = mpsc::unbounded_channel();
    task("unbounded_stream", unbounded_stream(queue));
    let (news, subscriber) = broadcast::channel(4);
    task("broadcast_stream", broadcast_stream(subscriber));
    let (level, seen) = watch::channel(1);
    task("watch_stream", watch_stream(seen));
    task("interval_stream", interval_stream());
    let (timed, queue) = mpsc::channel(4);
    task("stream_timeout", stream_timeout(queue));
    task("generated", generated());
    let (each, queue) = mpsc::channel(4);
    task("for_each", for_each(queue));
    let ((left, one), (right, other)) = (mpsc::channel(4), mpsc::unbounded_channel());
    task("merged", merged(one, other));

    task("shared", shared(bell.clone()));
    task("abortable", abortable());
    task("buffer_unordered", buffer_unordered(bell.clone()));
    task("ordered", ordered(bell.clone()));
    task("either", either(bell.clone()));
    task("tries_all", tries_all(bell.clone()));

    let (reply, answer) = futures::channel::oneshot::channel();
    task("futures_oneshot", futures_oneshot(answer));
    let (into, queue) = futures::channel::mpsc::channel(1);
    task("futures_channel", futures_channel(queue));
    let lock = Arc::new(futures::lock::Mutex::new(1));
    let locked = lock.clone().lock_owned().await;
    task("futures_lock", futures_lock(lock));
    let (one_job, queue) = async_channel::bounded(1);
    task("async_channel_recv", async_channel_recv(queue));
    let (full, one_queue) = async_channel::bounded(1);
    task("async_channel_send", async_channel_send(full));
    let (a_job, queue) = flume::bounded(1);
    task("flume_recv", flume_recv(queue));
    let (full, a_queue) = flume::bounded(1);
    task("flume_send", flume_send(full));
    let settings = Arc::new(SetOnce::new());
    known("settings2", &*settings);
    task("set_once", set_once(settings));

    let pool = Pool::builder(Connections).max_size(1).build().unwrap();
    task("keeps_connection", keeps_connection(pool.clone()));
    crate::settle().await;
    task("wants_connection", wants_connection(pool));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peers = Vec::new();
    let mut clients = Vec::new();
    for name in ["framed", "one", "other", "lines"] {
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let client = client.unwrap();
        println!("fd {name} {}", std::os::fd::AsRawFd::as_raw_fd(&client));
        peers.push(listener.accept().await.unwrap());
        clients.push(client);
    }
    let mut clients = clients.into_iter();
    let mut client = || clients.next().unwrap();
    task("framed", framed(client()));
    task("copies", copies(client(), client()));
    task("lines", lines(client()));

    let child = tokio::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    // It ends when this is closed, as the program ends.
    let input = child.stdin.take();
    task("waits_for_child", waits_for_child(child));
    task("signal", signal());
    // The other ends, for ever.
    std::mem::forget((
        token, tracked, jobs, more_jobs, news, level, timed, each, left, right,
    ));
    std::mem::forget((
        reply, into, locked, one_job, one_queue, a_job, a_queue, peers, input,
    ));
}
