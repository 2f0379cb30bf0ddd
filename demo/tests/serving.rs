//! The lab as a process of its own: its endpoints, its switch, its end.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use looptop_demo::{
    Mode,
    proto::{self, lab_client::LabClient},
    scenarios,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_looptop-demo");

/// Longer than anything takes on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

struct Lab {
    child: Child,
    stdin: Option<ChildStdin>,
    http: SocketAddr,
    agent: SocketAddr,
    output: mpsc::Receiver<String>,
}

impl Lab {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--exit-with-parent"])
            .args(arguments)
            .env("LOOPTOP_BIND", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (lines, output) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if lines.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let first = output.recv_timeout(DEADLINE).unwrap();
        assert!(first.starts_with("listening http="), "{first}");
        let address = |key: &str| -> SocketAddr {
            let word = first.split(' ').find_map(|word| word.strip_prefix(key));
            word.and_then(|word| word.parse().ok())
                .unwrap_or_else(|| panic!("no {key} in the first line: {first}"))
        };
        assert!(first.ends_with(&format!(" pid={}", child.id())), "{first}");
        Lab {
            stdin: child.stdin.take(),
            child,
            http: address("http="),
            agent: address("agent="),
            output,
        }
    }

    /// Status and body; `None` if there is no answer within `patience`.
    fn request(&self, line: &str, patience: Duration) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        write!(
            stream,
            "{line} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    fn status(&self) -> Value {
        let (status, body) = self.request("GET /lab", DEADLINE).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn switch(&self, scenario: &str, mode: Mode) -> Value {
        let line = format!("POST /lab/{scenario}/{mode}");
        let (status, body) = self.request(&line, DEADLINE).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until the status is as it should be.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "never {what}: {status:#}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn ends(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < DEADLINE, "the lab does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Endpoints that never answer: their scenarios are about just that, or they
/// last as long as somebody listens.
const ENDLESS: &[&str] = &[
    "/door/forgetful",
    "/ledger/select",
    "/import/unbounded",
    "/import/bounded",
    "/events/unjoined",
    "/events/joined",
    "/nightly",
    "/samples/burst",
    "/samples/skip",
    "/prices/crowd",
    "/prices/one-a-cpu",
    // Half a minute, to be exact.
    "/ready/yielding",
    "/ready/notified",
    "/order/at-once",
    "/order/back-off",
];

fn endpoints_answer(flavor: &str) {
    let lab = Lab::start(&["--mode", "off", "--flavor", flavor]);
    for scenario in scenarios() {
        for path in [scenario.broken, scenario.fixed] {
            let line = format!("GET {path}");
            if ENDLESS.contains(&path) {
                assert_eq!(
                    lab.request(&line, Duration::from_millis(200)),
                    None,
                    "{path}"
                );
                continue;
            }
            // One that waits for itself needs no second request.
            let hangs = ["deadlock", "futurelock", "stuck-task"];
            let mut rules = scenario.expected.iter().map(|expected| expected.rule);
            if path == scenario.broken && rules.any(|rule| hangs.contains(&rule)) {
                lab.request(&line, Duration::from_millis(200));
                continue;
            }
            let answer = lab.request(&line, DEADLINE);
            let (status, body) = answer.unwrap_or_else(|| panic!("{path} does not answer"));
            assert_eq!(status, 200, "{path}: {body}");
            assert!(!body.contains("Err("), "{path}: {body}");
        }
    }
}

#[test]
#[ignore = "takes a minute"]
fn every_endpoint_answers_on_several_workers_at_length() {
    endpoints_answer("multi-thread");
}

#[test]
#[ignore = "takes a minute"]
fn every_endpoint_answers_on_one_thread_at_length() {
    endpoints_answer("current-thread");
}

#[test]
fn the_lab_switches_live_and_keeps_the_figures_before() {
    let lab = Lab::start(&["--scenario", "sleep-in-handler", "--mode", "broken"]);
    lab.until("answered when broken", |status| {
        status["since_switch"]["requests"].as_u64() > Some(10)
            && status["since_switch"]["canary"]["count"].as_u64() > Some(3)
    });
    let status = lab.switch("sleep-in-handler", Mode::Fixed);
    assert_eq!(status["mode"], "fixed");
    assert_eq!(status["before_switch"]["mode"], "broken");
    assert!(status["before_switch"]["figures"]["requests"].as_u64() > Some(10));
    let status = lab.until("answered when fixed", |status| {
        status["since_switch"]["requests"].as_u64() > Some(200)
    });
    let rate = |figures: &Value| figures["requests_per_s"].as_f64().unwrap();
    let (before, after) = (
        rate(&status["before_switch"]["figures"]),
        rate(&status["since_switch"]),
    );
    // Ten times by design; half of that even on a busy machine.
    assert!(after > 2.0 * before, "{before} -> {after} requests/s");

    let status = lab.switch("busy-yield", Mode::Off);
    assert_eq!(status["scenario"], "busy-yield");
    assert_eq!(status["endpoint"], Value::Null);
    assert_eq!(status["before_switch"]["scenario"], "sleep-in-handler");
}

#[test]
fn the_control_answers_while_the_loop_starves() {
    let lab = Lab::start(&["--scenario", "three-requests", "--flavor", "current-thread"]);
    let status = lab.until("starving", |status| {
        status["since_switch"]["canary_waiting_ms"].as_f64() > Some(300.0)
    });
    assert_eq!(status["scenario"], "three-requests");
    lab.switch("three-requests", Mode::Fixed);
    lab.until("cured", |status| {
        status["since_switch"]["requests"].as_u64() >= Some(3)
    });
}

#[test]
fn the_lab_switches_by_grpc_while_the_loop_starves() {
    let lab = Lab::start(&["--scenario", "three-requests", "--flavor", "current-thread"]);
    lab.until("starving", |status| {
        status["since_switch"]["canary_waiting_ms"].as_f64() > Some(300.0)
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", lab.agent))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut remote = LabClient::new(channel);
        let status = remote.status(proto::StatusRequest {}).await.unwrap();
        let status = status.into_inner();
        assert_eq!(status.scenario, "three-requests");
        assert_eq!(status.mode(), proto::Mode::Broken);
        assert!(status.broken_code.contains("thread::sleep"));
        assert_eq!(status.scenarios.len(), scenarios().len());

        let switch = |scenario: &str, mode: proto::Mode| proto::SwitchRequest {
            scenario: scenario.to_owned(),
            mode: mode.into(),
        };
        let fixed = switch("three-requests", proto::Mode::Fixed);
        let status = remote.switch(fixed).await.unwrap().into_inner();
        assert_eq!(status.mode(), proto::Mode::Fixed);
        let before = status.before_switch.unwrap();
        assert_eq!(before.mode(), proto::Mode::Broken);

        let unknown = switch("three-request", proto::Mode::Off);
        let refusal = remote.switch(unknown).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::NotFound);
        assert!(refusal.message().contains("did you mean"), "{refusal}");
        let modeless = switch("three-requests", proto::Mode::Unknown);
        let refusal = remote.switch(modeless).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    });
    lab.until("cured", |status| {
        status["since_switch"]["requests"].as_u64() >= Some(3)
    });
}

#[test]
fn what_leaks_ends_with_its_phase() {
    let tasks = |status: &Value| status["readings"][0]["value"].as_f64().unwrap();
    for leak in ["fire-and-forget-leak", "orphaned-siblings", "no-timeout"] {
        let lab = Lab::start(&["--scenario", leak]);
        lab.until("leaking", |status| tasks(status) > 30.0);
        lab.switch(leak, Mode::Off);
        lab.until("clean again", |status| tasks(status) < 20.0);
    }
}

#[test]
fn unknown_names_get_the_nearest() {
    let lab = Lab::start(&["--mode", "off"]);
    let cases = [
        ("POST /lab/busy-yeild/fixed", "did you mean \"busy-yield\"?"),
        ("POST /lab/busy-yield/fixd", "did you mean \"fixed\"?"),
        ("GET /lab/never-yield", "did you mean \"never-yields\"?"),
    ];
    for (line, hint) in cases {
        let (status, body) = lab.request(line, DEADLINE).unwrap();
        assert_eq!(status, 404);
        assert!(body.contains(hint), "{body}");
    }
    assert_eq!(lab.request("GET /labour", DEADLINE).unwrap().0, 404);
    assert_eq!(lab.request("PUT /lab", DEADLINE).unwrap().0, 405);
}

fn fails(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn unknown_options_are_usage_errors_with_the_nearest() {
    let cases: [(&[&str], &str); 3] = [
        (
            &["serve", "--scenario", "big-jason"],
            "did you mean \"big-json\"?",
        ),
        (&["serve", "--mode", "brokn"], "did you mean \"broken\"?"),
        (
            &["serve", "--flavor", "multithread"],
            "did you mean \"multi-thread\"?",
        ),
    ];
    for (arguments, hint) in cases {
        let output = fails(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(hint), "{said}");
    }
}

#[test]
fn a_taken_port_is_said_and_what_to_do() {
    let lab = Lab::start(&["--mode", "off"]);
    let output = Command::new(PROGRAM)
        .args(["serve", "--port", &lab.http.port().to_string()])
        .env("LOOPTOP_BIND", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not listen on 127.0.0.1:"), "{said}");
    assert!(said.contains("--port 0"), "{said}");
}

#[test]
fn sigterm_drains_and_reports() {
    let mut lab = Lab::start(&["--scenario", "graceful-shutdown"]);
    lab.until("busy", |status| {
        status["since_switch"]["requests"].as_u64() >= Some(10)
    });
    kill(Pid::from_raw(lab.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(lab.ends(), 0);
    let last = lab.output.iter().last().unwrap();
    assert!(last.starts_with("stopped: "), "{last}");
    assert!(last.contains(" connections drained, "), "{last}");
}

#[test]
fn it_ends_with_its_parent_even_while_it_starves() {
    for scenario in ["never-yields", "lost-waker", "host-contention"] {
        let mut lab = Lab::start(&["--scenario", scenario, "--flavor", "current-thread"]);
        drop(lab.stdin.take());
        assert_eq!(lab.ends(), 0, "{scenario}");
    }
}
