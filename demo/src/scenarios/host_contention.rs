//! Other processes take the CPUs. The service is innocent, and must be found so.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, routing::get};

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "host-contention",
    caption: "other processes take the CPUs: the loop is late, and it is not your code",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/quote/contended",
    fixed: "/quote/alone",
    expected: &[Expected {
        rule: "host-starved",
        causes: &[Cause::StarvedByHost],
        function: "",
        at: At::Nowhere,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("host_contention.rs"),
    routes: |_| {
        let items = calibrate::sized(POLL, basket, price);
        Ok(Router::new()
            .route(
                "/quote/contended",
                get(|State(basket)| task("GET /quote/contended", quote(basket))), // <- spawned here
            )
            .route(
                "/quote/alone",
                get(|State(basket)| task("GET /quote/alone", quote(basket))),
            )
            .with_state(Arc::new(basket(items))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Open {
                clients: 20,
                per_second: 60.0,
            },
        }]
    },
    backdrop: Some(|path| match path {
        "/quote/contended" => Neighbours::start().map(Some),
        _ => Ok(None),
    }),
};

/// CPU time of a request: well under any threshold, as long as there is a CPU.
const POLL: Duration = Duration::from_millis(4);

type Basket = Arc<Vec<String>>;

fn basket(items: usize) -> Vec<String> {
    (0..items).map(|item| format!("item {item}")).collect()
}

fn price(basket: &Vec<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    basket.hash(&mut hasher);
    hasher.finish()
}

// [fixed]
async fn quote(basket: Basket) -> String {
    format!("{:x}\n", price(&basket)) // 4 ms, in both twins
}
// [/fixed]

// [broken]
/// Spins until the lab is gone, even if the lab is killed.
const SPIN: &str = "while kill -0 $0; do n=0; while [ $n -lt 9999 ]; do n=$((n+1)); done; done";

fn neighbour() -> io::Result<Child> {
    let lab = std::process::id().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", SPIN, &lab]).stderr(Stdio::null()).spawn() // <- culprit
}
// [/broken]

/// Processes for each CPU that do nothing but compute.
const CROWD: usize = 8;

/// The other processes; they end when this is dropped.
pub(crate) struct Neighbours(Vec<Child>);

impl Neighbours {
    fn start() -> io::Result<Self> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let mut neighbours = Neighbours(Vec::new());
        for _ in 0..cpus * CROWD {
            neighbours.0.push(neighbour()?);
        }
        Ok(neighbours)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}
