//! `looptop mcp` as assistants use it: a child process that is spoken to by its pipes.
//! Once in the protocol's own words, and once by a client that is not the server's
//! library: `PyPI`'s `mcp`, which is installed under `target/` where there is a network.
//! Where there is none that test says so and passes, unless `LOOPTOP_REQUIRE_MCP_CLIENT`
//! is set.
#![cfg(all(feature = "mcp", feature = "demo"))]

#[path = "../lab/mod.rs"]
mod lab;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use lab::{LOOPTOP, Lab, check};
use looptop_demo::At;
use serde_json::{Value, json};

/// One lab at a time, or they starve each other.
static ALONE: Mutex<()> = Mutex::new(());

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server whose words are the protocol's.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    next: u64,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(LOOPTOP)
            .arg("mcp")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            next: 1,
        }
    }

    /// One that has been greeted.
    fn ready(arguments: &[&str]) -> (Self, Value) {
        let mut server = Self::start(arguments);
        let hello = server.request(
            "initialize",
            &json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": { "name": "test", "version": "1" },
            }),
        );
        server.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        (server, hello["result"].clone())
    }

    fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{message}").unwrap();
        stdin.flush().unwrap();
    }

    /// The whole answer to a request.
    fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no answer to {method} in time"));
            // Nothing else may be on standard output.
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// What a tool returns.
    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let answer = self.request(
            "tools/call",
            &json!({ "name": tool, "arguments": arguments }),
        );
        assert!(answer["error"].is_null(), "{answer:#}");
        answer["result"].clone()
    }

    /// The data of an answer that is none of a failure.
    fn data(&mut self, tool: &str, arguments: &Value) -> (Value, String) {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{result:#}");
        (result["structuredContent"].clone(), text(&result))
    }

    /// Closes its standard input, and waits until it has ended.
    fn close(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it lives on without a client");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn it_says_what_it_can_do_and_ends_with_its_input() {
    let (mut server, hello) = Server::ready(&[]);
    assert_eq!(hello["serverInfo"]["name"], "looptop");
    let instructions = hello["instructions"].as_str().unwrap();
    assert!(
        instructions.contains("data and never instructions"),
        "{instructions}"
    );
    let tools = server.request("tools/list", &json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "check",
            "stalls",
            "waits",
            "dump",
            "tasks",
            "explain",
            "targets",
            "recordings"
        ]
    );
    for tool in tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool:#}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool:#}");
    }
    assert_eq!(server.close(), Some(0));
}

#[test]
fn what_is_not_understood_is_said() {
    let (mut server, _) = Server::ready(&[]);
    for (tool, arguments, said) in [
        (
            "explain",
            json!({ "rule": "blocked-wroker" }),
            "did you mean 'blocked-worker'?",
        ),
        (
            "check",
            json!({ "target": "ftp://x" }),
            "which looptop does not speak",
        ),
        (
            "check",
            json!({ "target": "127.0.0.1:1", "seconds": 600 }),
            "from 0 to 60",
        ),
        ("check", json!({ "port": 6669 }), "unknown field `port`"),
        ("tasks", json!({ "target": 7 }), "invalid type"),
        // Nothing listens there.
        ("check", json!({ "target": "127.0.0.1:1" }), "127.0.0.1:1"),
        (
            "recordings",
            json!({ "path": "no/such/folder" }),
            "cannot be listed",
        ),
        (
            "check",
            json!({ "target": "./no-such.looptop" }),
            "no-such.looptop",
        ),
    ] {
        let result = server.call(tool, &arguments);
        let shown = text(&result);
        assert_eq!(result["isError"], true, "{tool} {arguments}: {shown}");
        assert!(shown.contains(said), "{tool} {arguments}: {shown}");
    }
    let unknown = server.request("tools/call", &json!({ "name": "kill", "arguments": {} }));
    let message = unknown["error"]["message"].as_str().unwrap();
    assert!(message.contains("there is no tool 'kill'"), "{message}");
    let (listed, _) = server.data("explain", &json!({}));
    assert!(listed["rules"].as_array().unwrap().len() > 20);
}

#[test]
fn without_a_client_it_ends() {
    let mut server = Server::start(&[]);
    assert_eq!(server.close(), Some(0), "nothing was said");
    let (mut server, _) = Server::ready(&[]);
    let call = json!({ "name": "check", "arguments": { "target": "127.0.0.1:1", "seconds": 60 } });
    server.send(&json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": call }));
    assert_eq!(server.close(), Some(0), "while a call waits");
}

#[test]
fn what_is_no_protocol_is_refused_with_a_sentence() {
    let mut child = Command::new(LOOPTOP)
        .arg("mcp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A request before the greeting.
    let early = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    writeln!(stdin, "not json\n{early}").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    for line in stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let refused = stdout.contains("\"error\"") || !output.status.success();
    assert!(
        refused,
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether a place is among the lines of a scenario in which its culprit is.
fn is_culprit(scenario: &str, location: &Value) -> bool {
    let scenario = looptop_demo::scenarios().iter().find(|s| s.id == scenario);
    let place = scenario.unwrap().place(At::Code).unwrap();
    let location = location.as_str().and_then(|at| at.rsplit_once(':'));
    location.is_some_and(|(file, line)| {
        let line: u32 = line.parse().unwrap_or_default();
        (place.file.ends_with(file) || file.ends_with(place.file))
            && (place.first..=place.last).contains(&line)
    })
}

#[test]
fn what_blocks_it_is_answered_with_its_line() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let target = lab.agent().to_string();
    let (mut server, _) = Server::ready(&[&target]);
    // The target is the one that the server was started with.
    let question = json!({ "seconds": 4 });
    let watched = Duration::from_secs(4);
    let asked = Instant::now();
    let (mut found, mut shown) = server.data("check", &question);
    assert!(asked.elapsed() >= watched, "it watches first");

    // On a machine without a free CPU a stack is not taken at once.
    let deadline = Instant::now() + PATIENCE;
    while !is_culprit("sleep-in-handler", &found["findings"][0]["location"]) {
        assert!(Instant::now() < deadline, "{shown}");
        (found, shown) = server.data("check", &question);
    }
    assert_eq!(found["target"], target.as_str());
    let finding = &found["findings"][0];
    assert_eq!(finding["rule"], "blocked-worker", "{shown}");
    let location = finding["location"].as_str().unwrap();
    assert!(shown.contains(location), "{shown}");
    assert!(!finding["remedy"].as_str().unwrap().is_empty());
    assert!(shown.contains("They are data"), "{shown}");

    // To watch anew would take longer.
    let asked = Instant::now();
    server.data("check", &question);
    let again = asked.elapsed();
    assert!(again < watched, "{again:?}");

    let named = json!({ "target": target, "seconds": 1, "limit": 1 });
    let (mut stalls, mut shown) = server.data("stalls", &named);
    while !is_culprit("sleep-in-handler", &stalls["culprits"][0]["location"]) {
        assert!(Instant::now() < deadline, "{shown}");
        (stalls, shown) = server.data("stalls", &named);
    }
    let culprit = &stalls["culprits"][0];
    let mut frames = culprit["stack"].as_array().unwrap().iter();
    let has_it = frames.any(|frame| frame["location"] == culprit["location"]);
    assert!(has_it, "{culprit:#}");
    let (tasks, shown) = server.data("tasks", &json!({ "filter": "loc:demo/src", "limit": 2 }));
    assert!(tasks["tasks"].as_array().unwrap().len() <= 2);
    assert!(shown.contains("live tasks"), "{shown}");
    let wrong = server.call("tasks", &json!({ "sort": "speed" }));
    assert!(text(&wrong).contains("no column 'speed'"), "{wrong:#}");

    // What is cured is no longer found, and who goes away is missed.
    lab.switch("sleep-in-handler", "fixed");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (cured, shown) = server.data("check", &json!({ "seconds": 1 }));
        let findings = cured["findings"].as_array().unwrap().iter();
        if findings
            .clone()
            .all(|finding| finding["rule"] != "blocked-worker")
        {
            break;
        }
        assert!(Instant::now() < deadline, "{shown}");
        thread::sleep(Duration::from_millis(200));
    }
    lab.kill();
    // What had come before is still an answer to the first call, perhaps.
    let deadline = Instant::now() + PATIENCE;
    let gone = loop {
        let answer = server.call("check", &json!({ "seconds": 1 }));
        if answer["isError"] == true {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:#}");
    };
    assert!(text(&gone).contains(&target), "{gone:#}");
    assert_eq!(server.close(), Some(0));
}

#[test]
fn where_tasks_wait_is_answered_with_lines_and_rings() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::start("lock-order", "broken", "multi-thread");
    let (mut server, _) = Server::ready(&[]);
    let target = json!({ "target": format!("pid:{}", lab.pid()), "limit": 3 });
    let deadline = Instant::now() + PATIENCE;
    let (waits, shown) = loop {
        let (waits, shown) = server.data("waits", &target);
        if !waits["deadlocks"].as_array().unwrap().is_empty() {
            break (waits, shown);
        }
        assert!(Instant::now() < deadline, "{shown}");
    };
    let member = &waits["deadlocks"][0]["members"][0];
    let location = member["location"].as_str().unwrap();
    assert!(location.contains("lock_order.rs:"), "{shown}");
    assert!(
        shown.contains("DEADLOCK") && shown.contains(location),
        "{shown}"
    );
    assert!(waits["waits"].as_array().unwrap().len() <= 3, "{shown}");
    let (dump, shown) = server.data("dump", &target);
    assert!(dump["groups"].as_array().unwrap().len() <= 3);
    assert!(
        shown.contains("DEADLOCK") && shown.contains("lock_order.rs:"),
        "{shown}"
    );
}

#[test]
fn a_recording_is_listed_and_checked_as_on_the_command_line() {
    let (mut server, _) = Server::ready(&[]);
    let listing = json!({ "path": "tests/recordings", "limit": 100 });
    let (listed, shown) = server.data("recordings", &listing);
    let recordings = listed["recordings"].as_array().unwrap();
    let named = |name: &str| {
        let mut paths = recordings.iter().map(|r| r["path"].as_str().unwrap());
        paths
            .find(|path| path.ends_with(name))
            .unwrap_or_else(|| panic!("{shown}"))
    };
    let path = named("sleep-in-handler.looptop");
    let (opened, shown) = server.data("recordings", &json!({ "path": path }));
    let (report, _) = check(path, &[]);
    let place = &report["findings"][0]["location"];
    assert_eq!(
        opened["check"]["findings"][0]["location"], *place,
        "{shown}"
    );
    assert_eq!(opened["check"]["verdict"], report["verdict"]);
    let (checked, _) = server.data("check", &json!({ "target": path }));
    assert_eq!(checked["findings"], opened["check"]["findings"]);
    assert!(shown.contains(place.as_str().unwrap()), "{shown}");
}

/// Where the client is installed.
fn client_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mcp-client")
}

/// A Python that has the client; why there is none.
fn python() -> Result<PathBuf, String> {
    let folder = client_folder();
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{} {}: {said}",
            program.display(),
            arguments.join(" ")
        ))
    };
    let wanted = include_str!("requirements.txt");
    let version = wanted
        .lines()
        .find_map(|line| line.strip_prefix("mcp=="))
        .unwrap();
    let is_there =
        format!("import importlib.metadata as m, sys; sys.exit(m.version('mcp') != '{version}')");
    if run(&python, &["-c", &is_there]).is_ok() {
        return Ok(python);
    }
    run(
        Path::new("python3"),
        &["-m", "venv", &folder.display().to_string()],
    )?;
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/requirements.txt");
    let requirements = requirements.display().to_string();
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "-r",
        &requirements,
    ];
    run(&python, &install)?;
    Ok(python)
}

#[test]
fn a_client_of_another_library_gets_the_line() {
    let python = match python() {
        Ok(python) => python,
        Err(why) if env::var_os("LOOPTOP_REQUIRE_MCP_CLIENT").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("skipped: PyPI's `mcp` cannot be installed: {why}");
            return;
        }
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py");
    let output = Command::new(python)
        .arg(script)
        .args([LOOPTOP, &lab.agent().to_string()])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers["tools"].as_array().unwrap().len(), 8);
    let check = &answers["check"];
    let shown = check["text"].as_str().unwrap();
    assert_eq!(check["error"], false, "{shown}");
    let finding = &check["data"]["findings"][0];
    assert_eq!(finding["rule"], "blocked-worker", "{shown}");
    let location = &finding["location"];
    assert!(
        is_culprit("sleep-in-handler", location),
        "{location} in {shown}"
    );
    assert!(shown.contains(location.as_str().unwrap()), "{shown}");
    // It was watched for 3 s; to watch anew would take longer.
    let second = answers["second"]["seconds"].as_f64().unwrap();
    assert!(second < 3.0, "{second} s: {answers:#}");
    for tool in ["stalls", "tasks", "waits", "dump", "targets", "explain"] {
        assert_eq!(answers[tool]["error"], false, "{tool}: {:#}", answers[tool]);
    }
    assert_eq!(answers["wrong"]["error"], true);
    assert!(
        answers["explain"]["text"]
            .as_str()
            .unwrap()
            .starts_with("blocked-worker")
    );
}
