//! What viewers cost beside each other, with many tasks of which each is polled
//! once a second: CPU while nobody touches a key, then how soon keys are answered:
//! `cargo test --release --test viewers -- --ignored --nocapture`, with
//! `LOOPTOP_TOKIO_CONSOLE` as the path of tokio-console to have it in the table.

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

fn looptop(name: &'static str, observer: &'static str) -> Viewer {
    Viewer {
        name,
        program: LOOPTOP.to_owned(),
        observer,
        arguments: &[],
        begin: "2",
        there: ("3", "[3 Workers]"),
        back: ("2", "[2 Tasks]"),
    }
}

fn viewers() -> Vec<Viewer> {
    let mut all = vec![
        looptop("looptop, its agent", "agent"),
        looptop("looptop, console-subscriber", "console"),
    ];
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

/// Resident memory of a process.
fn mebibytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes = line.split_whitespace().next().unwrap();
    kibibytes.parse::<u64>().unwrap() / 1024
}

const WATCHED: Duration = Duration::from_secs(20);
const KEYS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the screen shows `text`; `None` if it does not.
fn shows(terminal: &Terminal, text: &str) -> Option<Duration> {
    let began = Instant::now();
    while !terminal.text().contains(text) {
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
    let began = Instant::now();
    terminal.send(viewer.begin);
    shows(&terminal, "connection of").ok_or("no rows in 30 s")?;
    let rows = began.elapsed();

    let pid = terminal.pid();
    let (began, own, observed) = (Instant::now(), cpu_time(pid), cpu_time(crowd.child.id()));
    thread::sleep(WATCHED);
    let seconds = began.elapsed().as_secs_f64();
    let share = |pid, before| cpu_time(pid).saturating_sub(before).as_secs_f64() / seconds * 100.0;
    let (own, observed) = (share(pid, own), share(crowd.child.id(), observed));

    let mut latencies = Vec::new();
    for press in 0..KEYS {
        let (key, text) = [viewer.there, viewer.back][press % 2];
        // At a changing phase of what the target sends.
        thread::sleep(Duration::from_millis(50 + press as u64 * 7 % 100));
        terminal.send(key);
        let latency = shows(&terminal, text).ok_or("a key was not answered in 30 s")?;
        latencies.push(latency);
    }
    latencies.sort();
    let part = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_secs_f64();
    Ok(format!(
        "{:.2} s | {:.0} ms, {:.0} ms, {:.0} ms | {:.1} % | {} MiB | {:.1} %",
        rows.as_secs_f64(),
        part(0.5) * 1e3,
        part(0.99) * 1e3,
        part(1.0) * 1e3,
        own,
        mebibytes(pid),
        observed,
    ))
}

#[test]
#[ignore = "a measurement of several minutes"]
fn the_cost_of_watching_many_tasks() {
    println!("tasks | viewer | first rows | key to screen: p50, p99, max | CPU | memory | target");
    for tasks in [1_000, 10_000, 100_000] {
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
