//! What of a dump is no group of tasks: rings, threads, and how much was read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    diagnose::{
        cause_word,
        waits::{
            self, Graph, Party, held_across, hold_text, holders_text, location_text, place,
            want_text,
        },
    },
    model::{
        Capability, Hold, Model, StackFrame, Stall, TaskKind, TaskState, Tid, WaitsRead, Want,
        WorkerState,
    },
};

use super::{
    entries::{Frame, Poll, Read, Ring, RingMember, Stand, TaskCounts, ThreadEntry, Who, Without},
    group::who,
};

pub(super) fn counts(model: &Model) -> TaskCounts {
    let mut counts = TaskCounts {
        live: model.live_tasks(),
        approximate: model.runtimes.iter().any(|r| r.torn && !r.gone),
        ..TaskCounts::default()
    };
    for task in model.tasks.live() {
        let count = match (task.kind, task.state) {
            (TaskKind::BlockOn, _) => &mut counts.block_on,
            (TaskKind::Blocking, _) => &mut counts.blocking,
            (_, TaskState::Idle) => &mut counts.idle,
            (_, TaskState::Scheduled) => &mut counts.scheduled,
            (_, TaskState::Running) => &mut counts.running,
            (_, TaskState::Completed | TaskState::Unknown) => continue,
        };
        *count += 1;
    }
    counts
}

pub(super) fn read(model: &Model, read: &WaitsRead) -> Read {
    Read {
        idle: read.idle,
        read: read.read,
        partial: read.partial,
        without: read.without,
        without_reason: read
            .without_reason
            .map(|why| model.text(Some(why)).to_owned()),
        complete: read.complete,
        cpu_ms: (read.cpu.as_secs_f64() * 1e4).round() / 10.0,
    }
}

/// Why nobody reads where tasks wait.
pub(super) fn no_chains(model: &Model) -> Option<String> {
    if model.waits.read().is_some() {
        return None;
    }
    let missing = [Capability::Waits, Capability::Tasks].map(|kind| model.session.missing(kind));
    let why = missing.into_iter().flatten().find(|why| !why.is_empty());
    Some(
        why.unwrap_or("it does not say where its tasks wait")
            .to_owned(),
    )
}

/// What could not be looked at, or not for long enough: `open` rings may be none.
pub(super) fn not_read(model: &Model, open: usize) -> Vec<String> {
    let texts = model.waits.read().map_or(&[][..], |read| &read.not_read);
    let texts = texts.iter().map(|text| model.text(Some(*text)).to_owned());
    let listed = of_all_listed(model);
    let rings = (open > 0).then(|| {
        let what = match open {
            1 => "what seems to be a deadlock stays".to_owned(),
            n => format!("what seem to be {n} deadlocks stay"),
        };
        format!("whether {what}, which takes some seconds: --for gives more")
    });
    texts.chain(listed).chain(rings).collect()
}

/// That tasks came and went faster than they were listed.
fn of_all_listed(model: &Model) -> Option<String> {
    let torn = model.runtimes.iter().filter(|r| r.torn && !r.gone);
    let lacks = torn.map(|runtime| {
        let listed = runtime.listed_tasks.unwrap_or_default();
        runtime.live_tasks.saturating_sub(listed)
    });
    let lacks = lacks.fold(0, u64::saturating_add);
    let of = model.live_tasks().unwrap_or_default();
    (lacks > 0).then(|| format!("{lacks} of {of} tasks, which came or went while they were listed"))
}

pub(super) fn rings(model: &Model, rings: &[waits::Ring]) -> Vec<Ring> {
    let rings = rings.iter().map(|ring| {
        let members = ring.members.iter().enumerate().map(|(at, member)| {
            let held = ring.hold_of(at);
            RingMember {
                who: who(model, member.party),
                waits_for: want_text(model, &member.want),
                at: place_of(model, member.party, &member.want),
                holds: held.map(|hold| hold_text(model, &hold)),
                holds_across: held
                    .and_then(|hold| held_across(model, member.party, &hold))
                    .map(|place| place.text(model)),
            }
        });
        Ring {
            certain: ring.is_certain,
            members: members.collect(),
            behind: ring.behind.iter().map(|party| who(model, *party)).collect(),
        }
    });
    rings.collect()
}

/// The application's line at which a party waits.
fn place_of(model: &Model, party: Party, want: &Want) -> Option<String> {
    let text = match party {
        Party::Task(task) => {
            let known = model.waits.task(task)?;
            place(model, &known.shape, want.node as usize)?.text(model)
        }
        Party::Thread(tid) => {
            let thread = model.waits.thread(tid)?;
            location_text(model, thread.location, model.text(thread.function))
        }
    };
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn threads(model: &Model, graph: &Graph) -> Vec<ThreadEntry> {
    let waits = model.waits.threads().filter_map(|thread| {
        let want = thread.want.as_ref()?;
        let party = Party::Thread(thread.tid);
        Some(ThreadEntry {
            who: who(model, party),
            waits_for: want_text(model, want),
            at: place_of(model, party, want),
            task: thread.task.map(|task| who(model, Party::Task(task))),
            held_by: holders_text(model, graph, Some(party), want),
        })
    });
    waits.collect()
}

/// The threads that wait for nothing that is known: where they stand, and what they hold.
pub(super) fn standing(model: &Model) -> Vec<Stand> {
    let in_poll: BTreeSet<Tid> = model.stalls.live().filter_map(|stall| stall.tid).collect();
    let known = model.waits.threads().map(|wait| wait.tid);
    // Of a process only that is said of its threads which is of use to those who wait.
    let all = model.session.core_dump.then(|| model.threads.keys());
    let tids: BTreeSet<Tid> = known.chain(all.into_iter().flatten().copied()).collect();
    let stands = tids.into_iter().filter_map(|tid| {
        let wait = model.waits.thread(tid);
        let holds = wait.map_or(&[][..], |wait| &wait.holds);
        let waits = wait.is_some_and(|wait| wait.want.is_some());
        if (waits || in_poll.contains(&tid)) && holds.is_empty() {
            return None;
        }
        let worker = model.workers.values().find(|w| w.tid == Some(tid));
        let function = wait.map(|wait| model.text(wait.function));
        let at = wait.and_then(|wait| model.location(wait.location));
        let who_it_is = who(model, Party::Thread(tid));
        Some(Stand {
            who: Who {
                // One of several between commas.
                text: who_it_is.text.replace(", in block_on", " (in block_on)"),
                ..who_it_is
            },
            parked: worker.is_some_and(|worker| worker.state == WorkerState::Parked),
            function: function.filter(|name| !name.is_empty()).map(str::to_owned),
            at: at.map(|at| at.to_string()),
            task: wait
                .and_then(|wait| wait.task)
                .map(|task| who(model, Party::Task(task))),
            holds: holds.iter().map(|hold| sure_hold(model, hold)).collect(),
        })
    });
    stands.collect()
}

/// What is held, with a word where that is only probable.
fn sure_hold(model: &Model, hold: &Hold) -> String {
    let sure = if hold.certain { "" } else { " (probably)" };
    format!("{}{sure}", hold_text(model, hold))
}

/// When a core dump was written.
pub(super) fn written(model: &Model) -> Option<String> {
    let session = &model.session;
    let at = session.started_unix_ns.saturating_add(model.now.0);
    let at = UNIX_EPOCH + Duration::from_nanos(at);
    let text = || humantime::format_rfc3339_seconds(at).to_string();
    session.core_dump.then(text)
}

/// The polls that go on, of which stacks were seen.
pub(super) fn polls(model: &Model) -> Vec<Poll> {
    let live = model.stalls.live();
    live.filter_map(|stall| poll(model, stall)).collect()
}

fn poll(model: &Model, stall: &Stall) -> Option<Poll> {
    let age = stall.age(model.now).as_secs_f64() * 1e3;
    let frames = stall.resolved.as_ref().map_or(&[][..], |r| &r.frames);
    Some(Poll {
        who: who(model, Party::Thread(stall.tid?)),
        task: stall.task.map(|task| who(model, Party::Task(task))),
        cause: cause_word(stall.cause),
        for_ms: (!model.session.core_dump).then_some(age.round()),
        stack: frames.iter().map(frame).collect(),
    })
}

fn frame(frame: &StackFrame) -> Frame {
    Frame {
        function: frame.function.clone(),
        location: frame.location(),
        plumbing: frame.plumbing,
    }
}

/// Idle tasks of which no chain is known.
pub(super) fn without(model: &Model) -> Vec<Without> {
    let mut found: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let idle = model.tasks.live().filter(|task| {
        let waits = matches!(task.kind, TaskKind::Task | TaskKind::Local);
        waits && task.state == TaskState::Idle && model.waits.task(task.id).is_none()
    });
    for task in idle {
        let name = model.task_name(task).unwrap_or_default();
        let id = task.tokio_id().unwrap_or(task.id.0);
        found.entry(name).or_default().push(id);
    }
    let mut without: Vec<Without> = found
        .into_iter()
        .map(|(future, tasks)| Without {
            count: tasks.len() as u64,
            future: future.to_owned(),
            tasks,
        })
        .collect();
    without.sort_by_key(|without| std::cmp::Reverse(without.count));
    without
}
