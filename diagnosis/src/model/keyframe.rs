//! The model becomes frames again: a keyframe, from which a reader that has seen
//! nothing before goes on as if it had seen everything.
//!
//! Recordings and the screen's history begin each chunk with one.

use std::time::Duration;

use looptop_wire::{
    columns,
    proto::{self, Frame},
    split::split,
};

use super::{
    Coverage, EndedCells, Gauge, Holder, Host, Model, Outside, Process, Runtime, Site, SiteKey,
    Stall, Task, TaskWait, Thread, Worker, history, names,
};

/// Tasks that are turned into columns at a time.
const BATCH: usize = 8_192;

impl Model {
    /// Frames that make a fresh model of the same hello equal to this one. All
    /// carry this model's moment, the last alone is without `more`; none is over
    /// [`looptop_wire::MAX_MESSAGE_BYTES`] by more than one record.
    pub fn keyframe(&self) -> Vec<Frame> {
        self.keyframes().collect()
    }

    /// The same frames, made one by one, since all of them take some 300 bytes of
    /// memory for each task.
    pub fn keyframes(&self) -> impl Iterator<Item = Frame> {
        let now_ns = self.now.0;
        let batches = self.tasks.as_slice().chunks(BATCH);
        let mut messages = batches.flat_map(task_messages);
        let mut tasks = messages.next();
        let learned: Vec<_> = self.session.learned().collect();
        if !learned.is_empty() {
            tasks.get_or_insert_default().capabilities = learned;
        }
        let first = Frame {
            now_ns,
            tasks,
            ..self.state()
        };
        let others = messages.map(move |tasks| Frame {
            now_ns,
            tasks: Some(tasks),
            ..Frame::default()
        });
        let waits: Vec<&TaskWait> = self.waits.tasks().collect();
        let batches = (0..waits.len()).step_by(BATCH).map(move |begin| {
            let end = waits.len().min(begin + BATCH);
            waits[begin..end]
                .iter()
                .map(|wait| wait.to_wire())
                .collect()
        });
        let waits = batches.map(move |task_waits| Frame {
            now_ns,
            task_waits,
            ..Frame::default()
        });
        let names = std::iter::once_with(|| names::parts(self));
        let names = names.flatten().map(move |names| Frame {
            now_ns,
            names,
            ..Frame::default()
        });
        let history = std::iter::once_with(|| history::collect(self));
        let history = history.flatten().map(move |history| Frame {
            now_ns,
            history: Some(history),
            ..Frame::default()
        });
        let plain = std::iter::once(first).chain(others).chain(waits);
        let plain = plain.flat_map(split);
        let mut frames = plain.chain(names).chain(history).peekable();
        std::iter::from_fn(move || {
            let mut frame = frames.next()?;
            frame.more = frames.peek().is_some();
            frame.snapshot_complete = !frame.more && self.complete;
            Some(frame)
        })
    }

    /// All state but the tasks and the history.
    fn state(&self) -> Frame {
        let strings = self.texts.texts();
        let locations = self.texts.locations();
        Frame {
            strings: strings
                .map(|(id, text)| proto::InternedString {
                    id: id.0,
                    text: text.to_owned(),
                })
                .collect(),
            locations: locations
                .map(|(id, (file, line, column))| proto::Location {
                    id: id.0,
                    file: file.0,
                    line,
                    column,
                })
                .collect(),
            modules: self.modules.values().cloned().collect(),
            runtimes: self.runtimes.iter().map(runtime).collect(),
            workers: self.workers.values().map(worker).collect(),
            threads: self.threads.values().map(thread).collect(),
            process: self.process.as_ref().map(process),
            host: self.host.as_ref().map(host),
            lag: self.lag.iter().map(lag).collect(),
            sites: self.sites.iter().map(site).collect(),
            stalls: self
                .stalls
                .live()
                .chain(self.stalls.ended().rev())
                .map(stall)
                .collect(),
            gauges: self.gauges.iter().map(gauge).collect(),
            resources: self.resources.to_wire(),
            async_ops: self.resources.ops_to_wire(),
            loss: Some(self.loss),
            ended_cells: self.ended_cells.values().map(EndedCells::to_wire).collect(),
            coverage: self.coverage.as_ref().map(Coverage::to_wire),
            outside: self.outside.as_ref().map(Outside::to_wire),
            await_shapes: self.waits.shapes_to_wire(),
            thread_waits: self.waits.threads_to_wire(),
            wait_resources: self.waits.resources_to_wire(),
            waits_read: self.waits.read_to_wire(),
            ..Frame::default()
        }
    }
}

fn ns(duration: Duration) -> u64 {
    super::ids::nanos(duration)
}

fn text(id: Option<super::TextId>) -> u32 {
    id.map_or(0, |id| id.0)
}

fn runtime(runtime: &Runtime) -> proto::Runtime {
    proto::Runtime {
        id: runtime.id.0,
        name: text(runtime.name),
        flavor: runtime.flavor.into(),
        workers: runtime.workers,
        live_tasks: runtime.live_tasks,
        global_queue: runtime.global_queue,
        spawned: runtime.spawned,
        forced_yields: runtime.forced_yields,
        blocking_threads: runtime.blocking_threads,
        idle_blocking_threads: runtime.idle_blocking_threads,
        blocking_queue: runtime.blocking_queue,
        busy_ratio: runtime.busy_ratio,
        gone: runtime.gone,
        max_blocking_threads: runtime.max_blocking_threads,
        shutdown_began_at_ns: runtime.shutdown_began.map(|at| at.0),
        shutdown_waits: runtime
            .shutdown_waits
            .iter()
            .map(|wait| wait.stack.clone())
            .collect(),
        listed_tasks: runtime.listed_tasks,
        torn: runtime.torn,
        found_by: runtime.found_by.into(),
        ..proto::Runtime::default()
    }
}

fn worker(worker: &Worker) -> proto::Worker {
    proto::Worker {
        runtime: worker.id.runtime.0,
        index: worker.id.index,
        state: worker.state.into(),
        tid: worker.tid.map(|tid| tid.0),
        task: worker.task.map(|id| id.0),
        poll_started_at_ns: worker.poll_started.map(|at| at.0),
        busy_ns: ns(worker.busy),
        parks: worker.parks,
        polls: worker.polls,
        steals: worker.steals,
        local_queue: worker.local_queue,
        mean_poll_ns: worker.mean_poll.map(ns),
        ..proto::Worker::default()
    }
}

fn thread(thread: &Thread) -> proto::Thread {
    proto::Thread {
        tid: thread.tid.0,
        name: text(thread.name),
        state: thread.state.into(),
        role: thread.role.into(),
        user_ns: ns(thread.user),
        system_ns: ns(thread.system),
        run_queue_ns: thread.run_queue.map(ns),
        voluntary_switches: thread.voluntary_switches,
        involuntary_switches: thread.involuntary_switches,
        gone: false,
    }
}

fn process(process: &Process) -> proto::Process {
    proto::Process {
        cpu_ns: ns(process.cpu),
        resident_bytes: process.resident,
        virtual_bytes: process.virtual_bytes,
        open_files: process.open_files,
        thread_count: process.thread_count,
        agent_cpu_ns: ns(process.agent_cpu),
        throttled_ns: process.throttled.map(ns),
        open_file_limit: process.open_file_limit,
        heap_bytes: process.heap,
        started_resident_bytes: process.started_resident,
        started_heap_bytes: process.started_heap,
        started_open_files: process.started_open_files,
    }
}

fn host(host: &Host) -> proto::Host {
    proto::Host {
        cpus: host.cpus,
        cpu_ratio: host.cpu_ratio,
        total_memory_bytes: host.total_memory,
        available_memory_bytes: host.available_memory,
        load_1m: host.load,
    }
}

/// Its samples are in the history.
fn lag((runtime, lag): (&super::RuntimeId, &super::Lag)) -> proto::LagSamples {
    proto::LagSamples {
        runtime: runtime.0,
        pending_since_ns: lag.pending_since.map(|at| at.0),
        ..proto::LagSamples::default()
    }
}

fn gauge((name, gauge): (&super::TextId, &Gauge)) -> proto::Gauge {
    proto::Gauge {
        name: name.0,
        value: gauge.value,
    }
}

fn site((key, site): (&SiteKey, &Site)) -> proto::SpawnSite {
    let columns = |pairs: &[(usize, u64)]| -> (Vec<u32>, Vec<u64>) {
        pairs
            .iter()
            .map(|(bucket, count)| (*bucket as u32, *count))
            .unzip()
    };
    let (poll_bucket, poll_count) = columns(site.poll_histogram());
    let (scheduled_bucket, scheduled_count) = columns(site.scheduled_histogram());
    proto::SpawnSite {
        location: key.location.map_or(0, |id| id.0),
        future: key.future.map_or(0, |id| id.0),
        kind: key.kind.into(),
        spawned: site.spawned,
        ended: site.ended,
        polls: site.polls,
        busy_ns: ns(site.busy),
        longest_poll_ns: ns(site.longest_poll),
        poll_bucket,
        poll_count,
        scheduled_bucket,
        scheduled_count,
        unreaped: site.unreaped,
        unreaped_bytes: site.unreaped_bytes,
        first_spawn_at_ns: site.first_spawn.map(|at| at.0),
    }
}

fn stall(stall: &Stall) -> proto::Stall {
    let state = if stall.live {
        proto::StallState::Live
    } else {
        proto::StallState::Ended
    };
    proto::Stall {
        id: stall.id.0,
        state: state.into(),
        scope: stall.scope.into(),
        runtime: stall.worker.map(|id| id.runtime.0),
        worker: stall.worker.map(|id| id.index),
        tid: stall.tid.map(|tid| tid.0),
        task: stall.task.map(|id| id.0),
        location: stall.location.map_or(0, |id| id.0),
        name: text(stall.name),
        started_at_ns: stall.started.0,
        duration_ns: ns(stall.duration),
        cause: stall.cause.into(),
        cpu_ns: stall.cpu.map(ns),
        run_queue_ns: stall.run_queue.map(ns),
        observed_ns: stall.observed.map(ns),
        syscall: text(stall.syscall),
        object: text(stall.object),
        lock_holder_tid: stall.lock_holder.map(|tid| tid.0),
        stacks: stall.stacks.to_vec(),
        no_stack_reason: text(stall.no_stack_reason),
        lock_address: stall.lock_address,
        holder: stall.holder.as_deref().map(Holder::to_wire),
        ..proto::Stall::default()
    }
}

/// Tasks of which the same is known travel together.
fn task_messages(tasks: &[Task]) -> impl Iterator<Item = proto::Tasks> {
    let mut writer = columns::Writer::default();
    for task in tasks {
        writer.push(&record(task));
    }
    writer.finish()
}

fn record(task: &Task) -> columns::Record {
    let instant = |at: Option<super::Moment>| Some(at.map(|at| at.0));
    columns::Record {
        id: task.id.0,
        state: task.state,
        kind: task.kind,
        runtime: task.runtime.map(|id| id.0),
        name: task.name.map(|id| id.0),
        location: task.location.map(|id| id.0),
        parent: task.parent().map(|id| id.0),
        tid: task.tid().map(|tid| tid.0),
        size_bytes: task.size(),
        original_size_bytes: task.original_size(),
        tokio_id: task.tokio_id(),
        fields: task.fields.map(|id| id.0),
        future: task.future.map(|id| id.0),
        future_certainty: task.future_certainty,
        future_location: task.future_location.map(|id| id.0),
        spawned_at_ns: task.spawned_at().map(|at| at.0),
        polls: task.polls(),
        busy_ns: task.finished_busy().map(ns),
        scheduled_ns: task.finished_scheduled().map(ns),
        longest_poll_ns: task.longest_poll().map(ns),
        longest_scheduled_ns: task.longest_scheduled().map(ns),
        wakes: task.wakes(),
        self_wakes: task.self_wakes(),
        waker_clones: task.wakers().map(|(clones, _)| clones),
        waker_drops: task.wakers().map(|(_, drops)| drops),
        ended_at_ns: instant(task.ended_at()),
        last_wake_at_ns: instant(task.last_wake()),
        poll_started_at_ns: instant(task.poll_started()),
        lock_wait_since_ns: instant(task.lock_wait()),
        idle_since_ns: instant(task.idle_since()),
    }
}
