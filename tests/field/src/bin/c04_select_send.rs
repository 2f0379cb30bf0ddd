//! One task queues behind its own send that it no longer polls (channel of size 1).
use field::quiet::{self, ms};
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};

async fn fetch(tx: mpsc::Sender<u32>, cured: bool) {
    let mut beat = interval(ms(100));
    for n in 0.. {
        let send = tx.send(n);
        tokio::pin!(send);
        loop {
            tokio::select! {
                r = &mut send => { r.unwrap(); break }
                _ = beat.tick() => {
                    if cured {
                        let _ = tx.try_send(u32::MAX);
                    } else {
                        tx.send(u32::MAX).await.unwrap(); // behind `send`, for ever
                    }
                }
            }
        }
    }
}

async fn consume(mut rx: mpsc::Receiver<u32>) {
    while rx.recv().await.is_some() {
        sleep(ms(150)).await;
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let (tx, rx) = mpsc::channel(1);
        tokio::spawn(fetch(tx, cured));
        tokio::spawn(consume(rx));
        sleep(ms(3_600_000)).await;
    });
}
