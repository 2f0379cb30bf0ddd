//! Heavy CPU work on the worker instead of in a pool of its own.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::{Router, extract::State, routing::get};
use flate2::{Compression, write::DeflateEncoder};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "heavy-cpu",
    caption: "compressing an archive inline: 200 ms a request belong into a bounded CPU pool",
    notes: "case C: CPU work of 100 ms and more goes to a process or thread pool of its own",
    watch: "canary p99",
    readings: &[],
    broken: "/archive/inline",
    fixed: "/archive/pooled",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Computing],
        function: "heavy_cpu::compress_archive",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("heavy_cpu.rs"),
    routes: |_| {
        let lines = calibrate::sized(COST, archive, |archive| compress_archive(archive));
        let archiver = Archiver {
            archive: archive(lines).into(),
            pool: pool()?,
        };
        Ok(Router::new()
            .route(
                "/archive/inline",
                get(|State(archiver)| task("GET /archive/inline", inline(archiver))), // <- spawned here
            )
            .route(
                "/archive/pooled",
                get(|State(archiver)| task("GET /archive/pooled", pooled(archiver))),
            )
            .with_state(archiver))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 3,
                pause: Duration::from_millis(150),
            },
        }]
    },
    backdrop: None,
};

/// CPU time for an archive.
const COST: Duration = Duration::from_millis(200);

#[derive(Clone)]
struct Archiver {
    archive: Arc<[u8]>,
    pool: Arc<ThreadPool>,
}

/// As many threads as the machine can spare: one CPU stays with the workers.
fn pool() -> anyhow::Result<Arc<ThreadPool>> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    ThreadPoolBuilder::new()
        .num_threads(cpus.saturating_sub(1).clamp(1, 4))
        .thread_name(|index| format!("lab-cpu-{index}"))
        .build()
        .map(Arc::new)
        .context("could not start the pool for CPU work")
}

fn archive(lines: usize) -> Vec<u8> {
    let line = |line: usize| format!("{line:x} was delivered, {} was not\n", line * 31);
    (0..lines).map(line).collect::<String>().into_bytes()
}

// [broken]
async fn inline(archiver: Archiver) -> String {
    let packed = compress_archive(&archiver.archive); // <- culprit
    format!("{packed:?}\n")
}
// [/broken]

// [fixed]
async fn pooled(archiver: Archiver) -> String {
    let (done, packed) = oneshot::channel();
    let archive = archiver.archive;
    archiver.pool.spawn(move || {
        let _ = done.send(compress_archive(&archive));
    });
    format!("{:?}\n", packed.await)
}
// [/fixed]

// [work]
#[inline(never)]
fn compress_archive(archive: &[u8]) -> io::Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(archive)?;
    Ok(encoder.finish()?.len())
}
// [/work]
