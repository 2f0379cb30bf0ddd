//! A made-up session of any length and size, for tests and measurements.

use looptop_wire::{
    columns::{self, Record},
    instant,
    intern::Interner,
    proto::{self, Frame, HelloResponse},
};

/// What the session looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Live tasks.
    pub(crate) tasks: u64,
    /// Tasks that change in each frame.
    pub(crate) changed: u64,
    /// Workers, each with a thread.
    pub(crate) workers: u32,
    /// Time between frames.
    pub(crate) step_ns: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tasks: 20,
            changed: 5,
            workers: 2,
            step_ns: 100_000_000,
        }
    }
}

/// Yields the frames of the session, one after another.
#[derive(Debug)]
pub(crate) struct Session {
    shape: Shape,
    interner: Interner,
    frame: u64,
    next_task: u64,
    stalls: u64,
}

const MS: u64 = 1_000_000;

impl Session {
    /// Not a random one: the same shape gives the same frames.
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            interner: Interner::default(),
            frame: 0,
            next_task: 0,
            stalls: 0,
        }
    }

    /// Who is observed.
    pub(crate) fn hello(&self) -> HelloResponse {
        let kinds = (1..=16).filter_map(|n| proto::CapabilityKind::try_from(n).ok());
        HelloResponse {
            protocol: 1,
            session: "synthetic".into(),
            name: "synthetic".into(),
            pid: 4211,
            cpus: self.shape.workers,
            stall_threshold_ns: 10 * MS,
            watchdog_interval_ns: 5 * MS,
            started_unix_ns: 1_700_000_000_000_000_000,
            capabilities: kinds
                .map(|kind| proto::Capability {
                    kind: kind.into(),
                    available: true,
                    reason: String::new(),
                })
                .collect(),
            ..HelloResponse::default()
        }
    }

    /// The next frame; the first is the whole state.
    pub(crate) fn next_frame(&mut self) -> Frame {
        self.frame += 1;
        let now_ns = 5_000 * MS + self.frame * self.shape.step_ns;
        let first = self.frame == 1;
        let tasks = self.tasks(
            now_ns,
            if first {
                self.shape.tasks
            } else {
                self.shape.changed
            },
        );
        let forgotten = if self.frame.is_multiple_of(7) {
            vec![self.frame]
        } else {
            Vec::new()
        };
        let mut frame = Frame {
            sequence: self.frame,
            now_ns,
            snapshot_complete: first,
            runtimes: vec![self.runtime()],
            workers: (0..self.shape.workers)
                .map(|i| self.worker(i, now_ns))
                .collect(),
            threads: (0..=self.shape.workers).map(|i| self.thread(i)).collect(),
            process: Some(self.process()),
            host: Some(proto::Host {
                cpus: self.shape.workers,
                cpu_ratio: self.wave(50.0) / 100.0,
                total_memory_bytes: 16 << 30,
                available_memory_bytes: 9 << 30,
                load_1m: 0.7,
            }),
            lag: vec![self.lag(now_ns)],
            tasks: Some(tasks),
            forgotten_tasks: forgotten,
            sites: (0..5).map(|n| self.site(n)).collect(),
            stalls: self.stall(now_ns),
            ended_cells: self.ended_cells(now_ns),
            gauges: vec![proto::Gauge {
                name: self.interner.string("queue"),
                value: self.wave(9.0),
            }],
            resources: self.resource(now_ns),
            async_ops: self.operation(now_ns),
            loss: Some(proto::Loss {
                history: self.frame / 50,
                ..proto::Loss::default()
            }),
            coverage: Some(proto::Coverage {
                strangers: vec![proto::Stranger {
                    tid: 900,
                    kind: proto::StrangerKind::Worker.into(),
                    since_ns: 7,
                    cpu_ns: Some(self.frame * 1_000),
                    polls_distinguished: true,
                }],
                unread_threads: 2,
                skipped_threads: 1,
            }),
            outside: Some(self.outside()),
            await_shapes: self.await_shape(),
            task_waits: self.task_waits(now_ns),
            thread_waits: vec![proto::ThreadWait {
                tid: 100 + self.frame % 3,
                want: Some(want(0, 0x8000)),
                since_ns: now_ns - MS,
                function: self.interner.string("app::cache::get"),
                gone: self.frame.is_multiple_of(4),
                ..proto::ThreadWait::default()
            }],
            wait_resources: vec![proto::WaitResource {
                id: 0x8000 + self.frame % 4 * 64,
                kind: proto::ResourceKind::Semaphore.into(),
                free: Some(self.frame % 2),
                name: self.interner.string("pool"),
                gone: self.frame.is_multiple_of(9),
                ..proto::WaitResource::default()
            }],
            waits_read: Some(proto::WaitsRead {
                idle: self.shape.tasks,
                read: self.frame.min(self.shape.tasks),
                cpu_ns: self.frame * 10_000,
                not_read: vec![self.interner.string("stacks of threads")],
                ..proto::WaitsRead::default()
            }),
            ..Frame::default()
        };
        if first {
            frame.modules = vec![proto::Module {
                id: 1,
                path: self.interner.string("/app/synthetic"),
                build_id: vec![1, 2, 3],
                base: 0x5555_0000_0000,
            }];
        }
        frame.strings = self.interner.take_strings();
        frame.locations = self.interner.take_locations();
        frame
    }

    /// Something that goes up and down, with noise.
    fn wave(&self, height: f64) -> f64 {
        let noise =
            (self.frame.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
        height * (0.5 + 0.3 * (self.frame as f64 / 17.0).sin() + 0.2 * noise)
    }

    fn runtime(&mut self) -> proto::Runtime {
        proto::Runtime {
            name: self.interner.string("main"),
            flavor: proto::Flavor::MultiThread.into(),
            workers: self.shape.workers,
            live_tasks: self.shape.tasks,
            global_queue: self.wave(20.0) as u64,
            spawned: Some(self.next_task),
            blocking_threads: Some(3),
            idle_blocking_threads: Some(2),
            blocking_queue: Some(self.frame % 3),
            busy_ratio: Some(self.wave(1.0)),
            shutdown_began_at_ns: (self.frame > 30).then_some(30 * self.shape.step_ns),
            shutdown_waits: (30..self.frame).take(2).map(stack).collect(),
            ..proto::Runtime::default()
        }
    }

    fn worker(&self, index: u32, now_ns: u64) -> proto::Worker {
        proto::Worker {
            index,
            state: proto::WorkerState::Active.into(),
            tid: Some(100 + u64::from(index)),
            busy_ns: now_ns / 3 + self.wave(30e6) as u64,
            parks: self.frame * 40,
            polls: Some(self.frame * 900),
            steals: Some(self.frame),
            local_queue: Some(self.frame % 5),
            ..proto::Worker::default()
        }
    }

    fn thread(&mut self, n: u32) -> proto::Thread {
        proto::Thread {
            tid: 100 + u64::from(n),
            name: self.interner.string("tokio-rt-worker"),
            state: proto::ThreadState::Sleeping.into(),
            role: proto::ThreadRole::Worker.into(),
            user_ns: self.frame * 30 * MS + self.wave(5e6) as u64,
            system_ns: self.frame * 3 * MS,
            run_queue_ns: Some(self.frame * 10_000),
            voluntary_switches: Some(self.frame * 50),
            involuntary_switches: Some(self.frame / 3),
            gone: false,
        }
    }

    fn process(&self) -> proto::Process {
        proto::Process {
            cpu_ns: self.frame * 60 * MS,
            resident_bytes: (48 << 20) + self.frame * 4_096,
            thread_count: u64::from(self.shape.workers) + 4,
            agent_cpu_ns: self.frame * 40_000,
            open_files: Some(20 + self.frame % 7),
            open_file_limit: Some(1_024),
            heap_bytes: Some((30 << 20) + self.frame * 4_096),
            started_resident_bytes: Some(40 << 20),
            started_heap_bytes: Some(20 << 20),
            started_open_files: Some(12),
            ..proto::Process::default()
        }
    }

    fn outside(&mut self) -> proto::Outside {
        proto::Outside {
            looks: self.frame * 10,
            read: self.frame / 3,
            stopped: self.frame / 7,
            held_p50_ns: Some(20_000),
            held_max_ns: Some(90_000 + self.frame),
            no_sampler: self.interner.string("the kernel forbids it"),
            cpu_ns: self.frame * 300_000,
            ..proto::Outside::default()
        }
    }

    fn lag(&self, now_ns: u64) -> proto::LagSamples {
        proto::LagSamples {
            runtime: 0,
            at_ns: vec![now_ns - 50 * MS],
            lag_ns: vec![self.wave(400_000.0) as u64],
            pending_since_ns: self.frame.is_multiple_of(10).then_some(now_ns - 3 * MS),
        }
    }

    /// The first `count` tasks are new in the first frame; later ones spawn one,
    /// end one, and change the others.
    fn tasks(&mut self, now_ns: u64, count: u64) -> proto::Tasks {
        let mut tasks = proto::Tasks::default();
        let names = ["http::conn", "ticker", "cache::sweep", "report"];
        for n in 0..count {
            let spawn = self.frame == 1 || n == 0;
            let id = if spawn {
                self.next_task += 1;
                self.next_task
            } else {
                1 + (self.frame * 31 + n * 17) % self.next_task
            };
            let ended = self.frame > 1 && n == 1;
            let line = 40 + (id % 5) as u32;
            let record = Record {
                id,
                state: if ended {
                    proto::TaskState::Completed
                } else {
                    proto::TaskState::Idle
                },
                kind: proto::TaskKind::Task,
                runtime: Some(0),
                name: Some(self.interner.string(names[id as usize % names.len()])),
                location: Some(self.interner.location("src/service.rs", line, 9)),
                parent: (id > 1).then_some(1),
                tid: Some(100),
                size_bytes: Some(256),
                tokio_id: Some(id + 7),
                fields: Some(self.interner.string(&format!("url=/customer/{}", id % 50))),
                spawned_at_ns: Some(id * 1_000),
                polls: Some(self.frame * 10 + id),
                busy_ns: Some(self.frame * MS + id * 1_000),
                scheduled_ns: Some(self.frame * 20_000),
                longest_poll_ns: Some(MS + id),
                longest_scheduled_ns: Some(90_000),
                wakes: Some(self.frame * 9 + id),
                self_wakes: Some(self.frame),
                waker_clones: Some(self.frame * 9 + id),
                waker_drops: Some(self.frame * 9),
                ended_at_ns: Some(ended.then_some(now_ns)),
                last_wake_at_ns: Some(Some(now_ns - MS)),
                poll_started_at_ns: Some(None),
                idle_since_ns: Some((!ended).then_some(now_ns - MS)),
                ..Record::default()
            };
            columns::push(&mut tasks, &record);
        }
        tasks
    }

    fn site(&mut self, n: u32) -> proto::SpawnSite {
        proto::SpawnSite {
            location: self.interner.location("src/service.rs", 40 + n, 9),
            kind: proto::TaskKind::Task.into(),
            spawned: self.next_task / 5,
            ended: self.frame / 2,
            polls: self.frame * 1_000,
            busy_ns: self.frame * 5 * MS,
            longest_poll_ns: 3 * MS,
            poll_bucket: (40..60).collect(),
            poll_count: (0..20).map(|b| self.frame * (b + 1)).collect(),
            scheduled_bucket: vec![30, 31],
            scheduled_count: vec![self.frame * 4, self.frame],
            unreaped: (n == 1).then_some(self.frame / 3),
            unreaped_bytes: (n == 1).then_some(self.frame / 3 * 512),
            first_spawn_at_ns: Some(u64::from(n) * MS),
            ..proto::SpawnSite::default()
        }
    }

    /// Every 20 frames a stall that lasts for two.
    fn stall(&mut self, now_ns: u64) -> Vec<proto::Stall> {
        let (state, ago) = match self.frame % 20 {
            3 => (proto::StallState::Live, 50 * MS),
            4 => (proto::StallState::Ended, 50 * MS + self.shape.step_ns),
            _ => return Vec::new(),
        };
        self.stalls += u64::from(state == proto::StallState::Live);
        let started_at_ns = now_ns - ago;
        vec![proto::Stall {
            id: self.stalls,
            state: state.into(),
            scope: proto::StallScope::OnePoll.into(),
            runtime: Some(0),
            worker: Some(0),
            tid: Some(100),
            task: Some(1 + self.frame % 5),
            name: self.interner.string("report"),
            location: self.interner.location("src/service.rs", 43, 9),
            started_at_ns,
            duration_ns: ago,
            cause: proto::Cause::Computing.into(),
            cpu_ns: Some(ago - MS),
            run_queue_ns: Some(10_000),
            observed_ns: Some(ago),
            syscall: self.interner.string("clock_nanosleep"),
            object: self.interner.string("fd 7 /data/log"),
            stacks: vec![proto::StackSample {
                first_at_ns: started_at_ns,
                last_at_ns: now_ns,
                count: 3,
                frames: (0..30)
                    .map(|n| proto::CodeAddress {
                        module: 1,
                        offset: 0x1_0000 + n * 0x73,
                    })
                    .collect(),
                truncated: false,
                cause: proto::Cause::Computing.into(),
                syscall: self.interner.string("clock_nanosleep"),
                evidence: proto::Evidence::Signal.into(),
            }],
            samples: 9,
            holder: Some(proto::LockHolder {
                tid: 102,
                name: self.interner.string("tokio-rt-worker"),
                stack: Some(stack(self.stalls % 3)),
                certain: self.stalls.is_multiple_of(2),
                task: Some(2),
                location: self.interner.location("src/service.rs", 42, 9),
                task_name: self.interner.string("ticker"),
                doing: self.interner.string("write"),
                object: self.interner.string("fd 1 pipe"),
            }),
            ..proto::Stall::default()
        }]
    }

    /// A resource that lives on, and in each frame one more, of which the one
    /// before is dropped.
    fn resource(&mut self, now_ns: u64) -> Vec<proto::Resource> {
        let location = self.interner.location("src/service.rs", 44, 9);
        let kind = self.interner.string("Sync");
        let type_name = self.interner.string("Mutex");
        let target = self.interner.string("tokio::sync::mutex");
        let resource = |id: u64, dropped| proto::Resource {
            id,
            parent: u64::from(id > 1),
            kind,
            type_name,
            target,
            location,
            internal: id > 1,
            created_at_ns: id * MS,
            dropped_at_ns: instant::write(dropped),
            attributes: type_name,
            number: 0,
        };
        let former = (self.frame > 2).then(|| resource(self.frame - 1, Some(now_ns)));
        let lasting = (self.frame == 1).then(|| resource(1, None));
        let new = (self.frame > 1).then(|| resource(self.frame, None));
        [former, lasting, new].into_iter().flatten().collect()
    }

    /// The same of operations.
    fn operation(&mut self, now_ns: u64) -> Vec<proto::AsyncOp> {
        let source = self.interner.string("Mutex::lock");
        let operation = |id: u64, dropped| proto::AsyncOp {
            id,
            parent: u64::from(id > 1),
            resource: 1,
            task: 1 + id % 5,
            source,
            created_at_ns: id * MS,
            dropped_at_ns: instant::write(dropped),
            polls: id,
            busy_ns: id * 1_000,
            attributes: source,
            poll_started_at_ns: instant::write(dropped.is_none().then_some(now_ns)),
            number: 0,
        };
        let former = (self.frame > 1).then(|| operation(self.frame - 1, Some(now_ns)));
        let new = operation(self.frame, None);
        former.into_iter().chain([new]).collect()
    }

    /// A new one now and then.
    fn await_shape(&mut self) -> Vec<proto::AwaitShape> {
        if self.frame % 10 != 1 {
            return Vec::new();
        }
        let node = |depth, kind: proto::AwaitKind, future, location| proto::AwaitNode {
            depth,
            kind: kind.into(),
            future,
            location,
            by_macro: false,
            link: proto::AwaitLink::Awaited.into(),
        };
        let own = self.interner.string("app::conn::{async_fn#0}");
        let line = 40 + (self.frame / 10) as u32;
        let place = self.interner.location("src/service.rs", line, 9);
        let leaf = self
            .interner
            .string("tokio::sync::batch_semaphore::Acquire");
        vec![proto::AwaitShape {
            id: (self.frame / 10) as u32 + 1,
            nodes: vec![
                node(0, proto::AwaitKind::AsyncFn, own, place),
                node(1, proto::AwaitKind::Leaf, leaf, 0),
            ],
            by: proto::AwaitsBy::Types.into(),
            cut: 0,
        }]
    }

    /// One task waits anew, and what was known of another is void.
    fn task_waits(&mut self, now_ns: u64) -> Vec<proto::TaskWait> {
        let wait = |task, shape| proto::TaskWait {
            task,
            shape,
            wants: vec![want(1, 0x8000)],
            holds: vec![proto::Hold {
                resource: 0x8040,
                role: proto::HoldRole::Permits.into(),
                amount: 1,
                certain: true,
                ..proto::Hold::default()
            }],
            since_ns: now_ns - MS,
            read_at_ns: now_ns,
            certain: true,
            scheduled: false,
            wakers_known: false,
        };
        let shape = (self.frame / 10) as u32 + 1;
        vec![wait(self.next_task, shape), wait(self.frame, 0)]
    }

    /// Two types, of which one is counted anew each time and the other is gone
    /// now and then.
    fn ended_cells(&mut self, now_ns: u64) -> Vec<proto::EndedCells> {
        let location = self.interner.location("src/service.rs", 42, 9);
        let cells = |poll: u64, label: u32, count: u64| proto::EndedCells {
            r#type: label,
            count,
            bytes: count * 512,
            counted_at_ns: now_ns,
            poll: Some(proto::CodeAddress {
                module: 1,
                offset: poll,
            }),
            first_count: 1,
            first_counted_at_ns: MS,
            location,
        };
        let label = self.interner.string("app+0x5000");
        vec![
            cells(0x5000, label, self.frame),
            cells(0x6000, 0, self.frame % 3),
        ]
    }
}

fn want(node: u32, resource: u64) -> proto::Want {
    proto::Want {
        node,
        kind: proto::WantKind::Permits.into(),
        resource,
        amount: 1,
        ..proto::Want::default()
    }
}

/// A short stack, one of many.
fn stack(n: u64) -> proto::StackSample {
    let frame = |depth| proto::CodeAddress {
        module: 1,
        offset: 0x9_0000 + n * 0x100 + depth,
    };
    proto::StackSample {
        first_at_ns: MS,
        last_at_ns: 2 * MS,
        count: 1,
        frames: (0..4).map(frame).collect(),
        truncated: false,
        cause: proto::Cause::Lock.into(),
        syscall: 0,
        evidence: proto::Evidence::Read.into(),
    }
}
