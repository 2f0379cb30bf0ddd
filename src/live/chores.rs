//! What the screen writes to files beside what it shows: on a thread of its own, one
//! after another, for the one that draws must not wait for a disk.

use std::{
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::Event;

/// Something to do, and what became of it, as a sentence.
type Chore = Box<dyn FnOnce() -> String + Send>;

/// Does one chore after another. Dropping it waits for those that were asked for.
#[derive(Debug)]
pub(super) struct Chores {
    thread: Option<(Sender<Chore>, JoinHandle<()>)>,
    said: UnboundedSender<String>,
    saying: UnboundedReceiver<String>,
}

impl Default for Chores {
    fn default() -> Self {
        let (said, saying) = unbounded_channel();
        Self {
            thread: None,
            said,
            saying,
        }
    }
}

impl Chores {
    /// What became of one of them. Safe to cancel.
    pub(super) async fn next(&mut self) -> Event {
        match self.saying.recv().await {
            Some(sentence) => Event::Notice(sentence),
            // Not while there is a sender, and it is here.
            None => std::future::pending().await,
        }
    }

    /// Who may report something later.
    pub(super) fn reporter(&self) -> UnboundedSender<String> {
        self.said.clone()
    }

    /// Has something done.
    pub(super) fn add(&mut self, chore: impl FnOnce() -> String + Send + 'static) {
        if self.thread.is_none() {
            let (chores, list) = channel::<Chore>();
            let said = self.said.clone();
            let work = move || {
                for chore in list {
                    // Whoever listened may have gone; it is done nevertheless.
                    let _ = said.send(chore());
                }
            };
            let thread = std::thread::Builder::new().name("looptop-files".to_owned());
            match thread.spawn(work) {
                Ok(thread) => self.thread = Some((chores, thread)),
                Err(error) => {
                    let _ = self
                        .said
                        .send(format!("no thread to write files on: {error}"));
                }
            }
        }
        if let Some((chores, _)) = &self.thread {
            let _ = chores.send(Box::new(chore));
        }
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        if let Some((chores, thread)) = self.thread.take() {
            drop(chores);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chores_are_done_in_their_order_and_reported() {
        let mut chores = Chores::default();
        for n in 0..3 {
            chores.add(move || n.to_string());
        }
        for n in 0..3 {
            let event = chores.next().await;
            assert!(
                matches!(&event, Event::Notice(said) if *said == n.to_string()),
                "{event:?}"
            );
        }
        let (done, was_done) = channel();
        chores.add(move || {
            done.send(()).unwrap();
            String::new()
        });
        drop(chores);
        was_done
            .try_recv()
            .expect("what was asked for is done before the end");
    }
}
