//! What the terminal sends: keys, the mouse, pasted text, its size.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossterm::event::{
    self, Event as TerminalEvent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton,
    MouseEventKind,
};
use ratatui::layout::Size;
use tokio::sync::mpsc;

use crate::app::{Key, mouse::Mouse};

/// What a user did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A key went down.
    Key(Key),
    /// The mouse, and where: column and row.
    Mouse(Mouse, u16, u16),
    /// Text was pasted.
    Paste(String),
    /// The screen has another size.
    Resize(Size),
}

/// Reads the terminal on a thread of its own, so that nothing else can delay a
/// key. Dropping it ends the thread.
#[derive(Debug)]
pub struct Keyboard {
    inputs: mpsc::Receiver<Input>,
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    /// The thread leaves the terminal alone.
    away: Arc<AtomicBool>,
}

/// How soon the thread notices that it is to stop.
const PATIENCE: Duration = Duration::from_millis(200);
/// Keys typed ahead.
const AHEAD: usize = 256;

impl Keyboard {
    /// Begins to read.
    pub fn new() -> std::io::Result<Self> {
        let (sender, inputs) = mpsc::channel(AHEAD);
        let stop = Arc::new(AtomicBool::new(false));
        let paused = Arc::new(AtomicBool::new(false));
        let away = Arc::new(AtomicBool::new(false));
        let (stopped, pause, is_away) = (Arc::clone(&stop), Arc::clone(&paused), Arc::clone(&away));
        std::thread::Builder::new()
            .name("looptop-keys".into())
            .spawn(move || read(&sender, &stopped, &pause, &is_away))?;
        Ok(Self {
            inputs,
            stop,
            paused,
            away,
        })
    }

    /// The next input; `None` when the terminal is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Input> {
        self.inputs.recv().await
    }

    /// Leaves the terminal to others, or reads on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Leaves the terminal to another program, whose keys it must not take: waits until
    /// nothing reads it here, which takes a fifth of a second at most.
    pub fn leave(&self) {
        self.pause(true);
        let deadline = Instant::now() + 2 * PATIENCE;
        while !self.away.load(Ordering::Acquire) && Instant::now() < deadline {
            std::thread::sleep(PATIENCE / 40);
        }
    }

    /// Reads on, and forgets what was typed before.
    pub fn return_from(&mut self) {
        while self.inputs.try_recv().is_ok() {}
        self.pause(false);
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Ends when the receiver is gone or the terminal fails.
fn read(sender: &mpsc::Sender<Input>, stop: &AtomicBool, paused: &AtomicBool, away: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let pausing = paused.load(Ordering::Relaxed);
        away.store(pausing, Ordering::Release);
        if pausing {
            std::thread::sleep(PATIENCE / 4);
            continue;
        }
        match event::poll(PATIENCE) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        let Ok(event) = event::read() else { return };
        if let Some(input) = input(event)
            && sender.blocking_send(input).is_err()
        {
            return;
        }
    }
}

fn input(event: TerminalEvent) -> Option<Input> {
    match event {
        TerminalEvent::Key(event) if event.kind != KeyEventKind::Release => {
            key(event).map(Input::Key)
        }
        TerminalEvent::Mouse(event) => {
            let mouse = match event.kind {
                MouseEventKind::Down(MouseButton::Left) => Mouse::Click,
                MouseEventKind::ScrollUp => Mouse::WheelUp,
                MouseEventKind::ScrollDown => Mouse::WheelDown,
                _ => return None,
            };
            Some(Input::Mouse(mouse, event.column, event.row))
        }
        TerminalEvent::Paste(text) => Some(Input::Paste(text)),
        TerminalEvent::Resize(width, height) => Some(Input::Resize(Size::new(width, height))),
        _ => None,
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    if event.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match event.code {
        KeyCode::Char(c) if control => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::F(n) => Key::F(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_terminal_become_ours() {
        let table = [
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Key::Char('q'))),
            (
                KeyCode::Char('G'),
                KeyModifiers::SHIFT,
                Some(Key::Char('G')),
            ),
            (
                KeyCode::Char('C'),
                KeyModifiers::CONTROL,
                Some(Key::Ctrl('c')),
            ),
            (KeyCode::Char('q'), KeyModifiers::ALT, None),
            (KeyCode::BackTab, KeyModifiers::SHIFT, Some(Key::BackTab)),
            (KeyCode::Insert, KeyModifiers::NONE, None),
        ];
        for (code, modifiers, expected) in table {
            assert_eq!(key(KeyEvent::new(code, modifiers)), expected, "{code:?}");
        }
    }
}
