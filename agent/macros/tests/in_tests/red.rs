//! Runs tests that fail on purpose.

use std::process::{Command, Output};

/// What a test said that was run alone, in a process of its own.
pub(crate) struct Ran {
    pub(crate) failed: bool,
    pub(crate) said: String,
}

/// Runs the ignored test of this path.
pub(crate) fn run(test: &str) -> Ran {
    run_with(test, &[])
}

pub(crate) fn run_with(test: &str, environment: &[(&str, &str)]) -> Ran {
    let program = std::env::current_exe().expect("its own path");
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", test]);
    command.envs(environment.iter().copied());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(!said.contains("running 0 tests"), "there is no {test}");
    Ran {
        failed: !status.success(),
        said,
    }
}

impl Ran {
    /// It failed and said each of these.
    pub(crate) fn assert_red(&self, test: &str, words: &[&str]) {
        assert!(self.failed, "{test} is green: {}", self.said);
        for word in words {
            assert!(self.said.contains(word), "{test}, {word:?}: {}", self.said);
        }
    }
}

/// `file:line` of the line of a source that ends with this mark.
pub(crate) fn line_of(source: &str, file: &str, mark: &str) -> String {
    let mark = format!("// {mark}");
    let mut lines = source.lines();
    let at = lines.position(|line| line.ends_with(&mark));
    format!("{file}:{}", at.unwrap_or_else(|| panic!("no {mark}")) + 1)
}
