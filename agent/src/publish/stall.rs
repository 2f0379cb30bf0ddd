//! A stall in the form of the wire.

use looptop_wire::{intern::Interner, proto};

use crate::evidence::{self, Object};
use crate::holder::Holder;
use crate::stall::{SeenStack, Stall, StallScope, Subject};

pub(super) fn to_wire(stall: &Stall, interner: &mut Interner) -> proto::Stall {
    let (runtime, worker) = match stall.subject {
        Subject::Worker(runtime, worker) => (Some(runtime.0), Some(worker.0)),
        Subject::Thread(_) => (None, None),
    };
    let described = stall.description.as_ref();
    let site = described.and_then(|d| d.site?.get());
    let (object, lock_address) = match &stall.object {
        Some(Object::File(text)) => (interner.string(text), None),
        Some(Object::Lock(address)) => (0, Some(*address)),
        None => (0, None),
    };
    let observed = &stall.observed;
    proto::Stall {
        id: stall.id.0,
        state: if stall.live {
            proto::StallState::Live.into()
        } else {
            proto::StallState::Ended.into()
        },
        scope: match stall.scope {
            StallScope::OnePoll => proto::StallScope::OnePoll.into(),
            StallScope::UpTo61Polls => proto::StallScope::UpTo61Polls.into(),
        },
        runtime,
        worker,
        tid: stall.tid.map(|t| t.0),
        task: stall.task,
        location: site.map_or(0, |s| interner.location(s.file, s.line, s.column)),
        name: described.map_or(0, |d| interner.string(&d.name)),
        started_at_ns: stall.started_ns,
        duration_ns: stall.duration_ns,
        cause: evidence::on_wire(stall.cause).into(),
        cpu_ns: observed.cpu_ns,
        run_queue_ns: observed.run_queue_ns,
        observed_ns: (observed.wall_ns > 0).then_some(observed.wall_ns),
        syscall: stall
            .syscall
            .as_ref()
            .map_or(0, |name| interner.string(name)),
        object,
        lock_holder_tid: stall.holder.as_ref().map(|h| h.tid.0),
        holder: stall.holder.as_ref().map(|h| holder(h, interner)),
        stacks: stall.stacks.iter().map(|s| stack(s, interner)).collect(),
        no_stack_reason: stall
            .no_stack
            .as_ref()
            .map_or(0, |reason| interner.string(reason)),
        samples: observed.tally.total(),
        lock_address: stall.lock.or(lock_address),
        withdrawn: stall.withdrawn,
    }
}

fn holder(holder: &Holder, interner: &mut Interner) -> proto::LockHolder {
    let described = holder.description.as_ref();
    let site = described.and_then(|d| d.site?.get());
    proto::LockHolder {
        tid: holder.tid.0,
        name: interner.string(&holder.name),
        stack: Some(stack(&holder.stack, interner)),
        certain: holder.certain,
        task: holder.task,
        location: site.map_or(0, |s| interner.location(s.file, s.line, s.column)),
        task_name: described.map_or(0, |d| interner.string(&d.name)),
        doing: holder
            .doing
            .as_ref()
            .map_or(0, |name| interner.string(name)),
        object: match &holder.object {
            Some(Object::File(text)) => interner.string(text),
            Some(Object::Lock(_)) | None => 0,
        },
    }
}

fn stack(seen: &SeenStack, interner: &mut Interner) -> proto::StackSample {
    let address = |(module, offset): &(Option<u32>, u64)| proto::CodeAddress {
        // Ids start at 1, the capture's indices at 0.
        module: module.map_or(0, |index| index + 1),
        offset: *offset,
    };
    proto::StackSample {
        first_at_ns: seen.first_ns,
        last_at_ns: seen.last_ns,
        count: seen.count,
        frames: seen.frames.iter().map(address).collect(),
        truncated: seen.truncated,
        cause: evidence::on_wire(seen.cause).into(),
        syscall: seen
            .syscall
            .as_ref()
            .map_or(0, |name| interner.string(name)),
        evidence: proto::Evidence::Signal.into(),
    }
}
