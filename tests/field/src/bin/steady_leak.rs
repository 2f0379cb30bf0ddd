//! A variant: every request leaves a task behind that waits for a reply which nobody
//! will send any more.
use field::quiet::{self, ms};
use tokio::{sync::oneshot, time::sleep};

async fn await_reply(reply: oneshot::Receiver<u32>) {
    let _ = reply.await;
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let mut open = Vec::new();
        loop {
            let (answer, reply) = oneshot::channel();
            tokio::spawn(await_reply(reply));
            if cured {
                let _ = answer.send(1);
            } else {
                open.push(answer);
            }
            sleep(ms(40)).await;
        }
    });
}
