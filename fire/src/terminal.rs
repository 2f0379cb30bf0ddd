//! A viewer in a pseudo-terminal.

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use fastrand::Rng;
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use rustix::process::Signal;

use crate::{
    output::Output,
    processes::{self, ProcessId},
    scene::{Place, Problem},
};

/// Pieces of input that wait for a program which does not read.
const INPUTS: usize = 64;
/// A viewer that is asked to end does so within this.
const TO_END: Duration = Duration::from_secs(20);
/// One that is there draws within this when its terminal changes.
const TO_DRAW: Duration = Duration::from_secs(20);

/// A program in a terminal of its own; it ends with this value.
pub(crate) struct Viewer {
    pub(crate) name: String,
    pub(crate) output: Output,
    /// Where it puts temporary files.
    pub(crate) temporary: PathBuf,
    /// SIGKILL was sent to it, by which it gives nothing back.
    pub(crate) is_killed: bool,
    screen: Arc<Mutex<vt100::Parser>>,
    /// It has been on the alternate screen: from then on signals only ask it to end.
    has_begun: Arc<AtomicBool>,
    master: Box<dyn MasterPty + Send>,
    input: mpsc::SyncSender<Vec<u8>>,
    child: Box<dyn Child + Send + Sync>,
    /// The line discipline as the program found it, as text.
    settings: String,
    ended: Option<ExitStatus>,
}

/// How a viewer is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the key.
    CtrlC,
    /// By a signal.
    Signal(Signal, &'static str),
    /// By SIGKILL, which asks nobody.
    Kill,
}

impl Way {
    /// In what is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CtrlC => "Ctrl-C",
            Self::Signal(_, name) => name,
            Self::Kill => "SIGKILL",
        }
    }
}

/// Ways to end, those that ask.
pub(crate) const WAYS: [Way; 4] = [
    Way::CtrlC,
    Way::Signal(Signal::TERM, "SIGTERM"),
    Way::Signal(Signal::HUP, "SIGHUP"),
    Way::Signal(Signal::INT, "SIGINT"),
];

fn cells(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap_or(NonZeroU16::MIN)
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Viewer {
    /// Starts looptop with `arguments`.
    pub(crate) fn start(place: &Place, name: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let (columns, rows) = (120, 40);
        let pty = native_pty_system()
            .openpty(size(columns, rows))
            .context("no pseudo-terminal could be had")?;
        let settings = format!("{:?}", pty.master.get_termios());
        let temporary = place.temporary(name)?;
        let mut command = CommandBuilder::new(&place.programs.looptop);
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        for name in [
            "NO_COLOR",
            "COLORTERM",
            "TERM_PROGRAM",
            "VTE_VERSION",
            "VISUAL",
        ] {
            command.env_remove(name);
        }
        // `o` opens an editor.
        command.env("EDITOR", "true");
        for (name, value) in place.environment(&temporary) {
            command.env(name, value);
        }
        command.cwd(&place.work);
        let child = pty
            .slave
            .spawn_command(command)
            .with_context(|| format!("{name} could not be started"))?;
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(parser(columns, rows)));
        let output = Output::default();
        let reader = pty.master.try_clone_reader()?;
        let has_begun = Arc::new(AtomicBool::new(false));
        let seen = (Arc::clone(&screen), Arc::clone(&has_begun));
        show(reader, seen, output.clone());
        let mut writer = pty.master.take_writer()?;
        let (input, inputs) = mpsc::sync_channel::<Vec<u8>>(INPUTS);
        // A program that is stopped reads nothing, and who writes to it waits.
        thread::spawn(move || {
            while let Ok(bytes) = inputs.recv() {
                if writer
                    .write_all(&bytes)
                    .and_then(|()| writer.flush())
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            output,
            temporary,
            is_killed: false,
            screen,
            has_begun,
            master: pty.master,
            input,
            child,
            settings,
            ended: None,
        })
    }

    pub(crate) fn pid(&self) -> ProcessId {
        self.child.process_id().unwrap_or_default()
    }

    /// Whether it runs still.
    pub(crate) fn runs(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Types; what a program does not read in time is dropped.
    pub(crate) fn send(&self, bytes: impl Into<Vec<u8>>) {
        drop(self.input.try_send(bytes.into()));
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.max(1), rows.max(1));
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let resized = AssertUnwindSafe(|| {
            screen.screen_mut().set_size(cells(rows), cells(columns));
        });
        if catch_unwind(resized).is_err() {
            *screen = parser(columns, rows);
        }
        drop(screen);
        // A terminal whose program has ended has no size to change.
        drop(self.master.resize(size(columns, rows)));
    }

    /// Whether it has shown its screen.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// What of the terminal is not as a shell wants it.
    pub(crate) fn not_given_back(&self) -> Vec<&'static str> {
        let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = parser.screen();
        let no_mouse = vt100::MouseProtocolMode::None;
        let settings = format!("{:?}", self.master.get_termios());
        [
            (screen.alternate_screen(), "the alternate screen"),
            (screen.hide_cursor(), "a hidden cursor"),
            (screen.bracketed_paste(), "brackets around pastes"),
            (screen.mouse_protocol_mode() != no_mouse, "the mouse"),
            (settings != self.settings, "the line discipline"),
        ]
        .into_iter()
        .filter_map(|(is_left, what)| is_left.then_some(what))
        .collect()
    }

    /// Has it draw anew; whether it did.
    pub(crate) fn draws(&self) -> bool {
        let before = self.output.bytes();
        self.resize(100, 30);
        if !processes::until(TO_DRAW, || self.output.bytes() > before) {
            return false;
        }
        let before = self.output.bytes();
        self.resize(120, 40);
        processes::until(TO_DRAW, || self.output.bytes() > before)
    }

    /// Ends it; what is wrong with how it ended.
    pub(crate) fn end(&mut self, way: Way) -> Vec<Problem> {
        let pid = self.pid();
        let mut is_run = Vec::new();
        if self.runs() {
            // One that is stopped would not take notice.
            drop(processes::signal(pid, Signal::CONT));
            match way {
                Way::CtrlC => self.send(*b"\x03"),
                Way::Signal(signal, _) => drop(processes::signal(pid, signal)),
                Way::Kill => {
                    self.is_killed = true;
                    is_run = processes::children(pid);
                    drop(processes::signal(pid, Signal::KILL));
                }
            }
        }
        let asked = Instant::now();
        while self.runs() && asked.elapsed() < TO_END {
            thread::sleep(processes::LOOK_EVERY);
            // It may have stopped itself meanwhile, by a key that it read late.
            if processes::is_stopped(pid) {
                drop(processes::signal(pid, Signal::CONT));
            }
        }
        if self.runs() {
            let way = way.name();
            let text = format!(
                "{} (pid {pid}) did not end within {} s of {way}; last it wrote: {}",
                self.name,
                TO_END.as_secs(),
                self.output.end(300)
            );
            self.is_killed = true;
            drop(self.child.kill());
            self.ended = self.child.wait().ok();
            return vec![Problem::new("end", text)];
        }
        let mut wrong = self.wrong_end();
        wrong.extend(
            is_run
                .into_iter()
                .filter_map(|pid| self.end_what_it_ran(pid)),
        );
        wrong
    }

    /// Ends what a viewer has started that was killed: that has taken no harm, and nobody
    /// else ends it.
    fn end_what_it_ran(&self, pid: ProcessId) -> Option<Problem> {
        let problem = |what: &str| {
            let text = format!("process {pid}, which {} has started, {what}", self.name);
            Some(Problem::new("run", text))
        };
        if !processes::runs(pid) {
            return problem("has ended with it");
        }
        drop(processes::signal(pid, Signal::CONT));
        drop(processes::signal(pid, Signal::TERM));
        if processes::until(TO_END, || !processes::runs(pid)) {
            return None;
        }
        drop(processes::signal(pid, Signal::KILL));
        problem("does not end by SIGTERM")
    }

    /// What is wrong with how it has ended, if it has.
    fn wrong_end(&mut self) -> Vec<Problem> {
        let (runs, pid) = (self.runs(), self.pid());
        let Some(ended) = &self.ended else {
            return Vec::new();
        };
        if runs || self.is_killed {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        // What it wrote last may still be on its way.
        processes::until(Duration::from_secs(2), || self.not_given_back().is_empty());
        let left = self.not_given_back();
        if !left.is_empty() {
            let text = format!(
                "{} (pid {pid}) has ended, and its terminal was not given back: {}",
                self.name,
                left.join(", ")
            );
            wrong.push(Problem::new("terminal", text));
        }
        let is_crash = ended.signal().is_some() && self.has_begun.load(Ordering::Relaxed);
        if is_crash || ended.exit_code() == 101 {
            let text = format!(
                "{} (pid {pid}) ended with {ended:?}: {}",
                self.name,
                self.output.end(500)
            );
            wrong.push(Problem::new("end", text));
        }
        wrong
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if self.runs() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    vt100::Parser::new(cells(rows), cells(columns), 0)
}

/// Follows what is written on a thread of its own. The terminal's emulation may fail on
/// a screen of a few cells, which is no fault of who wrote.
fn show(
    mut from: Box<dyn Read + Send>,
    (screen, has_begun): (Arc<Mutex<vt100::Parser>>, Arc<AtomicBool>),
    output: Output,
) {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            output.take(&buffer[..n]);
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = AssertUnwindSafe(|| screen.process(&buffer[..n]));
            if catch_unwind(shown).is_err() {
                let (rows, columns) = screen.screen().size();
                *screen = parser(columns.get(), rows.get());
            }
            has_begun.fetch_or(screen.screen().alternate_screen(), Ordering::Relaxed);
        }
    });
}

/// Keys that do something; those that end the viewer or stop it are acts of their own.
const KEYS: &[&str] = &[
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "?", "e", "y", "w", "f", "t", "a", "h", "j",
    "k", "l", "g", "G", "i", "I", "p", "r", "R", "x", "X", "[", "]", "(", ")", "{", "}", "+", "-",
    "=", "<", ">", ",", ".", "/", " ", "b", "o", "O", "s", "S", "n", "N", ":", "\t", "\r",
    "\x1b\x1b", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[F",
    "\x02", "\x06", "\x08", "\x17", "\x1b[Z", "\x1bOP", "\x7f", "\x1b[3~",
];

/// Some keys.
pub(crate) fn keys(rng: &mut Rng) -> Vec<u8> {
    let n = *rng.choice(&[1_usize, 1, 2, 5, 30]).unwrap_or(&1);
    let keys = (0..n).filter_map(|_| rng.choice(KEYS));
    keys.flat_map(|key| key.bytes()).collect()
}

/// Mouse events as xterm reports them (SGR): buttons, wheels, movements.
pub(crate) fn mouse(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..10) {
        let button = *rng.choice(&[0, 1, 2, 32, 35, 64, 65]).unwrap_or(&0);
        let (column, row) = (rng.u16(1..410), rng.u16(1..130));
        let end = if rng.bool() { 'M' } else { 'm' };
        bytes.extend(format!("\x1b[<{button};{column};{row}{end}").bytes());
    }
    bytes
}

/// A paste of bytes that are no keys of the terminal's line discipline.
pub(crate) fn paste(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = b"\x1b[200~".to_vec();
    let length = rng.usize(0..2000);
    let text = (0..length).map(|_| match rng.u8(..10) {
        0 => rng.u8(128..),
        1 => b'\n',
        _ => rng.u8(32..127),
    });
    bytes.extend(text);
    bytes.extend(b"\x1b[201~");
    bytes
}
