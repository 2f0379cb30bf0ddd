// fede1024/rust-rdkafka#509, materialize#24673: dropping a consumer waits for its
// thread, in Drop, on the worker.
use field::blocking::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

struct Consumer {
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

impl Consumer {
    fn connect() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let poller = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(90));
            }
        });
        Consumer {
            stop,
            poller: Some(poller),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let t = Instant::now();
        if let Some(poller) = self.poller.take() {
            poller.join().unwrap(); // BLOCKS
        }
        took(t.elapsed());
    }
}

async fn validate_connection() {
    let consumer = Consumer::connect();
    pause(5).await;
    let _ = consumer.stop.load(Ordering::Relaxed);
} // dropped here

pub fn main() {
    run(async {
        field::init();
        canary();
        tokio::spawn(async {
            loop {
                tokio::spawn(validate_connection()).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
