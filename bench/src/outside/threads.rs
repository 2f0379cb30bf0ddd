//! Looking at the threads of a service 100 times a second, idle and under load.

use std::{thread::sleep, time::Duration};

use looptop_outside::WatchOptions;

use super::{Limit, Outside, PATIENCE, listing::used_by, look, looptop};
use crate::child::{Program, Running};

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    let [few, many] = outside.plan.workers;
    for (workers, budget) in [(few, Limit::Most(3.0)), (many, Limit::Most(6.0))] {
        let service = outside.target("http").option("workers", workers).start()?;
        let port = service.wait_for("port", PATIENCE)?;
        one(outside, &service, "idle", budget)?;
        let load = load(outside, &service, &port)?;
        // It has connected.
        sleep(Duration::from_millis(300));
        one(outside, &service, "under load", budget)?;
        drop(load);
    }
    Ok(())
}

fn one(outside: &mut Outside, service: &Running, how: &str, budget: Limit) -> anyhow::Result<()> {
    let watched = look::watch(service.pid(), WatchOptions::default(), outside.plan.watched)?;
    let costs = &watched.costs;
    outside.noted(
        format!("{} threads, {how}: looks at them", watched.threads),
        "% of a core",
        budget,
        vec![watched.cpu],
        format!(
            "{:.0} looks/s; in all {} stacks read, {} sampled, {} stops",
            watched.looks_per_s, costs.read, costs.sampled, costs.stopped
        ),
    );
    let viewer = looptop::record(&outside.looptop, service.pid(), &outside.scratch)?;
    sleep(Duration::from_secs(2).min(outside.plan.watched));
    let used = used_by(viewer.pid(), outside.plan.watched)?;
    outside.row(
        format!(
            "{} threads, {how}: all of `looptop record`",
            watched.threads
        ),
        "% of a core",
        Limit::Free,
        vec![used],
    );
    Ok(())
}

/// Requests for as long as the handle lives.
fn load(outside: &Outside, service: &Running, port: &str) -> anyhow::Result<Running> {
    Program::ourselves()?
        .argument("load")
        .option("address", format!("127.0.0.1:{port}"))
        .option("pid", service.pid())
        .option("connections", outside.plan.connections)
        .option("warmup-ms", 0)
        .option("millis", 600_000)
        .start()
}
