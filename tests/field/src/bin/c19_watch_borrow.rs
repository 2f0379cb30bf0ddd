//! Two borrows of a watch channel in one expression, and a send in between: std's RwLock inside deadlocks two workers.
use field::quiet::{self, burn, ms};
use tokio::{sync::watch, time::sleep};

async fn tip_follower(rx: watch::Receiver<u64>, cured: bool) {
    loop {
        record_tip(&rx, cured);
        sleep(ms(10)).await;
    }
}

fn record_tip(rx: &watch::Receiver<u64>, cured: bool) {
    if cured {
        let height = *rx.borrow();
        burn(ms(2));
        std::hint::black_box((height, *rx.borrow()));
        return;
    }
    let height = rx.borrow();
    burn(ms(2));
    let hash = rx.borrow();
    std::hint::black_box((*height, *hash));
}

async fn tip_sender(tx: watch::Sender<u64>) {
    for n in 0.. {
        tx.send(n).unwrap();
        sleep(ms(3)).await;
    }
}

pub fn main() {
    quiet::on_runtime(4, async {
        let cured = quiet::start();
        let (tx, rx) = watch::channel(0);
        sleep(ms(1000)).await;
        tokio::spawn(tip_follower(rx.clone(), cured));
        tokio::spawn(tip_follower(rx, cured));
        tokio::spawn(tip_sender(tx));
        sleep(ms(3_600_000)).await;
    });
}
