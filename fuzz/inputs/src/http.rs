//! A request over a connection of its own, as whoever can reach the port sends it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// So long an answer may take; who is asked waits a second for the rest of a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends the bytes and returns what comes until the other end closes.
pub(crate) fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // Who refuses a request may close before it is whole.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let late = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!late, "no answer, and no end, within {PATIENCE:?}");
    }
    answer
}
