//! What those see who may see numbers alone.
//!
//! What is passed on is listed here, and everything else falls away: a field that is
//! new on the wire is hidden until somebody decides.

use looptop_wire::proto::{self, CapabilityKind};

/// Numbers of a frame.
pub(crate) fn frame(frame: &proto::Frame) -> proto::Frame {
    proto::Frame {
        sequence: frame.sequence,
        now_ns: frame.now_ns,
        more: frame.more,
        snapshot_complete: frame.snapshot_complete,
        runtimes: frame.runtimes.iter().map(runtime).collect(),
        workers: frame.workers.iter().map(worker).collect(),
        threads: frame.threads.iter().map(thread).collect(),
        process: frame.process,
        host: frame.host,
        lag: frame.lag.clone(),
        stalls: frame.stalls.iter().map(stall).collect(),
        loss: frame.loss,
        ..proto::Frame::default()
    }
}

fn runtime(runtime: &proto::Runtime) -> proto::Runtime {
    proto::Runtime {
        name: 0,
        shutdown_waits: Vec::new(),
        ..runtime.clone()
    }
}

fn worker(worker: &proto::Worker) -> proto::Worker {
    proto::Worker {
        task: None,
        ..*worker
    }
}

fn thread(thread: &proto::Thread) -> proto::Thread {
    proto::Thread { name: 0, ..*thread }
}

/// How long, on which worker, and by which kind of cause; not where or in what.
fn stall(stall: &proto::Stall) -> proto::Stall {
    proto::Stall {
        id: stall.id,
        state: stall.state,
        scope: stall.scope,
        runtime: stall.runtime,
        worker: stall.worker,
        tid: stall.tid,
        started_at_ns: stall.started_at_ns,
        duration_ns: stall.duration_ns,
        cause: stall.cause,
        cpu_ns: stall.cpu_ns,
        run_queue_ns: stall.run_queue_ns,
        observed_ns: stall.observed_ns,
        samples: stall.samples,
        withdrawn: stall.withdrawn,
        ..proto::Stall::default()
    }
}

/// The hello without paths, and with what is hidden as missing.
pub(crate) fn hello(hello: proto::HelloResponse) -> proto::HelloResponse {
    let mut hello = proto::HelloResponse {
        exe: String::new(),
        build_id: Vec::new(),
        hostname: String::new(),
        ..hello
    };
    for capability in &mut hello.capabilities {
        if !shows_numbers(capability.kind()) {
            capability.available = false;
            capability.reason = super::refusal::Refusal::NumbersAlone.to_string();
        }
    }
    hello
}

fn shows_numbers(kind: CapabilityKind) -> bool {
    use CapabilityKind as Kind;
    matches!(
        kind,
        Kind::Workers
            | Kind::WorkerThreads
            | Kind::Threads
            | Kind::Stalls
            | Kind::Cause
            | Kind::WorkerPolls
            | Kind::BlockingPool
            | Kind::Lag
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame in which every text has an id of its own, and everything is there.
    fn full() -> proto::Frame {
        let stack = proto::StackSample {
            count: 1,
            frames: vec![proto::CodeAddress::default()],
            syscall: 91,
            ..proto::StackSample::default()
        };
        proto::Frame {
            sequence: 3,
            now_ns: 4,
            snapshot_complete: true,
            strings: vec![proto::InternedString {
                id: 91,
                text: "secret".into(),
            }],
            locations: vec![proto::Location::default()],
            runtimes: vec![proto::Runtime {
                id: 1,
                name: 91,
                workers: 2,
                shutdown_waits: vec![stack.clone()],
                ..proto::Runtime::default()
            }],
            workers: vec![proto::Worker {
                index: 1,
                task: Some(91),
                busy_ns: 5,
                ..proto::Worker::default()
            }],
            threads: vec![proto::Thread {
                tid: 7,
                name: 91,
                user_ns: 6,
                ..proto::Thread::default()
            }],
            process: Some(proto::Process::default()),
            host: Some(proto::Host::default()),
            lag: vec![proto::LagSamples::default()],
            tasks: Some(proto::Tasks {
                id: vec![91],
                name: vec![91],
                ..proto::Tasks::default()
            }),
            forgotten_tasks: vec![91],
            sites: vec![proto::SpawnSite::default()],
            stalls: vec![proto::Stall {
                id: 8,
                task: Some(91),
                location: 91,
                name: 91,
                duration_ns: 9,
                syscall: 91,
                object: 91,
                lock_holder_tid: Some(91),
                stacks: vec![stack],
                no_stack_reason: 91,
                lock_address: Some(91),
                holder: Some(proto::LockHolder::default()),
                ..proto::Stall::default()
            }],
            gauges: vec![proto::Gauge {
                name: 91,
                value: 1.0,
            }],
            loss: Some(proto::Loss::default()),
            modules: vec![proto::Module::default()],
            resources: vec![proto::Resource::default()],
            async_ops: vec![proto::AsyncOp::default()],
            ended_cells: vec![proto::EndedCells::default()],
            coverage: Some(proto::Coverage::default()),
            await_shapes: vec![proto::AwaitShape {
                id: 91,
                ..proto::AwaitShape::default()
            }],
            task_waits: vec![proto::TaskWait {
                task: 91,
                ..proto::TaskWait::default()
            }],
            thread_waits: vec![proto::ThreadWait {
                tid: 91,
                ..proto::ThreadWait::default()
            }],
            wait_resources: vec![proto::WaitResource {
                id: 91,
                ..proto::WaitResource::default()
            }],
            waits_read: Some(proto::WaitsRead {
                idle: 91,
                ..proto::WaitsRead::default()
            }),
            ..proto::Frame::default()
        }
    }

    #[test]
    fn numbers_go_through_and_no_name_does() {
        let reduced = frame(&full());
        let text = format!("{reduced:?}");
        assert!(!text.contains("91") && !text.contains("secret"), "{text}");
        let expected = proto::Frame {
            sequence: 3,
            now_ns: 4,
            snapshot_complete: true,
            runtimes: vec![proto::Runtime {
                id: 1,
                workers: 2,
                ..proto::Runtime::default()
            }],
            workers: vec![proto::Worker {
                index: 1,
                busy_ns: 5,
                ..proto::Worker::default()
            }],
            threads: vec![proto::Thread {
                tid: 7,
                user_ns: 6,
                ..proto::Thread::default()
            }],
            process: Some(proto::Process::default()),
            host: Some(proto::Host::default()),
            lag: vec![proto::LagSamples::default()],
            stalls: vec![proto::Stall {
                id: 8,
                duration_ns: 9,
                ..proto::Stall::default()
            }],
            loss: Some(proto::Loss::default()),
            ..proto::Frame::default()
        };
        assert_eq!(reduced, expected);
    }

    #[test]
    fn a_hello_says_what_is_hidden() {
        let capability = |kind: CapabilityKind| proto::Capability {
            kind: kind.into(),
            available: true,
            reason: String::new(),
        };
        let reduced = hello(proto::HelloResponse {
            exe: "/secret/app".into(),
            hostname: "secret".into(),
            build_id: vec![1],
            pid: 7,
            capabilities: vec![
                capability(CapabilityKind::Workers),
                capability(CapabilityKind::Stacks),
                capability(CapabilityKind::Tasks),
            ],
            ..proto::HelloResponse::default()
        });
        assert!(!format!("{reduced:?}").contains("secret"));
        assert_eq!((reduced.pid, reduced.build_id.len()), (7, 0));
        let available: Vec<bool> = reduced.capabilities.iter().map(|c| c.available).collect();
        assert_eq!(available, [true, false, false]);
        assert!(reduced.capabilities[1].reason.contains("LOOPTOP_PERMIT"));
    }
}
