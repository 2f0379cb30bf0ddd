//! A variant: a thread of the application keeps a std RwLock for writing while it
//! refreshes a table; handlers read it on the workers.
use field::blocking::*;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

type Rates = Arc<RwLock<HashMap<u32, f64>>>;

async fn look_up_rate(rates: Rates) -> f64 {
    let t = Instant::now();
    let rate = rates.read().unwrap()[&1]; // BLOCKS
    took(t.elapsed());
    pause(1).await;
    rate
}

fn refresh(rates: &Rates) {
    let mut table = rates.write().unwrap();
    if fixed() {
        table.insert(1, 1.0);
        drop(table);
        std::thread::sleep(Duration::from_millis(130));
        return;
    }
    std::thread::sleep(Duration::from_millis(130)); // asks another service
    table.insert(1, 1.0);
}

pub fn main() {
    let rates: Rates = Arc::new(RwLock::new(HashMap::from([(1, 1.0)])));
    let table = rates.clone();
    std::thread::spawn(move || {
        loop {
            refresh(&table);
            std::thread::sleep(Duration::from_millis(150));
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(look_up_rate(rates.clone())).await.unwrap();
                pause(30).await;
            }
        });
        std::future::pending::<()>().await
    });
}
