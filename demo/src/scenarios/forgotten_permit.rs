//! Permits that an error path forgets, until there are none.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use tokio::sync::{AcquireError, Semaphore};

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    phase::Phase,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "forgotten-permit",
    caption: "an error path forgets its permit: soon everybody waits, and nobody holds one",
    notes: "",
    watch: "live tasks",
    readings: &[],
    broken: "/payment/forgetting",
    fixed: "/payment/returning",
    expected: &[Expected {
        rule: "lock-convoy",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::FoundAt(At::Code),
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("forgotten_permit.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/payment/forgetting",
                get(|State(till)| task("GET /payment/forgetting", forgetting(till))),
            )
            .route(
                "/payment/returning",
                get(|State(till)| task("GET /payment/returning", returning(till))),
            )
            .with_state(Till {
                phase: fixtures.phase.clone(),
                permits: Arc::new(Mutex::new((0, Arc::new(Semaphore::new(PERMITS))))),
                payments: Arc::default(),
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

/// Payments at a time.
const PERMITS: usize = 4;
/// Of so many payments one is declined.
const DECLINED: u32 = 3;

/// Limits the payments at a time. Each phase of the lab begins with all permits.
#[derive(Clone)]
struct Till {
    phase: Phase,
    permits: Arc<Mutex<(u64, Arc<Semaphore>)>>,
    payments: Arc<AtomicU32>,
}

impl Till {
    fn permits(&self) -> Arc<Semaphore> {
        let phase = self.phase.number();
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        if permits.0 != phase {
            *permits = (phase, Arc::new(Semaphore::new(PERMITS)));
        }
        Arc::clone(&permits.1)
    }

    async fn charge(&self) -> Result<(), Refused> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        // Relaxed: it is only a number.
        let number = self.payments.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(DECLINED) {
            return Err(Refused::Declined);
        }
        Ok(())
    }
}

/// Why there was no payment.
#[derive(Debug)]
enum Refused {
    Declined,
    Closed,
}

impl From<AcquireError> for Refused {
    fn from(_: AcquireError) -> Self {
        Refused::Closed
    }
}

// [broken]
async fn forgetting(till: Till) -> &'static str {
    let end = till.phase.end();
    let payment = end.run_until_cancelled_owned(pay_forgetting(till));
    spawn("payment", payment); // <- spawned here
    "accepted\n"
}

async fn pay_forgetting(till: Till) -> Result<(), Refused> {
    let permit = till.permits().acquire_owned().await?;
    if let Err(refused) = till.charge().await {
        // Meant for a refund, which does not give it back.
        permit.forget(); // <- culprit
        return Err(refused);
    }
    Ok(())
}
// [/broken]

// [fixed]
async fn returning(till: Till) -> &'static str {
    let end = till.phase.end();
    let payment = end.run_until_cancelled_owned(pay_returning(till));
    spawn("payment", payment);
    "accepted\n"
}

async fn pay_returning(till: Till) -> Result<(), Refused> {
    // Dropped on every path, and given back then.
    let _permit = till.permits().acquire_owned().await?;
    till.charge().await?;
    Ok(())
}
// [/fixed]
