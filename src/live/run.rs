//! The run loop: the one place where the target, the keys, the clock and the
//! signals meet.
//!
//! Invariants:
//! - Nothing here waits for the target. Keys come before data, and are drawn at once;
//!   data is drawn at a pace, and a flood of frames is taken in one at a time between
//!   the two.
//! - Only the state writes into the state: actions and events go in, effects come
//!   out, and what an effect leads to comes back as events.

use std::{collections::VecDeque, io, time::Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    chores::Chores,
    editor,
    input::{Input, Keyboard},
    links::{Links, has_links},
    pace::Pace,
    picture::Picture,
    terminal::{MouseUse, TerminalError, Tui},
};
use crate::{
    app::{Action, Effect, Event, SourcePlace, State, ThemeId, bindings, mouse, update},
    cli::Editing,
    config,
    ui::{self, Themes},
};

/// Where events come from and effects on the outside go to. It reads the state, and
/// changes it by events only.
pub trait Feed {
    /// The next event; `None` when there will be none. Must be safe to cancel.
    fn next(&mut self) -> impl Future<Output = Option<Event>>;

    /// The state has taken in the last event. Must not wait.
    fn applied(&mut self, _state: &State) {}

    /// Carries out an effect that is not the terminal's, and returns what is known of
    /// it at once. Must not wait.
    fn serve(&mut self, effect: &Effect, state: &State) -> Vec<Event>;
}

/// Why the program ended otherwise than by the user's wish.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// Signals could not be received.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The terminal failed while it was drawn on.
    #[error("cannot draw on the terminal: {0}")]
    Draw(io::Error),
}

/// The terminal, taken over, with its keys and the signals that concern it. Dropping it
/// gives the terminal back.
pub struct Stage {
    pub(super) signals: Signals,
    pub(super) tui: Tui,
    pub(super) keyboard: Keyboard,
}

impl Stage {
    /// Takes the terminal over. Must run within a runtime, on the thread that is to draw.
    pub fn enter(mouse: MouseUse) -> Result<Self, RunError> {
        let signals = Signals::new().map_err(RunError::Signals)?;
        let tui = Tui::enter(mouse)?;
        let keyboard = Keyboard::new().map_err(RunError::Draw)?;
        Ok(Self {
            signals,
            tui,
            keyboard,
        })
    }
}

/// How a screen was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The program is to end.
    Quit,
    /// For the page of several processes, in this theme.
    Back(ThemeId),
}

/// Shows the target until the user quits or goes back, a signal ends it, or the terminal
/// is gone.
pub async fn run(
    mut state: State,
    themes: &Themes,
    editing: &Editing,
    on: &mut Stage,
    feed: &mut impl Feed,
) -> Result<Left, RunError> {
    let Stage {
        signals,
        tui,
        keyboard,
    } = on;
    state.size = tui.size();
    let mut chores = Chores::default();
    let environment = |name: &str| std::env::var(name).ok();
    let mut links =
        has_links(editing.links, environment).then(|| Links::new(editing.source_map.clone()));
    let mut editor: Option<Editor> = None;
    let mut pace = Pace::new();
    let mut more = true;
    loop {
        // In this order: a signal, a key, the screen, and only then the target.
        let after = tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Wanted::End => After::Quit,
                // The terminal is the editor's: its Ctrl-C is not for this program, and
                // its own way to stop and to go on is.
                Wanted::Interrupt => After::quit_if(editor.is_none()),
                Wanted::Stop if editor.is_some() => After::quit_if(stop()),
                Wanted::Continue if editor.is_some() => After::GoOn,
                Wanted::Stop => After::quit_if(suspend(tui, keyboard)),
                Wanted::Continue => {
                    keyboard.pause(false);
                    state.size = resume(tui).map_err(RunError::Draw)?;
                    pace.at_once();
                    After::GoOn
                }
            },
            ended = Editor::ended(&mut editor), if editor.is_some() => {
                editor = None;
                keyboard.return_from();
                state.size = resume(tui).map_err(RunError::Draw)?;
                if let Some(sentence) = ended {
                    state.now = Instant::now();
                    state.notify(sentence);
                }
                pace.at_once();
                After::GoOn
            }
            input = keyboard.next(), if editor.is_none() && !pace.is_late() => if let Some(input) = input {
                state.now = Instant::now();
                let effects = take(&mut state, input);
                pace.at_once();
                let outside = Outside { editing,
                    editor: &mut editor,
                    tui: &mut *tui, keyboard: &*keyboard, chores: &mut chores, themes };
                outside.perform(effects, &mut state, feed)
            } else {
                After::Quit
            },
            () = pace.due(), if editor.is_none() => {
                draw(&mut state, themes, links.as_mut(), tui).map_err(RunError::Draw)?;
                pace.drawn();
                After::GoOn
            },
            event = feed.next(), if more => if let Some(event) = event {
                let effects = state.apply(event, Instant::now());
                feed.applied(&state);
                pace.soon();
                let outside = Outside { editing,
                    editor: &mut editor,
                    tui: &mut *tui, keyboard: &*keyboard, chores: &mut chores, themes };
                outside.perform(effects, &mut state, feed)
            } else {
                more = false;
                After::GoOn
            },
            event = chores.next() => {
                state.apply(event, Instant::now());
                pace.soon();
                After::GoOn
            },
        };
        match after {
            After::GoOn => {}
            After::Quit => return Ok(Left::Quit),
            After::Leave => return Ok(Left::Back(state.theme)),
        }
    }
}

/// What comes after something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    /// The program ends.
    Quit,
    /// The page of several processes comes back.
    Leave,
}

impl After {
    fn quit_if(ends: bool) -> Self {
        if ends { Self::Quit } else { Self::GoOn }
    }
}

fn draw(
    state: &mut State,
    themes: &Themes,
    links: Option<&mut Links>,
    tui: &mut Tui,
) -> io::Result<()> {
    state.now = Instant::now();
    state.prepare();
    let render = |frame: &mut ratatui::Frame<'_>| {
        ui::render(state, themes.get(state.theme), frame);
    };
    let Some(links) = links else {
        return tui.draw(render);
    };
    links.of(&state.model().session.exe);
    tui.draw_with(render, links, |buffer| ui::links::links(state, buffer))
}

/// What a user did becomes an action.
fn take(state: &mut State, input: Input) -> Vec<Effect> {
    let action = match input {
        Input::Resize(size) => {
            state.size = size;
            None
        }
        Input::Key(key) => {
            state.note_key(key);
            bindings::dispatch(state, key)
        }
        Input::Mouse(mouse, x, y) => mouse::action(state, mouse, x, y),
        Input::Paste(text) => state.takes_text().then_some(Action::Type(text)),
    };
    action.map_or_else(Vec::new, |action| update(state, action))
}

/// An editor that has the terminal.
struct Editor {
    child: tokio::process::Child,
    program: String,
}

impl Editor {
    /// Waits until it has ended, and returns what went wrong, if something did.
    async fn ended(editor: &mut Option<Self>) -> Option<String> {
        let Some(editor) = editor else {
            return std::future::pending().await;
        };
        let why = match editor.child.wait().await {
            Ok(status) if status.success() => return None,
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Some(format!("the editor {} ended with {why}", editor.program))
    }
}

/// What effects work on, beside the feed.
struct Outside<'a> {
    editing: &'a Editing,
    editor: &'a mut Option<Editor>,
    tui: &'a mut Tui,
    keyboard: &'a Keyboard,
    chores: &'a mut Chores,
    themes: &'a Themes,
}

impl Outside<'_> {
    /// Does what is left to do outside.
    fn perform(mut self, effects: Vec<Effect>, state: &mut State, feed: &mut impl Feed) -> After {
        let mut after = After::GoOn;
        carry_out(effects, state, |effect, state| {
            match effect {
                Effect::Quit => after = After::Quit,
                Effect::Leave => after = After::Leave,
                Effect::Suspend if suspend(self.tui, self.keyboard) => after = After::Quit,
                Effect::Suspend => {}
                // A terminal that is gone shows at the next frame.
                Effect::Copy(text) => drop(self.tui.copy(text)),
                Effect::Edit(place) => {
                    if let Some(sentence) = self.edit(place, state) {
                        return vec![Event::Notice(sentence)];
                    }
                }
                Effect::KeepTheme(theme) => {
                    let name = match theme {
                        ThemeId::Own => state.options.own_theme.clone(),
                        theme => theme.name().to_owned(),
                    };
                    self.chores.add(move || config::keep_theme(&name));
                }
                Effect::SaveScreen => {
                    let picture = Picture::of(state, self.themes.get(state.theme));
                    self.chores.add(move || picture.save());
                }
                _ => return feed.serve(effect, state),
            }
            Vec::new()
        });
        after
    }

    /// Opens an editor; returns what there is to say of it.
    fn edit(&mut self, place: &SourcePlace, state: &State) -> Option<String> {
        // The way of a file on another machine says nothing of this one.
        let roots = editor::roots(&state.model().session.exe);
        let found = editor::find(&place.file, &self.editing.source_map, &roots);
        let environment = editor::Environment::here();
        let made = found
            .and_then(|file| editor::Invocation::new(self.editing, &environment, &file, place));
        let started = made.and_then(|made| {
            if !made.takes_terminal() {
                made.beside(self.chores.reporter())?;
                return Ok(Some(format!(
                    "{}:{} goes to {}",
                    place.file,
                    place.line,
                    made.program()
                )));
            }
            self.keyboard.leave();
            self.tui.leave();
            match made.in_terminal() {
                Ok(child) => {
                    let program = made.program().to_owned();
                    *self.editor = Some(Editor { child, program });
                    Ok(None)
                }
                Err(why) => {
                    self.keyboard.pause(false);
                    // A terminal that is gone shows at the next frame.
                    drop(self.tui.resume());
                    Err(why)
                }
            }
        });
        started.unwrap_or_else(Some)
    }
}

/// Has `serve` carry out effects, and the state take in what they lead to, until
/// nothing is left to do.
fn carry_out(
    effects: Vec<Effect>,
    state: &mut State,
    mut serve: impl FnMut(&Effect, &State) -> Vec<Event>,
) {
    let mut left = VecDeque::from(effects);
    while let Some(effect) = left.pop_front() {
        for event in serve(&effect, state) {
            left.extend(state.apply(event, state.now));
        }
    }
}

/// Gives the terminal back and stops, as a shell's job does; the shell's `fg`
/// sends the signal that [`resume`]s. `true` where stopping is impossible.
pub(super) fn suspend(tui: &mut Tui, keyboard: &Keyboard) -> bool {
    keyboard.pause(true);
    tui.leave();
    stop()
}

/// Stops this process; `true` where that is impossible.
fn stop() -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP).is_err()
}

pub(super) fn resume(tui: &mut Tui) -> io::Result<ratatui::layout::Size> {
    tui.leave();
    tui.resume()?;
    Ok(tui.size())
}

/// The signals that concern a terminal program.
pub(super) struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stop: Signal,
    go_on: Signal,
}

/// What a signal asks for.
pub(super) enum Wanted {
    /// To end.
    End,
    /// To end, as Ctrl-C asks.
    Interrupt,
    /// To stop, as a shell's job.
    Stop,
    /// To go on.
    Continue,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let raw = |s: nix::sys::signal::Signal| signal(SignalKind::from_raw(s as i32));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: raw(nix::sys::signal::Signal::SIGTSTP)?,
            go_on: raw(nix::sys::signal::Signal::SIGCONT)?,
        })
    }

    pub(super) async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::End,
            _ = self.hang_up.recv() => Wanted::End,
            _ = self.interrupt.recv() => Wanted::Interrupt,
            _ = self.stop.recv() => Wanted::Stop,
            _ = self.go_on.recv() => Wanted::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        app::{Connection, Details, fixtures::starving_state},
        model::{TaskId, fixtures},
    };

    use super::*;

    #[test]
    fn what_an_effect_leads_to_is_taken_in_and_carried_out_too() {
        let mut state = starving_state();
        state.details = Some(Details::Task(TaskId(4)));
        let mut served = Vec::new();
        carry_out(vec![Effect::Resume], &mut state, |effect, _| {
            served.push(effect.clone());
            if *effect != Effect::Resume {
                return Vec::new();
            }
            vec![
                Event::Connected {
                    hello: Box::new(fixtures::hello()),
                    kind: crate::model::SourceKind::Agent,
                },
                Event::Notice("it goes on".to_owned()),
            ]
        });
        assert_eq!(state.connection, Connection::Live);
        assert_eq!(state.notice(), Some("it goes on"));
        // Whose details are open is asked for anew on a new connection.
        let watched = Effect::WatchTask(Some(TaskId(4)));
        assert_eq!(served, [Effect::Resume, watched]);
    }
}
