//! Frames of the view from outside in the session of another source: with ids that this
//! one does not give, on its clock, and with its tasks.

use looptop_wire::{
    intern::MAX_ENTRIES,
    proto::{
        CodeAddress, Frame, Hold, LockHolder, Module, SpawnSite, StackSample, Stall,
        Tasks as Columns, Thread, Want, Worker,
    },
};

use crate::source::{outside::Shown, shift::Shift};

/// The tables of an agent and of console-subscriber end here.
const IDS: Shift = Shift(2 * MAX_ENTRIES as u32);
/// Stalls of an agent are counted from 1.
const STALLS: u64 = 1 << 62;
/// Runtimes of an agent are counted from 0; those that are found get ids from here on.
pub(super) const FIRST_RUNTIME: u32 = 128;

/// How the other session calls what the view names.
pub(super) struct Place<'a> {
    /// What to add to an instant of the view's to get the other's.
    pub(super) offset_ns: i64,
    /// A task, by the id that the view gives it.
    pub(super) task: &'a dyn Fn(u64) -> Option<Shown>,
    /// A runtime; `None` where the other session cannot say which it is.
    pub(super) runtime: &'a dyn Fn(u32) -> Option<u32>,
}

impl Place<'_> {
    /// The frame, as the other session has it. Number and date are the caller's.
    pub(super) fn frame(&self, mut frame: Frame) -> Frame {
        for string in &mut frame.strings {
            *string = IDS.string(std::mem::take(string));
        }
        for location in &mut frame.locations {
            *location = IDS.location(*location);
        }
        frame.threads.iter_mut().for_each(thread);
        frame.modules.iter_mut().for_each(module);
        frame.sites.iter_mut().for_each(site);
        frame.workers.iter_mut().for_each(|w| self.worker(w));
        frame.stalls.iter_mut().for_each(|s| self.stall(s));
        if let Some(columns) = &mut frame.tasks {
            self.columns(columns);
        }
        self.waits(&mut frame);
        if let Some(outside) = &mut frame.outside {
            outside.no_sampler = IDS.id(outside.no_sampler);
        }
        // What was lost is the other's to say, and so is when its state is whole.
        frame.loss = None;
        frame.snapshot_complete = false;
        frame
    }

    fn instant(&self, ns: u64) -> u64 {
        ns.saturating_add_signed(self.offset_ns)
    }

    fn worker(&self, worker: &mut Worker) {
        worker.task = worker.task.and_then(|id| Some((self.task)(id)?.id));
        worker.poll_started_at_ns = worker.poll_started_at_ns.map(|ns| self.instant(ns));
    }

    fn stall(&self, stall: &mut Stall) {
        stall.id |= STALLS;
        let shown = stall.task.and_then(self.task);
        stall.task = shown.map(|shown| shown.id);
        stall.location = match shown {
            Some(shown) if shown.location != 0 => shown.location,
            _ => IDS.id(stall.location),
        };
        stall.started_at_ns = self.instant(stall.started_at_ns);
        for text in [
            &mut stall.syscall,
            &mut stall.object,
            &mut stall.no_stack_reason,
        ] {
            *text = IDS.id(*text);
        }
        stall.stacks.iter_mut().for_each(|stack| self.stack(stack));
        stall.holder.iter_mut().for_each(|of| self.holder(of));
    }

    /// Where tasks wait, of those that the other session has.
    fn waits(&self, frame: &mut Frame) {
        for shape in &mut frame.await_shapes {
            shape.cut = IDS.id(shape.cut);
            for node in &mut shape.nodes {
                node.future = IDS.id(node.future);
                node.location = IDS.id(node.location);
            }
        }
        frame.task_waits.retain_mut(|wait| {
            let shown = (self.task)(wait.task);
            wait.task = shown.map_or(0, |shown| shown.id);
            wait.wants.iter_mut().for_each(|want| self.want(want));
            wait.holds.iter_mut().for_each(hold);
            wait.since_ns = self.instant(wait.since_ns);
            wait.read_at_ns = self.instant(wait.read_at_ns);
            shown.is_some()
        });
        for wait in &mut frame.thread_waits {
            wait.want.iter_mut().for_each(|want| self.want(want));
            wait.holds.iter_mut().for_each(hold);
            wait.task = wait.task.and_then(|id| Some((self.task)(id)?.id));
            wait.since_ns = self.instant(wait.since_ns);
            wait.function = IDS.id(wait.function);
            wait.location = IDS.id(wait.location);
        }
        for resource in &mut frame.wait_resources {
            resource.name = IDS.id(resource.name);
            resource.location = IDS.id(resource.location);
        }
        if let Some(read) = &mut frame.waits_read {
            read.without_reason = IDS.id(read.without_reason);
            read.not_read.iter_mut().for_each(|id| *id = IDS.id(*id));
        }
    }

    fn want(&self, want: &mut Want) {
        want.task = want.task.and_then(|id| Some((self.task)(id)?.id));
        want.due_ns = want.due_ns.map(|ns| self.instant(ns));
        want.object = IDS.id(want.object);
    }

    fn holder(&self, holder: &mut LockHolder) {
        let shown = holder.task.and_then(self.task);
        holder.task = shown.map(|shown| shown.id);
        holder.location = match shown {
            Some(shown) if shown.location != 0 => shown.location,
            _ => IDS.id(holder.location),
        };
        for text in [
            &mut holder.name,
            &mut holder.task_name,
            &mut holder.doing,
            &mut holder.object,
        ] {
            *text = IDS.id(*text);
        }
        holder.stack.iter_mut().for_each(|stack| self.stack(stack));
    }

    fn stack(&self, stack: &mut StackSample) {
        stack.first_at_ns = self.instant(stack.first_at_ns);
        stack.last_at_ns = self.instant(stack.last_at_ns);
        stack.syscall = IDS.id(stack.syscall);
        for CodeAddress { module, .. } in &mut stack.frames {
            *module = IDS.id(*module);
        }
    }

    /// The columns that the view has: what it does not know stays so.
    fn columns(&self, columns: &mut Columns) {
        for column in [
            &mut columns.location,
            &mut columns.future,
            &mut columns.future_location,
        ] {
            for id in column {
                *id = IDS.id(*id);
            }
        }
        for runtime in &mut columns.runtime {
            let found = runtime.checked_sub(1);
            let theirs = found.and_then(self.runtime);
            *runtime = theirs.map_or(0, |id| id + 1);
        }
    }
}

fn hold(hold: &mut Hold) {
    hold.name = IDS.id(hold.name);
}

fn thread(thread: &mut Thread) {
    thread.name = IDS.id(thread.name);
}

fn module(module: &mut Module) {
    module.id = IDS.id(module.id);
    module.path = IDS.id(module.path);
}

fn site(site: &mut SpawnSite) {
    site.location = IDS.id(site.location);
    site.future = IDS.id(site.future);
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::{
        AwaitNode, AwaitShape, InternedString, Loss, Outside, TaskWait, ThreadWait,
    };

    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of all that has an id")]
    fn a_frame_is_told_in_the_words_of_the_other_session() {
        let frame = Frame {
            snapshot_complete: true,
            strings: vec![InternedString {
                id: 1,
                text: "app".to_owned(),
            }],
            threads: vec![Thread {
                tid: 7,
                name: 1,
                ..Thread::default()
            }],
            modules: vec![Module {
                id: 1,
                path: 1,
                ..Module::default()
            }],
            workers: [(Some(5), Some(10)), (Some(6), None)]
                .map(|(task, poll_started_at_ns)| Worker {
                    runtime: 130,
                    task,
                    poll_started_at_ns,
                    ..Worker::default()
                })
                .into(),
            stalls: vec![Stall {
                id: 3,
                task: Some(5),
                location: 9,
                started_at_ns: 10,
                syscall: 1,
                stacks: vec![StackSample {
                    first_at_ns: 10,
                    last_at_ns: 11,
                    frames: vec![
                        CodeAddress {
                            module: 1,
                            offset: 0x10,
                        },
                        CodeAddress {
                            module: 0,
                            offset: 0x7f,
                        },
                    ],
                    ..StackSample::default()
                }],
                ..Stall::default()
            }],
            tasks: Some(Columns {
                id: vec![5, 6],
                future: vec![1, 0],
                runtime: vec![129, 130],
                ..Columns::default()
            }),
            await_shapes: vec![AwaitShape {
                id: 1,
                nodes: vec![AwaitNode {
                    future: 1,
                    location: 9,
                    ..AwaitNode::default()
                }],
                ..AwaitShape::default()
            }],
            task_waits: [5, 6]
                .map(|task| TaskWait {
                    task,
                    wants: vec![Want {
                        task: Some(5),
                        due_ns: Some(30),
                        object: 1,
                        ..Want::default()
                    }],
                    since_ns: 10,
                    ..TaskWait::default()
                })
                .into(),
            thread_waits: vec![ThreadWait {
                tid: 7,
                task: Some(6),
                since_ns: 10,
                function: 1,
                ..ThreadWait::default()
            }],
            outside: Some(Outside::default()),
            loss: Some(Loss::default()),
            ..Frame::default()
        };
        let place = Place {
            offset_ns: -4,
            task: &|id| {
                (id == 5).then_some(Shown {
                    id: 50,
                    location: 2,
                })
            },
            runtime: &|id| (id == 128).then_some(0),
        };
        let placed = place.frame(frame);
        let beyond = |id: u32| IDS.id(id);
        assert_eq!(placed.strings[0].id, beyond(1));
        assert_eq!(
            (placed.threads[0].tid, placed.threads[0].name),
            (7, beyond(1))
        );
        assert_eq!(placed.modules[0].id, beyond(1));
        let workers: Vec<_> = placed
            .workers
            .iter()
            .map(|w| (w.runtime, w.task, w.poll_started_at_ns))
            .collect();
        assert_eq!(workers, [(130, Some(50), Some(6)), (130, None, None)]);
        let stall = &placed.stalls[0];
        assert_eq!((stall.id, stall.task), (STALLS | 3, Some(50)));
        assert_eq!((stall.location, stall.started_at_ns), (2, 6));
        assert_eq!(
            (stall.stacks[0].first_at_ns, stall.stacks[0].last_at_ns),
            (6, 7)
        );
        let modules: Vec<_> = stall.stacks[0].frames.iter().map(|f| f.module).collect();
        assert_eq!(modules, [beyond(1), 0]);
        let columns = placed.tasks.unwrap();
        assert_eq!(columns.future, [beyond(1), 0]);
        assert_eq!(columns.runtime, [1, 0]);
        let node = &placed.await_shapes[0].nodes[0];
        assert_eq!((node.future, node.location), (beyond(1), beyond(9)));
        let [wait] = &placed.task_waits[..] else {
            panic!("one of a task that the other does not have");
        };
        assert_eq!((wait.task, wait.since_ns), (50, 6));
        let first = &wait.wants[0];
        let found = (first.task, first.due_ns, first.object);
        assert_eq!(found, (Some(50), Some(26), beyond(1)));
        let thread = &placed.thread_waits[0];
        assert_eq!((thread.task, thread.since_ns), (None, 6));
        assert_eq!(thread.function, beyond(1));
        assert!(placed.loss.is_none() && !placed.snapshot_complete);
    }
}
