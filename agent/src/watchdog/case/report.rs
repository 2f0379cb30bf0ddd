//! What a stall's record says of a case.

use std::sync::Mutex;

use looptop_wire::proto::TaskKind;

use super::{Case, Sight, StackAnswer, Witness};
use crate::evidence::Object;
use crate::ids::StallId;
use crate::stall::{Stall, StallLog, StallScope, TaskInfo};
use crate::sync::lock;

/// Stacks that are taken in addition, as long as none shows what the cause says,
/// and the time between them.
const MORE_CAPTURES: u32 = 5;
const MORE_EVERY_NS: u64 = 20_000_000;
const RATE_LIMIT: &str = "more stacks were due than the agent takes in a second";

/// What a search for the object of a call has led to.
enum Sought {
    /// It is what it was before.
    Same,
    Unknown,
    Found(Object),
}

impl Case {
    pub(super) fn report(
        &mut self,
        id: StallId,
        now_ns: u64,
        sight: &Sight,
        log: &Mutex<StallLog>,
        witness: &mut impl Witness,
    ) {
        let stack = self.capture(now_ns, sight, witness);
        if let Some(poll) = self.poll {
            self.ask(poll.task, witness);
        }
        let sought = self.new_object(sight, witness);
        let early = std::mem::take(&mut self.early);
        let trace = self.trace.answer();
        let informative = {
            let mut log = lock(log);
            let mut informative = true;
            log.update(id, |stall| {
                self.describe_in(stall, now_ns);
                stall.trace = trace;
                match sought {
                    Sought::Same => {}
                    Sought::Unknown => stall.object = None,
                    Sought::Found(object) => stall.object = Some(object),
                }
                for stack in early {
                    stall.add_stack(stack);
                }
                match stack {
                    Some(StackAnswer::Stack(stack)) => stall.add_stack(stack),
                    Some(
                        StackAnswer::Never(reason)
                        | StackAnswer::Failed(reason)
                        | StackAnswer::Due(reason)
                        | StackAnswer::NotYet(reason),
                    ) => stall.add_no_stack(reason),
                    Some(StackAnswer::Later) => stall.add_no_stack(RATE_LIMIT.into()),
                    None => {}
                }
                informative = stall.stacks.is_empty() || stall.has_informative_stack();
            });
            informative
        };
        if !informative
            && self.more < MORE_CAPTURES
            && self.next_capture_ns > now_ns + MORE_EVERY_NS
        {
            self.more += 1;
            self.next_capture_ns = now_ns + MORE_EVERY_NS;
        }
    }

    /// What is known of it, but for its object and its stacks.
    pub(super) fn describe_in(&self, stall: &mut Stall, now_ns: u64) {
        stall.tid = self.tid;
        stall.started_ns = self.since_ns;
        stall.duration_ns = now_ns.saturating_sub(self.since_ns);
        if let Some(poll) = self.poll {
            stall.scope = StallScope::OnePoll;
            stall.task = poll.task;
        }
        stall.description = self.description();
        if let Some(observation) = &self.observation {
            stall.observed = observation.observed();
            stall.cause = stall.observed.cause();
            stall.syscall = observation.call(stall.cause).map(|call| call.name());
        }
    }

    /// The object of the call that the stall names, where that is another than
    /// before. A number means a file only as long as the thread is in the call:
    /// until a look finds it there, the object is unknown.
    fn new_object(&mut self, sight: &Sight, witness: &mut impl Witness) -> Sought {
        let Some(observation) = &self.observation else {
            return Sought::Same;
        };
        let call = observation.call(observation.observed().cause());
        if call == self.object_of {
            return Sought::Same;
        }
        self.object_of = None;
        let (Some(call), Some(tid)) = (call.filter(|call| observation.is_in(call)), self.tid)
        else {
            return Sought::Unknown;
        };
        let object = call.object();
        let looked = witness.look(tid);
        if !call.is_in(&looked.syscall) || !witness.is_still(sight) {
            return Sought::Unknown;
        }
        self.object_of = Some(call);
        object.map_or(Sought::Unknown, Sought::Found)
    }

    /// The task as its table describes it, or at least where it was spawned.
    fn description(&self) -> Option<TaskInfo> {
        let described = self.description.clone();
        described.or_else(|| {
            Some(TaskInfo {
                name: String::new(),
                kind: TaskKind::Unknown,
                site: Some(self.poll?.site?),
            })
        })
    }
}
