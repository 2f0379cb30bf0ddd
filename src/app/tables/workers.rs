//! The table of workers; below it, the newest stalls of the one under the cursor.
//!
//! ```text
//! ─ Workers  4 · 1 blocked ─────────────────────────────────────────────────────
//! #  STATE     TASK               FOR BUSY  CPU QUEUE BUSY OVER TIME
//! 0  ○ parked                          12%  11%     0 ▁▁▂▁▁▁▃▁
//! 3  ■ BLOCKED report          843 ms 100%  99%     9 ▁▁▂▁▁███
//! ─ Stalls of worker 3 ─────────────────────────────────────────────────────────
//!   ■ now          843 ms  computing  report::render (demo/src/cpu.rs:42)
//! ```

use crate::{
    app::{
        Details, RowKey, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        page::{self, Line},
        quantity,
        rows::Request,
    },
    diagnose::Finding,
    model::{Capability, Model, Task, Thread, Worker, WorkerId, WorkerState, brief_path},
};

use super::{Below, Table, strip, tasks};

/// Workers of all runtimes: what each does now and did over the time span; below,
/// the newest stalls of the one under the cursor.
#[derive(Debug)]
pub struct Workers;

impl Table for Workers {
    type Row = Worker;
    type Key = WorkerId;
    type Made = ();

    const COLUMNS: &'static [Column<Worker>] = COLUMNS;
    const SORT: Sort = Sort::ascending(COLUMNS, "worker");
    const BELOW: Option<Below> = Some(stalls);

    fn title(state: &State) -> (&'static str, String) {
        let model = state.model();
        let about = match model.stalled_workers() {
            0 => model.workers.len().to_string(),
            n => format!("{} · {n} blocked", model.workers.len()),
        };
        ("Workers", about)
    }

    fn empty(state: &State) -> String {
        none_seen(state.model()).to_owned()
    }

    fn rows<'a>(model: &'a Model, (): &'a (), _: &Request) -> impl Iterator<Item = &'a Worker> {
        model.workers.values()
    }

    fn key(worker: &Worker) -> WorkerId {
        worker.id
    }

    fn row<'a>(model: &'a Model, (): &'a (), id: &WorkerId) -> Option<&'a Worker> {
        model.workers.get(id)
    }

    fn finding<'a>(state: &'a State, id: &WorkerId) -> Option<&'a Finding> {
        state.finding_of_stall(state.model().stalls.on_worker(*id)?.id)
    }

    /// The stall, because it says more than the task that it holds.
    fn open(state: &mut State, id: &WorkerId) {
        let model = state.model();
        let stall = model.stalls.on_worker(*id).map(|s| Details::Stall(s.id));
        let task = model.workers.get(id).and_then(|w| w.task);
        let details = stall.or(task.map(Details::Task));
        match details {
            Some(details) => state.show_details(details),
            None => state.notify("this worker is in no poll"),
        }
    }

    fn fit(heads: &mut [Head], model: &Model) {
        let width = name_width(model);
        if let Some(name) = heads.iter_mut().find(|head| head.id == "worker") {
            (name.width, name.easy, name.most) = (width, width, width);
        }
        for head in heads {
            head.unknown = model.is_outside() && COUNTED.contains(&head.id);
        }
    }
}

/// Columns of what tokio alone counts, which is not read from outside.
const COUNTED: [&str; 5] = ["queue", "rate", "mean", "steals", "parks"];

/// Why there is no worker.
pub fn none_seen(model: &Model) -> &str {
    let session = &model.session;
    if let Some(reason) = session.missing(Capability::Workers) {
        return reason;
    }
    if model.without_names().is_some() {
        return "no worker is known yet: without names of functions a thread is known as one \
                once a poll of its takes long";
    }
    "no worker seen yet"
}

/// The newest stalls of the worker that the cursor was put on, or of all.
fn stalls(state: &State, width: usize) -> (String, Vec<Line>) {
    let chosen = match &state.cursor().key {
        Some(RowKey::Workers(id)) => Some(*id),
        _ => None,
    };
    let title = match chosen {
        Some(id) => format!("Stalls of worker {}", worker_name(state.model(), id)),
        None => "Stalls of all workers".to_owned(),
    };
    (title, page::worker_lines(state, chosen, width))
}

/// What can be shown of a worker.
const COLUMNS: &[Column<Worker>] = &[
    Column {
        head: Head::text("worker", "#", 2, 0)
            .searched()
            .help("its index, with its runtime's name where there are several"),
        key: |_, w| Key::Number(f64::from(w.id.runtime.0) * 65_536.0 + f64::from(w.id.index)),
        cell: |c, w, width| {
            let name = worker_name(c.model, w.id);
            Cell::new(fitted(&name, width), Tone::Strong)
        },
    },
    Column {
        head: Head::text("state", "STATE", 9, 0).help("blocked, poll, active, parked"),
        key: |_, w| match w.state {
            WorkerState::Stalled => Key::Rank(0, "blocked"),
            WorkerState::Polling => Key::Rank(1, "poll"),
            WorkerState::Active => Key::Rank(2, "active"),
            WorkerState::Parked => Key::Rank(3, "parked"),
            WorkerState::Unknown => Key::Unknown,
        },
        cell: |_, w, _| {
            let (text, tone) = match w.state {
                WorkerState::Stalled => ("■ BLOCKED", Tone::Critical),
                WorkerState::Polling => ("● poll", Tone::Running),
                WorkerState::Active => ("◆ active", Tone::Running),
                WorkerState::Parked => ("○ parked", Tone::Text),
                WorkerState::Unknown => (quantity::UNKNOWN, Tone::Dim),
            };
            Cell::new(text, tone)
        },
    },
    Column {
        head: Head::text("task", "TASK", 12, 0)
            .growing(8, 48)
            .searched()
            .help("the task in poll; of a blocked worker, the culprit's function where known"),
        key: |c, w| task(c, w).map_or(Key::Unknown, |t| Key::text(tasks::name_of(c, t))),
        cell: |c, w, _| {
            let stall = c.model.stalls.on_worker(w.id);
            let function = stall
                .and_then(|s| s.culprit())
                .map(|culprit| brief_path(&culprit.function).to_owned());
            let name = stall
                .map(|s| c.model.text(s.name).to_owned())
                .filter(|n| !n.is_empty());
            let polled = task(c, w).map(|t| tasks::name_of(c, t));
            match function.filter(|f| !f.is_empty()).or(polled).or(name) {
                Some(name) => Cell::new(name, Tone::Strong),
                None => Cell::default(),
            }
        },
    },
    Column {
        head: Head::number("poll", "FOR", 7, 0, Unit::Time)
            .help("how long the poll in progress has run"),
        key: |c, w| Key::time(w.poll_age(c.now())),
        cell: |c, w, _| match w.poll_age(c.now()) {
            Some(age) => Cell::new(tasks::poll_age(c.model, age), tasks::age_tone(age)),
            None => Cell::default(),
        },
    },
    Column {
        head: Head::number("busy", "BUSY", 4, 1, Unit::Share)
            .help("share of the last second that it was not parked"),
        key: |_, w| Key::number(w.busy_ratio()),
        cell: |_, w, _| Cell::known(w.busy_ratio(), quantity::percent),
    },
    Column {
        head: Head::number("cpu", "CPU", 4, 2, Unit::Share)
            .help("share of one CPU that its thread used in the last second"),
        key: |c, w| Key::number(thread(c, w).and_then(Thread::cpu_ratio)),
        cell: |c, w, _| Cell::known(thread(c, w).and_then(Thread::cpu_ratio), quantity::percent),
    },
    Column {
        head: Head::number("queue", "QUEUE", 5, 3, Unit::Count).help("tasks in its own queue"),
        key: |_, w| Key::count(w.local_queue),
        cell: |_, w, _| Cell::known(w.local_queue, quantity::count),
    },
    Column {
        head: Head::number("rate", "POLLS/S", 7, 5, Unit::Count).help("polls per second"),
        key: |_, w| Key::number(w.poll_rate.per_second()),
        cell: |_, w, _| Cell::known(w.poll_rate.per_second(), quantity::short),
    },
    Column {
        head: Head::number("mean", "MEAN", 7, 6, Unit::Time).help("mean duration of its polls"),
        key: |_, w| Key::time(w.mean_poll),
        cell: |_, w, _| Cell::known(w.mean_poll, quantity::duration),
    },
    Column {
        head: Head::number("steals", "STEALS", 6, 8, Unit::Count)
            .help("tasks taken from other workers"),
        key: |_, w| Key::count(w.steals),
        cell: |_, w, _| Cell::known(w.steals, quantity::count),
    },
    Column {
        head: Head::number("parks", "PARKS", 6, 9, Unit::Count).help("times that it parked"),
        key: |c, w| Key::count(parks(c, w)),
        cell: |c, w, _| Cell::known(parks(c, w), quantity::count),
    },
    Column {
        head: Head::number("tid", "THREAD", 7, 7, Unit::Count).help("its thread"),
        key: |_, w| Key::count(w.tid.map(|tid| tid.0)),
        cell: |_, w, _| Cell::known(w.tid, |tid| tid.to_string()),
    },
    Column {
        head: Head::text("strip", "BUSY OVER TIME", 14, 4)
            .growing(16, 120)
            .help("busy share over the time span; a full bar marks a stall"),
        key: |_, w| Key::number(w.busy_ratio()),
        cell: |c, w, width| {
            strip::bars(
                &w.busy_series.columns(c.now(), c.span, width),
                &w.stall_series.columns(c.now(), c.span, width),
            )
        },
    },
];

/// "2", or "io/2" where there are several runtimes.
pub fn worker_name(model: &Model, id: WorkerId) -> String {
    if !model.has_several_runtimes() {
        return id.index.to_string();
    }
    format!("{}/{}", model.runtime_name(id.runtime), id.index)
}

/// The widest that the name of a worker may make its column.
const WIDEST: usize = 16;

/// How wide the names of the workers are.
fn name_width(model: &Model) -> u16 {
    if !model.has_several_runtimes() {
        return 2;
    }
    let width = |id: &WorkerId| worker_name(model, *id).chars().count();
    let widest = model.workers.keys().map(width).max().unwrap_or(2);
    widest.clamp(2, WIDEST) as u16
}

/// The worker's name in `width` columns: what has to go goes from the middle of the
/// runtime's name, because runtimes differ in its end and workers by their
/// index.
fn fitted(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width || width < 3 {
        return name.to_owned();
    }
    let index = name.rsplit('/').next().unwrap_or_default().chars().count() + 1;
    // A little of the runtime's end stays, where two differ by a number.
    let end = (index + 2).min(width - 2);
    let begin: String = name.chars().take(width - 1 - end).collect();
    let rest: String = name.chars().skip(length - end).collect();
    format!("{begin}…{rest}")
}

fn task<'a>(c: &Context<'a>, worker: &Worker) -> Option<&'a Task> {
    c.model.tasks.get(worker.task?)
}

/// From outside nobody counts them.
fn parks(c: &Context<'_>, worker: &Worker) -> Option<u64> {
    (!c.model.is_found(worker.id.runtime)).then_some(worker.parks)
}

fn thread<'a>(c: &Context<'a>, worker: &Worker) -> Option<&'a Thread> {
    c.model.threads.get(&worker.tid?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_of_one_name_are_told_apart() {
        let mut model = crate::model::fixtures::starving();
        let worker = |runtime, index| WorkerId {
            runtime: crate::model::RuntimeId(runtime),
            index,
        };
        assert_eq!(worker_name(&model, worker(0, 3)), "3");
        assert_eq!(name_width(&model), 2);
        assert_eq!(model.worker_words(worker(0, 3)), "worker 3");
        let mut frame = crate::model::fixtures::frame(model.now);
        let runtime = |id, name| looptop_wire::proto::Runtime {
            id,
            name,
            ..looptop_wire::proto::Runtime::default()
        };
        let name = model.runtimes[0].name.unwrap().0;
        frame.runtimes = vec![runtime(0, name), runtime(1, name), runtime(2, 0)];
        model.apply(&frame).unwrap();
        let names = [0, 1, 2].map(|runtime| worker_name(&model, worker(runtime, 3)));
        assert_eq!(names, ["main#1/3", "main#2/3", "2/3"]);
        assert_eq!(name_width(&model), 8);
        let words = [1, 2].map(|runtime| model.worker_words(worker(runtime, 3)));
        assert_eq!(
            words,
            ["worker 3 of runtime main#2", "worker 3 of runtime 2"]
        );
    }

    #[test]
    fn what_tells_workers_apart_is_not_cut_off() {
        for (name, width, fits) in [
            ("3", 2, "3"),
            ("io/3", 8, "io/3"),
            ("actix-server/0", 8, "act…er/0"),
            ("actix-rt#12/0", 8, "act…12/0"),
            ("background/11", 6, "b…d/11"),
            ("background/11", 2, "background/11"),
        ] {
            assert_eq!(fitted(name, width), fits, "{name} in {width}");
        }
    }
}
