//! Attaching to what may die, freeze or be something else: the screen says
//! which, and the keys stay alive. And `looptop check` with its exit codes.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use crate::{
    lab::{LOOPTOP, Lab, check},
    programs::App,
    terminal::{ESC, Terminal, signal},
};

/// A line of the help.
const HELP: &str = "this help";

fn attach(target: SocketAddr) -> Terminal {
    Terminal::start(&[&target.to_string()], 160, 40)
}

/// The keys do something, and quitting works.
fn assert_keys_alive(mut terminal: Terminal) {
    terminal.send("?");
    terminal.wait_for_text(HELP);
    terminal.send(ESC);
    terminal.wait_for("no help", |screen| !screen.contains(HELP));
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

/// The lines between header and tabs, as one.
fn verdict(screen: &str) -> String {
    let lines = screen.lines().skip(1);
    let lines = lines.take_while(|line| !line.contains("1 Overview"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_killed_target_is_said_and_its_successor_is_a_new_session() {
    let first = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let address = first.agent();
    let mut terminal = attach(address);
    terminal.send("4");
    terminal.wait_for_text("wait_for_the_printer");

    let killed = Instant::now();
    first.kill();
    let screen = terminal.wait_for("the loss", |screen| screen.contains("✖ LOST"));
    eprintln!("LOST {:.0?} after the kill", killed.elapsed());
    let why = verdict(&screen);
    assert!(why.contains("NO CONNECTION"), "{why}");
    terminal.wait_for("the reason", |screen| {
        verdict(screen).contains("connection refused")
    });
    terminal.send("?");
    terminal.wait_for_text(HELP);
    terminal.send(ESC);

    let restarted = Instant::now();
    let second = Lab::start_at(
        &address.to_string(),
        "healthy-busy",
        "fixed",
        "multi-thread",
    );
    let pid = format!("pid {} ", second.pid());
    terminal.wait_for("the new session, without ghosts", |screen| {
        screen.contains("● LIVE")
            && screen.contains(&pid)
            && !screen.contains("wait_for_the_printer")
    });
    eprintln!("LIVE {:.1?} after the restart began", restarted.elapsed());
    assert_keys_alive(terminal);
}

#[test]
fn a_stopped_target_is_said_and_goes_on() {
    let lab = Lab::start("healthy-busy", "fixed", "multi-thread");
    let terminal = attach(lab.agent());
    terminal.wait_for_text("● LIVE");
    let stopped = Instant::now();
    signal(lab.pid(), "STOP");
    let screen = terminal.wait_for("the silence", |screen| screen.contains("SILENT"));
    eprintln!("SILENT {:.1?} after SIGSTOP", stopped.elapsed());
    let why = verdict(&screen);
    assert!(why.contains("NO DATA"), "{why}");
    assert!(why.contains(&format!("kill -CONT {}", lab.pid())), "{why}");
    let resumed = Instant::now();
    signal(lab.pid(), "CONT");
    let screen = terminal.wait_for("life", |screen| screen.contains("● LIVE"));
    eprintln!("LIVE {:.1?} after SIGCONT", resumed.elapsed());
    assert!(!verdict(&screen).contains("NO DATA"), "{screen}");
    assert_keys_alive(terminal);
}

/// A server that says `answer` to everybody; it ends with the test program.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer);
                let _ = stream.shutdown(Shutdown::Write);
                while matches!(stream.read(&mut request), Ok(1..)) {}
            });
        }
    });
    address
}

#[test]
fn a_web_server_is_said() {
    let web = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let terminal = attach(web);
    terminal.wait_for("the sentence", |screen| {
        verdict(screen).contains(&format!(
            "{web} speaks something else (HTTP/1.1 400 Bad Request); is this the right port?"
        ))
    });
    assert_keys_alive(terminal);
}

#[test]
fn a_hostile_greeting_does_not_reach_the_terminal() {
    let peer = answering(b"+OK \x1b]0;pwned\x07\x1b[2J\xff\r\n");
    let terminal = attach(peer);
    terminal.wait_for("the sentence", |screen| {
        verdict(screen).contains("+OK \\u{1b}]0;pwned")
    });
    let output = terminal.output();
    assert!(!output.windows(9).any(|bytes| bytes == b"\x1b]0;pwned"));
    assert_keys_alive(terminal);
}

#[test]
fn a_port_that_says_nothing_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let terminal = attach(listener.local_addr().unwrap());
    terminal.wait_for("the sentence", |screen| {
        verdict(screen).contains("accepts the connection but sends nothing")
    });
    assert_keys_alive(terminal);
}

#[test]
fn a_closed_port_is_said() {
    let address = closed();
    let terminal = attach(address);
    terminal.wait_for("the sentence", |screen| {
        verdict(screen).contains(&format!(
            "connection refused: nothing listens on {address}; is the application running"
        ))
    });
    assert_keys_alive(terminal);
}

/// An address where nothing listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Runs looptop without a terminal: exit code, standard output and error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(LOOPTOP)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn without_a_terminal_there_is_a_sentence() {
    for args in [&["127.0.0.1:1"][..], &["demo"], &[]] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {stderr}");
        assert_eq!(
            stderr,
            "looptop: the screen needs a terminal, but standard output is not one; \
             for scripts use: looptop check\n"
        );
    }
}

#[test]
fn a_misspelt_word_is_answered_with_the_nearest() {
    for (args, hint) in [
        (&["demo", "slep-in-handler"][..], "\"sleep-in-handler\""),
        (&["demo", "--mode", "brokn"], "\"broken\""),
        (&["demo", "--flavor", "multi-thred"], "\"multi-thread\""),
        (&["demo", "--wrokers", "2"], "'--workers'"),
        (&["explain", "blocked-wroker"], "'blocked-worker'"),
        (&["check", "--allow", "blocked-wroker"], "'blocked-worker'"),
        (
            &["check", "--allow", "blocked-wroker=a.rs:1"],
            "'blocked-worker'",
        ),
        (&["check", "--formt", "json"], "'--format'"),
        (&["check", "--format", "jsn"], "'json'"),
        (&["check", "--fail-on", "critcal"], "critical"),
        (&["--acsii"], "'--ascii'"),
        (&["chekc"], "'check'"),
        (&["127.0.0.1:70000"], "a number from 1 to 65535"),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(hint), "{args:?}: {stderr}");
    }
}

/// The lines of `looptop ls` for this process, once there is one that `expected`
/// holds for: a busy machine may let an agent answer too late for a first look.
#[track_caller]
fn listed(pid: u32, expected: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = Instant::now() + std::time::Duration::from_mins(2);
    loop {
        let (code, stdout, stderr) = run(&["ls"]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        let begins = pid.to_string();
        let own = |line: &&str| line.split_whitespace().next() == Some(&begins);
        let lines: Vec<String> = stdout.lines().filter(own).map(str::to_owned).collect();
        if lines.iter().any(|line| expected(line)) {
            return lines;
        }
        assert!(Instant::now() < deadline, "{stdout}");
    }
}

#[test]
fn ls_lists_where_an_agent_answers_and_nothing_else() {
    let lab = Lab::start("healthy-busy", "fixed", "multi-thread");
    let agent = lab.agent().to_string();
    let rows = listed(lab.pid(), |row| row.ends_with(&agent));
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(columns[2..], ["looptop-agent", &agent], "{row}");

    signal(lab.pid(), "STOP");
    listed(lab.pid(), |row| {
        row.contains("no answer: stopped by a signal")
    });
    signal(lab.pid(), "CONT");
}

#[test]
fn ls_lists_console_subscriber() {
    let app = App::start("console_app", &[]);
    let rows = listed(app.child.id(), |row| row.ends_with(&app.address));
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    let columns: Vec<&str> = row.split_whitespace().skip(1).collect();
    assert_eq!(columns, ["console_app", "console-subscriber", &app.address]);
}

#[test]
fn a_process_id_instead_of_a_port_is_said() {
    let lab = Lab::start("healthy-busy", "fixed", "multi-thread");
    let agent = lab.agent().to_string();
    listed(lab.pid(), |row| row.ends_with(&agent));
    let own = std::process::id();
    let listens = format!(
        ": its agent listens at {agent}; pid:{} attaches to it\n",
        lab.pid()
    );
    let none = format!("in which no agent runs: write pid:{own} to look at it from outside\n");
    for (id, what) in [(lab.pid(), listens), (own, none)] {
        let (code, stdout, stderr) = run(&["check", &id.to_string(), "--timeout", "6s"]);
        // A larger number is no port at all.
        let expected = if u16::try_from(id).is_ok() { 3 } else { 2 };
        assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
        let process = format!("{id} is the process id of ");
        assert!(
            stderr.contains(&process) && stderr.contains(&what),
            "{stderr}"
        );
    }
}

#[test]
fn the_id_of_a_process_with_an_agent_attaches_to_the_agent() {
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let target = format!("pid:{}", lab.pid());
    let (report, code) = check(&target, &["--for", "1500ms", "--timeout", "20s"]);
    assert_eq!(code, 1, "{report:#}");
    let rule = &report["findings"][0]["rule"];
    assert_eq!(rule, "blocked-worker", "{report:#}");
    assert_eq!(report["target"], target.as_str(), "{report:#}");
}

#[test]
fn several_targets_are_refused_with_a_sentence() {
    for (command, args) in [
        ("looptop dump", &["dump", "7000", "7001"][..]),
        ("looptop record", &["record", "7000", "7001", "-o", "x"]),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        let sentence = format!(
            "looptop: `{command}` attaches to one target at a time, and 2 were given: \
             7000 7001; run it once for each\n"
        );
        assert_eq!(stderr, sentence);
    }
}

#[test]
fn check_tells_by_its_exit_code() {
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let target = lab.agent().to_string();
    // Other work on this machine is not what is tested here.
    let short = [
        "--for",
        "1500ms",
        "--timeout",
        "20s",
        "--allow",
        "host-starved",
    ];
    let with = |options: &[&'static str]| check(&target, &[&short[..], options].concat());

    let (report, code) = with(&[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(
        report["findings"][0]["rule"], "blocked-worker",
        "{report:#}"
    );

    let (report, code) = with(&["--allow", "blocked-worker"]);
    assert_eq!(code, 0, "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let counted = findings.iter().any(|f| f["rule"] == "blocked-worker");
    assert!(!counted, "{report:#}");
    let allowed = report["allowed"].as_array().unwrap();
    assert!(
        allowed.iter().any(|f| f["rule"] == "blocked-worker"),
        "{report:#}"
    );

    // A stall whose stack came too late has no culprit: it stands where its task
    // was spawned.
    let nameless = "blocked-worker=demo/src/service.rs";
    let sleeping = "blocked-worker=sleep_in_handler.rs";
    let (report, code) = with(&["--allow", sleeping, "--allow", nameless]);
    assert_eq!(code, 0, "{report:#}");
    let (report, code) = with(&["--allow", "blocked-worker=elsewhere.rs"]);
    assert_eq!(code, 1, "{report:#}");

    lab.switch("sleep-in-handler", "off");
    let (report, code) = with(&["--warmup", "3s"]);
    assert_eq!(code, 0, "{report:#}");
}

#[test]
fn check_without_a_target_ends_with_3() {
    let address = closed().to_string();
    let (code, stdout, stderr) = run(&["check", &address, "--timeout", "1s"]);
    assert_eq!((code, stdout.as_str()), (3, ""), "{stderr}");
    assert!(
        stderr.contains("connection refused: nothing listens on"),
        "{stderr}"
    );

    let web = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").to_string();
    let (code, _, stderr) = run(&["check", &web, "--timeout", "1s"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("speaks something else"), "{stderr}");
}

#[test]
fn check_of_a_target_that_dies_ends_with_3() {
    let lab = Lab::start("healthy-busy", "fixed", "multi-thread");
    let target = lab.agent().to_string();
    let check = Command::new(LOOPTOP)
        .args(["check", &target, "--for", "60s", "--timeout", "20s"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Attached as soon as the agent's port has a second connection; a lab that
    // dies before that is not attached to, which ends with 3 as well.
    thread::sleep(std::time::Duration::from_secs(2));
    lab.kill();
    let output = check.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("went away"), "{stderr}");
}

#[test]
fn an_unchanged_console_subscriber_application_names_its_blocking_tasks() {
    let app = App::start("console_app", &[]);
    let (report, code) = check(&app.address, &["--for", "4s", "--timeout", "20s"]);
    assert_eq!(code, 1, "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    let blocked: Vec<_> = findings
        .iter()
        .filter(|f| f["rule"] == "blocked-worker")
        .collect();
    for task in ["blocks", "greedy"] {
        let found = blocked.iter().find(|f| f["task"] == task);
        let found = found.unwrap_or_else(|| panic!("no {task} in {report:#}"));
        let location = found["location"].as_str().unwrap();
        assert!(
            location.contains("tests/programs/console_app.rs:"),
            "{location}"
        );
    }

    let terminal = Terminal::start(&[&app.address], 160, 40);
    terminal.wait_for("a blocking task in the verdict", |screen| {
        let verdict = verdict(screen);
        verdict.contains("console_app.rs:") && verdict.contains("blocked")
    });
    assert_keys_alive(terminal);
}
