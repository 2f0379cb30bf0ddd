// apollographql/router#4625, block/buzz#3256, tokio-rs/tracing#2653: the fmt layer
// writes to a stdout whose reader is slow. Blocks in write(2), the others in the lock.
use field::blocking::*;
use std::time::Instant;
use tracing_subscriber::prelude::*;

fn clog_stdout() {
    let mut fds = [0; 2];
    unsafe {
        libc::pipe(fds.as_mut_ptr());
        libc::dup2(fds[1], 1);
    }
    let reader = fds[0];
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            std::thread::sleep(std::time::Duration::from_millis(300));
            unsafe { libc::read(reader, buffer.as_mut_ptr().cast(), buffer.len()) };
        }
    });
}

async fn handle_query(id: u32, body: &str) {
    let t = Instant::now();
    for hop in 0..6 {
        tracing::info!(id, hop, body, "query plan step"); // BLOCKS
    }
    took(t.elapsed());
    pause(5).await;
}

pub fn main() {
    clog_stdout();
    run(async {
        if fixed() {
            let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
                .lossy(true)
                .buffered_lines_limit(64)
                .finish(std::io::stdout());
            std::mem::forget(guard);
            let fmt = tracing_subscriber::fmt::layer()
                .with_writer(writer)
                .with_filter(tracing_subscriber::filter::LevelFilter::INFO);
            tracing_subscriber::registry()
                .with(looptop_agent::layer())
                .with(fmt)
                .init();
        } else {
            let fmt = tracing_subscriber::fmt::layer()
                .with_filter(tracing_subscriber::filter::LevelFilter::INFO);
            tracing_subscriber::registry()
                .with(looptop_agent::layer())
                .with(fmt)
                .init();
        }
        field::init();
        canary();
        let body: &'static str = Box::leak("x".repeat(2_000).into_boxed_str());
        for id in 0..3 {
            tokio::spawn(async move {
                loop {
                    tokio::spawn(handle_query(id, body)).await.unwrap();
                    pause(100).await;
                }
            });
        }
        std::future::pending::<()>().await
    });
}
