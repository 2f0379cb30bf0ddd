//! What viewers cost beside each other, with many tasks of which each is polled
//! once a second: CPU while nobody touches a key, then how soon keys are answered:
//! `cargo test --release --test viewers -- --ignored --nocapture`. The first row is a
//! program that writes what it reads, in the same pseudo-terminal: what a key takes of
//! which no viewer is the cause.
//!
//! `LOOPTOP_TOKIO_CONSOLE` is the path of tokio-console, and `LOOPTOP_BEFORE` that of
//! another looptop, to have them in the table; `LOOPTOP_TASKS` is how many tasks there
//! are, in place of `1000 10000 100000`.

mod programs;
mod terminal;

use std::{
    thread,
    time::{Duration, Instant},
};

use programs::App;
use terminal::{LOOPTOP, Terminal};

/// A viewer, and how to go to and fro in it.
struct Viewer {
    name: &'static str,
    program: String,
    observer: &'static str,
    /// How its arguments begin.
    arguments: &'static [&'static str],
    /// Brings the table of tasks.
    begin: &'static str,
    /// A key, and what the screen shows only then.
    there: (&'static str, &'static str),
    back: (&'static str, &'static str),
}

fn looptop(name: &'static str, program: &str, observer: &'static str) -> Viewer {
    Viewer {
        name,
        program: program.to_owned(),
        observer,
        arguments: &[],
        begin: "2",
        there: ("3", "[3 Workers]"),
        back: ("2", "[2 Tasks]"),
    }
}

fn viewers() -> Vec<Viewer> {
    let mut all = vec![
        looptop("looptop, its agent", LOOPTOP, "agent"),
        looptop("looptop, console-subscriber", LOOPTOP, "console"),
    ];
    if let Ok(program) = std::env::var("LOOPTOP_BEFORE") {
        all.push(looptop("before, its agent", &program, "agent"));
    }
    if let Ok(program) = std::env::var("LOOPTOP_TOKIO_CONSOLE") {
        all.push(Viewer {
            name: "tokio-console",
            program,
            observer: "console",
            arguments: &["--retain-for", "6s"],
            begin: "",
            there: ("r", "Resources ("),
            back: ("t", "Tasks ("),
        });
    }
    all
}

/// CPU time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let spent = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = spent.map(|n| n.parse::<u64>().unwrap()).sum();
    // A hundredth of a second each on Linux.
    Duration::from_millis(ticks * 10)
}

/// Resident memory of a process, by the name that the kernel gives it: now, or the most
/// there ever was.
fn mebibytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)).unwrap();
    let kibibytes = line.split_whitespace().next().unwrap();
    kibibytes.parse::<u64>().unwrap() / 1024
}

const WATCHED: Duration = Duration::from_secs(20);
const KEYS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the screen shows `text`; `None` if it does not.
fn shows(terminal: &Terminal, text: &str) -> Option<Duration> {
    becomes(terminal, |screen| screen.contains(text))
}

/// The same for what can be said of a screen.
fn becomes(terminal: &Terminal, is_so: impl Fn(&str) -> bool) -> Option<Duration> {
    let began = Instant::now();
    while !is_so(&terminal.text()) {
        if began.elapsed() > PATIENCE {
            return None;
        }
        thread::sleep(Duration::from_micros(200));
    }
    Some(began.elapsed())
}

fn line(viewer: &Viewer, tasks: usize) -> Result<String, &'static str> {
    let crowd = App::start("crowd", &[viewer.observer, &tasks.to_string()]);
    // It has spawned them all and done nothing else for a while.
    thread::sleep(Duration::from_secs(5));
    let mut arguments = viewer.arguments.to_vec();
    let url = format!("http://{}", crowd.address);
    arguments.push(&url);
    let mut terminal = Terminal::of(&viewer.program, &arguments, 120, 40);
    let began = terminal.started;
    terminal.send(viewer.begin);
    becomes(&terminal, |screen| !screen.trim().is_empty()).ok_or("no screen in 30 s")?;
    let screen = began.elapsed();
    shows(&terminal, "connection of").ok_or("no rows in 30 s")?;
    let rows = began.elapsed();

    let pid = terminal.pid();
    let (began, own, observed) = (Instant::now(), cpu_time(pid), cpu_time(crowd.child.id()));
    thread::sleep(WATCHED);
    let seconds = began.elapsed().as_secs_f64();
    let share = |pid, before| cpu_time(pid).saturating_sub(before).as_secs_f64() / seconds * 100.0;
    let (own, observed) = (share(pid, own), share(crowd.child.id(), observed));

    let keys = latencies(&mut terminal, |press| {
        let (key, text) = [viewer.there, viewer.back][press % 2];
        (key.to_owned(), text.to_owned())
    })?;
    Ok(format!(
        "{:.0} ms | {:.2} s | {keys} | {:.1} % | {}, {} MiB | {:.1} %",
        screen.as_secs_f64() * 1e3,
        rows.as_secs_f64(),
        own,
        mebibytes(pid, "VmRSS:"),
        mebibytes(pid, "VmHWM:"),
        observed,
    ))
}

/// How soon keys are on screen: `press` says which, and what shows that it is.
fn latencies(
    terminal: &mut Terminal,
    press: impl Fn(usize) -> (String, String),
) -> Result<String, &'static str> {
    let mut latencies = Vec::new();
    for number in 0..KEYS {
        let (key, text) = press(number);
        // At a changing phase of what the target sends.
        thread::sleep(Duration::from_millis(50 + number as u64 * 7 % 100));
        let began = Instant::now();
        terminal.send(&key);
        shows(terminal, &text).ok_or("a key was not answered in 30 s")?;
        latencies.push(began.elapsed());
    }
    latencies.sort();
    let part = |part: f64| {
        let at = ((latencies.len() - 1) as f64 * part) as usize;
        latencies[at].as_secs_f64() * 1e3
    };
    let [median, p99, longest] = [0.5, 0.99, 1.0].map(part);
    Ok(format!("{median:.1}, {p99:.1}, {longest:.1} ms"))
}

/// The same of a program that writes what it reads.
fn echo() -> Result<String, &'static str> {
    let mut terminal = Terminal::of(
        "sh",
        &["-c", "stty raw -echo && echo ready && cat"],
        120,
        40,
    );
    shows(&terminal, "ready").ok_or("no echo in 30 s")?;
    latencies(&mut terminal, |press| {
        (format!("\x1b[H<{press}>"), format!("<{press}>"))
    })
}

/// How many tasks there are in each of the runs.
fn sizes() -> Vec<usize> {
    let sizes = std::env::var("LOOPTOP_TASKS");
    let sizes = sizes.as_deref().unwrap_or("1000 10000 100000");
    sizes.split(' ').map(|size| size.parse().unwrap()).collect()
}

#[test]
#[ignore = "a measurement of several minutes"]
fn the_cost_of_watching_many_tasks() {
    println!(
        "tasks | viewer | first screen | first rows | key to screen: p50, p99, max | CPU | \
         memory now, at most | target"
    );
    let keys = echo().unwrap_or_else(str::to_owned);
    println!("none | a program that writes what it reads | | | {keys}");
    for tasks in sizes() {
        for viewer in viewers() {
            // It keeps 48 KiB of each task: more than this machine has.
            if tasks > 10_000 && viewer.observer == "console" {
                continue;
            }
            let line = line(&viewer, tasks).unwrap_or_else(str::to_owned);
            println!("{tasks} | {} | {line}", viewer.name);
        }
    }
}
