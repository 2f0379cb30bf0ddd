//! Child processes: programs under test, the load generator, viewers. What they
//! say are lines `name value...`. None outlives its handle.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// A program that is about to run.
pub(crate) struct Program {
    command: Command,
    label: String,
    /// What it says are its lines on standard error.
    errors: bool,
}

impl Program {
    pub(crate) fn new(path: &Path) -> Self {
        let mut command = Command::new(path);
        // What the user's shell sets is no part of a measurement.
        for name in [
            "LOOPTOP",
            "LOOPTOP_CAPTURE",
            "RUST_LOG",
            "TOKIO_CONSOLE_RETENTION",
            "TOKIO_CONSOLE_RECORD_PATH",
            "TOKIO_CONSOLE_BUFFER_CAPACITY",
        ] {
            command.env_remove(name);
        }
        Self {
            command,
            label: path.display().to_string(),
            errors: false,
        }
    }

    /// One that speaks on standard error.
    pub(crate) fn on_errors(mut self) -> Self {
        self.errors = true;
        self
    }

    /// This binary, in another role.
    pub(crate) fn ourselves() -> anyhow::Result<Self> {
        Ok(Self::new(&std::env::current_exe()?))
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// `--name value`
    pub(crate) fn option(self, name: &str, value: impl ToString) -> Self {
        self.argument(format!("--{name}"))
            .argument(value.to_string())
    }

    pub(crate) fn environment(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it; its standard input stays open until it is dismissed.
    pub(crate) fn start(mut self) -> anyhow::Result<Running> {
        let command = self.command.stdin(Stdio::piped());
        if self.errors {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        } else {
            command.stdout(Stdio::piped());
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.label))?;
        let input = child.stdin.take();
        let (sender, lines) = channel();
        match (child.stdout.take(), child.stderr.take()) {
            (Some(output), _) => pass_lines(output, sender),
            (None, Some(errors)) => pass_lines(errors, sender),
            (None, None) => bail!("{} has no output", self.label),
        }
        Ok(Running {
            child,
            input,
            lines,
            label: self.label,
        })
    }

    /// Runs it to its end and returns all that it said.
    pub(crate) fn results(self) -> anyhow::Result<Results> {
        self.start()?.finish(Duration::from_secs(120))
    }
}

fn pass_lines(output: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
}

/// A program that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    label: String,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line that begins with `name` and returns its rest.
    pub(crate) fn wait_for(&self, name: &str, patience: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let (first, rest) = line.split_once(' ').unwrap_or((&line, ""));
                    if first == name {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not say {name:?} within {patience:?}", self.label)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before it said {name:?}", self.label)
                }
            }
        }
    }

    /// Closes its standard input, which it takes as a request to end.
    pub(crate) fn dismiss(&mut self) {
        self.input = None;
    }

    /// Everything that it says until it ends.
    pub(crate) fn finish(mut self, patience: Duration) -> anyhow::Result<Results> {
        self.dismiss();
        self.results(patience)
    }

    /// As [`finish`](Self::finish), without asking it to end.
    pub(crate) fn results(&mut self, patience: Duration) -> anyhow::Result<Results> {
        let deadline = Instant::now() + patience;
        let mut results = Results::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => results.push(&line),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not end within {patience:?}", self.label)
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} failed: {status}", self.label);
        }
        Ok(results)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill or reap.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The lines that a program said, by their first word.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<String, Vec<String>>);

impl Results {
    fn push(&mut self, line: &str) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let values = self.0.entry(name.to_owned()).or_default();
        values.push(rest.to_owned());
    }

    /// The number that it gave under this name.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<f64> {
        let value = self.all(name).first();
        value
            .with_context(|| format!("there is no {name:?} among the results"))?
            .parse()
            .with_context(|| format!("{name:?} is no number"))
    }

    /// Every line under this name.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
