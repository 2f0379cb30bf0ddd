// xline-kv/Xline#94: event_listener's wait() where .await was meant.
use event_listener::{Event, Listener};
use field::blocking::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

async fn wait_for_commit(committed: Arc<Event>) {
    let listener = committed.listen();
    let t = Instant::now();
    listener.wait(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
}

pub fn main() {
    let committed = Arc::new(Event::new());
    let event = committed.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(120));
            event.notify(usize::MAX);
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(wait_for_commit(committed.clone()))
                    .await
                    .unwrap();
                pause(150).await;
            }
        });
        std::future::pending::<()>().await
    });
}
