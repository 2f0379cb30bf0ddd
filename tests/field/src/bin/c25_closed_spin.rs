//! The sender is gone; the loop does not look at None and asks again.
use field::quiet::{self, ms};
use tokio::{
    sync::{broadcast, mpsc},
    time::sleep,
};

async fn session(mut msgs: broadcast::Receiver<u32>, mut quit: mpsc::Receiver<()>, cured: bool) {
    loop {
        tokio::select! {
            m = msgs.recv() => match m {
                Ok(m) => { std::hint::black_box(m); }
                Err(e) => {
                    log(&e);
                    if cured { return; }
                }
            },
            _ = quit.recv() => return,
        }
    }
}

#[inline(never)]
fn log(e: &broadcast::error::RecvError) {
    use std::io::Write;
    if let Ok(mut f) = std::fs::OpenOptions::new().append(true).open("/dev/null") {
        let _ = writeln!(f, "received error: {e}");
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let (tx, rx) = broadcast::channel(16);
        let (_quit, quit) = mpsc::channel(1);
        tokio::spawn(session(rx, quit, cured));
        for n in 0..10 {
            let _ = tx.send(n);
            sleep(ms(50)).await;
        }
        drop(tx);
        sleep(ms(3_600_000)).await;
    });
}
