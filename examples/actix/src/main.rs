//! An actix-web server. Each of its workers is a thread with a runtime of its own,
//! which the server's factory registers; `init()` alone watches the one of `main`,
//! which only waits.
//!
//! ```text
//! cargo run --manifest-path examples/actix/Cargo.toml
//! looptop
//! ```

use std::{io, thread, time::Duration};

use actix_web::{App, HttpServer, web};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let agent = looptop_agent::init();
    let server = HttpServer::new(|| {
        looptop_agent::register_current();
        App::new().route("/", web::get().to(index))
    });
    let server = server.workers(2).bind(("127.0.0.1", 0))?;
    if let Some(http) = server.addrs().first() {
        println!("serves: {http}");
    }
    if let Some(address) = agent.local_addr() {
        println!("attach with: looptop {address}");
    }
    server.run().await
}

async fn index() -> &'static str {
    blocking_handler();
    "slow\n"
}

/// The mistake: nobody else of this worker gets on meanwhile.
fn blocking_handler() {
    thread::sleep(Duration::from_millis(150));
}
