//! The symbolizer's threads: one reads files, the other asks the observed process
//! for what is in no file, which may take it long or for ever.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{CodeAddress, Remote, Resolution, Resolver};

/// Stacks that may wait; more are refused, and asked for again by the caller.
const QUEUE: usize = 256;

/// Binaries are closed when nobody has asked for so long; each time they were needed again,
/// after twice as long.
const CLOSE_AFTER: Duration = Duration::from_secs(20);
const CLOSE_LATEST: Duration = Duration::from_mins(10);

/// The names of one stack.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As given to [`Symbolizer::request`].
    pub ticket: u64,
    /// The names, and what is missing.
    pub found: Resolution,
    /// The observed process is being asked for more; another answer follows.
    pub preliminary: bool,
}

#[derive(Clone)]
enum Request {
    Names {
        ticket: u64,
        stack: Vec<CodeAddress>,
    },
    /// The path of a spawn location.
    Learn(String),
}

/// Looks stacks up on a thread of its own; ends with its last handle.
#[derive(Debug, Clone)]
pub struct Symbolizer {
    queue: SyncSender<Request>,
}

impl Symbolizer {
    /// Starts the threads. `pid` is the observed process if it runs on this
    /// machine, `remote` answers where files do not; `deliver` is called for each
    /// stack, in order, and once more where `remote` was asked.
    ///
    /// # Errors
    ///
    /// The system refuses another thread.
    pub fn start(
        pid: Option<u32>,
        remote: Option<Remote>,
        deliver: impl FnMut(Answer) + Send + 'static,
    ) -> std::io::Result<Self> {
        let deliver: Deliver = Arc::new(Mutex::new(deliver));
        let second = match remote {
            Some(remote) => {
                let make = move || Resolver::with_remote(pid, Some(remote));
                Some(start(
                    "symbolizer-remote",
                    make,
                    Arc::clone(&deliver),
                    None,
                )?)
            }
            None => None,
        };
        let queue = start("symbolizer", move || Resolver::new(pid), deliver, second)?;
        Ok(Symbolizer { queue })
    }

    /// Asks for the names of a stack; never waits. False where the queue is full:
    /// ask again later.
    #[must_use]
    pub fn request(&self, ticket: u64, stack: Vec<CodeAddress>) -> bool {
        self.send(Request::Names { ticket, stack })
    }

    /// Takes over what the path of a spawn location says of whose its crate is;
    /// never waits. False where the queue is full.
    #[must_use]
    pub fn learn(&self, source: &str) -> bool {
        self.send(Request::Learn(source.to_owned()))
    }

    fn send(&self, request: Request) -> bool {
        !matches!(
            self.queue.try_send(request),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }
}

type Deliver = Arc<Mutex<dyn FnMut(Answer) + Send>>;

/// Starts a thread that answers; what lacks names goes on to `next`.
fn start(
    name: &str,
    make: impl FnOnce() -> Resolver + Send + 'static,
    deliver: Deliver,
    next: Option<SyncSender<Request>>,
) -> std::io::Result<SyncSender<Request>> {
    let (queue, requests) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || serve(&mut make(), &requests, &deliver, next.as_ref()))?;
    Ok(queue)
}

fn serve(
    resolver: &mut Resolver,
    requests: &Receiver<Request>,
    deliver: &Deliver,
    next: Option<&SyncSender<Request>>,
) {
    let mut patience = CLOSE_AFTER;
    let mut next_request = |resolver: &mut Resolver| loop {
        if !resolver.is_open() {
            return requests.recv().ok();
        }
        match requests.recv_timeout(patience) {
            Ok(request) => return Some(request),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                resolver.close();
                patience = (patience * 2).min(CLOSE_LATEST);
            }
        }
    };
    while let Some(request) = next_request(resolver) {
        let (ticket, stack) = match request.clone() {
            Request::Names { ticket, stack } => (ticket, stack),
            Request::Learn(source) => {
                resolver.learn(&source);
                let _ = next.map(|next| next.try_send(request));
                continue;
            }
        };
        let found = resolver.resolve(&stack);
        let passed_on =
            !found.problems.is_empty() && next.is_some_and(|next| next.try_send(request).is_ok());
        let answer = Answer {
            ticket,
            found,
            preliminary: passed_on,
        };
        let mut deliver = deliver.lock().unwrap_or_else(PoisonError::into_inner);
        deliver(answer);
    }
}
