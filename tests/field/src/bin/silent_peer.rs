//! A variant: a small blocking HTTP client in a handler, and a peer that takes its time.
use field::blocking::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[inline(never)]
fn http_get(peer: SocketAddr, answer: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(peer)?;
    stream.write_all(b"GET /quote HTTP/1.0\r\n\r\n")?;
    stream.read_to_end(answer) // BLOCKS
}

async fn fetch_quote(peer: SocketAddr) -> usize {
    let mut answer = Vec::new();
    let t = Instant::now();
    let n = http_get(peer, &mut answer).unwrap();
    took(t.elapsed());
    pause(1).await;
    n
}

pub fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
            std::thread::sleep(Duration::from_millis(120));
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n42");
        }
    });
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(fetch_quote(peer)).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
