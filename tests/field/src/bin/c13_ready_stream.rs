//! Always a message there, and each takes 2 ms: a poll lasts until tokio's budget of 128 is used up.
use field::quiet::{self, burn, ms};
use tokio::{sync::mpsc, time::sleep};

async fn consumer(mut rx: mpsc::Receiver<u32>, cured: bool) {
    while let Some(row) = rx.recv().await {
        parse_row(row);
        if cured {
            tokio::task::yield_now().await;
        }
    }
}

#[inline(never)]
fn parse_row(row: u32) {
    burn(ms(2));
    std::hint::black_box(row);
}

pub fn main() {
    quiet::on_runtime(0, async {
        let cured = quiet::start();
        let (tx, rx) = mpsc::channel(1000);
        // A kafka client's own thread.
        std::thread::spawn(move || while tx.blocking_send(1).is_ok() {});
        tokio::spawn(consumer(rx, cured));
        sleep(ms(3_600_000)).await;
    });
}
