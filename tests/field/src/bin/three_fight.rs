//! A variant: three tasks fight for one std mutex from the start on, and each keeps it
//! while it asks a slow device.
use field::blocking::*;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

async fn update_balance(balance: Arc<Mutex<u64>>) {
    loop {
        let t = Instant::now();
        {
            let mut balance = balance.lock().unwrap(); // BLOCKS
            std::thread::sleep(Duration::from_millis(60));
            *balance += 1;
        }
        took(t.elapsed());
        pause(5).await;
    }
}

pub fn main() {
    run(async {
        field::init();
        let balance = Arc::new(Mutex::new(0));
        for _ in 0..3 {
            tokio::spawn(update_balance(balance.clone()));
        }
        canary();
        std::future::pending::<()>().await
    });
}
