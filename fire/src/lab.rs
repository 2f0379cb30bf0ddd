//! A lab, or a stand-in for one, as a process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;

use crate::{
    output::Output,
    processes::{self, ProcessId},
    scene::Place,
};

/// A lab that is started answers within this, on a machine without a free CPU too.
const TO_START: Duration = Duration::from_mins(1);
/// One that is asked to end does so within this: its own last call is 3 s.
const TO_END: Duration = Duration::from_secs(20);

/// The scenario that holds most memory, and how long it takes to hold it.
const LARGEST: &str = "big-json";
const TO_GROW: Duration = Duration::from_secs(2);

/// How a lab is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insight {
    /// By the agent in it.
    Agent,
    /// From outside: it has no agent.
    Outside,
}

/// A running lab; it ends with this value.
#[derive(Debug)]
pub(crate) struct Lab {
    /// What it is called in what is printed.
    pub(crate) name: String,
    pub(crate) agent: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    pub(crate) output: Output,
    child: Child,
    _stdin: Option<ChildStdin>,
}

impl Lab {
    /// Starts one that does nothing yet (`off`), and waits until it answers. `bind` is
    /// where its agent listens; it has none without.
    pub(crate) fn start(
        place: &Place,
        name: &str,
        bind: Option<&str>,
        scenario: &str,
        mode: &str,
    ) -> anyhow::Result<Self> {
        let mut command = place.command(&place.programs.demo, name)?;
        command.args(["serve", "--exit-with-parent", "--scenario", scenario]);
        command.args(["--mode", mode]);
        command.env("MALLOC_ARENA_MAX", "1");
        match bind {
            Some(bind) => command.env("LOOPTOP_BIND", bind),
            None => command.env("LOOPTOP", "off"),
        };
        Self::run(command, name)
    }

    /// Starts one whose memory is watched for long. The scenario that holds most of it has
    /// been shown, so that what the allocator keeps of it is no growth; the allocator has
    /// one arena, of which it keeps less.
    pub(crate) fn start_lasting(
        place: &Place,
        name: &str,
        bind: Option<&str>,
        first: &str,
    ) -> anyhow::Result<Self> {
        let lab = Self::start(place, name, bind, first, "off")?;
        for mode in ["broken", "fixed"] {
            lab.switch(LARGEST, mode, TO_START)?;
            thread::sleep(TO_GROW);
        }
        lab.switch(first, "off", TO_START)?;
        Ok(lab)
    }

    fn run(mut command: Command, name: &str) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let output = Output::default();
        let stdin = child.stdin.take();
        if let Some(stderr) = child.stderr.take() {
            output.read(stderr);
        }
        let line = child.stdout.take().map(first_line);
        let line = line.and_then(|line| line.recv_timeout(TO_START).ok());
        let Some(line) = line else {
            let end = output.end(500);
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            bail!("{name} does not say where it listens: {end}");
        };
        let address = |key: &str| -> Option<SocketAddr> {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(key))?.parse().ok()
        };
        let agent = address("agent=");
        Ok(Self {
            name: name.to_owned(),
            agent,
            http: address("http=").with_context(|| format!("no address in '{line}'"))?,
            output,
            child,
            _stdin: stdin,
        })
    }

    pub(crate) fn pid(&self) -> ProcessId {
        self.child.id()
    }

    /// What a viewer calls it.
    pub(crate) fn target(&self) -> String {
        match self.agent {
            Some(agent) => agent.to_string(),
            None => format!("pid:{}", self.pid()),
        }
    }

    /// Whether it runs still.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Switches it to a scenario.
    ///
    /// # Errors
    ///
    /// It does not answer within `patience`, or refuses.
    pub(crate) fn switch(
        &self,
        scenario: &str,
        mode: &str,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let line = format!("POST /lab/{scenario}/{mode}");
        let answer = request(self.http, &line, patience)?;
        if !answer.starts_with("HTTP/1.1 200") {
            let first = answer.lines().next().unwrap_or_default();
            bail!("{} refuses {scenario}/{mode}: {first}", self.name);
        }
        Ok(())
    }

    /// Asks it to end, and waits for that; what is wrong with how it ended.
    pub(crate) fn end(&mut self) -> Option<String> {
        let pid = self.pid();
        drop(processes::signal(pid, Signal::TERM));
        if !processes::until(TO_END, || !processes::runs(pid)) {
            drop(self.child.kill());
            drop(self.child.wait());
            return Some(format!(
                "{} (pid {pid}) did not end within {} s of SIGTERM",
                self.name,
                TO_END.as_secs()
            ));
        }
        let status = self.child.wait().ok()?;
        (!status.success()).then(|| {
            let end = self.output.end(500);
            format!("{} ended with {status} at SIGTERM: {end}", self.name)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_line(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = String::new();
        if matches!(reader.read_line(&mut line), Ok(1..)) {
            drop(sender.send(line));
        }
        // What it says later is nobody's, but it must be able to say it.
        drop(std::io::copy(&mut reader, &mut std::io::sink()));
    });
    receiver
}

/// Sends a request of one line (`GET /path`), and returns the whole answer.
///
/// # Errors
///
/// There is none within `patience`.
pub(crate) fn request(to: SocketAddr, line: &str, patience: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)
        .with_context(|| format!("no connection to {to} for {line}"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("no answer to {line} within {} ms", patience.as_millis()))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether a folder for temporary files is empty; otherwise what is in it.
pub(crate) fn left_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(name).collect()
}
