//! A variant: a request and its answer over std's channels, with an engine on a thread.
use field::blocking::*;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

async fn ask_engine(engine: Sender<(u32, Sender<u32>)>, question: u32) -> u32 {
    let (reply, answer) = channel();
    engine.send((question, reply)).unwrap();
    let t = Instant::now();
    let value = answer.recv().unwrap(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    value
}

pub fn main() {
    let (engine, jobs) = channel::<(u32, Sender<u32>)>();
    std::thread::spawn(move || {
        for (question, reply) in jobs {
            std::thread::sleep(Duration::from_millis(90));
            let _ = reply.send(question + 1);
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            for question in 0.. {
                tokio::spawn(ask_engine(engine.clone(), question))
                    .await
                    .unwrap();
                pause(180).await;
            }
        });
        std::future::pending::<()>().await
    });
}
