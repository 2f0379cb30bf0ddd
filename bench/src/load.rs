//! A load generator like wrk: one thread, many keep-alive connections, each
//! sends its next request when it has its answer.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{cpu, machine};
use anyhow::{Context, bail, ensure};
use clap::Args;
use mio::{Events, Interest, Poll, Token, net::TcpStream};

/// How to load what.
#[derive(Args)]
pub(crate) struct LoadOptions {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, default_value = "/")]
    path: String,
    /// The process whose CPU time is counted.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    warmup_ms: u64,
    #[arg(long)]
    millis: u64,
    /// Run on this CPU only.
    #[arg(long)]
    cpu: Option<usize>,
}

/// Prints requests/s, latencies, the CPU that a request cost the target, and
/// how busy this generator itself was: at 1.0 it was the limit, not the target.
pub(crate) fn run(options: &LoadOptions) -> anyhow::Result<()> {
    if let Some(cpu) = options.cpu {
        machine::pin(cpu)?;
    }
    let mut load = Load::connect(options)?;
    load.run_for(Duration::from_millis(options.warmup_ms))?;
    load.latencies.clear();

    let target_before = cpu::of_process(options.pid)?;
    let own_before = cpu::own()?;
    let start = Instant::now();
    load.run_for(Duration::from_millis(options.millis))?;
    let seconds = start.elapsed().as_secs_f64();
    let own = cpu::own()?.saturating_sub(own_before).as_secs_f64();
    let target = cpu::of_process(options.pid)?.saturating_sub(target_before);

    let latencies = &mut load.latencies;
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "not one request was answered");
    let count = latencies.len();
    let at = |share: f64| latencies[((count - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    println!("requests_per_s {}", count as f64 / seconds);
    println!("p50_us {}", at(0.5));
    println!("p99_us {}", at(0.99));
    println!(
        "cpu_us_per_request {}",
        target.as_nanos() as f64 / 1e3 / count as f64
    );
    println!("generator_busy {}", own / seconds);
    Ok(())
}

struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    request: Vec<u8>,
    latencies: Vec<Duration>,
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    received: Vec<u8>,
}

impl Load {
    fn connect(options: &LoadOptions) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            options.path, options.address
        );
        let mut connections = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let stream = std::net::TcpStream::connect(options.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE)?;
            connections.push(Connection {
                stream,
                sent: Instant::now(),
                received: Vec::with_capacity(4096),
            });
        }
        let mut load = Self {
            poll,
            events: Events::with_capacity(options.connections),
            connections,
            request: request.into_bytes(),
            latencies: Vec::with_capacity(1 << 20),
        };
        for connection in &mut load.connections {
            connection.send(&load.request)?;
        }
        Ok(load)
    }

    fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if let Err(error) = self.poll.poll(&mut self.events, Some(left)) {
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return Err(error.into());
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if connection.answered()? {
                    self.latencies.push(connection.sent.elapsed());
                    connection.send(&self.request)?;
                }
            }
        }
    }
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.received.clear();
        self.sent = Instant::now();
        // One outstanding request of some 60 bytes always fits.
        let written = self.stream.write(request)?;
        ensure!(written == request.len(), "a request was cut short");
        Ok(())
    }

    /// Reads what is there; whether the answer is complete. Reads until there
    /// is no more only while it is not: the next answer is not asked for yet.
    fn answered(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the target closed a connection"),
                Ok(read) => {
                    self.received.extend_from_slice(&buffer[..read]);
                    if is_complete(&self.received)? {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether these bytes are a whole answer with status 200 and `content-length`.
fn is_complete(bytes: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = std::str::from_utf8(&bytes[..head]).context("the head is no text")?;
    ensure!(
        text.starts_with("HTTP/1.1 200"),
        "unexpected answer: {text}"
    );
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let ours = name.eq_ignore_ascii_case("content-length");
        ours.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let length = length.context("an answer without content-length")?;
    Ok(bytes.len() >= head + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn answers_are_complete_with_their_body() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: x\r\n\r\nhello";
        for end in 0..whole.len() {
            assert!(!is_complete(&whole[..end]).unwrap(), "at {end}");
        }
        assert!(is_complete(whole).unwrap());
        assert!(is_complete(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(is_complete(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
