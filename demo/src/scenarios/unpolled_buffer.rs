//! A stream of buffered futures, which nobody polls while its consumer works.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use futures::{StreamExt, stream};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "unpolled-buffer",
    caption: "buffered futures hold connections, and nobody polls them while their consumer wants one",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/export/consuming",
    fixed: "/export/within",
    expected: &[Expected {
        rule: "futurelock",
        causes: &[],
        function: "unpolled_buffer::save",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("unpolled_buffer.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/export/consuming",
                get(|State(pool)| task("GET /export", consuming(pool))),
            )
            .route(
                "/export/within",
                get(|State(pool)| task("GET /export", within(pool))),
            )
            .with_state(Pool::new(Semaphore::new(CONNECTIONS))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 3,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

const CONNECTIONS: usize = 2;
const ROWS: u32 = 12;

/// A permit is a connection.
type Pool = Arc<Semaphore>;

// [work]
async fn fetch(pool: &Semaphore, row: u32) -> u32 {
    let connection = pool.acquire().await;
    sleep(Duration::from_millis(5)).await;
    drop(connection);
    row
}

async fn save(pool: &Semaphore, row: u32) -> u32 {
    let connection = pool.acquire().await; // <- culprit
    sleep(Duration::from_millis(1)).await;
    drop(connection);
    row
}
// [/work]

// [broken]
async fn consuming(pool: Pool) -> String {
    let rows = stream::iter(0..ROWS).map(|row| fetch(&pool, row));
    let mut rows = pin!(rows.buffered(4));
    let mut saved = 0;
    while let Some(row) = rows.next().await {
        // Meanwhile nobody polls the fetches that have a connection, or are next.
        saved += save(&pool, row).await;
    }
    format!("{saved}\n")
}
// [/broken]

// [fixed]
async fn within(pool: Pool) -> String {
    let fetch_and_save = async |row| save(&pool, fetch(&pool, row).await).await;
    let rows = stream::iter(0..ROWS).map(fetch_and_save);
    let mut saved = pin!(rows.buffer_unordered(4));
    let mut sum = 0;
    while let Some(row) = saved.next().await {
        sum += row;
    }
    format!("{sum}\n")
}
// [/fixed]
