//! The programs of `tests/field`: built, run and checked as real processes; and the
//! table of what must be said of them.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod guard;
pub mod table;

use std::{
    collections::BTreeSet,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program under test.
pub const LOOPTOP: &str = env!("CARGO_BIN_EXE_looptop");

/// How much of a program looptop sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `init()`, without `--cfg tokio_unstable`.
    Zero,
    /// `init()`, with it: tasks by tokio's tracing.
    One,
    /// The agent's hooks instead of tracing.
    Two,
    /// The agent is switched off, without `--cfg tokio_unstable`: from outside.
    Outside,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Zero, Self::One, Self::Two, Self::Outside];

    /// As in the table.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// In words.
    pub fn name(self) -> String {
        match self {
            Self::Outside => "outside".into(),
            level => level.number().to_string(),
        }
    }

    /// The folder of `target/field` and the flags of the compiler.
    fn tokio(self) -> (&'static str, &'static str) {
        match self {
            Self::Zero | Self::Outside => ("stable", ""),
            Self::One | Self::Two => ("unstable", "--cfg tokio_unstable"),
        }
    }
}

/// A program, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub program: &'a str,
    /// A profile of `tests/field/Cargo.toml`.
    pub profile: &'a str,
    pub level: Level,
    /// The twin without the mistake.
    pub cured: bool,
    pub environment: &'a [(&'a str, &'a str)],
}

/// Builds programs, or says why that fails. What is built already costs a second;
/// one build at a time, since they would wait for each other anyway.
/// `LOOPTOP_FIELD_BUILT=1` takes the programs as they are.
pub fn build(level: Level, profile: &str, programs: &[&str]) -> Result<(), String> {
    static ALONE: Mutex<BTreeSet<(&'static str, String, String)>> = Mutex::new(BTreeSet::new());
    let mut built = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (tokio, flags) = level.tokio();
    let key = |program: &str| (tokio, profile.to_owned(), program.to_owned());
    let wanted: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !built.contains(&key(program)))
        .collect();
    if wanted.is_empty() || std::env::var_os("LOOPTOP_FIELD_BUILT").is_some() {
        return Ok(());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--profile", profile])
        .args(wanted.iter().flat_map(|program| ["--bin", program]))
        .arg("--target-dir")
        .arg(target().join(tokio))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field"))
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    let output = cargo.output().map_err(|e| format!("{cargo:?}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("RUSTFLAGS={flags:?} {cargo:?} failed:\n{said}"));
    }
    built.extend(wanted.into_iter().map(key));
    Ok(())
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/field")
}

/// Where a program is once it is built.
pub fn path(level: Level, profile: &str, program: &str) -> PathBuf {
    target().join(level.tokio().0).join(profile).join(program)
}

/// A running program; killed when dropped.
pub struct Case {
    child: Child,
    said: tempfile::NamedTempFile,
    /// Where its agent listens.
    pub address: String,
    /// What looptop attaches to.
    target: Option<String>,
}

impl Case {
    /// Starts a program that is built.
    pub fn start(launch: &Launch<'_>) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let address = free_address();
        let mut command = Command::new(path(launch.level, launch.profile, launch.program));
        if launch.cured {
            // Some ask for the one, some for the other.
            command.arg("cured").env("FIX", "1");
        }
        if launch.level == Level::Outside {
            command.env("LOOPTOP", "off");
        }
        let child = command
            .env("FIELD_LEVEL", launch.level.number().to_string())
            .env("LOOPTOP_BIND", &address)
            // Its end, should this process have no time to kill it.
            .env("RUN_S", "900")
            .envs(launch.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said.reopen().unwrap())
            .spawn()
            .unwrap_or_else(|e| panic!("{launch:?}: {e}"));
        let outside = launch.level == Level::Outside;
        Self {
            target: outside.then(|| format!("pid:{}", child.id())),
            child,
            said,
            address,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error.
    pub fn said(&self) -> String {
        std::io::read_to_string(File::open(self.said.path()).unwrap()).unwrap_or_default()
    }

    /// Waits until it has written `text` to standard error.
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "no '{text}' in: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `looptop check` of it, with further options (`--for`, `--warmup`).
    pub fn check(&self, options: &[&str]) -> Outcome {
        let output = Command::new(LOOPTOP)
            .args(["check", self.target.as_ref().unwrap_or(&self.address)])
            .args(["--format", "json"])
            .args(["--timeout", "20s"])
            .args(options)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        Outcome {
            report,
            code: output.status.code(),
            stderr,
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `looptop check` gave back.
#[derive(Debug)]
pub struct Outcome {
    /// `null` where it printed none.
    pub report: Value,
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stderr: String,
}

impl Outcome {
    pub fn findings(&self) -> Vec<&Value> {
        let findings = self.report["findings"].as_array();
        findings.into_iter().flatten().collect()
    }

    /// The report's texts that say what it could not see: the verdict and the
    /// reasons, a line each.
    pub fn words(&self) -> String {
        let mut lines = Vec::new();
        texts("", &self.report, &mut lines);
        lines.push(self.stderr.clone());
        lines.join("\n")
    }
}

/// Every text in it but those of findings, each after its name.
fn texts(name: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::String(text) => lines.push(format!("{name}: {text}")),
        Value::Array(values) => values.iter().for_each(|value| texts(name, value, lines)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !["findings", "target"].contains(&name.as_str()))
            .for_each(|(name, value)| texts(name, value, lines)),
        _ => (),
    }
}

/// A text of a finding, or "".
pub fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_default()
}

/// A finding in a line.
pub fn brief(finding: &Value) -> String {
    let stack = finding["stack"].as_array().into_iter().flatten();
    let stack: Vec<_> = stack.take(8).map(|frame| text(frame, "function")).collect();
    format!(
        "{} {} [{}] in `{}` at `{}`, {} times, longest {} ms: {}; {} | {}",
        text(finding, "severity"),
        text(finding, "rule"),
        text(finding, "cause_text"),
        text(finding, "function"),
        text(finding, "location"),
        finding["count"],
        finding["max_ms"],
        text(finding, "title"),
        text(finding, "remedy"),
        stack.join(" < "),
    )
}

/// An address that nobody listens at, and that this process has not given to
/// another of its programs.
fn free_address() -> String {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if given.insert(address.port()) {
            return address.to_string();
        }
    }
}
