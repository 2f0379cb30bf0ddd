//! The ways to a program without an agent: `looptop run`, `looptop ls`, the picker and
//! `pid:N`, with real processes.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod terminal;

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use terminal::{LOOPTOP, PATIENCE, Terminal, runs, signal, wait_for_end};

/// The file in which [`the_program`] finds its exit code.
const UNTIL: &str = "LOOPTOP_TEST_UNTIL";

/// No test: the program that others look at, with tokio and without an agent.
#[test]
#[ignore = "a program that other tests start"]
fn the_program() {
    let Some(until) = std::env::var_os(UNTIL) else {
        return;
    };
    println!("words on standard output");
    eprintln!("words on standard error");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(async {
        loop {
            let text = fs::read_to_string(&until).unwrap_or_default();
            if let Ok(code) = text.trim().parse::<i32>() {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    std::process::exit(code);
}

/// How [`the_program`] is started.
fn program() -> Vec<String> {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap().to_owned();
    let arguments = ["--ignored", "--exact", "the_program", "--nocapture"];
    std::iter::once(own)
        .chain(arguments.map(str::to_owned))
        .collect()
}

/// A directory with the file that ends a program.
struct Until(tempfile::TempDir);

impl Until {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("code")
    }

    fn output(&self) -> PathBuf {
        self.0.path().join("output")
    }

    /// The program ends with this code.
    fn end(&self, code: u8) {
        let written = self.0.path().join("written");
        fs::write(&written, code.to_string()).unwrap();
        fs::rename(written, self.path()).unwrap();
    }

    /// The program, on its own.
    fn start(&self) -> Running {
        let program = program();
        let child = Command::new(&program[0])
            .args(&program[1..])
            .env(UNTIL, self.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// `looptop run` of `command` in a terminal.
    fn run(&self, options: &[&str], command: &[&str]) -> Terminal {
        let (until, output) = (self.path(), self.output());
        let output = ["run", "--output", output.to_str().unwrap()];
        let args = [&output[..], options, &["--"], command].concat();
        let environment = [(UNTIL, until.to_str().unwrap())];
        Terminal::start_with(&args, &environment, 160, 30)
    }

    fn run_program(&self, options: &[&str]) -> Terminal {
        let program = program();
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        self.run(options, &program)
    }
}

/// A process; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that a screen shows.
fn shown(terminal: &Terminal) -> u32 {
    let pid = |screen: &str| terminal::number_after(screen.lines().next()?, "pid:");
    let screen = terminal.wait_for("the process", |screen| pid(screen).is_some());
    u32::try_from(pid(&screen).unwrap()).unwrap()
}

/// Runs looptop without a terminal: exit code, standard output and error.
fn looptop(args: &[&str]) -> (i32, String, String) {
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
fn a_program_that_ends_is_said_and_its_exit_code_passed_on() {
    let until = Until::new();
    let mut terminal = until.run_program(&[]);
    let pid = shown(&terminal);
    until.end(7);
    terminal.wait_for("its end", |screen| {
        screen.contains(&format!("(pid {pid}) has ended with exit code 7"))
    });
    assert!(terminal.is_full_screen());
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "a zombie");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 7);
    terminal.wait_until_restored();
    let output = fs::read_to_string(until.output()).unwrap();
    assert!(output.contains("words on standard output"), "{output}");
    assert!(output.contains("words on standard error"), "{output}");
    let screen = String::from_utf8_lossy(&terminal.output()).into_owned();
    let place = format!("its output is in {}", until.output().display());
    assert!(screen.contains(&place), "{screen}");
}

#[test]
fn a_program_that_is_killed_is_said() {
    let until = Until::new();
    let mut terminal = until.run_program(&[]);
    signal(shown(&terminal), "KILL");
    terminal.wait_for_text("has ended by SIGKILL");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 137);
}

#[test]
fn quitting_ends_the_program_with_what_it_started() {
    let until = Until::new();
    let program = program();
    // A shell that waits for the program.
    let script = "\"$@\"; exit 5";
    let shell = ["sh", "-c", script, "sh"];
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let mut terminal = until.run(&[], &[&shell[..], &program].concat());
    let pid = shown(&terminal);
    terminal.wait_for("the screen", |_| terminal.is_full_screen());
    // No signal of the keyboard reaches the program.
    terminal.send("?");
    terminal.send("?");
    assert!(runs(pid));
    terminal.send("\u{3}");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
    wait_for_end(pid);
}

#[test]
fn a_program_that_is_kept_runs_on() {
    let until = Until::new();
    let mut terminal = until.run_program(&["--keep"]);
    let pid = shown(&terminal);
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    let again = format!("`looptop pid:{pid}` looks at it again");
    terminal.wait_for("what to do", |_| {
        String::from_utf8_lossy(&terminal.output()).contains(&again)
    });
    assert!(runs(pid));
    until.end(0);
    wait_for_end(pid);
}

#[test]
fn a_program_without_tokio_has_no_screen_and_its_exit_code_is_passed_on() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
    let plain = plain.to_str().unwrap();
    for (command, code, sentence) in [
        (&["sh", "-c", "exit 7"][..], 7, "has ended with exit code 7"),
        (&["sh", "-c", "kill -9 $$"], 137, "has ended by SIGKILL"),
        (&["sh", "-c", "echo alas >&2; exit 1"], 1, "alas"),
        (
            &["/no/such/program"],
            127,
            "there is no program `/no/such/program`",
        ),
        (&[plain], 126, "cannot be run: Permission denied"),
    ] {
        let until = Until::new();
        let mut terminal = until.run(&[], command);
        assert_eq!(terminal.wait_for_exit(), code, "{command:?}");
        terminal.wait_for_text(sentence);
        let output = terminal.output();
        let full_screen = b"\x1b[?1049h";
        assert!(!output.windows(8).any(|bytes| bytes == full_screen));
    }
}

#[test]
fn without_a_terminal_nothing_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let (code, stdout, stderr) = looptop(&["run", "--", "touch", trace.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("the screen needs a terminal"), "{stderr}");
    assert!(!trace.exists());
}

#[test]
fn ls_lists_a_tokio_program_without_an_agent() {
    let until = Until::new();
    let running = until.start();
    let pid = running.0.id();
    let deadline = Instant::now() + PATIENCE;
    let row = loop {
        let (code, stdout, stderr) = looptop(&["ls"]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let own = |line: &&str| line.split_whitespace().next() == Some(&pid.to_string());
        if let Some(row) = stdout.lines().find(own) {
            break row.to_owned();
        }
        assert!(Instant::now() < deadline, "{stdout}");
    };
    assert!(row.contains("  tokio 1."), "{row}");
    // Where Yama is in force, a sibling may not look.
    let open = row.ends_with(&format!("  pid:{pid}"));
    assert!(open || row.contains("needs root or `looptop run`"), "{row}");
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let sleeper = Running(Command::new("sleep").arg("600").spawn().unwrap());
    let pid = sleeper.0.id();
    let nothing = format!("process {pid} (sleep) shows nothing of tokio");
    let ended = Command::new("true").spawn().unwrap();
    let gone = Running(ended);
    let gone_pid = gone.0.id();
    wait_for_end(gone_pid);
    for (target, sentence) in [
        (format!("pid:{pid}"), nothing.as_str()),
        (format!("pid:{gone_pid}"), "has ended"),
        (
            "pid:2147483647".to_owned(),
            "no process has the id 2147483647",
        ),
        ("pid:2".to_owned(), "is a thread of the kernel"),
    ] {
        if target == "pid:2"
            && fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n")
        {
            continue;
        }
        let (code, stdout, stderr) = looptop(&["check", &target, "--timeout", "20s"]);
        assert_eq!((code, stdout.as_str()), (3, ""), "{target}: {stderr}");
        assert!(stderr.contains(sentence), "{target}: {stderr}");
    }
    let (code, _, stderr) = looptop(&["check", "pid:0"]);
    assert_eq!(code, 2, "{stderr}");
}

#[test]
fn without_a_target_what_runs_here_can_be_chosen() {
    if TcpStream::connect(("127.0.0.1", 6669)).is_ok() {
        eprintln!("not tested: something listens at the default target");
        return;
    }
    let until = Until::new();
    let (first, second) = (until.start(), until.start());
    let mut terminal = Terminal::start(&[], 120, 30);
    let pids = [first.0.id(), second.0.id()].map(|pid| pid.to_string());
    let screen = terminal.wait_for("the picker", |screen| {
        screen.contains("what runs here") && pids.iter().all(|pid| screen.contains(pid))
    });
    assert!(screen.contains("tokio 1."), "{screen}");
    // It renews itself.
    let third = until.start();
    let pid = third.0.id();
    terminal.wait_for("a new program", |screen| screen.contains(&pid.to_string()));
    terminal.send(&format!("/{pid}\r"));
    let screen = terminal.wait_for("one program", |screen| {
        pids.iter().all(|pid| !screen.contains(pid))
    });
    if screen.contains(&format!("pid:{pid}")) {
        terminal.send("\r");
        terminal.wait_for("the target", |screen| {
            screen.contains("1 Overview") && screen.contains(&format!("pid:{pid}"))
        });
    } else {
        assert!(screen.contains("Yama"), "{screen}");
    }
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}
