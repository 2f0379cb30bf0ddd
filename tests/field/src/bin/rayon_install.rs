//! A variant: a handler gives its work to a pool of rayon and waits for it on the worker.
use field::blocking::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn resize(pool: Arc<rayon::ThreadPool>) -> u64 {
    let t = Instant::now();
    let n = pool.install(scale); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    n
}

#[inline(never)]
fn scale() -> u64 {
    // The picture comes from a device; the pool does not compute all the time.
    std::thread::sleep(Duration::from_millis(110));
    std::hint::black_box(42)
}

pub fn main() {
    run(async {
        field::init();
        canary();
        let pool = Arc::new(
            rayon::ThreadPoolBuilder::new()
                .num_threads(2)
                .build()
                .unwrap(),
        );
        tokio::spawn(async move {
            loop {
                tokio::spawn(resize(pool.clone())).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
