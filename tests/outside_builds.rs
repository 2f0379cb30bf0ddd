//! A program that knows nothing of looptop, in the builds that people have, looked at
//! from outside: each of its tasks, and who holds up its worker.
//!
//! `cargo test --test outside_builds -- --ignored --nocapture` builds the programs into
//! `target/outside` (some minutes each). `LOOPTOP_TEST_BUILDS=release,fat` takes
//! some of them only.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const LOOPTOP: &str = env!("CARGO_BIN_EXE_looptop");

/// A build of the program, and how it runs. Each value of each column is in some row,
/// and so are most pairs of them.
struct Build {
    name: &'static str,
    tokio: &'static str,
    profile: &'static str,
    flags: &'static str,
    features: &'static str,
    mode: &'static str,
    /// Who must be named as the one that blocks; `None` where nothing has a name.
    culprit: Option<&'static str>,
    /// It runs in a pid and a mount namespace of its own.
    contained: bool,
}

const RELEASE: Build = Build {
    name: "release",
    tokio: "1.54",
    profile: "",
    flags: "",
    features: "",
    mode: "threads",
    culprit: Some("tasks::render_report"),
    contained: false,
};
const UNSTABLE: &str = "--cfg tokio_unstable";

const BUILDS: &[Build] = &[
    RELEASE,
    Build {
        name: "lines",
        tokio: "1.47",
        profile: "debug = \"line-tables-only\"",
        flags: UNSTABLE,
        mode: "single",
        ..RELEASE
    },
    Build {
        name: "full",
        tokio: "1.38",
        profile: "debug = true",
        mode: "several",
        ..RELEASE
    },
    Build {
        name: "thin",
        profile: "lto = \"thin\"\npanic = \"abort\"",
        flags: UNSTABLE,
        mode: "local",
        ..RELEASE
    },
    Build {
        name: "fat",
        tokio: "1.47",
        profile: "lto = \"fat\"\ncodegen-units = 1\npanic = \"abort\"",
        features: "mimalloc",
        mode: "several",
        ..RELEASE
    },
    Build {
        name: "v0",
        flags: "-C symbol-mangling-version=v0",
        features: "jemalloc",
        ..RELEASE
    },
    Build {
        name: "v0-fat",
        tokio: "1.38",
        profile: "lto = \"fat\"\ncodegen-units = 1",
        flags: "-C symbol-mangling-version=v0 --cfg tokio_unstable",
        features: "mimalloc",
        mode: "local",
        ..RELEASE
    },
    Build {
        name: "stripped",
        profile: "strip = true",
        mode: "several",
        culprit: None,
        ..RELEASE
    },
    Build {
        name: "static",
        tokio: "1.47",
        flags: "-C target-feature=+crt-static",
        mode: "local",
        ..RELEASE
    },
    Build {
        name: "static-single",
        tokio: "1.38",
        profile: "lto = \"thin\"",
        flags: "-C target-feature=+crt-static",
        features: "jemalloc",
        mode: "single",
        ..RELEASE
    },
    Build {
        name: "contained",
        contained: true,
        ..RELEASE
    },
];

#[test]
#[ignore = "builds the program in eleven ways: some minutes each"]
fn every_build_shows_its_tasks_and_who_blocks() {
    let only = std::env::var("LOOPTOP_TEST_BUILDS").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|word| word == name);
    let mut problems = Vec::new();
    for build in BUILDS.iter().filter(|build| wanted(build.name)) {
        let program = build.program();
        let found = build.problems(&program);
        let (name, mode) = (build.name, build.mode);
        let verdict = if found.is_empty() { "ok" } else { "WRONG" };
        eprintln!("{name:14} tokio {:5} {mode:8} {verdict}", build.tokio);
        for problem in found {
            eprintln!("    {problem}");
            problems.push(format!("{name}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

impl Build {
    /// Builds it, in a package of its own, so that each may have its tokio.
    fn program(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = root.join("target/outside");
        // The same build runs in different ways.
        let name = if self.contained {
            RELEASE.name
        } else {
            self.name
        };
        let package = target.join(name);
        std::fs::create_dir_all(&package).unwrap();
        let main = root.join("tests/builds/tasks/src/main.rs");
        let mut manifest = String::new();
        let _ = write!(
            manifest,
            "[workspace]\n\
             [package]\nname = \"tasks\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [[bin]]\nname = \"tasks\"\npath = \"{}\"\n\
             [features]\nmimalloc = [\"dep:mimalloc\"]\njemalloc = [\"dep:tikv-jemallocator\"]\n\
             [dependencies]\n\
             tokio = {{ version = \"~{}\", features = [\"rt-multi-thread\", \"sync\", \"time\", \"net\"] }}\n\
             mimalloc = {{ version = \"0.1\", optional = true }}\n\
             tikv-jemallocator = {{ version = \"0.6\", optional = true }}\n\
             [profile.release]\n{}\n",
            main.display(),
            self.tokio,
            self.profile,
        );
        let path = package.join("Cargo.toml");
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&manifest) {
            std::fs::write(&path, manifest).unwrap();
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--features", self.features])
            .arg("--target-dir")
            .arg(package.join("target"))
            .current_dir(&package)
            .env("RUSTFLAGS", self.flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .unwrap();
        assert!(built.success(), "{}", self.name);
        package.join("target/release/tasks")
    }

    /// What is wrong with what is seen of it.
    fn problems(&self, program: &Path) -> Vec<String> {
        let mut command = Command::new(program);
        if self.contained {
            command = Command::new("unshare");
            command
                .args(["--pid", "--mount", "--fork", "--mount-proc", "--"])
                .arg(program);
        }
        let mut started = Started::new(command.arg(self.mode));
        let tasks = started.tasks;
        let pid = if self.contained {
            started.only_child()
        } else {
            started.child.id()
        };
        let report = check(pid);
        let mut problems = Vec::new();
        let live = &report["tasks"]["live"];
        if live.as_u64() != Some(tasks) {
            problems.push(format!("{live} tasks of {tasks}"));
        }
        let findings = report["findings"].as_array().into_iter().flatten();
        let stalls: Vec<&Value> = findings
            .filter(|f| f["rule"] == "blocked-worker" && f["cause"] == "sleeping")
            .collect();
        let named = |finding: &&Value| {
            let function = finding["function"].as_str().unwrap_or_default();
            self.culprit.is_none_or(|culprit| function == culprit)
        };
        if !stalls.iter().any(named) {
            problems.push(format!("no stall in {:?}: {report}", self.culprit));
        }
        started.assert_unharmed();
        problems
    }
}

/// A running program; killed when dropped.
struct Started {
    child: Child,
    tasks: u64,
}

impl Started {
    fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let tasks = line.trim().strip_prefix("tasks=").unwrap().parse().unwrap();
        Self { child, tasks }
    }

    /// The one child of the process, in this namespace.
    fn only_child(&self) -> u32 {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(path).unwrap();
        children.trim().parse().unwrap()
    }

    /// It still runs, and nobody traces it.
    fn assert_unharmed(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none());
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        assert!(status.contains("TracerPid:\t0"), "{status}");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The end of its standard input ends the program, also within a namespace.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check(pid: u32) -> Value {
    let output = Command::new(LOOPTOP)
        .args(["check", &format!("pid:{pid}"), "--format", "json"])
        .args(["--for", "3s", "--warmup", "1s", "--timeout", "20s"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}
