//! A variant without a mistake: a job a second is let through by design, sessions wait
//! for a signal that comes rarely, connections arrive and stay, and each is served.
use field::quiet::{self, ms};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::{interval, sleep},
};

async fn rate_limited(gate: Arc<Semaphore>) {
    loop {
        gate.acquire().await.unwrap().forget();
        sleep(ms(5)).await;
    }
}

async fn session(signal: Arc<Notify>) {
    loop {
        signal.notified().await;
    }
}

async fn serve(mut stream: TcpStream) {
    let mut request = [0; 16];
    while let Ok(n) = stream.read(&mut request).await {
        if n == 0 || stream.write_all(&request[..n]).await.is_err() {
            return;
        }
    }
}

async fn client(address: std::net::SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = [0; 16];
    let mut every = interval(ms(1000));
    loop {
        every.tick().await;
        stream.write_all(b"ping").await.unwrap();
        let _ = stream.read(&mut answer).await;
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        quiet::start();
        let gate = Arc::new(Semaphore::new(0));
        let signal = Arc::new(Notify::new());
        for _ in 0..30 {
            tokio::spawn(rate_limited(gate.clone()));
            tokio::spawn(session(signal.clone()));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        // A ramp: twelve more clients a second for the first 20 s.
        tokio::spawn(async move {
            for _ in 0..240 {
                tokio::spawn(client(address));
                sleep(ms(83)).await;
            }
        });
        loop {
            sleep(ms(1000)).await;
            gate.add_permits(1);
        }
    });
}
