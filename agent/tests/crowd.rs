//! What a crowd at the agent's port costs the application: 1,000 connections that say
//! nothing or stop in their handshake, and 100 viewers, of which 8 are served.
//!
//! It measures, so nothing else may run:
//! `cargo test --release -p looptop-agent --test crowd -- --ignored --nocapture`
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod viewer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use looptop_wire::proto::agent_client::AgentClient;
use looptop_wire::proto::{self, WatchRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use viewer::{Viewer, client_runtime, level0};

/// Where a child of this program joins the crowd.
const JOINS: &str = "LOOPTOP_TEST_JOINS";
const WINDOW: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const CONNECTIONS: usize = 1_000;
const VIEWERS: usize = 100;

#[test]
fn the_crowd_of_a_child() {
    let Ok(address) = std::env::var(JOINS) else {
        return;
    };
    let address: SocketAddr = address.parse().expect("an address");
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        if number % 2 == 0 {
            drop(stream.write_all(b"PRI * HTTP/2.0\r\n"));
        }
        open.push(stream);
    }
    client_runtime().block_on(async {
        let mut streams = Vec::new();
        for number in 0..VIEWERS {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
            let Ok(channel) = endpoint.expect("an address").connect().await else {
                continue;
            };
            let mut client = AgentClient::new(channel);
            if let Ok(stream) = client.watch(WatchRequest::default()).await {
                streams.push((number, stream));
            }
        }
        println!("[{} connections, {} viewers]", open.len(), streams.len());
        // Some read, some never do.
        let reading = streams.into_iter().filter(|(number, _)| number % 2 == 0);
        for (_, stream) in reading {
            let mut frames: tonic::Streaming<proto::Frame> = stream.into_inner();
            tokio::spawn(async move { while let Ok(Some(_)) = frames.message().await {} });
        }
        let input = tokio::task::spawn_blocking(|| {
            let mut rest = Vec::new();
            drop(std::io::stdin().read_to_end(&mut rest));
        });
        drop(input.await);
    });
}

struct Crowd(Child);

impl Crowd {
    fn at(address: SocketAddr) -> Self {
        let me = std::env::current_exe().expect("this test's binary");
        let mut child = Command::new(me)
            .args(["the_crowd_of_a_child", "--exact", "--nocapture"])
            .env(JOINS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains('[') {
            line.clear();
            let read = std::io::BufRead::read_line(&mut output, &mut line);
            assert!(read.expect("text") > 0, "no crowd");
        }
        print!("{line}");
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A service that answers, and a client that asks it all the time.
async fn service(asked: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 64];
                while stream.read_exact(&mut bytes).await.is_ok() {
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let mut bytes = [7; 64];
    while !over.load(Relaxed) {
        stream.write_all(&bytes).await.expect("it reads");
        stream.read_exact(&mut bytes).await.expect("it answers");
        asked.fetch_add(1, Relaxed);
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}

#[test]
#[ignore = "measures, so nothing else may run"]
fn a_crowd_costs_the_application_nothing() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let agent = level0().runtime("main", runtime.handle()).start();
    let address = agent.local_addr().expect("a TCP port");
    let (asked, over) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let load = runtime.spawn(service(Arc::clone(&asked), Arc::clone(&over)));
    let rate = || {
        let (before, began) = (asked.load(Relaxed), Instant::now());
        std::thread::sleep(WINDOW);
        (asked.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
    };
    let viewer = Viewer::attach(address);
    viewer.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    let (mut alone, mut crowded, mut grown) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        alone.push(rate());
        // The right viewer, in this process too, keeps its frames: each round for itself.
        let memory = resident_bytes();
        let crowd = Crowd::at(address);
        let frames = viewer.look(|seen| seen.frames.len());
        crowded.push(rate());
        grown = grown.max(resident_bytes().saturating_sub(memory));
        let more = viewer.look(|seen| seen.frames.len()) - frames;
        assert!(more > 10, "the right viewer got {more} frames");
        drop(crowd);
    }
    over.store(true, Relaxed);
    runtime.block_on(load).expect("no panic");
    for rates in [&mut alone, &mut crowded] {
        rates.sort_by(f64::total_cmp);
    }
    let ratio = crowded[ROUNDS / 2] / alone[ROUNDS / 2];
    println!("alone {alone:.0?}/s, crowded {crowded:.0?}/s, ratio {ratio:.2}, {grown} bytes more");
    assert!(grown < 16 << 20, "{grown} bytes");
    assert!(ratio > 0.9, "{ratio}");
    agent.shutdown();
}
