//! The search of a large heap for tasks to which nothing else leads.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::ensure;
use looptop_outside::tasks::FoundBy;

use super::{Limit, Outside, PATIENCE, look::Lists};

const TASKS: u64 = 500;
/// Between two listings while nothing is new.
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    let megabytes = outside.plan.heap_megabytes;
    let target = outside
        .target("heap")
        .option("megabytes", megabytes)
        .option("tasks", TASKS)
        .start()?;
    let alive: u64 = target.wait_for("alive", PATIENCE)?.parse()?;
    let (mut times, mut used, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut last = None;
    for _ in 0..outside.plan.heap_searches {
        let mut lists = Lists::of(target.pid())?;
        let mut cpu = Duration::ZERO;
        while !lists.tasks.listing().scan.complete {
            cpu += lists.read()?;
        }
        let listing = lists.tasks.listing();
        let found = &listing.runtimes;
        ensure!(
            found.len() == 1 && found[0].found_by == FoundBy::Scan && found[0].listed == alive,
            "the search did not find the {alive} tasks: {found:?}"
        );
        bytes = listing.scan.bytes;
        times.push(listing.scan.time.as_secs_f64());
        used.push(cpu.as_secs_f64());
        last = Some(lists);
    }
    let what = format!("a heap of {:.2} GB is searched in", bytes as f64 / 1e9);
    outside.row(what, "s", Limit::Most(1.5), times);
    outside.row("CPU for it", "s", Limit::Free, used);
    if let Some(lists) = last {
        at_rest(outside, lists)?;
    }
    Ok(())
}

/// Nothing new is there.
fn at_rest(outside: &mut Outside, mut lists: Lists) -> anyhow::Result<()> {
    let first = lists.tasks.listing().scan;
    let (began, mut searches, mut newest, mut used) = (Instant::now(), 0, first, Vec::new());
    while began.elapsed() < outside.plan.heap_rest {
        sleep(EVERY);
        used.push(lists.read()?.as_secs_f64() * 1e3);
        let scan = lists.tasks.listing().scan;
        // A new one begins at nothing.
        searches += u32::from(scan.bytes < newest.bytes);
        newest = scan;
    }
    outside.noted(
        format!(
            "searches in the {:.0} s after it",
            began.elapsed().as_secs_f64()
        ),
        "",
        Limit::Most(0.0),
        vec![f64::from(searches)],
        "nothing new was there",
    );
    outside.row("a list meanwhile", "ms of CPU", Limit::Free, used);
    Ok(())
}
