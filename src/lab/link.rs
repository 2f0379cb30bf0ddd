//! The screen's end of the lab's remote control. What the other end does is in
//! `client`, where the program was built with the lab.

use tokio::{sync::mpsc, task::JoinHandle};

use crate::app::lab::{Twin, Update};

/// What is asked of the remote control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The target was attached to: ask whether it is a lab.
    Attach,
    /// Run this twin of this scenario.
    Switch {
        /// The scenario's id.
        scenario: String,
        /// The twin.
        twin: Twin,
    },
}

/// Dropping it ends the remote control.
#[derive(Debug)]
pub struct LabLink {
    updates: mpsc::Receiver<Update>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// What waits for either end.
const WAITING: usize = 16;

impl LabLink {
    /// A link to what `start` starts.
    pub fn new(
        start: impl FnOnce(mpsc::Sender<Update>, mpsc::Receiver<Command>) -> JoinHandle<()>,
    ) -> Self {
        let (sender, updates) = mpsc::channel(WAITING);
        let (commands, commands_out) = mpsc::channel(WAITING);
        Self {
            updates,
            commands,
            task: start(sender, commands_out),
        }
    }

    /// What the lab reports next; never, once it has ended. Safe to cancel.
    pub async fn recv(&mut self) -> Update {
        match self.updates.recv().await {
            Some(update) => update,
            None => std::future::pending().await,
        }
    }

    /// The target was attached to: ask whether it is a lab.
    pub fn attach(&self) {
        // Where so much waits already, the lab is being asked.
        let _ = self.commands.try_send(Command::Attach);
    }

    /// Runs a twin of a scenario, without waiting; `false` where that cannot be
    /// passed on.
    pub fn switch(&self, scenario: String, twin: Twin) -> bool {
        let command = Command::Switch { scenario, twin };
        self.commands.try_send(command).is_ok()
    }
}

impl Drop for LabLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}
