//! Watching harms nobody: seventeen kinds of blocking calls keep their results, and a
//! watcher that is killed at any moment leaves no thread traced or stopped.
//!
//! `a_killed_watcher_leaves_nothing_behind` kills six; all the hundred:
//! `LOOPTOP_KILLS=100 cargo test -p looptop-outside --test harm -- --nocapture`.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use looptop_outside::{Subject, Watch, WatchOptions};
use looptop_procfs::{Procfs, SchedState, Stat};

mod calls;

/// Names the process that the watcher watches, and how.
const WATCHED: &str = "LOOPTOP_TEST_WATCHED";
const MAY_SAMPLE: &str = "LOOPTOP_TEST_MAY_SAMPLE";

#[test]
#[ignore = "is the process that makes the calls"]
fn the_caller() {
    calls::run();
}

#[test]
#[ignore = "is the process that watches, until it is killed"]
fn the_watcher() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u32>().unwrap();
    let subject = Subject::find(&Procfs::default(), number(WATCHED)).unwrap();
    let options = WatchOptions {
        may_sample: number(MAY_SAMPLE) == 1,
        interval: Duration::from_millis(1),
        threshold: Duration::from_millis(2),
        ..WatchOptions::default()
    };
    let mut watch = Watch::new(&subject, options).unwrap();
    println!("\nwatching");
    loop {
        watch.look(Instant::now(), &|_| None).expect("it lives");
        watch.take_stalls();
        let costs = watch.costs();
        println!(
            "stopped {} read {} sampled {}",
            costs.stopped, costs.read, costs.sampled
        );
    }
}

struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(test: &str, variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads on to a line that begins so; the rest of it.
    fn wait_for(&mut self, word: &str) -> String {
        for line in self.output.by_ref().lines() {
            let line = line.expect("it speaks");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("it ended before it said {word}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Threads that are traced, or stopped.
fn harmed(pid: u32) -> Vec<(u64, Option<u64>, Option<SchedState>)> {
    let process = Procfs::default().process(pid);
    let mut harmed = Vec::new();
    for tid in process.tids().unwrap() {
        let text = |name| std::fs::read_to_string(process.thread(tid).path(name)).ok();
        let Some((status, stat)) = text("status").zip(text("stat")) else {
            continue;
        };
        let tracer = looptop_procfs::number(&status, "TracerPid");
        let state = Stat::parse(&stat).map(|stat| stat.state);
        if tracer != Some(0) || state == Some(SchedState::Stopped) {
            harmed.push((tid, tracer, state));
        }
    }
    harmed
}

#[test]
fn a_killed_watcher_leaves_nothing_behind() {
    let kills = std::env::var("LOOPTOP_KILLS").map_or(6, |n| n.parse().expect("a number"));
    let mut caller = Process::start("the_caller", &[]);
    caller.wait_for("calling");
    let pid = caller.child.id();
    // Anything that changes from run to run, and not from build to build.
    let mut random = u64::from(pid) | 1;
    let mut stopped = 0;
    for kill in 0..kills {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let variables = [
            (WATCHED, pid.to_string()),
            (MAY_SAMPLE, u32::from(kill % 2 == 0).to_string()),
        ];
        let mut watcher = Process::start("the_watcher", &variables);
        watcher.wait_for("watching");
        // Somewhere between its first look and half a second later.
        let end = Instant::now() + Duration::from_micros((random >> 33) % 500_000);
        let mut last = String::new();
        while Instant::now() < end {
            last = watcher.wait_for("stopped");
        }
        stopped += last
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0_u64);
        watcher.child.kill().unwrap();
        watcher.child.wait().unwrap();
        // The kernel lets go of its threads when the tracing one is gone.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !harmed(pid).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", harmed(pid));
        }
    }
    println!("{kills} watchers were killed, which had stopped threads {stopped} times");
    // Each call was made some more times, and none has changed its result.
    drop(caller.child.stdin.take());
    let report = caller.wait_for("calls");
    let (calls, changed) = report.split_once(" changed ").unwrap();
    assert_eq!(changed, "0", "of {calls} calls");
    assert!(calls.parse::<u64>().unwrap() > 17 * 5, "{calls}");
}
