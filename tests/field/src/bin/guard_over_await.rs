//! A variant: a guard of parking_lot's mutex lives over an await; who wants the lock
//! meanwhile blocks its worker.
use field::blocking::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

async fn settle(accounts: Arc<Mutex<u64>>) {
    if fixed() {
        pause(80).await;
        *accounts.lock() += 1;
        return;
    }
    let mut balance = accounts.lock();
    pause(80).await; // the guard lives over this
    *balance += 1;
}

async fn charge(accounts: Arc<Mutex<u64>>) {
    let t = Instant::now();
    *accounts.lock() += 1; // BLOCKS
    took(t.elapsed());
    pause(1).await;
}

pub fn main() {
    run(async {
        field::init();
        canary();
        let accounts = Arc::new(Mutex::new(0));
        let a = accounts.clone();
        tokio::spawn(async move {
            loop {
                tokio::spawn(settle(a.clone())).await.unwrap();
                pause(150).await;
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::spawn(charge(accounts.clone())).await.unwrap();
                pause(15).await;
            }
        });
        std::future::pending::<()>().await
    });
}
