// Probe, not a report: a handler that uses exactly MS milliseconds of CPU of its own.
use field::blocking::*;
use std::time::Instant;

fn cpu_ms() -> f64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}

#[inline(never)]
fn render_page(ms: f64) -> f64 {
    let end = cpu_ms() + ms;
    let mut n = 0.0f64;
    while cpu_ms() < end {
        for i in 0..2_000 {
            n = std::hint::black_box(n + i as f64);
        }
    }
    n
}

async fn handle(ms: f64) -> f64 {
    let t = Instant::now();
    let n = render_page(ms); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    n
}

pub fn main() {
    let ms = std::env::var("MS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(80.0);
    run(async move {
        field::init();
        canary();
        pause(1500).await;
        tokio::spawn(async move {
            loop {
                tokio::spawn(handle(ms)).await.unwrap();
                pause(250).await;
            }
        });
        std::future::pending::<()>().await
    });
}
