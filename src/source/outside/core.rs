//! A core dump: read once, from its threads to where its tasks wait, and then it stands
//! still.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use looptop_outside::{
    Role,
    core::{CoreFile, CoreStacks, ThreadStack},
    tasks::{AddressSet, Task, Tasks, Types},
    waiting::Waiting,
};
use looptop_procfs::{Cause, SyscallState, syscalls};
use looptop_symbols::Resolver;
use looptop_wire::proto::{self, CapabilityKind as Kind, Frame, HelloResponse};
use tokio::{sync::mpsc, task::spawn_blocking, time::sleep_until};

use super::{
    facts, hello,
    live::ns,
    names::{Names, Program},
    seen::{Does, Doing, Listing, Look, Module, Polled, Stack, Stall, Thread, Waits},
    translate::Translator,
};
use crate::source::{
    Event, Pace, Problem, SourceKind,
    budget::ThreadCpu,
    session::{End, Session},
};

/// Parts that wait for the session.
const PARTS: usize = 16;
/// So long reading may take until the user is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// The moment of the dump, on the session's clock, which began a little earlier.
const NOW_NS: u64 = 1_000_000_000;
/// So long tasks are read until what was found is sent.
const TURN: Duration = Duration::from_millis(200);
/// Looks at the threads: who holds what the first one finds to be waited for, what these
/// wait for, and once more.
const LOOKS: u32 = 3;
const LATER: Duration = Duration::from_hours(1);
/// Between two looks at whether names were found.
const NAMES_EVERY: Duration = Duration::from_millis(5);

/// What was read of a dump.
enum Part {
    Hello(Box<HelloResponse>),
    Frames(Vec<Frame>),
    Failed(Problem),
    End,
}

/// Shows the dump at a path until nobody listens.
pub(super) async fn run(session: &mut Session, path: PathBuf) -> Result<Infallible, End> {
    let (sender, mut parts) = mpsc::channel(PARTS);
    let owned = path.clone();
    spawn_blocking(move || {
        let last = match read(&owned, &sender) {
            Ok(()) => Part::End,
            Err(Stopped::Unwanted) => return,
            Err(Stopped::Failed(problem)) => Part::Failed(problem),
        };
        // It fails where nobody listens any more.
        let _ = sender.blocking_send(last);
    });
    loop {
        let silent_at = session.last_sign + PATIENCE;
        tokio::select! {
            biased;
            part = parts.recv() => match part {
                Some(Part::Hello(hello)) => {
                    let kind = SourceKind::Core;
                    session.send(Event::Connected { hello, kind }).await?;
                }
                Some(Part::Frames(frames)) => session.send_frames(frames).await?,
                Some(Part::Failed(problem)) => return Err(problem.into()),
                Some(Part::End) => break,
                None => {
                    let why = "looptop failed while it read it";
                    return Err(Problem::core(&path, &why).into());
                }
            },
            // Of other sources.
            Some(_) = session.commands.recv() => {}
            () = sleep_until(silent_at), if !session.is_silent() => {
                let waited = session.last_sign.elapsed();
                let problem = Problem::slow_to_read_core(&session.target, waited);
                session.tell_silence(problem).await?;
            }
        }
    }
    session.send(Event::Ended).await?;
    while session.options.pace != Pace::Unlimited {
        session.commands.recv().await.ok_or(End::Unwanted)?;
    }
    Err(End::Unwanted)
}

/// Why reading came to no end.
enum Stopped {
    Unwanted,
    Failed(Problem),
}

type Sender = mpsc::Sender<Part>;

fn send(to: &Sender, part: Part) -> Result<(), Stopped> {
    to.blocking_send(part).map_err(|_| Stopped::Unwanted)
}

/// Reads the dump at a path, from what is soon known to what takes long.
fn read(path: &Path, to: &Sender) -> Result<(), Stopped> {
    let core = CoreFile::open(path).map_err(|why| Stopped::Failed(Problem::core(path, &why)))?;
    let types = Types::of_core(&core).map(Arc::new);
    let stacks = CoreStacks::of(&core, types.as_deref().ok());
    let missing = hello::Missing {
        tasks: types
            .as_ref()
            .err()
            .map(|error| format!("tasks cannot be listed: {error}")),
        stalls: None,
        names: stacks.nameless().map(hello::polls_of_tasks_only),
    };
    let types = types.ok();
    send(
        to,
        Part::Hello(Box::new(greeting(&core, types.as_deref(), &missing))),
    )?;
    let mut reader = Reader {
        translator: Translator::at_once(types.is_some()),
        core,
        stacks,
    };
    let tasks = match types {
        Some(types) => Some(reader.list(types, to)?),
        None => None,
    };
    let in_poll = tasks.as_ref().map(Tasks::in_poll);
    let threads = reader.stacks.threads(in_poll.as_deref());
    let frames = reader.translator.look(NOW_NS, &reader.look(&threads));
    send(to, Part::Frames(frames))?;
    match tasks {
        Some(tasks) => reader.waits(&tasks, to),
        None => Ok(()),
    }
}

struct Reader {
    core: CoreFile,
    stacks: CoreStacks,
    translator: Translator,
}

impl Reader {
    /// Lists the tasks, with the names of their futures.
    fn list(&mut self, types: Arc<Types>, to: &Sender) -> Result<Tasks<CoreFile>, Stopped> {
        let mut tasks = Tasks::over(self.core.clone(), types);
        let threads = self.core.threads();
        let pointers: Vec<(u64, u64)> = threads.map(|t| (t.tid, t.registers.sp)).collect();
        tasks.read_all(&pointers);
        let core = self.core.clone();
        let names = Names::over(self.core.clone(), None, move |path| {
            let is_here = core.has_file(path).then(|| path.to_owned());
            is_here.into_iter().collect()
        });
        let mut names = names.map_err(|error| {
            let why = format!("no thread can be started: {error}");
            Stopped::Failed(Problem::core(self.core.program(), &why))
        })?;
        let modules = self.stacks.modules().iter().map(|module| Program {
            path: module.path.clone(),
            base: module.base,
        });
        let programs: Vec<Program> = modules.collect();
        loop {
            let listing = facts::listing(
                tasks.listing(),
                tasks.types(),
                &mut names,
                &programs,
                &AddressSet::default(),
            );
            if !names.are_awaited() {
                let frames = self.translator.listing(
                    NOW_NS,
                    &Listing {
                        unlisted: tasks.listing().unlisted,
                        ..listing
                    },
                );
                send(to, Part::Frames(frames))?;
                return Ok(tasks);
            }
            while names.are_awaited() {
                if to.is_closed() {
                    return Err(Stopped::Unwanted);
                }
                thread::sleep(NAMES_EVERY);
                names.renew();
            }
        }
    }

    /// Reads where the tasks and threads wait, all of them.
    fn waits(&mut self, tasks: &Tasks<CoreFile>, to: &Sender) -> Result<(), Stopped> {
        let types = Arc::clone(tasks.types());
        let mut waiting = Waiting::new(self.core.clone(), types, Resolver::new(None));
        let mut cpu = ThreadCpu::default();
        let began = Instant::now();
        let listed: Arc<[Task]> = tasks.listing().tasks.as_slice().into();
        // Nothing comes or goes any more: what is missing is in no list.
        waiting.take_listing((listed, 0), &AddressSet::default(), began);
        let mut at = began;
        let mut looks = 0..LOOKS;
        loop {
            let is_behind = waiting.is_behind();
            if is_behind {
                waiting.read(TURN);
            } else if looks.next().is_some() {
                // Each goes on from the one before, and as if enough time had passed.
                at += LATER;
                waiting.look_at_threads(at);
            } else {
                return Ok(());
            }
            if to.is_closed() {
                return Err(Stopped::Unwanted);
            }
            let mut found = waiting.take();
            // Since when anything waits nobody knows.
            for task in &mut found.tasks {
                (task.since, task.read_at) = (at, at);
            }
            for thread in &mut found.threads {
                thread.since = at;
            }
            let waits = Waits {
                found,
                at,
                cpu_ns: cpu.used_ns(),
            };
            let frames = self.translator.waits(NOW_NS, &waits);
            send(to, Part::Frames(frames))?;
        }
    }

    fn look(&self, threads: &[ThreadStack]) -> Look {
        let modules = self.stacks.modules().iter().map(|module| Module {
            path: module.path.to_string_lossy().into_owned(),
            build_id: module.build_id.clone(),
            base: module.base,
        });
        let polls = threads.iter().filter(|thread| thread.in_poll);
        Look {
            threads: threads.iter().map(thread_of).collect(),
            stalls: polls.zip(1..).map(|(t, id)| poll(t, id)).collect(),
            modules: modules.collect(),
            doing: Doing {
                looks: 1,
                read: threads.len() as u64,
                ..Doing::default()
            },
        }
    }
}

fn thread_of(stack: &ThreadStack) -> Thread {
    let drives = match stack.role {
        Role::Worker => proto::Flavor::MultiThread,
        Role::CurrentThread => proto::Flavor::CurrentThread,
        _ => proto::Flavor::Unknown,
    };
    Thread {
        tid: stack.tid,
        state: match stack.call {
            Some(_) => proto::ThreadState::Sleeping,
            None => proto::ThreadState::Running,
        },
        role: facts::role(stack.role),
        drives,
        does: match drives {
            proto::Flavor::Unknown => Does::Unknown,
            _ if stack.in_poll => Does::Polling {
                since_ns: NOW_NS,
                task: stack.task.map(polled),
            },
            _ if stack.parked => Does::Parked,
            _ => Does::Active,
        },
        ..Thread::default()
    }
}

fn polled(task: looptop_outside::RunningTask) -> Polled {
    Polled {
        header: task.header,
        id: task.id,
    }
}

/// A poll in which a thread was; how long it had lasted nobody knows.
fn poll(stack: &ThreadStack, id: u64) -> Stall {
    let state = stack
        .call
        .map_or(SyscallState::Running, |call| SyscallState::In {
            number: call.number,
            args: call.args,
            sp: 0,
            pc: 0,
        });
    let cause = facts::cause(Cause::of(&state));
    let call = stack
        .call
        .map(|call| syscalls::name(call.number).into_owned());
    Stall {
        id,
        live: true,
        scope: proto::StallScope::OnePoll,
        tid: stack.tid,
        task: stack.task.map(polled),
        started_ns: NOW_NS,
        cause,
        syscall: call.clone(),
        stacks: vec![Stack {
            first_ns: NOW_NS,
            last_ns: NOW_NS,
            count: 1,
            frames: stack
                .frames
                .iter()
                .map(|(module, offset)| (module.map(|index| index.0), *offset))
                .collect(),
            truncated: stack.truncated,
            cause,
            syscall: call,
            evidence: proto::Evidence::Read,
        }],
        looks: 1,
        ..Stall::default()
    }
}

/// Who was dumped.
fn greeting(core: &CoreFile, types: Option<&Types>, missing: &hello::Missing) -> HelloResponse {
    let program = core.program();
    let name = program.file_name().unwrap_or(program.as_os_str());
    let located = core.executable();
    let written = core.written().and_then(|written| {
        let since = written.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(ns(since))
    });
    let began = written.unwrap_or_default().saturating_sub(NOW_NS);
    let version = types.and_then(Types::tokio_version);
    HelloResponse {
        protocol: looptop_wire::PROTOCOL,
        session: format!("core-{}-{began:x}", core.pid()),
        name: name.to_string_lossy().into_owned(),
        pid: core.pid(),
        exe: located.to_string_lossy().into_owned(),
        build_id: looptop_symbols::elf::build_id(located).unwrap_or_default(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        started_unix_ns: began,
        now_ns: NOW_NS,
        tokio_version: version.map_or_else(String::new, |version| version.to_string()),
        capabilities: capabilities(missing),
        core_dump: true,
        ..HelloResponse::default()
    }
}

/// What is not in a dump, and of what.
const NOT_THERE: [(Kind, &str); 10] = [
    (
        Kind::TaskNames,
        "the names that a program gives its tasks are not in them",
    ),
    (Kind::Wakes, ONE_MOMENT),
    (Kind::ScheduleLatency, ONE_MOMENT),
    (Kind::WorkerPolls, ONE_MOMENT),
    (Kind::BlockingPool, "the blocking pool's queue is not read"),
    (Kind::Lag, ONE_MOMENT),
    (Kind::Cause, ONE_MOMENT),
    (Kind::Console, "no console-subscriber is in a core dump"),
    (
        Kind::Resources,
        "locks, timers and channels are shown by who waits for them",
    ),
    (Kind::Wakers, ONE_MOMENT),
];
const ONE_MOMENT: &str = "a core dump is one moment: nothing that takes time is in it";

fn capabilities(missing: &hello::Missing) -> Vec<proto::Capability> {
    let capability = |kind: Kind, why: Option<&str>| proto::Capability {
        kind: kind.into(),
        available: why.is_none(),
        reason: why.unwrap_or_default().to_owned(),
    };
    let known = [
        Kind::Threads,
        Kind::Stacks,
        Kind::Workers,
        Kind::WorkerThreads,
    ];
    known
        .map(|kind| capability(kind, None))
        .into_iter()
        .chain([
            capability(Kind::Stalls, Some(ONE_MOMENT)),
            capability(Kind::Tasks, missing.tasks.as_deref()),
            capability(Kind::Waits, missing.tasks.as_deref()),
        ])
        // Said only where it is not so.
        .chain(
            missing
                .names
                .iter()
                .map(|why| capability(Kind::Coverage, Some(why))),
        )
        .chain(NOT_THERE.map(|(kind, why)| capability(kind, Some(why))))
        .collect()
}
