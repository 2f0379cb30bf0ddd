//! What is between a viewer and the agent, and does to the stream what networks do, and
//! worse.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::watch,
    time::sleep,
};

/// Bytes that are passed on at once.
const PIECE: usize = 4096;
/// The agent may be frozen for this long.
const TO_CONNECT: Duration = Duration::from_secs(5);

/// What is done to each piece of the stream, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Plain,
    /// It comes later.
    Delay(Duration),
    /// Its second half is lost.
    Halve,
    /// One byte in so many is another one.
    Garble(usize),
    /// It comes so many times.
    Flood(u32),
    /// It is lost.
    Mute,
}

/// A proxy that lives as long as the runtime.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    fault: Mutex<Fault>,
    rng: Mutex<Rng>,
    /// Counts the cuts.
    cuts: watch::Sender<u64>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on a free port of the loopback.
    pub(crate) fn start(on: &Handle, upstream: SocketAddr, rng: Rng) -> anyhow::Result<Self> {
        let listener = on
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .context("the proxy has no port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::new(Fault::Plain),
            rng: Mutex::new(rng),
            cuts: watch::Sender::new(0),
        });
        on.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// What is done from now on.
    pub(crate) fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// Cuts all connections; how many there were.
    pub(crate) fn cut(&self) -> usize {
        let connections = self.shared.cuts.receiver_count() / 2;
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
        connections
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((viewer, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let connect = TcpStream::connect(shared.upstream);
                    // The viewer sees a connection that is closed at once.
                    let Ok(Ok(agent)) = tokio::time::timeout(TO_CONNECT, connect).await else {
                        return;
                    };
                    let (from_viewer, to_viewer) = viewer.into_split();
                    let (from_agent, to_agent) = agent.into_split();
                    tokio::join!(
                        pass(from_viewer, to_agent, &shared),
                        pass(from_agent, to_viewer, &shared),
                    );
                });
            }
            // No descriptor may be left for a moment.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Passes one direction on until it ends or is cut.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut cuts = shared.cuts.subscribe();
    let flow = async {
        let mut buffer = [0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let (pieces, delay) = treat(&mut buffer[..n], shared);
            if let Some(delay) = delay {
                sleep(delay).await;
            }
            for _ in 0..pieces.1 {
                if to.write_all(&buffer[..pieces.0]).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = flow => {}
        _ = cuts.changed() => {}
    }
}

/// Bytes of a piece that are sent on and how many times, and after which delay.
fn treat(piece: &mut [u8], shared: &Shared) -> ((usize, u32), Option<Duration>) {
    let n = piece.len();
    let fault = *lock(&shared.fault);
    match fault {
        Fault::Plain => ((n, 1), None),
        Fault::Delay(delay) => ((n, 1), Some(delay)),
        Fault::Halve => ((n / 2, 1), None),
        Fault::Flood(times) => ((n, times), None),
        Fault::Mute => ((0, 0), None),
        Fault::Garble(one_in) => {
            let mut rng = lock(&shared.rng);
            for byte in piece.iter_mut() {
                if rng.usize(..one_in) == 0 {
                    *byte = rng.u8(..);
                }
            }
            ((n, 1), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(fault: Fault) -> Shared {
        Shared {
            upstream: ([127, 0, 0, 1], 1).into(),
            fault: Mutex::new(fault),
            rng: Mutex::new(Rng::with_seed(1)),
            cuts: watch::Sender::new(0),
        }
    }

    #[test]
    fn faults_do_what_they_are_called() {
        let delay = Duration::from_millis(3);
        for (fault, treated) in [
            (Fault::Plain, ((8, 1), None)),
            (Fault::Delay(delay), ((8, 1), Some(delay))),
            (Fault::Halve, ((4, 1), None)),
            (Fault::Flood(9), ((8, 9), None)),
            (Fault::Mute, ((0, 0), None)),
        ] {
            let mut piece = *b"12345678";
            assert_eq!(treat(&mut piece, &shared(fault)), treated, "{fault:?}");
            assert_eq!(piece, *b"12345678", "{fault:?}");
        }
        let mut piece = [b'x'; 4096];
        treat(&mut piece, &shared(Fault::Garble(10)));
        let others = piece.iter().filter(|byte| **byte != b'x').count();
        assert!((200..800).contains(&others), "{others}");
    }

    #[test]
    fn what_is_sent_arrives_until_it_is_cut() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let target = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let upstream = target.local_addr().unwrap();
            let proxy = tokio::task::spawn_blocking(move || {
                Proxy::start(&Handle::current(), upstream, Rng::with_seed(1)).unwrap()
            });
            let proxy = proxy.await.unwrap();
            let mut viewer = TcpStream::connect(proxy.address).await.unwrap();
            let (mut agent, _) = target.accept().await.unwrap();
            viewer.write_all(b"hello").await.unwrap();
            let mut heard = [0; 5];
            agent.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            agent.write_all(b"frame").await.unwrap();
            viewer.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"frame");
            proxy.cut();
            assert_eq!(viewer.read(&mut heard).await.unwrap_or(0), 0);
            assert_eq!(agent.read(&mut heard).await.unwrap_or(0), 0);
        });
    }
}
