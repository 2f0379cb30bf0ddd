//! Memory that only grows.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        words::{bytes, human},
    },
    model::{Model, Moment},
};

use super::{Context, Rule, memory::Footprint, trend};

pub(super) const RULE: Rule = Rule {
    id: "memory-growth",
    summary: "memory grows steadily, while tasks do not",
    meaning: "Something is added to without an end and without a task for it: an unbounded channel \
              whose consumer is slower, a map that is never cleaned, results that nobody takes.",
    threshold: "memory that is backed by no file has grown for a minute, in each third of it, by \
                8 MiB and by a twentieth at least, as fast in the end as in the beginning, while \
                live tasks grew by less than a fifth; not within the first minute of the process. \
                Or since its start, five minutes ago or more, at the rate at which it has grown for \
                the last 8 s. A warning if it doubles within an hour at that rate, else a notice",
    evidence: "private resident memory of the process (all resident memory where that is not known), \
               live tasks",
    remedy: "bound channels and caches; report their lengths with looptop_agent::gauge to see which",
    needs: &[],
    rank: 35,
    over_window: false,
    scans_tasks: false,
    explained_by: &[
        "task-flood",
        "blocking-pool-full",
        "task-leak",
        "growing-queue",
        "unreaped-tasks",
    ],
    explained_here: &[],
    not_judged,
    check,
};

const FOR: Duration = Duration::from_mins(1);
/// What a process allocates in the beginning is its warm-up.
const WARM_UP: Duration = Duration::from_mins(1);
/// With so much of a past, a short look at the present is enough.
const LIFE: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_secs(8);
const LEAST: u64 = 8 << 20;
const SHARE: f64 = 0.05;
const MORE_TASKS: f64 = 1.2;

/// Memory that the process holds: what is backed by no file, where that is known.
pub(super) fn held(model: &Model) -> Option<u64> {
    let process = model.process.as_ref()?;
    let resident = (process.resident > 0).then_some(process.resident);
    process.heap.or(resident)
}

/// What it held when the agent started, counted in the same way.
fn held_at_start(model: &Model) -> Option<u64> {
    let process = model.process.as_ref()?;
    match process.heap {
        Some(_) => process.started_heap,
        None => process.started_resident,
    }
}

fn not_judged(context: &Context<'_>) -> Option<String> {
    held(context.model)?;
    let now = context.now();
    let old = now.since(Moment(0)) >= LIFE && held_at_start(context.model).is_some();
    let (needed, window) = (if old { LOOK } else { FOR }, context.window());
    (window < needed).then(|| {
        format!(
            "it needs {:.0} s, and {:.1} s were observed",
            needed.as_secs_f64(),
            window.as_secs_f64()
        )
    })
}

/// Growth in bytes, over a time.
struct Growth {
    bytes: f64,
    time: Duration,
}

impl Growth {
    fn per_second(&self) -> f64 {
        self.bytes / self.time.as_secs_f64().max(1e-3)
    }
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let growth = over_window(context).or_else(|| over_life(context));
    growth
        .and_then(|growth| finding(context.model, &growth))
        .into_iter()
        .collect()
}

/// Steady growth over `time` up to now, no slower in the end.
fn steady(context: &Context<'_>, time: Duration) -> Option<f64> {
    let now = context.now();
    let from = now.minus(time);
    let steps: Vec<(Moment, f64)> = context
        .memory
        .footprint
        .iter()
        .map(|step| (step.at, step.bytes as f64))
        .collect();
    let growth = trend::growth(&steps.iter(), from, now)?;
    let at = |moment: Moment| {
        let before = steps.iter().rev().find(|(at, _)| *at <= moment);
        before.map(|(_, bytes)| *bytes)
    };
    let third = time / 3;
    let first = at(from.plus(third))? - at(from)?;
    let last = at(now)? - at(now.minus(third))?;
    (last * 2.0 >= first).then_some(growth)
}

fn over_window(context: &Context<'_>) -> Option<Growth> {
    let model = context.model;
    let warm = model.session.uptime(model.now) >= FOR + WARM_UP;
    let grown = steady(context, FOR).filter(|_| warm)?;
    let from = model.now.minus(FOR);
    let steps = &context.memory.footprint;
    let before: &Footprint = steps.iter().rev().find(|step| step.at <= from)?;
    let tasks = model.tasks.live_count() as f64 > before.live_tasks as f64 * MORE_TASKS;
    let enough = grown >= LEAST as f64 && grown >= before.bytes as f64 * SHARE;
    (enough && !tasks).then_some(Growth {
        bytes: grown,
        time: FOR,
    })
}

/// The agent's clock starts with it.
fn over_life(context: &Context<'_>) -> Option<Growth> {
    let model = context.model;
    let time = model.now.since(Moment(0));
    let (start, now) = (held_at_start(model)?, held(model)?);
    let growth = Growth {
        bytes: now.saturating_sub(start) as f64,
        time,
    };
    let recent = Growth {
        bytes: steady(context, LOOK)?,
        time: LOOK,
    };
    let as_ever = recent.per_second() * 2.0 >= growth.per_second()
        && recent.per_second() <= growth.per_second() * 2.0;
    let enough = growth.bytes >= LEAST as f64 && now > start.saturating_mul(2);
    (time >= LIFE && as_ever && enough).then_some(growth)
}

fn finding(model: &Model, growth: &Growth) -> Option<Finding> {
    let now = held(model)?;
    let hour = growth.per_second() * 3_600.0;
    let severity = if hour >= now as f64 {
        Severity::Warning
    } else {
        Severity::Notice
    };
    let mut finding = Finding::new(RULE.id, severity, Subject::Process, model.now);
    finding.total = growth.time;
    finding.first_seen = model.now.minus(growth.time);
    finding.title = format!(
        "memory only grows: {} now, {} more in {}, while tasks do not",
        bytes(now as f64),
        bytes(growth.bytes),
        human(growth.time)
    );
    finding.remedy = "bound channels and caches, take the results of tasks; report lengths with \
         looptop_agent::gauge to see which"
        .to_owned();
    Some(finding)
}
