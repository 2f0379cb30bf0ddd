//! The library, looking at a process.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use looptop_outside::{
    Costs, Life, Subject, Watch, WatchOptions,
    tasks::{Tasks, Types},
};
use looptop_procfs::Procfs;

use crate::cpu;

/// Lists the tasks of a process.
pub(super) struct Lists {
    pub(super) subject: Subject,
    pub(super) tasks: Tasks,
}

impl Lists {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let subject = Subject::find(&Procfs::default(), pid)?;
        let types = Types::load(&subject).map_err(|why| anyhow!("no task types: {why}"))?;
        let tasks = Tasks::new(&subject, Arc::new(types));
        Ok(Self { subject, tasks })
    }

    /// Lists them once. What it took of the CPU, with the look at the threads' stacks
    /// that it needs.
    pub(super) fn read(&mut self) -> anyhow::Result<Duration> {
        let before = cpu::own()?;
        let process = self.subject.process();
        let blocked = |tid| Some((tid, process.thread(tid).syscall().blocked_at()?.0));
        let tids = process.tids().context("its threads cannot be listed")?;
        let stacks: Vec<(u64, u64)> = tids.filter_map(blocked).collect();
        self.tasks.read(&stacks);
        Ok(cpu::own()?.saturating_sub(before))
    }
}

/// What watching took and did.
pub(super) struct Watched {
    /// Percent of a core.
    pub(super) cpu: f64,
    pub(super) costs: Costs,
    pub(super) looks_per_s: f64,
    /// Stalls that were seen to their end.
    pub(super) stalls: u64,
    pub(super) threads: usize,
}

/// Watches the threads of a process, 100 times a second. The first second is no part of
/// it: each stack is new then.
pub(super) fn watch(pid: u32, options: WatchOptions, time: Duration) -> anyhow::Result<Watched> {
    let subject = Subject::find(&Procfs::default(), pid)?;
    let mut watch = Watch::new(&subject, options)?;
    let mut stalls = 0;
    look(&mut watch, time.min(Duration::from_secs(1)), &mut stalls)?;
    let (began, before) = (Instant::now(), cpu::own()?);
    let looks = look(&mut watch, time, &mut stalls)?;
    let used = cpu::own()?.saturating_sub(before);
    Ok(Watched {
        cpu: cpu::percent(used, began.elapsed()),
        costs: watch.costs(),
        looks_per_s: f64::from(looks) / began.elapsed().as_secs_f64(),
        stalls,
        threads: watch.threads().len(),
    })
}

/// The number of looks.
fn look(watch: &mut Watch, time: Duration, stalls: &mut u64) -> anyhow::Result<u32> {
    let (began, mut next, mut looks) = (Instant::now(), Instant::now(), 0);
    while began.elapsed() < time {
        let rest = watch.look(Instant::now(), &|_| None);
        let rest =
            rest.map_err(|changed| anyhow!("the program is no longer there: {changed:?}"))?;
        let ended = watch.take_stalls().into_iter();
        *stalls += ended.filter(|stall| stall.life == Life::Ended).count() as u64;
        looks += 1;
        // A look that came late is not made up for.
        next = (next + rest).max(Instant::now());
        sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(looks)
}
