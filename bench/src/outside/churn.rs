//! Lists of tasks that come and go all the time: each is right, or marked as torn.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use looptop_outside::{
    ProcessMemory,
    tasks::{Flavor, Listing},
};

use super::{Limit, Outside, PATIENCE, look::Lists};

const STAYING: u64 = 1_000;
/// Between two lists: more often than a viewer asks for them.
const EVERY: Duration = Duration::from_millis(20);

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    let rate = outside.plan.churn_rate;
    let target = outside
        .target("turnover")
        .option("rate", rate)
        .option("staying", STAYING)
        .start()?;
    let counters = target.wait_for("counters", PATIENCE)?;
    let mut lists = Lists::of(target.pid())?;
    let counters = Counters::parse(&counters, lists.subject.memory())?;
    let begin = Instant::now();
    let (mut looks, mut torn, mut wrong, mut first_wrong) = (0_u32, 0_u32, 0_u32, None);
    while begin.elapsed() < outside.plan.churn {
        let before = counters.read()?;
        lists.read()?;
        let after = counters.read()?;
        looks += 1;
        match judge(lists.tasks.listing(), &counters, before, after) {
            Judged::Right => {}
            Judged::Torn => torn += 1,
            Judged::Wrong(how) => {
                wrong += 1;
                first_wrong = first_wrong.or(Some(how));
            }
        }
        sleep(EVERY);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let results = target.finish(PATIENCE)?;
    let rate = results.get("spawned")? / seconds;
    let note = first_wrong.unwrap_or_else(|| format!("{torn} of {looks} lists are marked"));
    outside.noted(
        format!("lists with a wrong count and no mark, in {seconds:.0} s of {rate:.0} spawns/s"),
        "",
        Limit::Most(0.0),
        vec![f64::from(wrong)],
        note,
    );
    Ok(())
}

/// Where the program counts what it spawns, and what it has told of itself.
struct Counters {
    memory: ProcessMemory,
    addresses: [u64; 3],
    /// Tasks that were there before, and stay.
    stay: u64,
    /// The greatest of their ids.
    newest: u64,
    workers: u64,
}

/// They only grow.
#[derive(Clone, Copy)]
struct Counts {
    begun: u64,
    spawned: u64,
    ended: u64,
}

impl Counters {
    fn parse(line: &str, memory: ProcessMemory) -> anyhow::Result<Self> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let [begun, spawned, ended, stay, newest, workers] = numbers?[..] else {
            bail!("these are no counters: {line:?}");
        };
        Ok(Self {
            memory,
            addresses: [begun, spawned, ended],
            stay,
            newest,
            workers,
        })
    }

    fn read(&self) -> anyhow::Result<Counts> {
        let words = self.memory.gather::<8>(&self.addresses);
        let word = |at: usize| {
            let word = words.get(at).copied().flatten().map(u64::from_le_bytes);
            word.context("a counter cannot be read")
        };
        Ok(Counts {
            begun: word(0)?,
            spawned: word(1)?,
            ended: word(2)?,
        })
    }
}

enum Judged {
    Right,
    Torn,
    /// How so.
    Wrong(String),
}

/// Whether a list that was read between these counts is right.
fn judge(listing: &Listing, counters: &Counters, before: Counts, after: Counts) -> Judged {
    let lists = listing.runtimes.iter().enumerate();
    let mut lists = lists.filter(|(_, list)| list.flavor == Flavor::MultiThread);
    let Some((at, list)) = lists.next() else {
        return Judged::Wrong("the runtime is not listed".to_owned());
    };
    let least = counters.stay + before.spawned.saturating_sub(after.ended);
    let most = counters.stay + (after.begun - before.ended) + counters.workers;
    let possible = least..=most;
    // Its own count is shown, also where the list is torn.
    if !possible.contains(&list.alive()) {
        return Judged::Wrong(format!("{} are counted, not {possible:?}", list.alive()));
    }
    if list.torn {
        return Judged::Torn;
    }
    let tasks = listing.tasks.iter().filter(|task| task.runtime == Some(at));
    let staying = tasks.filter(|task| task.id <= counters.newest).count() as u64;
    if !possible.contains(&list.listed) {
        Judged::Wrong(format!("{} are listed, not {possible:?}", list.listed))
    } else if staying != counters.stay - 1 {
        // The one that spawns all others has a later id.
        Judged::Wrong(format!("{staying} of {} that stay", counters.stay - 1))
    } else {
        Judged::Right
    }
}
