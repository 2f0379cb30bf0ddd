//! What `#[looptop_agent::test]` must say of a program: the rows `case.test` of the table, and
//! the runs of `tests/field/examples/guard.rs` that are compared with them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    Level,
    table::{Case, Table, Twin, has, lines_with},
    target,
};

/// What the report says where a program has no lines.
const NO_LINES: &str = "line tables";
/// A test is ended after this: it is hanging.
const PATIENCE: Duration = Duration::from_mins(2);
/// The exit code of a test that failed.
const FAILED: i32 = 101;

/// One test of a program. The fields are described in the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    #[serde(default = "two_workers")]
    pub on: String,
    #[serde(default)]
    pub twin: Twin,
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// `None`: it stays green.
    pub found: Option<Found>,
    /// Or this instead.
    #[serde(rename = "or")]
    pub otherwise: Option<Found>,
    pub function: Option<String>,
    pub line: Option<String>,
    pub why: Option<String>,
    #[serde(default)]
    pub always: bool,
    pub reason: Option<String>,
}

fn two_workers() -> String {
    "polls::two_workers".into()
}

/// What turns a test red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    Blocked,
    Leaked,
    Deadlock,
}

impl Found {
    /// How the part of the report begins that says it.
    fn heading(self) -> &'static str {
        match self {
            Self::Blocked => "blocked: a poll took ",
            Self::Leaked => "leaked: ",
            Self::Deadlock => "deadlock: nothing has run for ",
        }
    }
}

/// A build in which people run tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// `cargo test --release`: without line tables.
    Release,
    /// `cargo test`.
    Dev,
}

impl Build {
    pub const ALL: [Self; 2] = [Self::Release, Self::Dev];

    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }

    /// Builds the tests of the programs, without flags, and says where they are. What is
    /// built already costs a second.
    pub fn tests(self) -> PathBuf {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["test", "--quiet", "--no-run", "--message-format", "json"])
            .args(["--features", "guard", "--example", "guard"])
            .args((self == Self::Release).then_some("--release"))
            .arg("--target-dir")
            .arg(target().join(Level::Zero.tokio().0))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field"))
            .env("RUSTFLAGS", "")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR");
        let output = cargo.output().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{cargo:?} failed:\n{said}");
        let messages = String::from_utf8_lossy(&output.stdout);
        let mut executables = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message["executable"].as_str()?))
        });
        executables
            .next_back()
            .expect("cargo names what it has built")
    }
}

/// A row, in a build.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    pub case: &'a Case,
    pub row: &'a Row,
    pub build: Build,
}

impl Table {
    /// Every test of every program, in this build.
    pub fn tests(&self, build: Build) -> Vec<Trial<'_>> {
        let of = |case| move |row| Trial { case, row, build };
        let cases = self.cases.iter();
        cases
            .flat_map(|case| case.tests.iter().map(of(case)))
            .collect()
    }
}

impl Trial<'_> {
    /// Its name in a line.
    pub fn name(&self) -> String {
        let (program, row) = (&self.case.program, self.row);
        let mut name = format!("{program} {} {}", row.on, self.build.name());
        if row.twin == Twin::Cured {
            name += " cured";
        }
        for (key, value) in &row.set {
            let _ = write!(name, " {key}={value}");
        }
        name
    }

    /// Runs it in a process of its own; what is wrong with what it said, a line each.
    pub fn run(&self, tests: &Path) -> Vec<String> {
        let said = tempfile::NamedTempFile::new().unwrap();
        // One after the other: with a place of its own each would write over the other.
        let both = File::options().append(true).open(said.path()).unwrap();
        let mut command = Command::new(tests);
        let test = format!("{}::{}", self.row.on, self.case.program);
        command.args(["--ignored", "--exact", "--nocapture", &test]);
        if self.row.twin == Twin::Cured {
            command.env("FIX", "1");
        }
        let mut child = command
            .envs(&self.row.set)
            .stdin(Stdio::null())
            .stdout(both.try_clone().unwrap())
            .stderr(both)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(said.path()).unwrap_or_default();
                return vec![format!("it does not end:\n{said}")];
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = std::fs::read(said.path()).unwrap();
        let said = String::from_utf8_lossy(&said);
        let mut problems = match status.code() {
            Some(0) => self.green(&said),
            Some(FAILED) => self.red(&said),
            _ => vec![format!("it ended with {status}")],
        };
        if said.contains("running 0 tests") {
            problems.push(format!("there is no {test}"));
        }
        if !problems.is_empty() {
            problems.push(said.into_owned());
        }
        problems
    }

    fn green(&self, said: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(found) = self.row.found {
            problems.push(format!("green, and it should be {found:?}"));
        }
        if said.contains("looptop: ") {
            problems.push("green, and something was found".into());
        }
        problems
    }

    fn red(&self, said: &str) -> Vec<String> {
        let row = self.row;
        let Some(found) = row.found else {
            return vec!["red, and it should be green".into()];
        };
        let parts: Vec<&str> = parts(said);
        let headings = [Some(found), row.otherwise].map(|found| found.map(Found::heading));
        let is_it = |part: &&str| headings.iter().flatten().any(|h| part.starts_with(h));
        let mut problems: Vec<String> = parts
            .iter()
            .filter(|part| !is_it(part))
            .map(|part| {
                format!(
                    "something else: {}",
                    part.lines().next().unwrap_or_default()
                )
            })
            .collect();
        let about: Vec<&&str> = parts.iter().filter(|part| is_it(part)).collect();
        if about.is_empty() {
            problems.push(format!("it does not say '{}'", found.heading()));
        }
        for part in about {
            problems.extend(self.missing(part));
        }
        problems
    }

    /// What a part of the report does not say.
    fn missing(&self, part: &str) -> Vec<String> {
        let row = self.row;
        let mut missing = Vec::new();
        // Whom it blames: the place of the poll, or the tasks.
        let is_blame = |line: &&str| line.starts_with("  where ") || line.starts_with("  task ");
        let blame: Vec<&str> = part.lines().filter(is_blame).collect();
        if let Some(function) = &row.function
            && !blame.iter().any(|line| has(line, function))
        {
            missing.push(format!("it blames {blame:?}, not '{function}'"));
        }
        if let Some(line) = &row.line {
            let program = &self.case.program;
            let places: Vec<String> = match line.as_str() {
                "*" => vec![format!("src/bin/{program}.rs:"), "src/quiet.rs:".into()],
                line => lines_with(program, line)
                    .map(|number| format!("src/bin/{program}.rs:{number}"))
                    .collect(),
            };
            let is_there = places.iter().any(|place| names_line(part, place));
            match self.build {
                Build::Dev if !is_there => missing.push(format!("it does not say {places:?}")),
                // Where an async fn is written is known without lines.
                Build::Release if !part.contains(NO_LINES) && !part.contains("(written at ") => {
                    missing.push(format!("no line, and it does not say '{NO_LINES}'"));
                }
                _ => {}
            }
        }
        if let Some(why) = &row.why
            && !has(part, why)
        {
            missing.push(format!("it does not say '{why}'"));
        }
        missing
    }

    /// Panics where a row makes no sense.
    pub fn assert_sense(&self) {
        let row = self.row;
        let name = self.name();
        if let Some(line) = row.line.as_ref().filter(|line| *line != "*") {
            assert!(
                lines_with(&self.case.program, line).next().is_some(),
                "{name}"
            );
        }
        assert_eq!(row.found.is_some(), row.function.is_some(), "{name}");
        assert!(
            row.otherwise.is_none() || row.reason.is_some(),
            "{name}: why?"
        );
    }
}

/// The parts of a report: each begins with what was found.
fn parts(said: &str) -> Vec<&str> {
    let headings = [Found::Blocked, Found::Leaked, Found::Deadlock].map(Found::heading);
    let is_heading = |line: &str| headings.iter().any(|heading| line.starts_with(heading));
    let mut begins = Vec::new();
    let mut at = 0;
    for line in said.split_inclusive('\n') {
        if is_heading(line) {
            begins.push(at);
        }
        at += line.len();
    }
    let ends = begins.iter().skip(1).copied().chain([said.len()]);
    begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| &said[*begin..end])
        .collect()
}

/// The text has `file:line`, and no digit goes on behind it; or `file:` with any line.
fn names_line(text: &str, place: &str) -> bool {
    text.match_indices(place).any(|(at, _)| {
        let after = text[at + place.len()..].chars().next();
        after.is_some_and(|c| c.is_ascii_digit()) == place.ends_with(':')
    })
}

impl Row {
    /// The row in the document.
    pub fn words(&self) -> String {
        let mut text = match self.found {
            Some(Found::Blocked) => "red, blocked".to_owned(),
            Some(Found::Leaked) => "red, leaked".to_owned(),
            Some(Found::Deadlock) => "red, a deadlock".to_owned(),
            None => "green".to_owned(),
        };
        if self.otherwise == Some(Found::Deadlock) {
            text.push_str(" or a deadlock");
        }
        for (before, part) in [
            ("in", &self.function),
            ("at", &self.line.clone().filter(|line| line != "*")),
            ("says", &self.why),
        ] {
            if let Some(part) = part {
                let part = part.trim_start_matches("// ").replace(" | ", "` or `");
                let _ = write!(text, ", {before} `{part}`");
            }
        }
        if self.twin == Twin::Cured {
            text.insert_str(0, "cured: ");
        }
        let _ = write!(text, " (`{}`", self.on);
        for (key, value) in &self.set {
            let _ = write!(text, ", {key}={value}");
        }
        text.push(')');
        if let Some(reason) = &self.reason {
            let _ = write!(text, ": {reason}");
        }
        text
    }
}
