//! Status takes B then A, reload takes A then B. Only two tasks hang.
use field::quiet::{self, ms};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, RwLock},
    time::sleep,
};

#[derive(Default)]
struct Audit {
    registry: Mutex<u32>,
    cancellers: RwLock<u32>,
}

async fn status_snapshot(a: Arc<Audit>, cured: bool) {
    loop {
        if cured {
            let r = a.registry.lock().await;
            let c = a.cancellers.read().await;
            std::hint::black_box(*r + *c);
        } else {
            let c = a.cancellers.read().await;
            sleep(ms(5)).await;
            let r = a.registry.lock().await;
            std::hint::black_box(*r + *c);
        }
        sleep(ms(50)).await;
    }
}

async fn reload_targets(a: Arc<Audit>) {
    loop {
        let mut r = a.registry.lock().await;
        sleep(ms(5)).await;
        *a.cancellers.write().await += 1;
        *r += 1;
        drop(r);
        sleep(ms(40)).await;
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let a = Arc::new(Audit::default());
        tokio::spawn(status_snapshot(a.clone(), cured));
        tokio::spawn(reload_targets(a));
        sleep(ms(3_600_000)).await;
    });
}
