//! What watching costs: nanoseconds per poll and per spawn, bare and watched.
//!
//! ```text
//! cargo bench -p looptop-agent --bench overhead            the table
//! cargo bench -p looptop-agent --bench overhead -- quick   a rough one
//! ```
//!
//! A process can be given one subscriber only, so each variant runs in a child
//! process of its own. A child measures slices of about a millisecond, shorter
//! than a busy machine's scheduler takes the CPU away for, and reports the
//! tenth percentile. Rounds are interleaved (A B C D, A B C D, ...); the median
//! counts, with the range beside it, and the difference to `bare` of the same
//! round is what the budgets are about. One variant and workload in this very
//! process, for callgrind: `overhead once VARIANT WORKLOAD COUNT`. It has more than the
//! table: the variants `level0` (an agent that watches the runtime) and, with the feature
//! `otlp`, `exports` (one that also sends to a collector that does not answer), `traced` (the
//! application's traces, and the agent's layer beside); the workload `spans`, whose polls
//! enter a span.

#[cfg(tokio_unstable)]
use std::cell::Cell;
use std::hint::black_box;
use std::process::Command;
use std::task::Poll;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::layer::SubscriberExt;

const VARIANTS: [(&str, &str); 6] = [
    ("bare", "tokio as it is"),
    ("clock", "two readings of the counter"),
    ("hooks", "level 2"),
    ("layer", "level 1 without waker events"),
    ("wakers", "level 1, the layer on a registry"),
    ("own", "level 1, the agent's own"),
];

/// Name, unit of work, budget in ns over `bare` for each level.
const WORKLOADS: [(&str, &str, [u32; 4]); 3] = [
    ("wake", "poll that wakes itself", [15, 30, 60, 60]),
    ("yield", "poll of 100 yielding tasks", [15, 30, 60, 60]),
    ("spawn", "spawn and finish", [80, 500, 500, 500]),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", variant, workload, count] => {
            let count = count.parse().expect("COUNT is a number");
            println!("{}", slices(variant, workload, count));
        }
        ["once", variant, workload, count] => {
            let count = count.parse().expect("COUNT is a number");
            let runtime = runtime(variant);
            println!("{}", work(&runtime, workload, count));
        }
        ["quick", ..] => table(3, 50),
        _ => table(15, 300),
    }
}

/// Nanoseconds per unit: the tenth percentile of so many slices.
fn slices(variant: &str, workload: &str, count: usize) -> f64 {
    let runtime = runtime(variant);
    let mut times: Vec<f64> = (0..count + 5)
        .map(|_| {
            let start = Instant::now();
            let units = work(&runtime, workload, 10_000);
            start.elapsed().as_nanos() as f64 / units as f64
        })
        .skip(5)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

/// Does about so many polls; how many units of the workload that were.
fn work(runtime: &Runtime, workload: &str, polls: u64) -> u64 {
    match workload {
        "wake" => runtime.block_on(wake(polls)),
        "spans" => runtime.block_on(spans(polls)),
        "yield" => runtime.block_on(yields(polls)),
        "spawn" => runtime.block_on(spawns(polls / 5)),
        other => panic!("no workload `{other}`"),
    }
}

fn runtime(variant: &str) -> Runtime {
    let mut builder = Builder::new_current_thread();
    match variant {
        "bare" => &mut builder,
        "clock" => only_clock(&mut builder),
        "hooks" => looptop_agent::instrument(&mut builder),
        "layer" => {
            let layer = looptop_agent::task_layer().without_wakers();
            subscribe(tracing_subscriber::registry().with(layer));
            &mut builder
        }
        "wakers" => {
            subscribe(tracing_subscriber::registry().with(looptop_agent::task_layer()));
            &mut builder
        }
        "own" => {
            let agent = looptop_agent::Agent::builder().bind("127.0.0.1:0");
            agent.install_subscriber(true).start();
            &mut builder
        }
        "level0" => return watched(&mut builder, |agent| agent),
        #[cfg(feature = "otlp")]
        "exports" => {
            return watched(&mut builder, |agent| {
                agent
                    .otlp("http://127.0.0.1:9")
                    .otlp_interval(std::time::Duration::from_secs(1))
            });
        }
        #[cfg(feature = "otlp")]
        "traced" => {
            trace();
            &mut builder
        }
        other => panic!("no variant `{other}`"),
    };
    builder.build().expect("a runtime")
}

/// A runtime that an agent watches at level 0.
fn watched(
    builder: &mut Builder,
    more: impl FnOnce(looptop_agent::Builder) -> looptop_agent::Builder,
) -> Runtime {
    let runtime = builder.enable_time().build().expect("a runtime");
    let agent = looptop_agent::Agent::builder().bind("127.0.0.1:0");
    let agent = agent.install_subscriber(false).socket(false);
    more(agent).runtime("main", runtime.handle()).start();
    runtime
}

/// The application's own traces, and the agent's layer beside.
#[cfg(feature = "otlp")]
fn trace() {
    use opentelemetry::trace::TracerProvider;
    use tracing_subscriber::Layer;
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer("overhead"));
    let own = tracing_subscriber::filter::filter_fn(|metadata| metadata.target() == "overhead");
    let registry = tracing_subscriber::registry().with(looptop_agent::task_layer());
    subscribe(registry.with(traces.with_filter(own)));
    // It must outlive its tracer.
    std::mem::forget(provider);
}

/// What no exact measure of a poll's time can do without: the counter, read
/// before and after. The budgets' floor on the machine at hand.
#[cfg(tokio_unstable)]
fn only_clock(builder: &mut Builder) -> &mut Builder {
    thread_local! {
        static STARTED: Cell<u64> = const { Cell::new(0) };
        static BUSY: Cell<u64> = const { Cell::new(0) };
    }
    builder
        .on_before_task_poll(|_| STARTED.set(counter()))
        .on_after_task_poll(|_| BUSY.set(BUSY.get() + counter() - STARTED.get()))
}

/// Without tokio's hooks there is nothing to measure.
#[cfg(not(tokio_unstable))]
fn only_clock(_: &mut Builder) -> &mut Builder {
    panic!("the bench needs RUSTFLAGS=\"--cfg tokio_unstable\"");
}

#[cfg(all(tokio_unstable, target_arch = "x86_64"))]
fn counter() -> u64 {
    // SAFETY: part of the baseline, and granted to user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(all(tokio_unstable, not(target_arch = "x86_64")))]
fn counter() -> u64 {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    ORIGIN.elapsed().as_nanos() as u64
}

fn subscribe(subscriber: impl tracing_core::Subscriber + Send + Sync) {
    let dispatch = tracing_core::Dispatch::new(subscriber);
    tracing_core::dispatcher::set_global_default(dispatch).expect("the first subscriber");
}

async fn wake(polls: u64) -> u64 {
    let task = tokio::spawn(async move {
        let mut left = polls;
        std::future::poll_fn(|context| {
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    });
    task.await.expect("the task ends");
    polls
}

/// As [`wake`], with a span that each poll enters.
async fn spans(polls: u64) -> u64 {
    let span = tracing::info_span!("request");
    let task = tokio::spawn(async move {
        let mut left = polls;
        std::future::poll_fn(|context| {
            let _entered = span.enter();
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    });
    task.await.expect("the task ends");
    polls
}

async fn yields(polls: u64) -> u64 {
    const TASKS: u64 = 100;
    let turns = polls / TASKS;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("the task ends");
    }
    TASKS * (turns + 1)
}

async fn spawns(count: u64) -> u64 {
    for n in 0..count {
        let task = tokio::spawn(async move { black_box(n) });
        task.await.expect("the task ends");
    }
    count
}

fn table(rounds: usize, slices: usize) {
    let own = std::env::current_exe().expect("the path of this program");
    let measure = |variant: &str, workload: &str| -> f64 {
        let output = Command::new(&own)
            .args(["run", variant, workload, &slices.to_string()])
            .output()
            .expect("a child process");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().expect("a number")
    };
    println!(
        "{:<28} {:<33} {:>8} {:>17} {:>8} {:>8}",
        "unit", "variant", "ns", "range", "over", "budget"
    );
    for (workload, unit, budgets) in WORKLOADS {
        let mut times: [Vec<f64>; 6] = Default::default();
        for _ in 0..rounds {
            for (times, (variant, _)) in times.iter_mut().zip(VARIANTS) {
                times.push(measure(variant, workload));
            }
        }
        print_rows(unit, &times, budgets);
    }
}

fn print_rows(unit: &str, times: &[Vec<f64>; 6], budgets: [u32; 4]) {
    for (index, (times_of, (_, name))) in times.iter().zip(VARIANTS).enumerate() {
        let over = times_of.iter().zip(&times[0]).map(|(a, b)| a - b);
        let mut sorted = times_of.clone();
        sorted.sort_by(f64::total_cmp);
        let range = format!("{:.1}..{:.1}", sorted[0], sorted[sorted.len() - 1]);
        let over = match index {
            0 => String::new(),
            _ => format!("{:+.1}", median(over.collect())),
        };
        let budget = match index {
            0 | 1 => String::new(),
            _ => format!("+{}", budgets[index - 2]),
        };
        let ns = median(sorted);
        println!("{unit:<28} {name:<33} {ns:>8.1} {range:>17} {over:>8} {budget:>8}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
