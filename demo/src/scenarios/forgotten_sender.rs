//! A oneshot whose sender was put into a map, where nobody looks for it any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    phase::Phase,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "forgotten-sender",
    caption: "the sender of an answer lies in a map that nobody reads: its receiver waits for ever",
    notes: "",
    watch: "live tasks",
    readings: &[],
    broken: "/orders/waiting",
    fixed: "/orders/limited",
    expected: &[Expected {
        rule: "stuck-task",
        causes: &[],
        function: "forgotten_sender::confirm",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("forgotten_sender.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/orders/waiting",
                get(|State(desk)| task("GET /orders/waiting", waiting(desk))),
            )
            .route(
                "/orders/limited",
                get(|State(desk)| task("GET /orders/limited", limited(desk))),
            )
            .with_state(Desk {
                phase: fixtures.phase.clone(),
                open: Arc::default(),
            }))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 2,
                every: Duration::from_millis(80),
            },
        }]
    },
    backdrop: None,
};

/// Orders that wait for their confirmation, and how many there were; of one phase.
#[derive(Default)]
struct Open {
    phase: u64,
    orders: u32,
    waiting: HashMap<u32, oneshot::Sender<u32>>,
}

#[derive(Clone)]
struct Desk {
    phase: Phase,
    open: Arc<Mutex<Open>>,
}

impl Desk {
    fn open(&self) -> MutexGuard<'_, Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = self.phase.number();
        if open.phase != phase {
            *open = Open {
                phase,
                ..Open::default()
            };
        }
        open
    }

    /// Puts the sender of an order's answer where the warehouse finds it.
    fn enter(&self) -> (u32, oneshot::Receiver<u32>) {
        let (reply, answer) = oneshot::channel();
        let mut open = self.open();
        open.orders += 1;
        let order = open.orders;
        open.waiting.insert(order, reply);
        (order, answer)
    }

    /// The warehouse answers by the number that is on the parcel.
    async fn pack(&self, order: u32) {
        sleep(Duration::from_millis(150)).await;
        // Three parcels get a label that is out of date.
        let is_mislabelled = order.is_multiple_of(5) && order <= 15;
        let label = if is_mislabelled {
            order + 1_000_000
        } else {
            order
        };
        if let Some(reply) = self.open().waiting.remove(&label) {
            let _ = reply.send(label);
        }
    }
}

// [broken]
async fn waiting(desk: Desk) -> &'static str {
    let end = desk.phase.end();
    spawn("order", end.run_until_cancelled_owned(confirm(desk)));
    "accepted\n"
}

async fn confirm(desk: Desk) -> Option<u32> {
    let (order, answer) = desk.enter();
    desk.pack(order).await;
    // Whose sender was not found is still in the map.
    answer.await.ok() // <- culprit
}
// [/broken]

// [fixed]
async fn limited(desk: Desk) -> &'static str {
    let end = desk.phase.end();
    spawn(
        "order",
        end.run_until_cancelled_owned(confirm_in_time(desk)),
    );
    "accepted\n"
}

async fn confirm_in_time(desk: Desk) -> Option<u32> {
    let (order, answer) = desk.enter();
    desk.pack(order).await;
    let answer = timeout(Duration::from_millis(500), answer).await;
    desk.open().waiting.remove(&order);
    answer.ok()?.ok()
}
// [/fixed]
