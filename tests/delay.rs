//! How soon after it began a stall is on the wire, and whether its culprit is
//! named while every CPU is busy.
#![cfg(feature = "demo")]

mod lab;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::{Lab, check};
use looptop::source::{Event, Options, spawn};
use looptop_demo::At;

/// What the agent may take beyond its threshold.
const BUDGET: Duration = Duration::from_millis(100);

/// Delays between the moment at which a poll became a stall (its start plus the
/// threshold) and the frame that first reports it, by the agent's clock, of the
/// first `count` stalls.
fn delays(lab: &Lab, count: usize) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let target = lab.agent().to_string().parse().unwrap();
    let mut source = spawn(target, Options::default(), runtime.handle());
    let mut seen: HashMap<u64, Duration> = HashMap::new();
    let (mut threshold, mut began) = (0, None);
    let deadline = Instant::now() + Duration::from_mins(1);
    while seen.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = runtime.block_on(async { tokio::time::timeout(left, source.recv()).await });
        match event.expect("stalls in time").expect("a session") {
            Event::Connected { hello, .. } => threshold = hello.stall_threshold_ns,
            Event::Frame(frame) => {
                // Stalls from before the session began are reported late, of course.
                let began = *began.get_or_insert(frame.now_ns);
                for stall in frame.stalls.iter().filter(|s| s.started_at_ns > began) {
                    let due = stall.started_at_ns + threshold;
                    let delay = Duration::from_nanos(frame.now_ns.saturating_sub(due));
                    seen.entry(stall.id).or_insert(delay);
                }
            }
            _ => {}
        }
    }
    let mut delays: Vec<_> = seen.into_values().collect();
    delays.sort();
    delays
}

fn describe(delays: &[Duration]) -> String {
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let late = delays.iter().filter(|d| **d > BUDGET).count();
    format!(
        "{} stalls reported after the threshold by p50 {:.0?} p90 {:.0?} max {:.0?}; {late} over {BUDGET:?}",
        delays.len(),
        at(0.5),
        at(0.9),
        at(1.0),
    )
}

#[test]
fn a_stall_is_told_while_it_lasts() {
    let lab = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let delays = delays(&lab, 40);
    eprintln!("{}", describe(&delays));
    // The budget holds for every stall on a machine that has a CPU for the
    // agent; this one may be busy, so for half of them.
    let in_time = delays.iter().filter(|d| **d <= BUDGET).count();
    assert!(in_time * 2 >= delays.len(), "{}", describe(&delays));
}

/// Keeps every CPU busy until dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cpus = thread::available_parallelism().unwrap().get();
        let spin =
            |stop: Arc<AtomicBool>| thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        let threads = (0..cpus).map(|_| spin(Arc::clone(&stop))).collect();
        Self { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Twenty runs of each blocking scenario with every CPU busy: delay, culprit and
/// cause. `cargo test --release --test delay -- --ignored --nocapture`;
/// `LOOPTOP_SCENARIO` names one scenario.
#[test]
#[ignore = "a measurement of several minutes"]
fn twenty_runs_with_every_cpu_busy() {
    let only = std::env::var("LOOPTOP_SCENARIO").ok();
    let blocking = looptop_demo::scenarios().iter().filter(|scenario| {
        let first = scenario.expected.first();
        first.is_some_and(|e| e.rule == "blocked-worker" && e.at == At::Code)
            && only.as_deref().is_none_or(|id| id == scenario.id)
    });
    let _busy = Busy::start();
    for scenario in blocking {
        let expected = scenario.expected[0];
        let place = scenario.place(At::Code).unwrap();
        let (mut right, mut all) = (0, Vec::new());
        for run in 1..=20 {
            let lab = Lab::start(scenario.id, "broken", "multi-thread");
            all.extend(delays(&lab, 1));
            let (report, _) = check(
                &lab.agent().to_string(),
                &["--for", "2s", "--timeout", "20s"],
            );
            let findings = report["findings"].as_array().unwrap();
            let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or("").to_owned();
            let fits = |f: &&serde_json::Value| {
                let location = text(f, "location");
                let line = location
                    .rsplit_once(':')
                    .and_then(|(_, line)| line.parse().ok());
                f["rule"] == expected.rule
                    && text(f, "function").contains(expected.function)
                    && expected
                        .causes
                        .iter()
                        .any(|c| c.as_str() == text(f, "cause"))
                    && line.is_some_and(|line: u32| (place.first..=place.last).contains(&line))
            };
            if findings.iter().any(|f| fits(&f)) {
                right += 1;
            } else {
                println!("{} run {run}: {}", scenario.id, report["verdict"]);
            }
        }
        all.sort();
        println!("{}: {right} of 20 right; {}", scenario.id, describe(&all));
    }
}
