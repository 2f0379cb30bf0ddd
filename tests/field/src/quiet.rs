//! A light load that has nothing to do with the mistake, and what it felt.
use std::sync::Mutex;
use std::time::{Duration, Instant};

static LATE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// What `#[tokio::main]` makes of `main`, on so many workers; on the calling thread
/// if there are none.
pub fn on_runtime(workers: usize, main: impl Future<Output = ()> + 'static) {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all();
    crate::run(&mut builder, main);
}

/// The agent, the canary; whether the cured twin was asked for.
pub fn start() -> bool {
    crate::init();
    for _ in 0..8 {
        tokio::spawn(canary());
    }
    if !cfg!(feature = "guard") {
        std::thread::spawn(report);
    }
    crate::ends_after(3600.0, || ());
    crate::cured()
}

async fn canary() {
    loop {
        let due = Instant::now() + Duration::from_millis(20);
        tokio::time::sleep(Duration::from_millis(20)).await;
        burn(Duration::from_micros(20));
        let late = due.elapsed().as_millis() as u32;
        LATE.lock().unwrap().push(late);
    }
}

fn report() {
    loop {
        std::thread::sleep(Duration::from_secs(4));
        let mut v = std::mem::take(&mut *LATE.lock().unwrap());
        v.sort_unstable();
        let at = |q: f64| {
            v.get(((v.len() as f64 - 1.0) * q) as usize)
                .copied()
                .unwrap_or(0)
        };
        let rss = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let rss: u64 = rss
            .split(' ')
            .nth(1)
            .and_then(|p| p.parse().ok())
            .unwrap_or(0)
            * 4096;
        let fds = std::fs::read_dir("/proc/self/fd")
            .map(|d| d.count())
            .unwrap_or(0);
        eprintln!(
            "canary n={} p50={} p99={} max={} ms rss={} MiB fds={fds}",
            v.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            rss >> 20
        );
    }
}

/// CPU of one thread.
pub fn burn(d: Duration) {
    let t = Instant::now();
    while t.elapsed() < d {
        std::hint::black_box(0u64);
    }
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
