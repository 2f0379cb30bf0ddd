//! A variant: a small blocking pool is flooded with exports, and the runtime is shut
//! down behind them. Whoever drops it waits for those that run.
use std::time::Duration;

fn export_rows() {
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn main() {
    let runtime = field::level(&mut tokio::runtime::Builder::new_multi_thread())
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        field::quiet::start();
        for _ in 0..12 {
            tokio::task::spawn_blocking(export_rows);
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
    });
    drop(runtime);
}
