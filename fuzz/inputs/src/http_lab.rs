//! The lab's HTTP, which switches its scenarios.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use looptop_demo::{Mode, ServeOptions, serve};

use crate::guard::guarded;
use crate::http::ask;

const READY: Duration = Duration::from_secs(60);

/// Starts the lab without load.
fn lab() -> SocketAddr {
    static LAB: OnceLock<SocketAddr> = OnceLock::new();
    *LAB.get_or_init(|| {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let address = free.expect("a free port");
        let options = ServeOptions {
            mode: Mode::Off,
            port: address.port(),
            ..ServeOptions::default()
        };
        thread::spawn(move || serve(&options).expect("the lab runs"));
        let deadline = Instant::now() + READY;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the lab does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        address
    })
}

/// The input is what is sent.
pub fn run(data: &[u8]) {
    let address = lab();
    guarded(|| drop(ask(address, data)));
    if data.windows(4).any(|bytes| bytes == b"POST") {
        // It may have begun a load.
        ask(
            address,
            b"POST /lab/healthy-busy/off HTTP/1.1\r\nHost: a\r\n\r\n",
        );
    }
}
