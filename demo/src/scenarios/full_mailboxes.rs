//! Two actors with bounded mailboxes that send to each other.

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "full-mailboxes",
    caption: "two actors send into each other's full mailboxes: both wait for room, none receives",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/market/sending-back",
    fixed: "/market/answering",
    expected: &[Expected {
        rule: "deadlock",
        causes: &[],
        function: "full_mailboxes::",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("full_mailboxes.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/market/sending-back",
                get(|| task("GET /market", sending_back())),
            )
            .route(
                "/market/answering",
                get(|| task("GET /market", answering())),
            ))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 2,
                pause: Duration::from_millis(50),
            },
        }]
    },
    backdrop: None,
};

/// Messages that a mailbox holds.
const PLACES: usize = 4;

// [broken]
async fn sending_back() -> &'static str {
    let (to_orders, for_orders) = mpsc::channel(PLACES);
    let (to_stock, for_stock) = mpsc::channel(PLACES);
    let _ = to_orders.send(1).await;
    let stock = AbortOnDropHandle::new(spawn("stock", stock(for_stock, to_orders)));
    let orders = AbortOnDropHandle::new(spawn("orders", orders(for_orders, to_stock)));
    let _ = tokio::join!(orders, stock);
    "closed\n"
}

async fn orders(mut inbox: mpsc::Receiver<u32>, to_stock: mpsc::Sender<u32>) {
    while let Some(item) = inbox.recv().await {
        for part in [item, item + 1] {
            let _ = to_stock.send(part).await; // <- culprit
        }
    }
}

async fn stock(mut inbox: mpsc::Receiver<u32>, to_orders: mpsc::Sender<u32>) {
    while let Some(part) = inbox.recv().await {
        let _ = to_orders.send(part).await;
    }
}
// [/broken]

// [fixed]
async fn answering() -> &'static str {
    let (to_stock, for_stock) = mpsc::channel(PLACES);
    let stock = AbortOnDropHandle::new(spawn("stock", answering_stock(for_stock)));
    for part in 0..10 {
        let (reply, answer) = oneshot::channel();
        let _ = to_stock.send((part, reply)).await;
        let _ = answer.await;
    }
    drop(to_stock);
    let _ = stock.await;
    "closed\n"
}

async fn answering_stock(mut inbox: mpsc::Receiver<(u32, oneshot::Sender<u32>)>) {
    while let Some((part, reply)) = inbox.recv().await {
        sleep(Duration::from_millis(2)).await;
        let _ = reply.send(part);
    }
}
// [/fixed]
