//! `looptop demo`: the starvation lab in a child process.
//!
//! The lab is part of this binary (a hidden command), so that one `cargo run`
//! has everything. The child ends with its standard input, which this process
//! holds open, and by a signal from the kernel where there is one: it is never
//! left behind, even if this process is killed.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::cli::Demo;

/// Why the lab does not run.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No child process could be had.
    #[error("could not start the lab as a child process: {0}")]
    Start(#[from] std::io::Error),
    /// It ended before it was ready.
    #[error("the lab ended before it was ready ({status}){}", said(.stderr))]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        stderr: String,
    },
    /// It said nothing.
    #[error("the lab was not ready within {} s{}", READY.as_secs(), said(.stderr))]
    Late {
        /// What it said last.
        stderr: String,
    },
    /// It said something else than expected.
    #[error("the lab answered '{0}', which this version does not understand")]
    Answer(String),
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said: {stderr}")
    }
}

/// The scenario without another word.
pub const DEFAULT_SCENARIO: &str = "sleep-in-handler";
/// Time for the lab to be ready: it measures this machine's speed first.
const READY: Duration = Duration::from_secs(20);
/// Time for the lab to end by itself when its standard input closes.
const LAST_CALL: Duration = Duration::from_secs(4);
/// Bytes kept of what the lab says on standard error.
const STDERR_TAIL: usize = 4 << 10;

/// The running lab. Dropping it ends the child.
#[derive(Debug)]
pub struct LabChild {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Where its agent listens.
    pub agent: SocketAddr,
    /// Where its service listens.
    pub http: SocketAddr,
}

impl LabChild {
    /// Starts the lab and waits until it answers. Blocks; to be called from a
    /// thread that lives as long as the lab.
    pub fn start(demo: &Demo, scenario: &str) -> Result<Self, LabError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab", "--exit-with-parent", "--scenario", scenario]);
        command.args(["--mode", &demo.mode, "--flavor", &demo.flavor]);
        if let Some(workers) = demo.workers {
            command.args(["--workers", &workers.to_string()]);
        }
        let mut child = command
            .env("LOOPTOP_BIND", "127.0.0.1:0")
            .env_remove("LOOPTOP")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let first = first_line(child.stdout.take());
        let stderr = tail(child.stderr.take());
        let mut lab = Self {
            child,
            stdin,
            agent: UNKNOWN,
            http: UNKNOWN,
        };
        let line = lab.wait_for(&first, &stderr)?;
        let address = |key: &str| {
            let word = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key));
            word.and_then(|a| a.parse().ok())
                .ok_or_else(|| LabError::Answer(line.clone()))
        };
        lab.agent = address("agent=")?;
        lab.http = address("http=")?;
        Ok(lab)
    }

    fn wait_for(
        &mut self,
        first: &mpsc::Receiver<String>,
        stderr: &Mutex<VecDeque<u8>>,
    ) -> Result<String, LabError> {
        let deadline = Instant::now() + READY;
        loop {
            match first.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => return Ok(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return Err(LabError::Ended {
                        status,
                        stderr: text(stderr),
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                    return Err(LabError::Late {
                        stderr: text(stderr),
                    });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

const UNKNOWN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

impl Drop for LabChild {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = Instant::now() + LAST_CALL;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of the child's output; the rest is read and dropped, so that
/// it never blocks on a full pipe.
fn first_line(output: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let Some(output) = output else { return };
        let mut output = BufReader::new(output);
        let mut line = String::new();
        if output.read_line(&mut line).is_ok() && !line.is_empty() {
            let _ = sender.send(line.trim_end().to_owned());
        }
        drop(sender);
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    receiver
}

/// The end of what the child says on standard error.
fn tail(output: Option<impl Read + Send + 'static>) -> Arc<Mutex<VecDeque<u8>>> {
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let shared = Arc::clone(&tail);
    thread::spawn(move || {
        let Some(mut output) = output else { return };
        let mut bytes = [0; 1024];
        while let Ok(n @ 1..) = output.read(&mut bytes) {
            let mut tail = shared.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(&bytes[..n]);
            let excess = tail.len().saturating_sub(STDERR_TAIL);
            tail.drain(..excess);
        }
    });
    tail
}

fn text(tail: &Mutex<VecDeque<u8>>) -> String {
    let bytes: Vec<u8> = tail
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .copied()
        .collect();
    crate::escape::escaped(String::from_utf8_lossy(&bytes).trim()).into_owned()
}
