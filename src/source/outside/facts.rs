//! What `looptop-outside` says, as plain facts of the viewer's.

use std::{sync::Arc, time::Instant};

use looptop_outside::{
    self as outside, Evidence, Role, Scope, ThreadView, Watch,
    tasks::{self, FoundBy, TaskKind, TaskState, TaskType, Types},
};
use looptop_procfs::{Cause, Object, SchedState, syscalls};
use looptop_wire::proto;

use super::{
    live::{ns, since},
    names::{Names, Program},
    seen::{
        Does, Doing, Listing, Look, Module, Place, Polled, Runtime, Stack, Stall, Task, Thread,
    },
    tasks::kind,
};

/// The threads as of now, with `stalls` that changed.
pub(super) fn look(
    watch: &mut Watch,
    stalls: &[outside::Stall],
    origin: Instant,
    cpu_ns: u64,
) -> Look {
    let threads = watch.threads();
    let modules = watch.modules().iter().map(|module| Module {
        path: module.path.to_string_lossy().into_owned(),
        build_id: module.build_id.clone(),
        base: module.base,
    });
    let costs = watch.costs();
    Look {
        threads: threads.iter().map(|view| thread(view, origin)).collect(),
        stalls: stalls.iter().map(|seen| stall(seen, origin)).collect(),
        modules: modules.collect(),
        doing: Doing {
            looks: costs.looks,
            read: costs.read,
            sampled: costs.sampled,
            stopped: costs.stopped,
            stopped_in_call: costs.stopped_in_call,
            held_p50_ns: costs.held_p50.map(ns),
            held_max_ns: costs.held_max.map(ns),
            no_sampler: costs.no_sampler,
            no_stop: costs.no_stop,
            cpu_ns,
        },
    }
}

fn thread(view: &ThreadView, origin: Instant) -> Thread {
    let system_ns = view.system_ns.min(view.cpu_ns);
    Thread {
        tid: view.tid,
        name: view.name.clone(),
        state: thread_state(view.state),
        role: role(view.role),
        drives: match view.role {
            Role::Worker => proto::Flavor::MultiThread,
            Role::CurrentThread => proto::Flavor::CurrentThread,
            _ => proto::Flavor::Unknown,
        },
        does: does(view, origin),
        // The scheduler's sum is exact, the split of it is not.
        user_ns: view.cpu_ns - system_ns,
        system_ns,
        run_queue_ns: Some(view.run_queue_ns),
        switches: Some((view.voluntary_switches, view.involuntary_switches)),
    }
}

fn does(view: &ThreadView, origin: Instant) -> Does {
    let drives = matches!(view.role, Role::Worker | Role::CurrentThread);
    match view.in_poll_since {
        _ if !drives => Does::Unknown,
        Some(began) => Does::Polling {
            since_ns: since(origin, began),
            task: view.task.map(polled),
        },
        None if view.parked => Does::Parked,
        None => Does::Active,
    }
}

fn polled(task: outside::RunningTask) -> Polled {
    Polled {
        header: task.header,
        id: task.id,
    }
}

pub(super) fn role(role: Role) -> proto::ThreadRole {
    match role {
        Role::Worker | Role::CurrentThread => proto::ThreadRole::Worker,
        Role::BlockingPool => proto::ThreadRole::Blocking,
        Role::BlockOn => proto::ThreadRole::BlockOn,
        Role::Other => proto::ThreadRole::Other,
        Role::Unknown => proto::ThreadRole::Unknown,
    }
}

fn thread_state(state: SchedState) -> proto::ThreadState {
    match state {
        SchedState::Running => proto::ThreadState::Running,
        SchedState::Sleeping => proto::ThreadState::Sleeping,
        SchedState::Disk => proto::ThreadState::Disk,
        SchedState::Stopped => proto::ThreadState::Stopped,
        SchedState::Dead | SchedState::Other => proto::ThreadState::Other,
    }
}

pub(super) fn cause(cause: Cause) -> proto::Cause {
    match cause {
        Cause::Unknown => proto::Cause::Unknown,
        Cause::Computing => proto::Cause::Computing,
        Cause::SystemCall => proto::Cause::SystemCall,
        Cause::Sleeping => proto::Cause::Sleeping,
        Cause::Lock => proto::Cause::Lock,
        Cause::StarvedByHost => proto::Cause::StarvedByHost,
        Cause::Stopped => proto::Cause::Stopped,
        Cause::Page => proto::Cause::Page,
    }
}

fn stall(stall: &outside::Stall, origin: Instant) -> Stall {
    let started_ns = since(origin, stall.started);
    let duration_ns = ns(stall.duration);
    let looks: u32 = stall.samples.iter().map(|sample| sample.count).sum();
    let (object, lock_address) = match &stall.object {
        Some(Object::File(text)) => (Some(text.clone()), None),
        Some(Object::Lock(address)) => (None, Some(*address)),
        None => (None, None),
    };
    Stall {
        id: stall.id,
        live: stall.life != outside::Life::Ended,
        withdrawn: false,
        scope: match stall.scope {
            Scope::OnePoll => proto::StallScope::OnePoll,
            Scope::OneTurn => proto::StallScope::OneTurn,
        },
        tid: stall.tid,
        task: stall.task.map(polled),
        started_ns,
        duration_ns,
        cause: cause(stall.cause),
        cpu_ns: stall.cpu.map(ns),
        run_queue_ns: stall.run_queue.map(ns),
        observed_ns: Some(duration_ns),
        syscall: stall.call.as_ref().map(call_name),
        object,
        lock_address,
        stacks: stall
            .samples
            .iter()
            .map(|sample| stack(sample, started_ns, duration_ns))
            .collect(),
        no_stack: stall.no_stack.clone(),
        looks,
    }
}

fn call_name(call: &outside::Call) -> String {
    syscalls::name(call.number).into_owned()
}

fn stack(sample: &outside::StackSample, started_ns: u64, duration_ns: u64) -> Stack {
    let frames = sample.frames.iter();
    Stack {
        first_ns: started_ns,
        last_ns: started_ns.saturating_add(duration_ns),
        count: sample.count,
        frames: frames
            .map(|(module, offset)| (module.map(|index| index.0), *offset))
            .collect(),
        truncated: sample.truncated,
        cause: cause(sample.cause),
        syscall: sample.call.as_ref().map(call_name),
        evidence: match sample.evidence {
            Evidence::Read => proto::Evidence::Read,
            Evidence::Sampled => proto::Evidence::Sampled,
            Evidence::Stopped => proto::Evidence::Stopped,
        },
    }
}

/// What a listing found; functions of the blocking pool are no tasks of anybody's.
pub(super) fn listing(
    found: &tasks::Listing,
    types: &Types,
    names: &mut Names,
    programs: &[Program],
    have_run: &tasks::AddressSet,
) -> Listing {
    let local = |task: &tasks::Task| {
        let list = task.runtime.and_then(|at| found.runtimes.get(at));
        list.is_some_and(|list| list.flavor == tasks::Flavor::LocalSet)
    };
    let listed = found
        .tasks
        .iter()
        .filter(|task| task.kind == TaskKind::Async && task.state != TaskState::Complete);
    Listing {
        runtimes: found.runtimes.iter().map(runtime).collect(),
        tasks: listed
            .map(|task| Task {
                header: task.header,
                id: task.id,
                state: state(task.state),
                kind: kind(local(task)),
                runtime: task.runtime,
                spawned_at: found
                    .spawned_at(task)
                    .filter(is_a_callers)
                    .map(|place| Place {
                        file: Arc::clone(&place.file),
                        line: place.line,
                        column: place.column,
                    }),
                future: names.of(task.vtable, types, programs),
                size: types.get(task.vtable).map(TaskType::future_size),
                has_run: have_run.contains(&task.header),
            })
            .collect(),
        unlisted: 0,
        ..Listing::default()
    }
}

/// `spawn_local` says of all its tasks that tokio itself has spawned them.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as `filter` asks")]
fn is_a_callers(place: &&tasks::SpawnLocation) -> bool {
    !(place.file.contains("/tokio-1.") && place.file.ends_with("/src/task/local.rs"))
}

fn state(state: TaskState) -> proto::TaskState {
    match state {
        TaskState::Idle => proto::TaskState::Idle,
        TaskState::Scheduled => proto::TaskState::Scheduled,
        TaskState::Running => proto::TaskState::Running,
        TaskState::Complete => proto::TaskState::Completed,
    }
}

fn runtime(list: &tasks::RuntimeListing) -> Runtime {
    Runtime {
        // Lists are counted from 1 in each module.
        key: ((list.key.module as u64) << 48) | (list.key.list & 0xffff_ffff_ffff),
        flavor: match list.flavor {
            tasks::Flavor::MultiThread => proto::Flavor::MultiThread,
            tasks::Flavor::CurrentThread => proto::Flavor::CurrentThread,
            tasks::Flavor::LocalSet => proto::Flavor::Local,
        },
        workers: None,
        counted: list.alive(),
        listed: list.listed,
        torn: list.torn,
        found_by: match list.found_by {
            FoundBy::Stack => proto::RuntimeFound::Stack,
            FoundBy::TaskOnStack | FoundBy::TaskInPoll | FoundBy::Scan => proto::RuntimeFound::Task,
        },
        threads: list.on_stacks_of.clone(),
    }
}
