//! Jobs of the blocking pool wait in block_on for tokio::fs, which needs the same pool.
use field::quiet::{self, ms};
use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};

fn read_dir_job() -> usize {
    let h = Handle::current();
    std::thread::sleep(ms(30));
    let mut n = 0;
    for _ in 0..3 {
        n += h
            .block_on(tokio::fs::read("/proc/self/status"))
            .map_or(0, |v| v.len());
    }
    n
}

pub fn main() {
    let cured = field::cured();
    let rt = field::level(&mut tokio::runtime::Builder::new_multi_thread())
        .worker_threads(2)
        .max_blocking_threads(if cured { 16 } else { 4 })
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        quiet::start();
        for _ in 0..4 {
            spawn_blocking(read_dir_job);
        }
        loop {
            sleep(ms(1000)).await;
            tokio::spawn(tokio::fs::metadata("/tmp"));
        }
    });
}
