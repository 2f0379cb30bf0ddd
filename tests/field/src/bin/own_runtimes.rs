//! A variant: `init()` in a synchronous main, and a runtime of one thread for each
//! core behind it, as some web frameworks do it. `WORK=compute` computes instead of
//! sleeping; its cured twin yields after each two milliseconds, so that many short
//! polls take as long as the one did.
use field::{blocking::pause, quiet};
use std::time::Duration;

async fn handle() {
    std::thread::sleep(Duration::from_millis(110)); // BLOCKS
    pause(1).await;
}

async fn render() {
    quiet::burn(Duration::from_millis(150)); // BLOCKS
    pause(1).await;
}

async fn render_in_pieces() {
    for _ in 0..75 {
        quiet::burn(Duration::from_millis(2));
        tokio::task::yield_now().await;
    }
}

pub fn main() {
    field::ends_after(15.0, || ());
    field::init();
    let computes = std::env::var("WORK").is_ok_and(|work| work == "compute");
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = field::level(builder.enable_all()).build().unwrap();
                runtime.block_on(async {
                    loop {
                        match (computes, field::blocking::fixed()) {
                            (false, _) => tokio::spawn(handle()).await.unwrap(),
                            (true, false) => tokio::spawn(render()).await.unwrap(),
                            (true, true) => tokio::spawn(render_in_pieces()).await.unwrap(),
                        }
                        pause(150).await;
                    }
                })
            })
        })
        .collect();
    for thread in threads {
        let _: Result<(), _> = thread.join();
    }
}
