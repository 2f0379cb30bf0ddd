//! A database query on the worker. The query computes, so that is the cause: a
//! query that waits for its disk or a lock would show as a system call.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::{Router, extract::State, routing::get};
use rusqlite::Connection;
use tokio::task::spawn_blocking;

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "blocking-db",
    caption: "an embedded database computes on your worker: a report of 60 ms is a stall of 60 ms",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/sales/inline",
    fixed: "/sales/offloaded",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Computing],
        function: "blocking_db::sum_sales",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("blocking_db.rs"),
    routes: |fixtures| {
        let pool = Pool::open(&fixtures.scratch().join("sales.db"))
            .context("could not make the database of the lab")?;
        Ok(Router::new()
            .route(
                "/sales/inline",
                get(|State(pool)| task("GET /sales/inline", inline(pool))), // <- spawned here
            )
            .route(
                "/sales/offloaded",
                get(|State(pool)| task("GET /sales/offloaded", offloaded(pool))),
            )
            .with_state(pool))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 3,
                pause: Duration::from_millis(100),
            },
        }]
    },
    backdrop: None,
};

/// CPU time of a query.
const COST: Duration = Duration::from_millis(60);

/// Rows of the table; a query goes over them as often as its time allows.
const ROWS: u32 = 2_000;

/// Connections to one file; as many as are in use at the same time.
#[derive(Clone)]
struct Pool {
    path: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
    months: usize,
}

impl Pool {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(&format!(
            "CREATE TABLE sales (month INTEGER, cents INTEGER);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {ROWS})
             INSERT INTO sales SELECT i % 12, i * 37 % 1000 FROM n;"
        ))?;
        let mut pool = Pool {
            path: path.into(),
            idle: Arc::new(Mutex::new(vec![connection])),
            months: 1,
        };
        let months = |months| Pool {
            months,
            ..pool.clone()
        };
        pool.months = calibrate::sized(COST, months, sum_sales);
        Ok(pool)
    }

    fn with<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let connection = match taken {
            Some(connection) => connection,
            None => Connection::open(&self.path)?,
        };
        let result = query(&connection);
        idle().push(connection);
        result
    }
}

// [broken]
async fn inline(pool: Pool) -> String {
    format!("{:?}\n", sum_sales(&pool)) // <- culprit
}
// [/broken]

// [fixed]
async fn offloaded(pool: Pool) -> String {
    let sum = spawn_blocking(move || sum_sales(&pool)).await;
    format!("{sum:?}\n")
}
// [/fixed]

// [work]
#[inline(never)]
fn sum_sales(pool: &Pool) -> rusqlite::Result<i64> {
    const SUM: &str = "SELECT sum(cents) FROM sales WHERE month = ?1";
    pool.with(|connection| {
        let mut statement = connection.prepare_cached(SUM)?;
        let mut sum = 0;
        for month in 0..pool.months {
            sum += statement.query_row([month as i64 % 12], |row| row.get::<_, i64>(0))?;
        }
        Ok(sum)
    })
}
// [/work]
