//! An application whose agent serves pages by HTTP/1.1, and a client for them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use looptop_agent::{Agent, Builder};
use tokio::runtime::Runtime;

use super::PATIENCE;

/// An application with an agent, which ends with it.
pub struct Application {
    pub runtime: Runtime,
    pub agent: Agent,
}

impl Application {
    pub fn new(builder: Builder) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let builder = builder.bind("127.0.0.1:0").socket(false);
        let agent = builder.runtime("main", runtime.handle()).start();
        Self { runtime, agent }
    }

    pub fn port(&self) -> SocketAddr {
        self.agent.local_addr().expect("a port")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.agent.shutdown();
    }
}

/// The answer to a request, head and body.
pub fn ask(stream: &mut TcpStream, request: &str) -> (String, Vec<u8>) {
    const END: &[u8] = b"\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        if let Some(at) = answer.windows(END.len()).position(|w| w == END) {
            let head = String::from_utf8_lossy(&answer[..at]).into_owned();
            let body = answer[at + END.len()..].to_vec();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if body.len() >= length || request.starts_with("HEAD") {
                return (head, body);
            }
        }
        match stream.read(&mut bytes).expect("an answer") {
            0 => panic!("closed after: {}", String::from_utf8_lossy(&answer)),
            count => answer.extend_from_slice(&bytes[..count]),
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    let patience = Some(PATIENCE);
    stream.set_read_timeout(patience).expect("a time-out");
    stream
}

/// The answer to a `GET` with further headers.
pub fn get(address: SocketAddr, path: &str, more: &str) -> (String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    ask(&mut connect(address), &request)
}
