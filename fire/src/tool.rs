//! A command of looptop's without a screen, in the background.

use std::{
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::process::Signal;

use crate::{
    output::Output,
    processes::{self, ProcessId},
    scene::Place,
};

/// It ends by itself, or within this of SIGINT.
const TO_END: Duration = Duration::from_secs(40);

/// A command that was started; it ends with this value.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) output: Output,
    pub(crate) temporary: PathBuf,
    pub(crate) is_killed: bool,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Tool {
    /// Starts looptop with `arguments`.
    pub(crate) fn start(place: &Place, name: &str, arguments: &[String]) -> anyhow::Result<Self> {
        let temporary = place.temporary(name)?;
        let mut command = place.command(&place.programs.looptop, name)?;
        command.env("TMPDIR", &temporary);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let output = Output::default();
        if let Some(stdout) = child.stdout.take() {
            output.read(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.read(stderr);
        }
        Ok(Self {
            name: name.to_owned(),
            output,
            temporary,
            is_killed: false,
            child,
            ended: None,
        })
    }

    pub(crate) fn pid(&self) -> ProcessId {
        self.child.id()
    }

    pub(crate) fn runs(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Kills it at whatever stage it is.
    pub(crate) fn kill(&mut self) {
        if self.runs() {
            self.is_killed = true;
            drop(processes::signal(self.pid(), Signal::KILL));
        }
    }

    /// Asks it to end if it runs still; what is wrong with how it ended.
    pub(crate) fn end(&mut self) -> Option<String> {
        let pid = self.pid();
        let was_asked = self.runs();
        if was_asked {
            drop(processes::signal(pid, Signal::INT));
        }
        if !processes::until(TO_END, || !self.runs()) {
            self.kill();
            drop(self.child.wait());
            return Some(format!(
                "{} (pid {pid}) did not end within {} s of SIGINT: {}",
                self.name,
                TO_END.as_secs(),
                self.output.end(300)
            ));
        }
        let ended = self.ended?;
        // 0 to 3 are documented; without a code it ended by a signal.
        let is_right = match ended.code() {
            Some(code) => code <= 3 && code != 2,
            None => self.is_killed || was_asked,
        };
        (!is_right).then(|| {
            let end = self.output.end(500);
            format!("{} (pid {pid}) ended with {ended}: {end}", self.name)
        })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
