//! Who and what is named in the builds that people have: each way of blocking, in
//! a program built in each way, its stack read by a debugger.
//!
//! `cargo test --test builds -- --ignored --nocapture` builds the programs into
//! `target/builds` (minutes) and needs `gdb`. `LOOPTOP_TEST_BUILDS=release,fat`
//! builds some of them only.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use looptop_symbols::{self as symbols, Binary, CallKind, CodeAddress, Origin, Resolver, elf};

/// Way of blocking, the kind of call, and names of which one must be shown.
const KINDS: &[(&str, CallKind, &[&str])] = &[
    (
        "sleeps",
        CallKind::Sleep,
        &["std::thread::sleep", "nanosleep"],
    ),
    ("locks", CallKind::Lock, &["std::sync::Mutex::lock"]),
    (
        "joins",
        CallKind::Join,
        &["std::thread::JoinHandle::join", "pthread_join"],
    ),
    (
        "runs_process",
        CallKind::Process,
        &["std::process::Command::output", "std::process"],
    ),
    (
        "receives",
        CallKind::Channel,
        &["std::sync::mpsc::Receiver::recv"],
    ),
    ("waits", CallKind::Condition, &["std::sync::Condvar::wait"]),
    (
        "blocks_on",
        CallKind::NestedExecutor,
        &["futures::executor::block_on"],
    ),
    ("reads_pipe", CallKind::File, &["std::io::pipe"]),
    ("opens_file", CallKind::File, &["std::fs"]),
];

/// Builds, by profile; whether names are to be had.
const BUILDS: &[(&str, bool)] = &[
    ("release", true),
    ("one-unit", true),
    ("thin", true),
    ("fat", true),
    ("abort", true),
    ("lines", true),
    ("stripped", false),
];

const LOOK: &str = r#"
import gdb
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame, inner = gdb.newest_frame(), True
    while frame is not None:
        if frame.type() != gdb.INLINE_FRAME:
            print("LOOPTOP %d %d" % (thread.ptid[1], frame.pc() - (0 if inner else 1)))
            inner = False
        try:
            frame = frame.older()
        except gdb.error:
            break
"#;

#[test]
#[ignore = "builds seven programs and needs gdb; named in the documentation of this file"]
fn every_build_names_who_blocks_and_in_what() {
    let only = std::env::var("LOOPTOP_TEST_BUILDS").unwrap_or_default();
    let wanted = |build: &str| only.is_empty() || only.split(',').any(|name| name == build);
    let mut failures = Vec::new();
    for (build, named) in BUILDS.iter().filter(|(build, _)| wanted(build)) {
        let program = built(build);
        for (way, kind, names) in KINDS {
            let result = check(&program, build, way, *kind, names, *named);
            println!(
                "{build} {way}: {}",
                result.as_ref().map_or("wrong", |text| text)
            );
            if let Err(wrong) = result {
                failures.push(format!("{build} {way}: {wrong}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(
    program: &Path,
    build: &str,
    way: &str,
    kind: CallKind,
    accepted: &[&str],
    named: bool,
) -> Result<String, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo works");
    let child = Command::new(program)
        .args([Path::new(way), &fifo])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let child = Killed(child);
    let mut resolver = Resolver::new(Some(child.0.id()));
    let start = Instant::now();
    let mut last = String::from("no stack of a task was seen");
    while start.elapsed() < Duration::from_mins(1) {
        for stack in stacks(child.0.id(), program) {
            let found = resolver.resolve(&stack);
            if !named {
                let lacks = |text: &String| text.starts_with("no names: ");
                if found.problems.iter().any(lacks) {
                    return Ok("says that it is stripped".to_owned());
                }
                continue;
            }
            let culprit = symbols::culprit(&found.frames);
            let of_culprit = culprit.as_ref().and_then(|c| c.blocking_call.clone());
            let call = of_culprit.or_else(|| symbols::innermost_call(&found.frames));
            let function = culprit.as_ref().map(|culprit| culprit.function.as_str());
            last = format!("{function:?} in {call:?}, {:?}", found.culprit_place);
            // What was inlined whole, down to the system call, has left no name.
            let inner = culprit
                .as_ref()
                .map_or(&found.frames[..0], |culprit| &found.frames[..culprit.frame]);
            let nothing_left =
                !inner.is_empty() && inner.iter().all(|frame| frame.origin == Origin::System);
            let right = match &call {
                Some(call) => call.kind == kind && accepted.contains(&call.name),
                None => nothing_left && build != "lines",
            };
            // An async fn that was inlined into the poll, and drops as others do, has
            // left no name, but the place where it is written; never is another one named.
            let written = format!("src/main.rs:{}", line_of(way));
            let place = found.culprit_place.as_ref().map(ToString::to_string);
            let who = match function {
                Some(function) if build == "lines" => function == format!("blocks::{way}"),
                Some(function) => {
                    place.as_ref() == Some(&written)
                        && (function == format!("blocks::{way}")
                            || function == format!("async code at {written}"))
                }
                None => false,
            };
            let lines = culprit.is_none_or(|c| c.line.is_some() == (build == "lines"));
            let says = found.no_lines.is_some() == (build != "lines");
            if who && right && lines && says {
                return Ok(last);
            }
        }
    }
    Err(last)
}

/// The line that the async fn for a way of blocking is written at.
fn line_of(way: &str) -> usize {
    let source = include_str!("builds/program/src/main.rs");
    let line = source
        .lines()
        .position(|line| line.starts_with(&format!("async fn {way}(")));
    line.expect("there is an async fn for each way") + 1
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, built with the profile.
fn built(profile: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/builds");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", profile, "--manifest-path"])
        .arg(root.join("tests/builds/program/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // What this workspace sets is not what people have.
        .env("RUSTFLAGS", "")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "{profile} builds");
    target.join(profile).join("blocks")
}

/// The stacks of all threads, as addresses.
fn stacks(pid: u32, program: &Path) -> Vec<Vec<CodeAddress>> {
    let mut script = tempfile::Builder::new()
        .suffix(".py")
        .tempfile()
        .expect("a file");
    script.write_all(LOOK.as_bytes()).expect("written");
    let output = Command::new("gdb")
        .args(["-p", &pid.to_string(), "-batch", "-x"])
        .arg(script.path())
        .output()
        .expect("gdb is installed");
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut stacks: Vec<(u64, Vec<CodeAddress>)> = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        let (Some("LOOPTOP"), Some(thread), Some(pc)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (Ok(thread), Ok(pc)) = (thread.parse(), pc.parse()) else {
            continue;
        };
        if stacks.last().is_none_or(|(last, _)| *last != thread) {
            stacks.push((thread, Vec::new()));
        }
        if let Some((_, stack)) = stacks.last_mut() {
            stack.push(address(pc, &maps, program));
        }
    }
    stacks.into_iter().map(|(_, stack)| stack).collect()
}

/// An address in memory as one in the file that is mapped there.
fn address(pc: u64, maps: &str, program: &Path) -> CodeAddress {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let offset = words.nth(1)?;
        let path = words.nth(2)?.to_owned();
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(from)?, number(to)?, number(offset)?, path))
    };
    let mapped: Vec<_> = maps.lines().filter_map(parse).collect();
    let inside = mapped
        .iter()
        .find(|(from, to, ..)| (*from..*to).contains(&pc));
    let base = inside.and_then(|(.., path)| {
        let first = mapped
            .iter()
            .find(|(.., offset, of)| *offset == 0 && of == path)?;
        Some((first.0, PathBuf::from(path)))
    });
    let Some((base, path)) = base else {
        return CodeAddress {
            binary: None,
            offset: pc,
        };
    };
    let file = if path.ends_with("blocks") {
        program
    } else {
        &path
    };
    let build_id = elf::build_id(file).unwrap_or_default();
    CodeAddress {
        binary: Some(Arc::new(Binary { path, build_id })),
        offset: pc - base,
    }
}
