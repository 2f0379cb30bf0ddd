//! The run loop of the picker: keys, the screen, and what is found each second.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    input::Input,
    pace::Pace,
    run::{RunError, Stage, Wanted, resume, suspend},
};
use crate::{
    app::{
        bindings::Keymap,
        picker::{Candidate, Choice, Picker, Way},
    },
    source::{
        Target,
        processes::{At, Lister, Listing, Row},
    },
    ui::{self, Theme},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Lets the user choose, of `listing` at first and of what is found from then on; `None`
/// where the user quits or a signal asks for it.
pub(super) async fn pick(
    stage: &mut Stage,
    theme: &Theme,
    keys: &Keymap,
    listing: Listing,
    lister: Lister,
) -> Result<Option<Target>, RunError> {
    let mut picker = Picker::default();
    picker.size = stage.tui.size();
    picker.keys = keys.clone();
    let mut looks = Looks::begin(lister);
    picker.found(candidates(listing.rows), listing.unread);
    let mut pace = Pace::new();
    loop {
        let choice = tokio::select! {
            biased;
            signal = stage.signals.next() => match signal {
                Wanted::End | Wanted::Interrupt => Choice::Quit,
                Wanted::Stop => Choice::Suspend,
                Wanted::Continue => {
                    stage.keyboard.pause(false);
                    picker.size = resume(&mut stage.tui).map_err(RunError::Draw)?;
                    pace.at_once();
                    Choice::Stay
                }
            },
            input = stage.keyboard.next(), if !pace.is_late() => match input {
                None => Choice::Quit,
                Some(input) => {
                    pace.at_once();
                    take(&mut picker, input)
                }
            },
            () = pace.due() => {
                let draw = |frame: &mut ratatui::Frame<'_>| ui::picker::render(&picker, theme, frame);
                stage.tui.draw(draw).map_err(RunError::Draw)?;
                pace.drawn();
                Choice::Stay
            },
            Some(listing) = looks.found.recv() => {
                picker.found(candidates(listing.rows), listing.unread);
                pace.soon();
                Choice::Stay
            }
        };
        match choice {
            Choice::Stay => {}
            Choice::Look => looks.now(),
            Choice::Suspend => {
                if suspend(&mut stage.tui, &stage.keyboard) {
                    return Ok(None);
                }
            }
            Choice::Quit => return Ok(None),
            // It was the name of a target when it was found.
            Choice::Attach(name) => return Ok(name.parse().ok()),
        }
    }
}

fn take(picker: &mut Picker, input: Input) -> Choice {
    match input {
        Input::Resize(size) => picker.size = size,
        Input::Key(key) => return picker.key(key),
        Input::Mouse(mouse, _, y) => picker.mouse(mouse, y),
        Input::Paste(text) => picker.paste(&text),
    }
    Choice::Stay
}

/// Looks each second, beside the screen: an agent that does not answer delays no key.
struct Looks {
    found: mpsc::Receiver<Listing>,
    asked: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Looks {
    fn begin(mut lister: Lister) -> Self {
        let (sender, found) = mpsc::channel(1);
        let (asked, mut anew) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut began = Instant::now();
            loop {
                let wait = EVERY.saturating_sub(began.elapsed());
                if let Ok(Some(())) = timeout(wait, anew.recv()).await {
                    lister.forget_answers();
                }
                began = Instant::now();
                if sender.send(lister.list().await).await.is_err() {
                    return;
                }
            }
        });
        Self { found, asked, task }
    }

    /// Looks at once, and asks all agents again.
    fn now(&self) {
        // Where it was asked for already, that will do.
        let _ = self.asked.try_send(());
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn candidates(rows: Vec<Row>) -> Vec<Candidate> {
    rows.into_iter().map(candidate).collect()
}

fn candidate(row: Row) -> Candidate {
    let way = match row.at {
        At::Target(target @ Target::Process(_)) => Way::Outside(target.to_string()),
        At::Target(target) => Way::Within(target.to_string()),
        At::Refused(refusal) => Way::Closed {
            short: refusal.short(),
            sentence: refusal.to_string(),
            advice: refusal.advice(),
        },
        At::Nowhere(why) => Way::Closed {
            sentence: format!("its {} cannot be attached to: {why}", row.instrument),
            short: why,
            advice: String::new(),
        },
    };
    Candidate {
        pid: row.pid,
        name: row.name,
        arguments: row.arguments,
        user: row.user,
        instrument: row.instrument,
        threads: row.threads,
        cpu: row.cpu,
        way,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_what_can_be_chosen() {
        let row = |at: At| Row {
            pid: 7,
            name: "app".into(),
            arguments: "--port 7000".into(),
            user: "me".into(),
            instrument: "looptop-agent".into(),
            threads: 3,
            cpu: Some(0.5),
            at,
        };
        let target = |text: &str| At::Target(text.parse().unwrap());
        for (at, way) in [
            (target("pid:7"), Way::Outside("pid:7".into())),
            (target("unix:/a b"), Way::Within("unix:/a b".into())),
            (target("7000"), Way::Within("127.0.0.1:7000".into())),
            (
                At::Nowhere("no answer".into()),
                Way::Closed {
                    short: "no answer".into(),
                    sentence: "its looptop-agent cannot be attached to: no answer".into(),
                    advice: String::new(),
                },
            ),
        ] {
            assert_eq!(candidate(row(at)).way, way);
        }
    }
}
