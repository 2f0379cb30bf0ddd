//! Long jobs take all threads of the blocking pool, and each request that reads a file by
//! tokio::fs waits behind them.
use field::quiet::{self, ms};
use tokio::{task::spawn_blocking, time::sleep};

fn transcode() {
    loop {
        std::thread::sleep(ms(20)); // waits for an encoder
    }
}

async fn serve_file() {
    loop {
        tokio::fs::metadata("/proc/self/status").await.unwrap();
        sleep(ms(50)).await;
    }
}

pub fn main() {
    let threads = if field::cured() { 32 } else { 4 };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .max_blocking_threads(threads)
        .enable_all();
    field::run(&mut builder, async {
        quiet::start();
        for _ in 0..4 {
            spawn_blocking(transcode);
        }
        for _ in 0..16 {
            tokio::spawn(serve_file());
        }
        std::future::pending::<()>().await
    });
}
