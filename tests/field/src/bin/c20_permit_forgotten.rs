//! An error path forgets its permit: after four errors all requests wait, and nobody holds one.
use field::quiet::{self, ms};
use std::sync::Arc;
use tokio::{sync::Semaphore, time::sleep};

async fn handle(limit: Arc<Semaphore>, n: u32, cured: bool) -> Result<(), ()> {
    if std::env::var_os("YIELD").is_some() {
        tokio::task::yield_now().await;
    }
    let permit = limit.acquire_owned().await.unwrap();
    sleep(ms(10)).await;
    if n % 10 == 9 {
        if !cured {
            permit.forget(); // meant for a hand-over that does not come
        }
        return Err(());
    }
    Ok(())
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let limit = Arc::new(Semaphore::new(4));
        for n in 0.. {
            tokio::spawn(handle(limit.clone(), n, cured));
            sleep(ms(50)).await;
        }
    });
}
