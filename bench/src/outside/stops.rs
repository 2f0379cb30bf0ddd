//! What stands still while it is looked at: nothing that waits, and what computes only
//! where the kernel's sampler is not permitted.

use anyhow::Context;
use looptop_outside::WatchOptions;

use super::{
    Limit, Outside, PATIENCE,
    look::{self, Watched},
};

/// As if `perf_event_open` were refused.
const NO_SAMPLER: WatchOptions = WatchOptions {
    threshold: std::time::Duration::from_millis(10),
    interval: std::time::Duration::from_millis(10),
    may_sample: false,
    may_stop: true,
    use_symbols: true,
};

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    blocked(outside)?;
    stopped(outside)?;
    sampled(outside)
}

fn hold(
    outside: &Outside,
    how: &str,
    workers: u64,
    options: WatchOptions,
) -> anyhow::Result<Watched> {
    let target = outside
        .target("hold")
        .option("how", how)
        .option("workers", workers)
        .start()?;
    target.wait_for("ready", PATIENCE)?;
    let watched = look::watch(target.pid(), options, outside.plan.held)?;
    // It ends with an error where one of its calls was disturbed.
    target.finish(PATIENCE).context("what was watched")?;
    Ok(watched)
}

fn blocked(outside: &mut Outside) -> anyhow::Result<()> {
    let watched = hold(outside, "block", 4, NO_SAMPLER)?;
    let costs = &watched.costs;
    outside.noted(
        "stops of threads that are blocked, without the kernel's sampler",
        "",
        Limit::Most(0.0),
        vec![costs.stopped as f64],
        format!("{} stalls seen, {} stacks read", watched.stalls, costs.read),
    );
    Ok(())
}

fn stopped(outside: &mut Outside) -> anyhow::Result<()> {
    let watched = hold(outside, "compute", 2, NO_SAMPLER)?;
    let costs = &watched.costs;
    let held = costs.held_p50.map(|held| held.as_secs_f64() * 1e6);
    let longest = costs.held_max.unwrap_or_default();
    outside.noted(
        "a thread that computes is held by ptrace: p50",
        "µs",
        Limit::Most(30.0),
        held.into_iter().collect(),
        format!(
            "{} stops, {} of them in a call, the longest {longest:.0?}; {} stalls seen",
            costs.stopped, costs.stopped_in_call, watched.stalls
        ),
    );
    Ok(())
}

fn sampled(outside: &mut Outside) -> anyhow::Result<()> {
    let watched = hold(outside, "compute", 2, WatchOptions::default())?;
    let costs = &watched.costs;
    let what = "stops of threads that compute, with the kernel's sampler";
    let (values, note) = match &costs.no_sampler {
        Some(why) => (Vec::new(), format!("not permitted here: {why}")),
        None => (
            vec![costs.stopped as f64],
            format!("{} samples; {} stalls seen", costs.sampled, watched.stalls),
        ),
    };
    outside.noted(what, "", Limit::Most(0.0), values, note);
    Ok(())
}
