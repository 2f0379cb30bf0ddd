//! A future that says "not yet" and forgets whom to wake.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use futures::task::AtomicWaker;

use crate::{
    fixtures::SlowDevice,
    load::{Shape, Stream},
    observed::spawn,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "lost-waker",
    caption: "a future that returns Pending and forgets the waker: its task never runs again",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/door/forgetful",
    fixed: "/door/attentive",
    expected: &[Expected {
        rule: "lost-waker",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::WAKES,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("lost_waker.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/door/forgetful",
                get(|State(device)| task("GET /door/forgetful", forgetful(device))), // <- spawned here
            )
            .route(
                "/door/attentive",
                get(|State(device)| task("GET /door/attentive", attentive(device))),
            )
            .with_state(fixtures.device.clone()))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 4,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

/// Opens after 100 ms.
#[derive(Default)]
struct Door {
    open: AtomicBool,
    waker: AtomicWaker,
}

fn door(device: SlowDevice) -> Arc<Door> {
    let door = Arc::new(Door::default());
    let opens = Arc::clone(&door);
    spawn("janitor", async move {
        let _ = device.slow_answer().await;
        opens.open.store(true, Ordering::Release);
        opens.waker.wake();
    });
    door
}

async fn forgetful(device: SlowDevice) -> &'static str {
    Forgetful(door(device)).await;
    "open\n"
}

async fn attentive(device: SlowDevice) -> &'static str {
    Attentive(door(device)).await;
    "open\n"
}

struct Forgetful(Arc<Door>);
struct Attentive(Arc<Door>);

// [broken]
impl Future for Forgetful {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending // <- culprit
    }
}
// [/broken]

// [fixed]
impl Future for Attentive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
// [/fixed]
