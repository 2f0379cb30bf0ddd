//! A synchronous `main` that makes its runtimes in threads, as a server does that
//! configures itself first. `init()` starts the agent, and each runtime registers
//! itself.
//!
//! ```text
//! cargo run -p looptop-agent --example synchronous_main
//! looptop
//! ```

use std::thread;
use std::time::Duration;

fn main() {
    let agent = looptop_agent::init();
    if let Some(address) = agent.local_addr() {
        println!("attach with: looptop {address}");
    }
    let listener = thread::Builder::new().name("listener".into()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            looptop_agent::register_current();
            serve().await;
        });
        Ok::<(), std::io::Error>(())
    });
    // The threads of the application end with its standard input.
    drop(listener);
    drop(std::io::read_to_string(std::io::stdin()));
}

async fn serve() {
    loop {
        let request = tokio::spawn(async { blocking_handler() });
        drop(request.await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The mistake: nobody else of this thread gets on meanwhile.
fn blocking_handler() {
    thread::sleep(Duration::from_millis(150));
}
