// stevepryde/thirtyfour#248: Drop runs the async close with block_on.
use field::blocking::*;
use std::time::{Duration, Instant};

struct Session(futures::channel::oneshot::Receiver<u32>);

impl Session {
    fn open() -> Self {
        let (done, closed) = futures::channel::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let _ = done.send(1);
        });
        Session(closed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let t = Instant::now();
        let _ = futures::executor::block_on(&mut self.0); // BLOCKS
        took(t.elapsed());
    }
}

async fn visit() {
    let _session = Session::open();
    pause(2).await;
}

pub fn main() {
    run(async {
        field::init();
        canary();
        tokio::spawn(async {
            loop {
                tokio::spawn(visit()).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
