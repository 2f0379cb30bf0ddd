//! An interval in Burst mode that is hours behind (the host was suspended): it catches up as fast as it can.
use field::quiet::{self, ms};
use std::time::Duration;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

async fn sync_with_peer(addr: std::net::SocketAddr, cured: bool) {
    let behind = Instant::now() - Duration::from_secs(6 * 3600);
    let mut every = interval_at(behind, ms(100));
    if cured {
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    }
    loop {
        every.tick().await;
        ping(addr).await;
    }
}

async fn ping(addr: std::net::SocketAddr) {
    if let Ok(mut c) = TcpStream::connect(addr).await {
        let _ = c.read_u8().await;
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        // The peer is a thread of its own, so that it is not in the picture.
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = l.local_addr().unwrap();
        std::thread::spawn(move || {
            for c in l.incoming() {
                use std::io::Write;
                let _ = c.and_then(|mut c| c.write_all(b"x"));
            }
        });
        let _ = TcpListener::bind("127.0.0.1:0").await;
        tokio::spawn(sync_with_peer(addr, cured));
        sleep(ms(3_600_000)).await;
    });
}
