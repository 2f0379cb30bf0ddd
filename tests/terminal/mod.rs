//! looptop in a real pseudo-terminal.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// A terminal with looptop in it.
pub struct Terminal {
    /// Our end and what writes to it; none when hung up.
    ends: Option<(Box<dyn MasterPty + Send>, Box<dyn Write + Send>)>,
    reader: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    child: Box<dyn Child + Send + Sync>,
    parser: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    /// The line discipline as the program found it, as text.
    settings: String,
    pub started: Instant,
}

pub const LOOPTOP: &str = env!("CARGO_BIN_EXE_looptop");

/// The Esc key. A single byte would make one key of itself and the next.
pub const ESC: &str = "\x1b\x1b";

/// No state is awaited for longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a process a signal, by the name that `kill` knows.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Whether a process runs; one that has ended and that nobody has waited for
/// does not.
pub fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    !state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// Waits until a process has ended.
#[track_caller]
pub fn wait_for_end(pid: u32) {
    let deadline = Instant::now() + PATIENCE;
    while runs(pid) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The number that follows `marker` on the screen: `REC 3 s`. A busy machine
/// may skip a second, so wait for at least so many.
pub fn number_after(screen: &str, marker: &str) -> Option<u64> {
    let (_, rest) = screen.split_once(marker)?;
    let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit());
    digits.into_iter().next()?.parse().ok()
}

fn cells(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize {
        rows,
        cols: columns,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Terminal {
    /// Runs looptop with `args` in a terminal of `columns` x `rows`.
    pub fn start(args: &[&str], columns: u16, rows: u16) -> Self {
        Self::start_with(args, &[], columns, rows)
    }

    /// The same in a directory of its own.
    pub fn start_in(directory: &Path, args: &[&str], columns: u16, rows: u16) -> Self {
        Self::launch(LOOPTOP, directory, args, &[], columns, rows)
    }

    /// The same in a directory of its own, with environment variables.
    pub fn start_in_with(
        directory: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
        columns: u16,
        rows: u16,
    ) -> Self {
        Self::launch(LOOPTOP, directory, args, environment, columns, rows)
    }

    /// The same with environment variables.
    pub fn start_with(
        args: &[&str],
        environment: &[(&str, &str)],
        columns: u16,
        rows: u16,
    ) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::launch(LOOPTOP, here, args, environment, columns, rows)
    }

    /// Another program, to compare with.
    pub fn of(program: &str, args: &[&str], columns: u16, rows: u16) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::launch(program, here, args, &[], columns, rows)
    }

    fn launch(
        program: &str,
        directory: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
        columns: u16,
        rows: u16,
    ) -> Self {
        let pty = native_pty_system().openpty(size(columns, rows)).unwrap();
        let settings = format!("{:?}", pty.master.get_termios());
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        command.env_remove("COLORTERM");
        // A terminal that has links would be known by these.
        for name in [
            "TERM_PROGRAM",
            "VTE_VERSION",
            "KONSOLE_VERSION",
            "WT_SESSION",
            "DOMTERM",
        ] {
            command.env_remove(name);
        }
        for (name, value) in environment {
            command.env(name, value);
        }
        command.cwd(directory);
        let started = Instant::now();
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(
            cells(rows),
            cells(columns),
            0,
        )));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (screen, bytes) = (Arc::clone(&parser), Arc::clone(&raw));
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                // In this order: what is seen on the screen is in the output.
                bytes.lock().unwrap().extend_from_slice(&buffer[..n]);
                screen.lock().unwrap().process(&buffer[..n]);
            }
        });
        let writer = pty.master.take_writer().unwrap();
        Self {
            ends: Some((pty.master, writer)),
            reader: Some(thread),
            closing,
            child,
            parser,
            raw,
            settings,
            started,
        }
    }

    /// What is on the screen now.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// The lines on the screen now.
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// What is in a row from a column on, by cells: a wide character takes two.
    pub fn cells(&self, row: u16, columns: std::ops::Range<u16>) -> String {
        let parser = self.parser.lock().unwrap();
        let cell = |column| parser.screen().cell(row, column);
        let text = |column| match cell(column) {
            Some(cell) if cell.has_contents() => cell.contents().to_owned(),
            _ => " ".to_owned(),
        };
        columns.map(text).collect()
    }

    /// Everything that was ever written to the terminal.
    pub fn output(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }

    /// Whether the program is on the alternate screen.
    pub fn is_full_screen(&self) -> bool {
        self.parser.lock().unwrap().screen().alternate_screen()
    }

    /// Whether the terminal is as a shell wants it: main screen, cursor shown,
    /// no mouse, no paste brackets, and the line discipline as before.
    pub fn is_restored(&self) -> bool {
        let (master, _) = self.ends.as_ref().unwrap();
        let settings = format!("{:?}", master.get_termios());
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        !screen.alternate_screen()
            && !screen.hide_cursor()
            && !screen.bracketed_paste()
            && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
            && settings == self.settings
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Sends looptop a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn send(&mut self, keys: &str) {
        let (_, writer) = self.ends.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    /// Closes the terminal, as its window does. Needs a program that still
    /// draws, since only then the reader looks up.
    pub fn hang_up(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
        self.ends = None;
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        let (master, _) = self.ends.as_ref().unwrap();
        master.resize(size(columns, rows)).unwrap();
    }

    /// Waits until the screen satisfies `ready`, and returns it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, ready: impl FnMut(&str) -> bool) -> String {
        self.wait_within(PATIENCE, what, ready)
    }

    /// The same, for what takes longer beside other tests.
    #[track_caller]
    pub fn wait_within(
        &self,
        patience: Duration,
        what: &str,
        mut ready: impl FnMut(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let text = self.text();
            if ready(&text) {
                return text;
            }
            assert!(
                Instant::now() < deadline,
                "never saw {what}; the screen shows:\n{text}\nand was left with:\n{}",
                self.last_words()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What was written after the program left the alternate screen.
    fn last_words(&self) -> String {
        let output = self.output();
        let output = String::from_utf8_lossy(&output);
        let last = output.rsplit_once("\x1b[?1049l");
        last.map(|(_, words)| words.to_owned()).unwrap_or_default()
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    pub fn wait_for_text(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// Waits until the program has given the terminal back.
    #[track_caller]
    pub fn wait_until_restored(&self) {
        self.wait_for("a restored terminal", |_| self.is_restored());
    }

    /// Waits until the program has ended, and returns its exit code.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(
                Instant::now() < deadline,
                "still runs; the screen shows:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
