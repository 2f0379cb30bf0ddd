// crossbeam-rs/crossbeam#902, #896: a crossbeam receiver in a task.
use crossbeam_channel::{Sender, unbounded};
use field::blocking::*;
use std::time::{Duration, Instant};

async fn ask(engine: Sender<Sender<u32>>) -> u32 {
    let (reply, answer) = unbounded();
    engine.send(reply).unwrap();
    let t = Instant::now();
    let value = answer.recv().unwrap(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    value
}

pub fn main() {
    let (engine, jobs) = unbounded::<Sender<u32>>();
    std::thread::spawn(move || {
        for job in jobs {
            std::thread::sleep(Duration::from_millis(80));
            let _ = job.send(1);
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(ask(engine.clone())).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
