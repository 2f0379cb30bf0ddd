//! What a capture costs, part by part; a measurement, not a test.
//!
//! `cargo test --release -p looptop-agent cost -- --ignored --nocapture`

use super::super::{signal, thread, unwind::StackUnwinder};
use super::*;

const ROUNDS: usize = 500;

fn print(name: &str, times: &mut [u64]) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)] as f64 / 1000.0;
    println!(
        "{name}: µs min {:.1}, p50 {:.1}, p90 {:.1}, max {:.1} ({} times)",
        at(0),
        at(50),
        at(90),
        at(100),
        times.len()
    );
}

#[test]
#[ignore = "a measurement"]
fn cost() {
    prepare();
    let running = Arc::new(Gate::default());
    let asleep = Arc::new(Gate::default());
    let (run, sleep) = (Arc::clone(&running), Arc::clone(&asleep));
    let runs = std::thread::spawn(move || {
        run.stall_at(line!(), 1);
        while !run.released() {
            std::hint::spin_loop();
        }
    });
    std::thread::spawn(move || {
        sleep.stall_at(line!(), 1);
        std::thread::sleep(Duration::from_mins(10));
    });

    let start = Instant::now();
    let mut unwinder = StackUnwinder::new();
    unwinder.refresh();
    println!("modules read in {:?}", start.elapsed());

    let tid = running.tid();
    let (mut handler, mut signalled, mut unwound) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let known = thread::find(tid).expect("registered");
        let start = Instant::now();
        let Ok(snapshot) = signal::take(tid, &known) else {
            continue;
        };
        signalled.push(start.elapsed().as_nanos() as u64);
        handler.push(signal::HANDLER_NS.load(Ordering::Relaxed));
        let start = Instant::now();
        std::hint::black_box(unwinder.unwind_copy(&snapshot));
        unwound.push(start.elapsed().as_nanos() as u64);
    }
    print("handler", &mut handler);
    print("signal sent until copied", &mut signalled);
    print("unwinding the copy", &mut unwound);

    let tid = asleep.tid();
    let mut whole = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        if capture_now(tid).is_ok() {
            whole.push(start.elapsed().as_nanos() as u64);
        }
    }
    print("whole capture of a sleeping thread, no signal", &mut whole);
    running.release();
    runs.join().expect("thread");
}
