//! Channels and sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{forever, settle, spawn as task};

async fn receives(mut jobs: mpsc::Receiver<u64>) {
    while let Some(job) = jobs.recv().await {
        // #recv
        std::hint::black_box(job);
    }
}

/// Has a channel with two messages in it, and does not read them.
async fn keeps_full(jobs: mpsc::Receiver<u64>) {
    forever().await; // #keeps_full
    drop(jobs);
}

async fn sends(jobs: mpsc::Sender<u64>) {
    jobs.send(1).await.unwrap();
    jobs.send(2).await.unwrap();
    jobs.send(3).await.unwrap(); // #send
}

async fn reserves(jobs: mpsc::Sender<u64>) {
    let place = jobs.reserve().await.unwrap(); // #reserve
    place.send(4);
}

async fn receives_unbounded(mut events: mpsc::UnboundedReceiver<String>) {
    events.recv().await; // #recv_unbounded
}

async fn oneshot(answer: oneshot::Receiver<u32>) {
    let _ = answer.await; // #oneshot
}

async fn closed(mut question: oneshot::Sender<u32>) {
    question.closed().await; // #closed
}

async fn watch(mut level: watch::Receiver<u32>) {
    level.changed().await.unwrap(); // #changed
}

async fn broadcast(mut news: broadcast::Receiver<u8>) {
    let _ = news.recv().await; // #news
}

async fn accepts(listener: TcpListener) {
    let _ = listener.accept().await; // #accept
}

async fn reads(mut socket: TcpStream) {
    let mut buffer = vec![0; 64];
    let _ = socket.read(&mut buffer).await; // #read_socket
}

async fn writes(mut socket: TcpStream) {
    let buffer = vec![0; 64 << 20];
    let _ = socket.write_all(&buffer).await; // #write_socket
}

async fn receives_datagram(socket: UdpSocket) {
    let mut buffer = [0; 64];
    let _ = socket.recv_from(&mut buffer).await; // #datagram
}

async fn readable(socket: TcpStream) {
    let _ = socket.readable().await; // #readable
}

pub async fn spawn() {
    let (jobs, queue) = mpsc::channel(4);
    task("recv", receives(queue));
    let (full, unread) = mpsc::channel(2);
    task("keeps_full", keeps_full(unread));
    task("send", sends(full.clone()));
    settle().await;
    task("reserve", reserves(full.clone()));
    let (events, queue) = mpsc::unbounded_channel();
    task("recv_unbounded", receives_unbounded(queue));
    let (reply, answer) = oneshot::channel();
    task("oneshot", oneshot(answer));
    let (question, asked) = oneshot::channel();
    task("closed", closed(question));
    let (level, seen) = watch::channel(0);
    task("watch", watch(seen));
    let (news, subscriber) = broadcast::channel(8);
    task("broadcast", broadcast(subscriber));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut peers = Vec::new();
    for name in ["read", "write", "readable"] {
        let client = TcpStream::connect(address).await.unwrap();
        println!("fd {name} {}", std::os::fd::AsRawFd::as_raw_fd(&client));
        let (server, _) = listener.accept().await.unwrap();
        peers.push(server);
        match name {
            "read" => drop(task("read_socket", reads(client))),
            "write" => drop(task("write_socket", writes(client))),
            _ => drop(task("readable", readable(client))),
        }
    }
    println!("fd accept {}", std::os::fd::AsRawFd::as_raw_fd(&listener));
    task("accept", accepts(listener));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    println!("fd datagram {}", std::os::fd::AsRawFd::as_raw_fd(&socket));
    task("datagram", receives_datagram(socket));
    // The other ends, for ever.
    std::mem::forget((jobs, full, events, reply, asked, level, news, peers));
}
