// prisma/quaint#66, 0xMiden/rust-sdk#2392, utensils/claudette#1020: SQLite's busy
// handler sleeps, in C, on the worker while another connection writes.
use field::blocking::*;
use rusqlite::Connection;
use std::time::{Duration, Instant};

fn open(path: &str) -> Connection {
    let c = Connection::open(path).unwrap();
    c.execute_batch("PRAGMA synchronous=OFF;").unwrap();
    c.busy_timeout(Duration::from_secs(5)).unwrap();
    c
}

async fn save(path: &'static str) -> usize {
    let connection = open(path);
    let t = Instant::now();
    let n = connection.execute("INSERT INTO t VALUES (1)", []).unwrap(); // BLOCKS
    took(t.elapsed());
    drop(connection);
    pause(1).await;
    n
}

pub fn main() {
    let path: &'static str =
        Box::leak(format!("/tmp/busy-{}.db", std::process::id()).into_boxed_str());
    open(path).execute_batch("CREATE TABLE t (x)").unwrap();
    std::thread::spawn(move || {
        let c = open(path);
        loop {
            c.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
                .unwrap();
            std::thread::sleep(Duration::from_millis(180));
            c.execute_batch("COMMIT").unwrap();
            std::thread::sleep(Duration::from_millis(250));
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(save(path)).await.unwrap();
                pause(60).await;
            }
        });
        std::future::pending::<()>().await
    });
}
