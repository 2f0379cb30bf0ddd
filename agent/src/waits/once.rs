//! The tasks of one runtime and where they wait, read once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::{Interest, Link, NodeKind};
use looptop_outside::tasks::{
    AddressSet, SpawnLocation, Task as Listed, TaskKind, TaskState, Tasks, Types,
};
use looptop_outside::waiting::{
    Found, LiveProcess, Readable as _, ResourceFact, Shape, TaskWait, ThreadAt, Waiting, What,
};
use looptop_outside::waits::ResourceKind;
use looptop_symbols::{Resolver, name};

use super::names::Names;
use crate::testing::Task;

/// Chains are read for so long.
const CHAINS: Duration = Duration::from_secs(3);

/// The live tasks of the runtime on which the task with the id `marker` is, without that
/// one. Takes some 0.1 s, and more where the program has no types.
///
/// # Errors
///
/// This process cannot be read, or is not understood; or the task is not found.
pub(crate) fn tasks_beside(marker: u64) -> Result<Vec<Task>, String> {
    let subject = Subject::own().map_err(|error| error.to_string())?;
    let types = Types::load(&subject).map_err(|error| error.to_string())?;
    let types = Arc::new(types);
    let mut process = LiveProcess::new(&subject);
    let blocked = |thread: ThreadAt| Some((thread.tid, thread.stack()?));
    let stacks: Vec<(u64, u64)> = process.threads().into_iter().filter_map(blocked).collect();
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let found = tasks.read_all(&stacks);
    let list = found
        .tasks
        .iter()
        .find(|task| task.id == marker && task.runtime.is_some())
        .and_then(|task| task.runtime)
        .ok_or("its runtime was not found")?;
    let is_of_it = |task: &&Listed| {
        task.runtime == Some(list)
            && task.id != marker
            && task.kind == TaskKind::Async
            && task.state != TaskState::Complete
    };
    let mut names = Names::default();
    let file = |path: &Path| process.file(path);
    names.learn(found, &types, subject.memory(), file);
    let lacks = found.lacks();
    let listed: Vec<Listed> = found.tasks.iter().filter(is_of_it).copied().collect();
    let waits = waits(process, &types, (&listed, lacks));
    let of = |task: &Listed| {
        let future = names.get(task.vtable);
        let place = future.and_then(|future| future.place.as_ref());
        Task {
            future: future.map(|future| future.name.clone()).unwrap_or_default(),
            written: place.map(|(file, line, _)| format!("{file}:{line}")),
            spawned: found.spawned_at(task).map(at),
            waits: waits.get(&task.header).cloned().unwrap_or_default(),
        }
    };
    Ok(listed.iter().map(of).collect())
}

fn at(place: &SpawnLocation) -> String {
    format!("{}:{}", place.file, place.line)
}

/// Where each task waits, in lines, by where the task is.
fn waits(
    process: LiveProcess,
    types: &Arc<Types>,
    (listed, lacks): (&[Listed], u64),
) -> HashMap<u64, String> {
    let resolver = Resolver::new(Some(std::process::id()));
    let mut waiting = Waiting::new(process, Arc::clone(types), resolver);
    waiting.take_listing(
        (listed.into(), lacks),
        &AddressSet::default(),
        Instant::now(),
    );
    waiting.read(CHAINS);
    let Found {
        shapes,
        tasks,
        resources,
        ..
    } = waiting.take();
    let shapes: HashMap<u32, Arc<Shape>> = shapes.into_iter().collect();
    let texts = tasks.iter().filter_map(|wait| {
        let shape = shapes.get(&wait.shape)?;
        Some((wait.task.header, lines(wait, shape, &resources)))
    });
    texts.collect()
}

/// A chain, a line for each future, each indented below the one that awaits it.
fn lines(task: &TaskWait, shape: &Shape, resources: &[ResourceFact]) -> String {
    let mut text = String::new();
    for (number, node) in shape.nodes.iter().enumerate() {
        let link = match node.link {
            Link::Awaited => "",
            Link::NotStarted => "not yet polled: ",
            Link::Kept => "kept, not polled: ",
        };
        let _ = write!(text, "{:1$}{link}", "", node.depth as usize * 2);
        let mut wants = task.wants.iter();
        match wants.find(|want| want.node as usize == number) {
            Some(want) if node.kind == NodeKind::Leaf => {
                let _ = write!(text, "waits for {}", words(&want.what, resources));
            }
            _ => text.push_str(&name::short_future(&node.name)),
        }
        if let Some(at) = &node.location {
            let below = if node.by_macro { "below " } else { "" };
            let _ = write!(text, " ({below}{at})");
        }
        text.push('\n');
    }
    if let Some(cut) = &shape.cut {
        let _ = writeln!(text, "({cut})");
    }
    text
}

fn words(what: &What, resources: &[ResourceFact]) -> String {
    let of = |address: u64| {
        let fact = resources.iter().find(|fact| fact.address == address);
        let kind = fact.map_or("something", |fact| kind(fact.kind));
        match fact.and_then(|fact| fact.name.as_ref()) {
            Some(name) => format!("{kind} {name}"),
            None => kind.to_owned(),
        }
    };
    match what {
        What::Permits { resource, .. } | What::Other { resource } => of(*resource),
        What::Message { resource } => format!("a message of {}", of(*resource)),
        What::Room { resource } => format!("room in {}", of(*resource)),
        What::Task(Some(task)) => format!("the end of task {}", task.id),
        What::Task(None) => "the end of a task".to_owned(),
        What::Job { has_begun, .. } => {
            let does = if *has_begun { "runs" } else { "has not begun" };
            format!("a job of the blocking pool, which {does}")
        }
        What::Timer { .. } => "a timer".to_owned(),
        What::Socket {
            object, interest, ..
        } => {
            let to = match interest {
                Interest::Readable => " to read",
                Interest::Writable => " to write",
                Interest::Unknown => "",
            };
            let object = object.as_deref().unwrap_or("a socket");
            format!("{object}{to}")
        }
        What::Never => "nothing: it never ends".to_owned(),
    }
}

fn kind(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Mutex => "a Mutex",
        ResourceKind::RwLock => "an RwLock",
        ResourceKind::Semaphore => "a Semaphore",
        ResourceKind::OnceCell => "a OnceCell",
        ResourceKind::Notify => "a Notify",
        ResourceKind::Oneshot => "a oneshot channel",
        ResourceKind::Mpsc => "an mpsc channel",
        ResourceKind::Watch => "a watch channel",
        ResourceKind::Broadcast => "a broadcast channel",
        ResourceKind::Barrier => "a Barrier",
        ResourceKind::StdMutex => "a std Mutex",
        ResourceKind::StdRwLock => "a std RwLock",
        ResourceKind::ParkingLotMutex => "a parking_lot Mutex",
        ResourceKind::ParkingLotRwLock => "a parking_lot RwLock",
        ResourceKind::Other => "something",
    }
}
