//! Which tasks of a runtime are alive, and where they wait: read in the process's own memory.

/// A task that is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Task {
    /// The path of its future; empty where it is not known.
    pub(crate) future: String,
    /// Where its async fn or block is written.
    pub(crate) written: Option<String>,
    /// Where it was spawned, in a build with `tokio_unstable`.
    pub(crate) spawned: Option<String>,
    /// The futures that it awaits, a line for each; empty where that is not known.
    pub(crate) waits: String,
}

impl Task {
    /// It, and where it comes from.
    pub(super) fn label(&self) -> String {
        let name = match self.future.as_str() {
            "" => "of an unknown type".to_owned(),
            future => looptop_symbols::name::short_future(future),
        };
        match (&self.spawned, &self.written) {
            (Some(spawned), _) => format!("{name} (spawned at {spawned})"),
            (None, Some(written)) => format!("{name} (written at {written})"),
            (None, None) => name,
        }
    }
}

/// The tasks of one runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) tasks: Vec<Task>,
    /// How many the runtime itself counts.
    pub(super) alive: usize,
    /// Why the tasks could not be read.
    pub(super) problem: Option<String>,
}

/// Reads those of the runtime that has spawned the task with this id, and not that task.
/// `alive` are those that the runtime counts.
pub(super) fn read(marker: tokio::task::Id, alive: usize) -> Listed {
    let marker = marker.to_string().parse::<u64>();
    let read = marker
        .map_err(|_| "tokio's ids are no numbers".to_owned())
        .and_then(crate::waits::tasks_beside);
    match read {
        Ok(tasks) => Listed {
            tasks,
            alive,
            problem: None,
        },
        Err(problem) => Listed {
            tasks: Vec::new(),
            alive,
            problem: Some(problem),
        },
    }
}
