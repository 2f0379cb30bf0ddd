//! How soon a stall is on the screen, from its true begin.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};

use super::{Limit, Outside, PATIENCE, screen::Screen};

/// The threshold of a stall and the 100 ms that are allowed.
const BUDGET: Limit = Limit::Most(110.0);
/// Stalls of the time in which looptop attaches.
const FIRST: usize = 2;

pub(super) fn measure(outside: &mut Outside) -> anyhow::Result<()> {
    for (what, churn) in [
        ("a stall is on the screen after", 0),
        ("the same under 1,000 spawns/s", 1_000),
    ] {
        run(outside, what, churn)?;
    }
    Ok(())
}

fn run(outside: &mut Outside, what: &str, churn: u64) -> anyhow::Result<()> {
    let gap = Duration::from_millis(outside.plan.stall_gap_millis);
    let stalls = outside.plan.stalls;
    let target = outside
        .target("stall")
        .option("stalls", FIRST + stalls)
        .option("gap-ms", gap.as_millis())
        .option("churn", churn)
        .start()?;
    // The view of stalls.
    let screen = Screen::start(&outside.looptop, target.pid(), "4")?;
    screen.wait_until("the stalls", PATIENCE, |text| counted(text).is_some())?;
    for _ in 0..FIRST {
        target.wait_for("stall", PATIENCE + gap)?;
    }
    sleep(gap / 2);
    let followed = screen.follow(counted);
    let mut begun = Vec::new();
    for _ in 0..stalls {
        let begin = target.wait_for("stall", PATIENCE + gap)?;
        begun.push(instant(begin.parse()?)?);
    }
    sleep(gap);
    let shown = followed.finish()?;
    let (mut delays, mut live) = (Vec::new(), 0);
    for begin in begun {
        // What is shown before the next begins is this one.
        let one_more = shown.windows(2).find(|two| {
            let at = two[1].0;
            at >= begin && at < begin + gap && two[1].1.all() > two[0].1.all()
        });
        if let Some(&[_, (at, now)]) = one_more {
            live += usize::from(now.live > 0);
            delays.push(at.duration_since(begin).as_secs_f64() * 1e3);
        }
    }
    let seen = delays.len();
    let note = format!("{seen} of {stalls}, {live} while they went on");
    outside.noted(what, "ms", BUDGET, delays, note);
    Ok(())
}

/// `Stalls  1 live · 5 ended`
#[derive(Clone, Copy, PartialEq)]
struct Counted {
    live: u64,
    ended: u64,
}

impl Counted {
    fn all(self) -> u64 {
        self.live + self.ended
    }
}

fn counted(text: &str) -> Option<Counted> {
    text.lines().find_map(|line| {
        let (live, ended) = line.split_once(" live · ")?;
        let live = live.rsplit(' ').next()?.parse().ok()?;
        let ended = ended.split(' ').next()?.parse().ok()?;
        Some(Counted { live, ended })
    })
}

/// What the system's monotonic clock says, as an instant of this process.
fn instant(ns: u64) -> anyhow::Result<Instant> {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC)?.into();
    let ago = now.saturating_sub(Duration::from_nanos(ns));
    Instant::now()
        .checked_sub(ago)
        .context("before the machine started")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn the_title_counts_stalls() {
        let title = "─ Stalls  1 live · 25 ended ─────";
        let counted = counted(title).map(|counted| (counted.live, counted.ended));
        assert_eq!(counted, Some((1, 25)));
        assert!(super::counted("─ Tasks  21 live ───").is_none());
    }
}
