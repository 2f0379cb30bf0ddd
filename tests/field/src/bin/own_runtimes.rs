//! A variant: `init()` in a synchronous main, and a runtime of one thread for each
//! core behind it, as some web frameworks do it.
use field::blocking::pause;
use std::time::Duration;

async fn handle() {
    std::thread::sleep(Duration::from_millis(110)); // BLOCKS
    pause(1).await;
}

fn main() {
    field::ends_after(15.0, || ());
    field::init();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                let runtime = field::level(builder.enable_all()).build().unwrap();
                runtime.block_on(async {
                    loop {
                        tokio::spawn(handle()).await.unwrap();
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
