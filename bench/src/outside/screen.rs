//! looptop in a pseudo-terminal: what a person sees of it, and when.

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

/// A terminal with looptop in it; ends with its handle.
pub(super) struct Screen {
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    shown: Arc<Shown>,
    started: Instant,
    // Kept open: its end hangs up.
    _master: Box<dyn MasterPty + Send>,
}

/// What was made of the screen, each time that it changed.
pub(super) struct Followed<T> {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, T)>>,
}

impl<T> Followed<T> {
    pub(super) fn finish(self) -> anyhow::Result<Vec<(Instant, T)>> {
        self.done.store(true, Ordering::Relaxed);
        let seen = self.thread.join();
        seen.map_err(|_| anyhow!("the thread that follows the screen panicked"))
    }
}

struct Shown {
    /// What is on the screen, and since when.
    now: Mutex<(vt100::Parser, Instant)>,
    changed: Condvar,
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, (vt100::Parser, Instant)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    /// Runs `looptop pid:PID`; `keys` are typed before it shows anything.
    pub(super) fn start(looptop: &Path, pid: u32, keys: &str) -> anyhow::Result<Self> {
        let size = PtySize {
            rows: ROWS,
            cols: COLUMNS,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pty = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(looptop);
        command.arg(format!("pid:{pid}"));
        command.env("TERM", "xterm-256color");
        for name in ["NO_COLOR", "COLORTERM", "LOOPTOP"] {
            command.env_remove(name);
        }
        let started = Instant::now();
        let child = pty.slave.spawn_command(command)?;
        drop(pty.slave);
        let cells = |n| NonZeroU16::new(n).context("a screen without cells");
        let parser = vt100::Parser::new(cells(ROWS)?, cells(COLUMNS)?, 0);
        let shown = Arc::new(Shown {
            now: Mutex::new((parser, started)),
            changed: Condvar::new(),
        });
        let mut reader = pty.master.try_clone_reader()?;
        let drawn = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 64 << 10];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                let mut now = drawn.lock();
                now.0.process(&buffer[..read]);
                now.1 = Instant::now();
                drawn.changed.notify_all();
            }
        });
        let mut screen = Self {
            child,
            writer: pty.master.take_writer()?,
            shown,
            started,
            _master: pty.master,
        };
        screen.press(keys)?;
        Ok(screen)
    }

    pub(super) fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.writer.write_all(keys.as_bytes())?;
        Ok(self.writer.flush()?)
    }

    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.child.process_id().context("looptop has no process id")
    }

    /// When it was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Follows what `of` makes of the screen, if anything, from now on.
    pub(super) fn follow<T, F>(&self, of: F) -> Followed<T>
    where
        T: PartialEq + Send + 'static,
        F: Fn(&str) -> Option<T> + Send + 'static,
    {
        let shown = Arc::clone(&self.shown);
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let mut seen: Vec<(Instant, T)> = Vec::new();
            let mut now = shown.lock();
            while !ended.load(Ordering::Relaxed) {
                if let Some(value) = of(&now.0.screen().contents())
                    && seen.last().is_none_or(|(_, before)| *before != value)
                {
                    seen.push((now.1, value));
                }
                let waited = shown.changed.wait_timeout(now, Duration::from_millis(50));
                now = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            seen
        });
        Followed { done, thread }
    }

    /// Waits until the screen is as wanted, and returns when it was drawn so.
    pub(super) fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        mut is: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut now = self.shown.lock();
        loop {
            let text = now.0.screen().contents();
            if is(&text) {
                return Ok(now.1);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the screen does not show {what} within {patience:?}:\n{text}");
            }
            let waited = self.shown.changed.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
