//! Many tasks: how soon they are there, and what it takes to list them each second.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};

use super::{Limit, Outside, PATIENCE, look::Lists, looptop, screen::Screen};
use crate::{child::Running, cpu};

/// What the cost of a listing is a share of.
const EVERY: Duration = Duration::from_secs(1);
/// A row of the table of tasks has a state.
const A_ROW: &str = "○ idle";
/// How the names of futures begin.
const A_NAME: &str = "looptop_bench_program::";
/// Until a viewer does nothing but what it always does.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    let [few, many] = outside.plan.tasks;
    for (tasks, budget) in [(few, Limit::Most(1.0)), (many, Limit::Most(15.0))] {
        let target = outside.target("crowd").option("tasks", tasks).start()?;
        let alive = target.wait_for("alive", PATIENCE)?.parse()?;
        lists(outside, &target, tasks, alive, budget)?;
        recorded(outside, &target, tasks)?;
        let limit = if tasks == many {
            Limit::Most(1.0)
        } else {
            Limit::Free
        };
        shown(outside, &target, tasks, limit)?;
    }
    Ok(())
}

/// The library alone.
fn lists(
    outside: &mut Outside,
    target: &Running,
    tasks: u64,
    alive: u64,
    budget: Limit,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut lists = Lists::of(target.pid())?;
    lists.read()?;
    let first = begin.elapsed();
    let mut shares = Vec::new();
    // The first renewals search the heap.
    for renewal in 0..3 + outside.plan.renewals {
        sleep(outside.plan.renewed_every);
        let used = lists.read()?;
        let listing = lists.tasks.listing();
        let listed: u64 = listing.runtimes.iter().map(|list| list.listed).sum();
        ensure!(listed == alive, "{listed} of {alive} tasks are listed");
        if renewal >= 3 {
            shares.push(cpu::percent(used, EVERY));
        }
    }
    outside.row(
        format!("{tasks} tasks: the first list"),
        "ms",
        Limit::Free,
        vec![first.as_secs_f64() * 1e3],
    );
    outside.row(
        format!("{tasks} tasks: their list, renewed each second"),
        "% of a core",
        budget,
        shares,
    );
    Ok(())
}

/// All of the viewer but the screen.
fn recorded(outside: &mut Outside, target: &Running, tasks: u64) -> anyhow::Result<()> {
    let viewer = looptop::record(&outside.looptop, target.pid(), &outside.scratch)?;
    sleep(SETTLE.min(outside.plan.viewed * 2));
    let used = used_by(viewer.pid(), outside.plan.viewed)?;
    outside.row(
        format!("{tasks} tasks: `looptop record`, with looks at threads 100 times a second"),
        "% of a core",
        Limit::Free,
        vec![used],
    );
    Ok(())
}

/// The viewer as it is seen.
fn shown(outside: &mut Outside, target: &Running, tasks: u64, limit: Limit) -> anyhow::Result<()> {
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..outside.plan.first_rows {
        // The one before has ended.
        drop(last.take());
        let screen = Screen::start(&outside.looptop, target.pid(), "2")?;
        for (text, times) in [(A_ROW, &mut rows), (A_NAME, &mut names)] {
            let at = screen.wait_until(text, PATIENCE, |screen| screen.contains(text))?;
            times.push(at.duration_since(screen.started()).as_secs_f64());
        }
        last = Some(screen);
    }
    let screen = last.context("no screen was started")?;
    sleep(SETTLE.min(outside.plan.viewed * 2));
    let used = used_by(screen.pid()?, outside.plan.viewed)?;
    let memory = resident_megabytes(screen.pid()?)?;
    outside.row(
        format!("{tasks} tasks: first rows on the screen"),
        "s",
        limit,
        rows,
    );
    outside.row(
        format!("{tasks} tasks: their names"),
        "s",
        Limit::Free,
        names,
    );
    outside.noted(
        format!("{tasks} tasks: `looptop` with its screen"),
        "% of a core",
        Limit::Free,
        vec![used],
        format!("{memory:.0} MB"),
    );
    Ok(())
}

/// What a process takes of the CPU, in percent of a core.
pub(super) fn used_by(pid: u32, time: Duration) -> anyhow::Result<f64> {
    let (before, began) = (cpu::of_process(pid)?, Instant::now());
    sleep(time);
    let used = cpu::of_process(pid)?.saturating_sub(before);
    Ok(cpu::percent(used, began.elapsed()))
}

fn resident_megabytes(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kilobytes.context("no VmRSS")? / 1024.0)
}
