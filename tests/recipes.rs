//! The recipes of the READMEs: each is an example that blocks, and `looptop check`
//! names its blocking handler.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::Value;

/// A running example; killed when dropped.
struct Example {
    child: Child,
    /// What it printed first: the last word of each line.
    said: Vec<String>,
}

impl Example {
    /// Starts a program that prints so many lines first.
    fn start(program: &Path, lines: usize) -> Self {
        let mut child = Command::new(program)
            .env("LOOPTOP_BIND", "127.0.0.1:0")
            .env("RUST_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = Vec::new();
        for _ in 0..lines {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            said.extend(line.split_whitespace().last().map(str::to_owned));
        }
        Self { child, said }
    }

    fn check(&self, address: &str) -> (Option<i32>, Value) {
        let pid = self.child.id();
        let output = Command::new(env!("CARGO_BIN_EXE_looptop"))
            .args(["check", address, "--for", "6s", "--format", "json"])
            .args(["--timeout", "30s"])
            .output()
            .unwrap();
        let report = serde_json::from_slice(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        (
            output.status.code(),
            report.unwrap_or_else(|e| panic!("{e}, of process {pid}: {said}")),
        )
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example of the agent. `cargo test --test NAME` alone does not build it.
fn example(name: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    // As `cargo test --workspace` builds it: with its features nothing is left to do.
    build.args(["build", "--quiet", "--workspace", "--example", name]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    profile.join("examples").join(name)
}

/// The handler is blamed, for sleeping, and the runtime is observed.
#[track_caller]
fn assert_named(name: &str, code: Option<i32>, report: &Value) {
    let findings = report["findings"].as_array().unwrap();
    let named = findings.iter().any(|f| {
        let function = f["function"].as_str().unwrap_or_default();
        f["rule"] == "blocked-worker"
            && f["cause"] == "sleeping"
            && function.ends_with("blocking_handler")
    });
    assert!(named, "{name}: {report:#}");
    assert_eq!(code, Some(1), "{name}: {report:#}");
    assert_eq!(report["not_observed"], Value::Array(vec![]), "{name}");
}

fn recipe(name: &str) -> Value {
    let example = Example::start(&example(name), 1);
    let (code, report) = example.check(&example.said[0]);
    assert_named(name, code, &report);
    report
}

#[test]
fn a_synchronous_main() {
    let report = recipe("synchronous_main");
    assert_eq!(report["workers"].as_array().unwrap().len(), 1);
}

#[test]
fn several_runtimes() {
    let report = recipe("several_runtimes");
    let workers = report["workers"].as_array().unwrap();
    let of_second = workers.iter().filter(|w| w["runtime"] == 1).count();
    assert_eq!(of_second, 2, "{report:#}");
}

#[test]
fn a_local_set() {
    recipe("local_set");
}

#[test]
fn an_own_subscriber_with_filters() {
    let report = recipe("own_subscriber");
    assert!(report["missing"]["tasks"].is_null(), "{report:#}");
    // The span that wraps the task names it.
    let named = |f: &Value| f["task"] == "connection peer=10.0.0.1:5";
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(named), "{report:#}");
}

/// Builds actix, which takes a minute or more.
#[test]
#[ignore = "builds a crate outside of the workspace: cargo test --test recipes -- --ignored"]
fn actix() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/recipes");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(root.join("examples/actix"))
        .status();
    assert!(built.unwrap().success());
    let example = Example::start(&target.join("debug/looptop-example-actix"), 2);
    let http = example.said[0].clone();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let http = http.clone();
            std::thread::spawn(move || {
                while !OVER.load(Ordering::Relaxed) {
                    let _ = get(&http);
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    let (code, report) = example.check(&example.said[1]);
    OVER.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert_named("actix", code, &report);
    let runtimes: std::collections::BTreeSet<_> = report["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|w| w["runtime"].as_u64())
        .collect();
    assert_eq!(runtimes.len(), 3, "main and two workers: {report:#}");
}

fn get(address: &str) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new())
}
