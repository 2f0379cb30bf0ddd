//! A stream keeps its read guard over all its awaits: writers queue behind it, and readers
//! behind them.
use field::quiet::{self, ms};
use std::sync::Arc;
use tokio::{sync::RwLock, time::sleep};

type Config = Arc<RwLock<u64>>;

async fn stream_events(config: Config, cured: bool) {
    let guard = config.read().await;
    let version = *guard;
    let _kept = (!cured).then_some(guard);
    loop {
        sleep(ms(500)).await;
        std::hint::black_box(version);
    }
}

async fn reload(config: Config) {
    loop {
        *config.write().await += 1;
        sleep(ms(100)).await;
    }
}

async fn look_up(config: Config) {
    loop {
        std::hint::black_box(*config.read().await);
        sleep(ms(30)).await;
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let config = Config::default();
        tokio::spawn(stream_events(config.clone(), cured));
        sleep(ms(200)).await;
        for _ in 0..3 {
            tokio::spawn(reload(config.clone()));
        }
        for _ in 0..20 {
            tokio::spawn(look_up(config.clone()));
        }
        std::future::pending::<()>().await
    });
}
