//! The symbolizer's thread.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use super::{CodeAddress, Frame, Remote, Resolver};

/// Stacks that may wait; more are refused, and asked for again by the caller.
const QUEUE: usize = 256;

/// The names of one stack.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As given to [`Symbolizer::request`].
    pub ticket: u64,
    /// Innermost first; inlined functions included.
    pub frames: Vec<Frame>,
    /// What is missing and how to get it, a sentence per binary.
    pub problems: Vec<String>,
}

struct Request {
    ticket: u64,
    stack: Vec<CodeAddress>,
}

/// Looks stacks up on a thread of its own; ends with its last handle.
#[derive(Debug, Clone)]
pub struct Symbolizer {
    queue: SyncSender<Request>,
}

impl Symbolizer {
    /// Starts the thread. `pid` is the observed process if it runs on this
    /// machine, `remote` answers where files do not; `deliver` is called on the thread for each stack, in order.
    ///
    /// # Errors
    ///
    /// The system refuses another thread.
    pub fn start(
        pid: Option<u32>,
        remote: Option<Remote>,
        mut deliver: impl FnMut(Answer) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, requests) = sync_channel::<Request>(QUEUE);
        std::thread::Builder::new()
            .name("symbolizer".to_owned())
            .spawn(move || {
                let mut resolver = Resolver::with_remote(pid, remote);
                while let Ok(Request { ticket, stack }) = requests.recv() {
                    let (frames, problems) = resolver.resolve(&stack);
                    deliver(Answer {
                        ticket,
                        frames,
                        problems,
                    });
                }
            })?;
        Ok(Symbolizer { queue })
    }

    /// Asks for the names of a stack; never waits. False where the queue is full:
    /// ask again later.
    #[must_use]
    pub fn request(&self, ticket: u64, stack: Vec<CodeAddress>) -> bool {
        !matches!(
            self.queue.try_send(Request { ticket, stack }),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }
}
