//! A variant: a lock file that another holder of it keeps for a while.
use field::blocking::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

async fn rotate_log(lock: PathBuf) -> bool {
    let file = open(&lock);
    let t = Instant::now();
    file.lock().unwrap(); // BLOCKS
    took(t.elapsed());
    file.unlock().unwrap();
    pause(1).await;
    true
}

fn open(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

pub fn main() {
    let lock = std::env::temp_dir().join(format!("field-{}.lock", std::process::id()));
    let other = open(&lock);
    std::thread::spawn(move || {
        loop {
            other.lock().unwrap();
            std::thread::sleep(Duration::from_millis(150));
            other.unlock().unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(rotate_log(lock.clone())).await.unwrap();
                pause(100).await;
            }
        });
        std::future::pending::<()>().await
    });
}
