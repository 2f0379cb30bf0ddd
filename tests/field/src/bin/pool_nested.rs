//! Jobs of a full blocking pool wait in block_on for tokio::fs, which needs the same pool;
//! requests that read files wait behind them.
use field::quiet::{self, ms};
use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};

fn index_dir() {
    std::thread::sleep(ms(50));
    Handle::current()
        .block_on(tokio::fs::metadata("/proc/self/status"))
        .unwrap();
    loop {
        std::thread::sleep(ms(50));
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
            spawn_blocking(index_dir);
        }
        sleep(ms(20)).await;
        for _ in 0..16 {
            tokio::spawn(serve_file());
        }
        std::future::pending::<()>().await
    });
}
