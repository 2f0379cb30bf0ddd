//! The lab and `looptop check` as real processes.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

/// The program under test.
pub const LOOPTOP: &str = env!("CARGO_BIN_EXE_looptop");

/// A running lab, which ends with this value.
pub struct Lab {
    child: Child,
    _stdin: ChildStdin,
    /// Where it puts its files; it is not asked before it ends.
    _directory: tempfile::TempDir,
    agent: Option<SocketAddr>,
    pub http: SocketAddr,
}

impl Lab {
    /// Starts `scenario` and waits until it answers.
    pub fn start(scenario: &str, mode: &str, flavor: &str) -> Self {
        Self::start_at("127.0.0.1:0", scenario, mode, flavor)
    }

    /// The same, with the agent at a given address.
    pub fn start_at(bind: &str, scenario: &str, mode: &str, flavor: &str) -> Self {
        Self::start_with(&[("LOOPTOP_BIND", bind)], scenario, mode, flavor)
    }

    /// The same, with `/metrics` for a user of this machine.
    pub fn start_scraped(scenario: &str, mode: &str, user: &str) -> Self {
        let settings = [
            ("LOOPTOP_BIND", "127.0.0.1:0"),
            ("LOOPTOP_METRICS_ALLOW", user),
        ];
        Self::start_with(&settings, scenario, mode, "multi-thread")
    }

    /// The same, with its agent switched off.
    pub fn start_without_agent(scenario: &str, mode: &str, flavor: &str) -> Self {
        Self::start_with(&[("LOOPTOP", "off")], scenario, mode, flavor)
    }

    fn start_with(settings: &[(&str, &str)], scenario: &str, mode: &str, flavor: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(LOOPTOP)
            .args(["lab", "--exit-with-parent", "--scenario", scenario])
            .args(["--mode", mode, "--flavor", flavor])
            .envs(settings.iter().copied())
            .env("TMPDIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = |key: &str| -> Option<SocketAddr> {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(key))?.parse().ok()
        };
        Self {
            agent: address("agent="),
            http: address("http=").unwrap_or_else(|| panic!("no address in '{line}'")),
            child,
            _stdin: stdin,
            _directory: directory,
        }
    }

    /// Where its agent listens.
    pub fn agent(&self) -> SocketAddr {
        self.agent.expect("the lab was started with an agent")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Switches a scenario, as the Lab view and `curl` do.
    pub fn switch(&self, scenario: &str, mode: &str) {
        let answer = self.request(&format!("POST /lab/{scenario}/{mode} HTTP/1.1"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn request(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "{line}\r\nHost: lab\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it without notice.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `looptop check --format json` printed, and its exit code.
pub fn check(target: &str, options: &[&str]) -> (serde_json::Value, i32) {
    let output = Command::new(LOOPTOP)
        .args(["check", target, "--format", "json"])
        .args(options)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&stdout).unwrap_or_else(|error| {
        panic!(
            "exit {code}, {error}: {stdout}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (report, code)
}
