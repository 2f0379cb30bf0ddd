//! Two runtimes in one process. The one of `main` is watched because `init()` is
//! called in it; the other registers itself when its threads start.
//!
//! ```text
//! cargo run -p looptop-agent --example several_runtimes
//! looptop
//! ```

use std::time::Duration;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let agent = looptop_agent::init();
    if let Some(address) = agent.local_addr() {
        println!("attach with: looptop {address}");
    }
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("background")
        .enable_all()
        .on_thread_start(|| {
            looptop_agent::register_current();
        })
        .build()?;
    background.spawn(async {
        loop {
            blocking_handler();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // The application ends with its standard input.
    let end = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    drop(end.await);
    background.shutdown_background();
    Ok(())
}

/// The mistake: the runtime of `main` idles, and this one stands still.
fn blocking_handler() {
    std::thread::sleep(Duration::from_millis(150));
}
