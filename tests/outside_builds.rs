//! A program that knows nothing of looptop, in the builds that people have, looked at
//! from outside: each of its tasks with the name of its future, and who holds up its
//! worker.
//!
//! `cargo test --test outside_builds -- --ignored --nocapture` builds the programs into
//! `target/outside` (about a minute each). `LOOPTOP_TEST_BUILDS=release,fat` takes some
//! of them only.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use looptop::{
    model::{Capability, Model},
    source::{self, Event, Options, Target},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

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
    sees: Sees,
    /// Async fns that have no name there but their place: they are parts of their tasks'
    /// polls, and what drops one drops another as well.
    placed: &'static [&'static str],
    /// It runs in a pid and a mount namespace of its own.
    contained: bool,
}

/// What there is to be seen of a build, beside its tasks and that a worker is blocked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The names of all futures, and of the function that blocks.
    Names,
    /// The places of async fns instead: a remark says why.
    Places,
    /// Nothing: this tokio is too old, which is said.
    TooOld,
}

const RELEASE: Build = Build {
    name: "release",
    tokio: "1.54",
    profile: "",
    flags: "",
    features: "counted",
    mode: "threads",
    sees: Sees::Names,
    placed: &[],
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
        features: "",
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
        features: "counted,mimalloc",
        mode: "several",
        ..RELEASE
    },
    Build {
        name: "v0",
        flags: "-C symbol-mangling-version=v0",
        features: "counted,jemalloc",
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
        sees: Sees::Places,
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
        placed: &["report"],
        ..RELEASE
    },
    Build {
        name: "actix",
        features: "actix,mimalloc",
        mode: "actix",
        ..RELEASE
    },
    Build {
        name: "old",
        tokio: "1.20",
        features: "",
        sees: Sees::TooOld,
        ..RELEASE
    },
    Build {
        name: "contained",
        contained: true,
        ..RELEASE
    },
];

/// What the program spawns in each runtime, by its async fns; and in each with threads.
const FUTURES: [(&str, usize); 3] = [("subscription", 500), ("heartbeat", 7), ("report", 1)];
const HANDS_OVER: &str = "archive";
const ALL: usize = 508;
/// Tasks of actix's own: its server, two for each worker.
const OF_ACTIX: std::ops::RangeInclusive<usize> = 1..=8;
/// The function that blocks, and the async fn that has called it.
const BLOCKS: &str = "tasks::render_report";
const CALLER: &str = "report";
const STRIPPED: &str = "the program is stripped: functions have no names, and the future of \
                        block_on is not watched; leave `strip` out of the profile (or strip = \
                        \"debuginfo\") to see them";

#[test]
#[ignore = "builds the program in twelve ways: about a minute each"]
fn every_build_shows_its_tasks_and_who_blocks() {
    let only = std::env::var("LOOPTOP_TEST_BUILDS").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|word| word == name);
    let mut problems = Vec::new();
    for build in BUILDS.iter().filter(|build| wanted(build.name)) {
        let program = build.program();
        let mut found = Problems::default();
        build.look_at(&program, &mut found);
        let (name, mode) = (build.name, build.mode);
        let verdict = if found.0.is_empty() { "ok" } else { "WRONG" };
        let seen = &found.1;
        eprintln!(
            "{name:14} tokio {:5} {mode:8} {verdict}: {seen}",
            build.tokio
        );
        for problem in found.0 {
            eprintln!("    {problem}");
            problems.push(format!("{name}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Where an async fn of the program is written.
fn place(function: &str) -> String {
    let source = include_str!("builds/tasks/src/main.rs");
    let begin = format!("async fn {function}(");
    let line = source.lines().position(|line| line.starts_with(&begin));
    format!("tests/builds/tasks/src/main.rs:{}", line.unwrap() + 1)
}

/// What is wrong, and what was seen.
#[derive(Default)]
struct Problems(Vec<String>, String);

impl Problems {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }
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
        // It is not asked of every tokio whether actix-web would have it.
        let (actix, dependency) = if self.features.contains("actix") {
            (
                "\"dep:actix-web\"",
                "actix-web = { version = \"4\", default-features = false, optional = true }\n",
            )
        } else {
            ("", "")
        };
        let manifest = format!(
            "[workspace]\n\
             [package]\nname = \"tasks\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [[bin]]\nname = \"tasks\"\npath = \"{}\"\n\
             [features]\ncounted = []\nactix = [{actix}]\n\
             mimalloc = [\"dep:mimalloc\"]\njemalloc = [\"dep:tikv-jemallocator\"]\n\
             [dependencies]\n\
             tokio = {{ version = \"~{}\", features = [\"rt-multi-thread\", \"sync\", \"time\", \"net\"] }}\n\
             mimalloc = {{ version = \"0.1\", optional = true }}\n\
             tikv-jemallocator = {{ version = \"0.6\", optional = true }}\n{dependency}\
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

    /// How often the program spawns all of its tasks.
    fn runtimes(&self) -> usize {
        match self.mode {
            "several" => 3,
            "actix" => 2,
            _ => 1,
        }
    }

    /// The runtimes with several threads.
    fn with_threads(&self) -> usize {
        match self.mode {
            "threads" => 1,
            "several" => 2,
            _ => 0,
        }
    }

    /// Tasks of the program's own.
    fn own_tasks(&self) -> usize {
        ALL * self.runtimes() + self.with_threads()
    }

    fn look_at(&self, program: &Path, problems: &mut Problems) {
        let mut command = Command::new(program);
        if self.contained {
            command = Command::new("unshare");
            command
                .args(["--pid", "--mount", "--fork", "--mount-proc", "--"])
                .arg(program);
        }
        let mut started = Started::new(command.arg(self.mode));
        problems.unless(started.tasks == self.own_tasks(), || {
            format!("the program counts {} tasks", started.tasks)
        });
        let pid = if self.contained {
            started.only_child()
        } else {
            started.child.id()
        };
        if self.sees == Sees::TooOld {
            self.is_refused(pid, problems);
        } else {
            self.has_its_tasks(&tasks(pid, self.tasks(started.tasks)), problems);
            self.has_its_stall(pid, problems);
        }
        started.assert_unharmed();
    }

    /// How many tasks are to be seen.
    fn tasks(&self, own: usize) -> std::ops::RangeInclusive<usize> {
        if self.mode == "actix" {
            own + OF_ACTIX.start()..=own + OF_ACTIX.end()
        } else {
            own..=own
        }
    }

    /// Each task is there, and has the name of its future.
    fn has_its_tasks(&self, model: &Model, problems: &mut Problems) {
        let expected = self.tasks(self.own_tasks());
        let live = model.tasks.live_count();
        problems.unless(expected.contains(&live), || {
            format!("{live} tasks of {expected:?}")
        });
        let counted = model.live_tasks();
        problems.unless(counted == Some(live as u64), || {
            format!("{counted:?} tasks are counted")
        });
        let version = &model.session.tokio_version;
        problems.unless(version.starts_with(self.tokio), || {
            format!("tokio {version}")
        });
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for task in model.tasks.live() {
            let name = model.task_name(task).unwrap_or_default();
            *names.entry(name).or_default() += 1;
        }
        problems.1 = format!("{live} tasks; {names:?}");
        let each = FUTURES.map(|(future, each)| (future, each * self.runtimes()));
        for (future, expected) in each.into_iter().chain([(HANDS_OVER, self.with_threads())]) {
            let name = if self.sees == Sees::Places || self.placed.contains(&future) {
                place(future)
            } else {
                format!("tasks::{future}")
            };
            let found = names.get(&*name).copied().unwrap_or_default();
            problems.unless(found == expected, || format!("{found} tasks of {name}"));
        }
        let remark = model.session.missing(Capability::Coverage);
        problems.unless(
            (remark == Some(STRIPPED)) == (self.sees == Sees::Places),
            || format!("a remark: {remark:?}"),
        );
    }

    /// Whoever blocks its worker is found, and named where functions have names.
    fn has_its_stall(&self, pid: u32, problems: &mut Problems) {
        let output = check(pid);
        let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
            let error = String::from_utf8_lossy(&output.stderr);
            problems.0.push(format!("no report: {error}"));
            return;
        };
        let findings = report["findings"].as_array().into_iter().flatten();
        let stalls: Vec<&Value> = findings
            .filter(|f| f["rule"] == "blocked-worker" && f["cause"] == "sleeping")
            .collect();
        let culprit = match self.sees {
            Sees::Places => format!("async code at {}", place(CALLER)),
            _ => BLOCKS.to_owned(),
        };
        let is_named = |finding: &&Value| finding["function"] == *culprit;
        problems.unless(stalls.iter().any(is_named), || {
            format!("no stall in {culprit}: {report}")
        });
        // What has given its worker away holds up nobody.
        problems.unless(stalls.iter().all(is_named), || {
            format!("not {culprit} alone: {report}")
        });
        let titles: Vec<_> = stalls.iter().filter_map(|f| f["title"].as_str()).collect();
        let _ = write!(problems.1, "; {}", titles.join("; "));
        let remarks = report["remarks"].as_array().into_iter().flatten();
        let says = remarks.clone().any(|remark| remark == STRIPPED);
        problems.unless(says == (self.sees == Sees::Places), || {
            format!("remarks {:?}", remarks.collect::<Vec<_>>())
        });
        let text = String::from_utf8_lossy(&output.stdout);
        problems.unless(!text.contains("the agent sends no names"), || {
            "it has asked an agent for names".to_owned()
        });
    }

    /// It is said which tokio it has, and which would do.
    fn is_refused(&self, pid: u32, problems: &mut Problems) {
        let output = check(pid);
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = [
            format!("process {pid} (tasks) has tokio {}.", self.tokio),
            "looptop reads 1.38 and newer from outside".to_owned(),
            "`cargo update -p tokio`".to_owned(),
        ];
        let is_said = expected.iter().all(|words| said.contains(words));
        problems.unless(is_said && output.status.code() == Some(3), || {
            format!("{:?}: {said}", output.status)
        });
        problems.1 = said.trim().to_owned();
    }
}

/// A running program; killed when dropped.
struct Started {
    child: Child,
    tasks: usize,
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

    /// The one child of the process, as it is called in this namespace.
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

/// How long names and tasks may take to be there; then what is there is judged.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a viewer knows of the process once it has so many tasks, and a name for each.
fn tasks(pid: u32, number: std::ops::RangeInclusive<usize>) -> Model {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let target = Target::Process(pid);
        let handle = tokio::runtime::Handle::current();
        let mut source = source::spawn(target, Options::default(), &handle);
        let deadline = Instant::now() + PATIENCE;
        let mut model = None;
        while let Ok(event) = timeout_at(deadline, source.recv()).await {
            match event {
                Some(Event::Connected { hello, .. }) => model = Some(Model::new(&hello)),
                Some(Event::Frame(frame)) => {
                    let Some(model) = &mut model else { continue };
                    model.apply(&frame).unwrap();
                    let mut live = model.tasks.live();
                    if model.complete
                        && number.contains(&model.tasks.live_count())
                        && live.all(|task| model.task_name(task).is_some())
                    {
                        break;
                    }
                }
                Some(Event::Lost { problem, .. }) => panic!("{problem}"),
                _ => {}
            }
        }
        model.expect("it is looked at")
    })
}

fn check(pid: u32) -> Output {
    Command::new(LOOPTOP)
        .args(["check", &format!("pid:{pid}"), "--format", "json"])
        .args(["--for", "3s", "--warmup", "1s", "--timeout", "20s"])
        .output()
        .unwrap()
}
