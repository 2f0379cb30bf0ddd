//! Messages of a real console-subscriber: of a program that makes tasks and resources.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use prost::Message;
use tokio::sync::{Mutex, mpsc};

use super::part;

/// Updates that are taken.
const UPDATES: usize = 6;

/// The first updates of a connection, and the same in one seed each.
pub(super) fn messages() -> Result<Vec<Vec<u8>>> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    console_subscriber::ConsoleLayer::builder()
        .server_addr(free)
        .publish_interval(Duration::from_millis(200))
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async {
            let _program = tokio::spawn(program());
            take(free).await
        })
}

/// Tasks that come and go, wait for a lock, a channel and a timer.
async fn program() {
    let lock = std::sync::Arc::new(Mutex::new(0));
    let (sender, mut receiver) = mpsc::channel(2);
    tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    for number in 0_u64.. {
        let (lock, sender) = (lock.clone(), sender.clone());
        tokio::task::Builder::new()
            .name(&format!("job {number}"))
            .spawn(async move {
                let mut held = lock.lock().await;
                *held += 1;
                tokio::time::sleep(Duration::from_millis(30)).await;
                let _ = sender.send(*held).await;
            })
            .expect("a task");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn take(address: SocketAddr) -> Result<Vec<Vec<u8>>> {
    let mut tries = 0;
    let mut client = loop {
        match InstrumentClient::connect(format!("http://{address}")).await {
            Ok(client) => break client,
            Err(error) if tries > 200 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut updates = client
        .watch_updates(InstrumentRequest {})
        .await?
        .into_inner();
    let (mut seeds, mut all) = (Vec::new(), Vec::new());
    for _ in 0..UPDATES {
        let update = updates.message().await?.context("an update")?;
        let mut one = Vec::new();
        part(&mut one, &update.encode_to_vec());
        all.extend(&one);
        seeds.push(one);
    }
    seeds.push(all);
    Ok(seeds)
}
