//! The terminal: taken over, and given back whatever happens.
//!
//! Invariant: after [`Tui::leave`], a drop of [`Tui`], or a panic on the thread
//! that draws, the terminal is as it was. A panic on another thread does not
//! tear the screen: its message waits until the terminal is given back.

use std::{
    io::{self, BufWriter, IsTerminal, Stdout, Write},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::ThreadId,
};

use base64::Engine as _;
use crossterm::{
    cursor,
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute, queue,
    terminal::{
        self, BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen,
    },
};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    layout::{Position, Rect, Size},
};

use super::links::Links;
use crate::ui::links::Link;

/// Why there is no screen.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Standard output goes to a file or a pipe.
    #[error(
        "the screen needs a terminal, but standard output is not one; for scripts use: looptop check"
    )]
    NotATerminal,
    /// The terminal refused.
    #[error("cannot take over the terminal: {0}; for scripts use: looptop check")]
    Refused(#[from] io::Error),
}

/// What to do with the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseUse {
    /// It selects, scrolls and sorts.
    Take,
    /// It stays the terminal's, to mark text.
    Leave,
}

/// The terminal, taken over.
pub struct Tui {
    mouse: MouseUse,
    /// Nothing of what was drawn before is on the terminal.
    is_cleared: bool,
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// A frame of a large screen in one write.
const BUFFER: usize = 256 * 1024;

/// The panic hook is installed once.
static HOOK: Once = Once::new();
/// The terminal is taken over at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The thread that draws.
static DRAWING: Mutex<Option<ThreadId>> = Mutex::new(None);
/// Messages of panics on other threads.
static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether there is a terminal to show anything on.
pub fn check() -> Result<(), TerminalError> {
    if io::stdout().is_terminal() {
        Ok(())
    } else {
        Err(TerminalError::NotATerminal)
    }
}

impl Tui {
    /// Takes the terminal over.
    pub fn enter(mouse: MouseUse) -> Result<Self, TerminalError> {
        check()?;
        HOOK.call_once(install_panic_hook);
        let thread = std::thread::current().id();
        *DRAWING.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        take(mouse).inspect_err(|_| give_back())?;
        let out = BufWriter::with_capacity(BUFFER, io::stdout());
        let terminal = Terminal::new(CrosstermBackend::new(out)).inspect_err(|_| give_back())?;
        Ok(Self {
            mouse,
            is_cleared: true,
            terminal,
        })
    }

    /// Its size; the least size of all where it does not know.
    pub fn size(&self) -> Size {
        self.terminal.size().unwrap_or(Size::new(1, 1))
    }

    /// Draws a frame, in one piece where the terminal knows how.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        self.terminal.draw(render)?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        self.terminal.backend_mut().flush()
    }

    /// Draws a frame, and over it the links that `find` sees in it.
    pub(super) fn draw_with(
        &mut self,
        render: impl FnOnce(&mut Frame<'_>),
        links: &mut Links,
        find: impl FnOnce(&Buffer) -> Vec<Link>,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.is_cleared) {
            links.forget();
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        let frame = self.terminal.draw(render)?;
        let (found, area) = (find(frame.buffer), frame.area);
        links.draw(found, area, self.terminal.backend_mut())?;
        queue!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        self.terminal.backend_mut().flush()
    }

    /// Puts text into the terminal's clipboard (OSC 52). A terminal that does
    /// not know it ignores it.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let out = self.terminal.backend_mut();
        write!(out, "\x1b]52;c;{encoded}\x07")?;
        out.flush()
    }

    /// Gives the terminal back for a while.
    pub fn leave(&mut self) {
        give_back();
    }

    /// Takes it over again, and draws everything anew at the next frame.
    pub fn resume(&mut self) -> io::Result<()> {
        take(self.mouse)?;
        self.begin_anew()
    }

    /// Draws everything anew at the next frame: another screen comes, which knows nothing
    /// of what this one has drawn.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        self.is_cleared = true;
        // `clear` would ask where the cursor is, and the thread that reads keys
        // would take the answer.
        self.terminal
            .resize(Rect::from((Position::ORIGIN, self.size())))
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        give_back();
    }
}

fn take(mouse: MouseUse) -> io::Result<()> {
    TAKEN.store(true, Ordering::SeqCst);
    terminal::enable_raw_mode()?;
    execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableBracketedPaste,
        cursor::Hide
    )?;
    match mouse {
        MouseUse::Take => execute!(io::stdout(), EnableMouseCapture),
        MouseUse::Leave => Ok(()),
    }
}

/// Errors have nowhere to go: the terminal may be gone.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    #[cfg(feature = "planted")]
    if std::env::var_os("LOOPTOP_PLANTED").is_some_and(|d| d == "terminal") {
        return;
    }
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableMouseCapture,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = terminal::disable_raw_mode();
    let messages = std::mem::take(&mut *MESSAGES.lock().unwrap_or_else(PoisonError::into_inner));
    for message in messages {
        let _ = writeln!(io::stderr(), "{message}");
    }
}

fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let here = Some(std::thread::current().id());
        let drawing = *DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
        if TAKEN.load(Ordering::SeqCst) && drawing != here {
            let name = std::thread::current()
                .name()
                .unwrap_or("unnamed")
                .to_owned();
            let message = format!("thread '{name}' {info}");
            MESSAGES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(message);
            return;
        }
        give_back();
        before(info);
    }));
}
