//! Saving the history on a thread of its own: the one that holds it must not wait
//! for a disk.

use std::{path::PathBuf, thread::JoinHandle};

use tokio::sync::mpsc::UnboundedSender;

use super::file::{Unsynced, Unwritten, create, discard};
use crate::{
    app::{Event, quantity},
    record::HistoryCopy,
};

/// Saves one history after another, and reports what became of each.
#[derive(Debug)]
pub(super) struct Saver {
    running: Option<JoinHandle<()>>,
    events: UnboundedSender<Event>,
}

/// What is saved, and where.
#[derive(Debug)]
pub(super) struct Save {
    pub(super) history: HistoryCopy,
    /// As the target calls itself, for the file's name.
    pub(super) name: String,
    /// As the user named it.
    pub(super) target: String,
    /// The first that can be written is taken.
    pub(super) directories: Vec<PathBuf>,
}

impl Saver {
    pub(super) fn new(events: UnboundedSender<Event>) -> Self {
        Self {
            running: None,
            events,
        }
    }

    /// Begins to save. Gives a sentence for now.
    pub(super) fn begin(&mut self, save: Save) -> String {
        if self.running.as_ref().is_some_and(|t| !t.is_finished()) {
            return "still saving; try again in a moment".to_owned();
        }
        let length = quantity::clock(save.history.length());
        let events = self.events.clone();
        let work = move || {
            // Whoever listened may have gone; the file is whole nevertheless.
            let _ = events.send(Event::Notice(save.sentence()));
        };
        let thread = std::thread::Builder::new().name("save".to_owned());
        match thread.spawn(work) {
            Ok(thread) => {
                self.running = Some(thread);
                format!("saving the last {length}")
            }
            Err(error) => format!("not saved: no thread to write it on: {error}"),
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // The user has asked for a whole file.
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

impl Save {
    fn sentence(&self) -> String {
        let length = quantity::clock(self.history.length());
        match self.write() {
            Ok(path) => format!("saved the last {length}: looptop replay {}", path.display()),
            Err(unwritten) => format!("not saved to {unwritten}; mend that, then try again"),
        }
    }

    fn write(&self) -> Result<PathBuf, Unwritten> {
        let (path, file) = create(&self.name, &self.directories)?;
        let written = self
            .history
            .write(Unsynced(file), &self.target)
            // Once for the whole file: until then the history has it.
            .and_then(|Unsynced(file)| file.sync_data());
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                // Nobody learns of half a file, so it does not stay.
                discard(&path);
                Err(Unwritten { path, error })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{
        model::Model,
        record::{
            History, Recording,
            history::Bounds,
            synthetic::{Session, Shape},
        },
    };

    fn save(directories: Vec<PathBuf>) -> Save {
        let mut session = Session::new(Shape::default());
        let hello = session.hello();
        let mut history = History::new(Bounds::default());
        history.begin(&hello);
        let mut model = Model::new(&hello);
        for _ in 0..51 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            history.push(&frame, &model, ());
        }
        Save {
            history: history.copy(),
            name: "lab".into(),
            target: "127.0.0.1:6669".into(),
            directories,
        }
    }

    #[tokio::test]
    async fn what_became_of_a_save_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let (events, mut notices) = unbounded_channel();
        let mut saver = Saver::new(events);
        let now = saver.begin(save(vec![directory.path().to_owned()]));
        assert_eq!(now, "saving the last 00:05");
        let Some(Event::Notice(sentence)) = notices.recv().await else {
            panic!("nothing was reported");
        };
        let path = sentence.strip_prefix("saved the last 00:05: looptop replay ");
        let recording = Recording::open(path.unwrap().as_ref()).unwrap();
        assert_eq!(recording.length().as_secs(), 5);
        assert_eq!(recording.remark(), None);

        let gone = directory.path().join("gone");
        saver.begin(save(vec![gone.clone()]));
        let Some(Event::Notice(sentence)) = notices.recv().await else {
            panic!("nothing was reported");
        };
        let tried = format!("not saved to {}/lab-", gone.display());
        assert!(sentence.starts_with(&tried), "{sentence}");
        assert!(
            sentence.ends_with(": entity not found; mend that, then try again"),
            "{sentence}"
        );
    }

    #[test]
    fn one_who_leaves_at_once_finds_a_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut saver = Saver::new(unbounded_channel().0);
        saver.begin(save(vec![directory.path().to_owned()]));
        drop(saver);
        let mut files = std::fs::read_dir(directory.path()).unwrap();
        let recording = Recording::open(&files.next().unwrap().unwrap().path()).unwrap();
        assert_eq!(recording.remark(), None);
    }
}
