//! A child process: started, waited for, ended.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::output::Output;

/// Time for the child to end by itself when it is asked to.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub(in crate::commands) enum StartError {
    /// There is no such program.
    #[error("there is no program `{0}`; is it installed, and in PATH?")]
    NotFound(String),
    /// It may not be run, or is no program.
    #[error("`{program}` cannot be run: {error}")]
    NotRunnable {
        /// Which.
        program: String,
        /// What happened.
        error: io::Error,
    },
    /// The file that it should read.
    #[error("the input `{}` cannot be read: {error}", .path.display())]
    Input {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// The file that it should write.
    #[error("the output `{}` cannot be written: {error}", .path.display())]
    Output {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

impl StartError {
    /// The exit code, as a shell has it.
    pub(in crate::commands) fn code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotRunnable { .. } => 126,
            Self::Input { .. } | Self::Output { .. } => super::super::USAGE,
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// As the kernel reports it.
    pub(super) status: ExitStatus,
    /// It was asked to end before.
    pub(super) by_us: bool,
}

/// A child. A task waits for it, so that it never stays behind as a zombie, and alone
/// sends it signals, so that none reaches another process with its id. Dropping this
/// leaves the child as it is.
#[derive(Debug)]
pub(super) struct Child {
    pid: u32,
    shown: String,
    ended: Waiting,
    end: std::sync::Arc<Notify>,
}

/// Who waits for a child.
#[derive(Debug, Clone)]
pub(super) struct Waiting(watch::Receiver<Option<Ended>>);

impl Waiting {
    /// How it has ended, once it has.
    pub(super) async fn wait(&self) -> Ended {
        let mut receiver = self.0.clone();
        let ended = receiver.wait_for(Option::is_some).await;
        // Otherwise the task that waits is gone, with the runtime.
        let ended = ended.ok().and_then(|ended| *ended);
        match ended {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

impl Child {
    /// Starts a program, in a process group of its own. Must run within a runtime.
    pub(super) fn start(
        program: &OsStr,
        arguments: &[OsString],
        input: Option<&Path>,
        output: &Output,
    ) -> Result<Self, StartError> {
        let stdin = match input {
            None => Stdio::null(),
            Some(path) => {
                let file = File::open(path).map_err(|error| StartError::Input {
                    path: path.to_owned(),
                    error,
                })?;
                file.into()
            }
        };
        let (stdout, stderr) = output.ends()?;
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn();
        let name = program.to_string_lossy().into_owned();
        let child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::NotFound(name.clone()),
            _ => StartError::NotRunnable {
                program: name.clone(),
                error,
            },
        });
        let child = child.inspect_err(|_| output.discard())?;
        // It has just been started, and nobody has waited for it.
        let pid = child.id().unwrap_or_default();
        let file_name = Path::new(&name).file_name();
        let file_name = file_name.map_or(name.clone(), |name| name.to_string_lossy().into_owned());
        let (sender, receiver) = watch::channel(None);
        let end = std::sync::Arc::new(Notify::new());
        tokio::spawn(attend(child, std::sync::Arc::clone(&end), sender));
        Ok(Self {
            pid,
            shown: format!("{} (pid {pid})", crate::source::problem::quote(&file_name)),
            ended: Waiting(receiver),
            end,
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name and id, for a sentence.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        *self.ended.0.borrow()
    }

    /// Somebody who waits beside.
    pub(super) fn waiting(&self) -> Waiting {
        self.ended.clone()
    }

    /// How it has ended, once it has.
    pub(super) async fn wait(&self) -> Ended {
        self.ended.wait().await
    }

    /// Asks it to end, kills it if it does not, and waits until it has ended.
    pub(super) async fn end(&self) -> Ended {
        self.end.notify_one();
        self.wait().await
    }
}

/// Waits for the child, and ends it when that is asked for: all of its process group,
/// with what it has started.
async fn attend(
    mut child: tokio::process::Child,
    end: std::sync::Arc<Notify>,
    ended: watch::Sender<Option<Ended>>,
) {
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let signal = |signal| {
        if let Some(group) = group {
            // It may have ended just now.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    };
    let mut by_us = false;
    let status = tokio::select! {
        biased;
        status = child.wait() => status,
        () = end.notified() => {
            by_us = true;
            signal(Signal::SIGTERM);
            // One that is stopped would not hear it.
            signal(Signal::SIGCONT);
            if let Ok(status) = timeout(GRACE, child.wait()).await {
                status
            } else {
                signal(Signal::SIGKILL);
                child.wait().await
            }
        }
    };
    if let Ok(status) = status {
        // Nobody may wait any more.
        let _ = ended.send(Some(Ended { status, by_us }));
    }
}
