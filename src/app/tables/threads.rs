//! The table of threads.
//!
//! ```text
//! ─ Threads  7 · gauges queue 812 ──────────────────────────────────────────────
//! THREAD NAME            ROLE       STATE       CPU  SYS NO CPU CPU OVER TIME
//!   5003 tokio-rt-worker worker 3   ● running   99%   1%     0% ▁▁▁▁▆▇▇▇
//! ```

use std::fmt::Write as _;

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::Finding,
    model::{Model, Thread, ThreadRole, ThreadState, Tid},
};

use super::{Table, strip, workers};

/// Threads of the process.
#[derive(Debug)]
pub struct Threads;

impl Table for Threads {
    type Row = Thread;
    type Key = Tid;
    type Made = ();

    const COLUMNS: &'static [Column<Thread>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "cpu");

    fn title(state: &State) -> (&'static str, String) {
        let model = state.model();
        let mut about = model.threads.len().to_string();
        for (name, gauge) in model.gauges.iter().take(4) {
            let name = model.text(Some(*name));
            let _ = write!(about, " · {name} {}", quantity::short(gauge.value));
        }
        if let Some(outside) = &model.outside {
            let _ = write!(about, " · {}", quantity::outside(outside));
        }
        ("Threads", about)
    }

    fn empty(_: &State) -> String {
        "no thread seen yet".to_owned()
    }

    fn rows<'a>(model: &'a Model, (): &'a (), _: &Request) -> impl Iterator<Item = &'a Thread> {
        model.threads.values()
    }

    fn key(thread: &Thread) -> Tid {
        thread.tid
    }

    fn row<'a>(model: &'a Model, (): &'a (), tid: &Tid) -> Option<&'a Thread> {
        model.threads.get(tid)
    }

    fn finding<'a>(state: &'a State, tid: &Tid) -> Option<&'a Finding> {
        state.finding_of_stall(state.model().stalls.on_thread(*tid)?.id)
    }

    fn open(state: &mut State, tid: &Tid) {
        let model = state.model();
        let stall = model.stalls.on_thread(*tid);
        let waits = model.waits.thread(*tid).map(|_| Details::Thread(*tid));
        match stall.map(|stall| Details::Stall(stall.id)).or(waits) {
            Some(details) => state.show_details(details),
            None => state.notify("nothing holds this thread"),
        }
    }
}

/// What can be shown of a thread.
const COLUMNS: &[Column<Thread>] = &[
    Column {
        head: Head::number("tid", "THREAD", 7, 1, Unit::Count).help("the system's id of it"),
        key: |_, t| Key::count(Some(t.tid.0)),
        cell: |_, t, _| Cell::new(t.tid.to_string(), Tone::Dim),
    },
    Column {
        head: Head::text("name", "NAME", 15, 0)
            .growing(1, 24)
            .searched()
            .help("its name, cut to 15 characters by Linux"),
        key: |c, t| Key::text(c.model.text(t.name)),
        cell: |c, t, _| match c.model.text(t.name) {
            "" => Cell::unknown(),
            name => Cell::new(name.to_owned(), Tone::Strong),
        },
    },
    Column {
        head: Head::text("role", "ROLE", 10, 1)
            .growing(1, 14)
            .searched()
            .help("worker, blocking pool, block_on (polls its future), looptop's agent, stranger (runs a runtime that nobody registered), other"),
        key: |c, t| Key::text(role(c, t)),
        cell: |c, t, _| match role(c, t) {
            r if r.is_empty() => Cell::unknown(),
            r => Cell::new(
                r,
                if t.role == ThreadRole::Agent {
                    Tone::Dim
                } else {
                    Tone::Text
                },
            ),
        },
    },
    Column {
        head: Head::text("state", "STATE", 10, 0).help("running, sleeping, in disk wait, stopped"),
        key: |_, t| match t.state {
            ThreadState::Running => Key::Rank(0, "running"),
            ThreadState::Disk => Key::Rank(1, "disk wait"),
            ThreadState::Sleeping => Key::Rank(2, "sleeping"),
            ThreadState::Stopped => Key::Rank(3, "stopped"),
            ThreadState::Other => Key::Rank(4, "other"),
            ThreadState::Unknown => Key::Unknown,
        },
        cell: |_, t, _| {
            let (text, tone) = match t.state {
                ThreadState::Running => ("● running", Tone::Running),
                ThreadState::Disk => ("◆ disk", Tone::Warning),
                ThreadState::Sleeping => ("○ sleeping", Tone::Text),
                ThreadState::Stopped => ("■ stopped", Tone::Critical),
                ThreadState::Other => ("◌ other", Tone::Dim),
                ThreadState::Unknown => (quantity::UNKNOWN, Tone::Dim),
            };
            Cell::new(text, tone)
        },
    },
    Column {
        head: Head::number("cpu", "CPU", 4, 0, Unit::Share)
            .help("share of one CPU in the last second"),
        key: |_, t| Key::number(t.cpu_ratio()),
        cell: |_, t, _| Cell::known(t.cpu_ratio(), quantity::percent),
    },
    Column {
        head: Head::number("sys", "SYS", 4, 3, Unit::Share)
            .help("share of one CPU spent in the kernel"),
        key: |_, t| Key::number(t.system_ratio()),
        cell: |_, t, _| Cell::known(t.system_ratio(), quantity::percent),
    },
    Column {
        head: Head::number("runq", "NO CPU", 6, 2, Unit::Share)
            .help("share of the last second in which it could have run but had no CPU"),
        key: |_, t| Key::number(t.run_queue_ratio()),
        cell: |_, t, _| match t.run_queue_ratio() {
            Some(share) if share >= 0.1 => Cell::new(quantity::percent(share), Tone::Warning),
            share => Cell::known(share, quantity::percent),
        },
    },
    Column {
        head: Head::number("total", "CPU TIME", 8, 4, Unit::Time).help("CPU time so far"),
        key: |_, t| Key::time(Some(t.cpu())),
        cell: |_, t, _| Cell::known(Some(t.cpu()), quantity::duration),
    },
    Column {
        head: Head::number("vol", "GAVE UP", 7, 6, Unit::Count)
            .help("times that it gave up its CPU"),
        key: |_, t| Key::count(t.voluntary_switches),
        cell: |_, t, _| Cell::known(t.voluntary_switches, quantity::count),
    },
    Column {
        head: Head::number("invol", "LOST", 6, 7, Unit::Count)
            .help("times that its CPU was taken away"),
        key: |_, t| Key::count(t.involuntary_switches),
        cell: |_, t, _| Cell::known(t.involuntary_switches, quantity::count),
    },
    Column {
        head: Head::text("strip", "CPU OVER TIME", 13, 5)
            .growing(4, 120)
            .help("share of one CPU over the time span"),
        key: |_, t| Key::number(t.cpu_ratio()),
        cell: |c, t, width| strip::bars(&t.cpu_series.columns(c.now(), c.span, width), &[]),
    },
];

/// "worker 2" where it is known to be one, otherwise what it is for.
fn role(c: &Context<'_>, thread: &Thread) -> String {
    let worker = c.model.workers.values().find(|w| w.tid == Some(thread.tid));
    match worker {
        Some(worker) => format!("worker {}", workers::worker_name(c.model, worker.id)),
        None => role_word(thread.role).to_owned(),
    }
}

/// The word for what a thread is for; empty where it is not known.
pub fn role_word(role: ThreadRole) -> &'static str {
    match role {
        ThreadRole::Unknown => "",
        ThreadRole::Worker => "worker",
        ThreadRole::Blocking => "blocking",
        ThreadRole::Agent => "agent",
        ThreadRole::Other => "other",
        ThreadRole::Stranger => "stranger",
        ThreadRole::BlockOn => "block_on",
    }
}
