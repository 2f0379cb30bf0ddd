//! An HTTP service at its limit, looked at by looptop and not, in turns.

use super::{Limit, Outside, PATIENCE, looptop};
use crate::{
    child::{Program, Results, Running},
    machine,
};

/// The service has CPU 0, which is its limit; load and viewer have CPU 1.
const TARGET_CPU: usize = 0;
const OTHERS_CPU: usize = 1;
/// Before each run.
const WARM_UP_MILLIS: u64 = 200;

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    let several = machine::cpus() > 1;
    let mut service = outside.target("http").option("workers", 1);
    if several {
        service = service.option("cpu", TARGET_CPU);
    }
    let service = service.start()?;
    let port = service.wait_for("port", PATIENCE)?;
    let (mut requests, mut cpu, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..outside.plan.http_rounds {
        // A B, B A, ...: what becomes slower or faster does so for both.
        let mut runs = [None, None];
        for watched in [round % 2 == 1, round % 2 == 0] {
            let viewer = watched
                .then(|| looptop::record(&outside.looptop, service.pid(), &outside.scratch))
                .transpose()?;
            if let (Some(viewer), true) = (&viewer, several) {
                looptop::pin(viewer.pid(), OTHERS_CPU)?;
            }
            runs[usize::from(watched)] = Some(load(outside, &service, &port, several)?);
        }
        let [Some(alone), Some(watched)] = runs else {
            continue;
        };
        let ratio = |name| anyhow::Ok(watched.get(name)? / alone.get(name)?);
        requests.push(ratio("requests_per_s")?);
        cpu.push(ratio("cpu_us_per_request")?);
        plain.push(alone.get("requests_per_s")?);
    }
    outside.row(
        "an HTTP service at its limit, unwatched",
        "requests/s",
        Limit::Free,
        plain,
    );
    outside.row(
        "the same beside `looptop record`: requests/s, ratio",
        "",
        Limit::Least(0.99),
        requests,
    );
    outside.row("its CPU for each request, ratio", "", Limit::Free, cpu);
    Ok(())
}

fn load(outside: &Outside, service: &Running, port: &str, pinned: bool) -> anyhow::Result<Results> {
    let mut program = Program::ourselves()?
        .argument("load")
        .option("address", format!("127.0.0.1:{port}"))
        .option("pid", service.pid())
        .option("connections", outside.plan.connections)
        .option("warmup-ms", WARM_UP_MILLIS)
        .option("millis", outside.plan.http_millis);
    if pinned {
        program = program.option("cpu", OTHERS_CPU);
    }
    program.results()
}
