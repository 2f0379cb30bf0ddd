//! Where tasks wait: by the types that debug information describes, and without them by
//! their polls, [`interpreted`] on a copy.
//!
//! A task's future is a value in memory like others. Its type says where the state of an
//! async fn is, which future it awaits in that state and where that is written, and what
//! lives across the await; so a [`Chain`] is read from a task's allocation down to what it
//! waits for, without a stop and without a poll. [`Awaits`] reads them; [`waits`] makes of
//! chains who waits for whom.
//!
//! A chain is as of one moment only if the task was not polled meanwhile: its state word is
//! read before and after. Between the two it may have been polled and be idle again, in a
//! hundred thousand chains of a busy program once or less; who reports a task as stuck
//! looks twice.
//!
//! What it takes is measured by `cargo test -p looptop-outside --test chains -- --ignored
//! cost --nocapture`, and written in `docs/waiting.md`.

mod chain;
mod graph;
mod guard;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
pub mod interpreted;
mod leaf;
mod lines;
mod named;
mod names;
mod text;
mod view;
mod walk;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use looptop_symbols::types::{DebugTypes, IndexCosts, NoDebugTypes, TypeId};
use looptop_unwind::Memory;

pub use chain::{By, Chain, Cut, Held, Interest, Leaf, Link, Node, NodeKind, Role, Wanted};
pub use graph::waits;
use lines::Lines;
use named::Ways;
pub use text::{node_text, text};
use view::{Reader, View};
use walk::Walk;

use crate::Subject;
use crate::tasks::{Task, TaskKind, TaskState, Types};

/// Reads chains of a process's tasks.
#[derive(Debug)]
pub struct Awaits {
    tasks: Arc<Types>,
    /// The types of each of the modules that hold tasks.
    modules: Vec<Module>,
    /// The futures of task types, by their vtables.
    futures: HashMap<u64, Option<Future>>,
    /// Where macros are used.
    lines: Lines,
}

#[derive(Debug)]
struct Module {
    types: DebugTypes,
    bias: u64,
    /// Which of [`Types::modules`].
    number: usize,
    /// How variables lead to what tasks wait for.
    ways: Ways,
    /// The arguments of tokio's functions that poll tasks, if they were asked for.
    polls: Option<HashSet<Arc<str>>>,
}

/// Where the future of a task type is.
#[derive(Debug, Clone, Copy)]
struct Future {
    module: usize,
    stage: TypeId,
    /// From the beginning of the task.
    at: u64,
    is_certain: bool,
}

/// Why there is no chain of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoChain {
    /// It is in a poll: its stack says where it is.
    #[error("the task is in a poll")]
    Running,
    /// It has been polled meanwhile, or has ended.
    #[error("the task has gone on meanwhile")]
    Moved,
    /// Debug information does not describe it.
    #[error("the future of the task is not described by debug information")]
    Unknown,
    /// No function that its poll goes through has a name.
    #[error("no function of the task has a name")]
    Unnamed,
    /// It is a function of the blocking pool, and runs or waits for a thread.
    #[error("it is a job of the blocking pool")]
    Blocking,
}

impl Awaits {
    /// Reads the types of the program and of what it has loaded, once: see
    /// [`DebugTypes::load`].
    ///
    /// # Errors
    ///
    /// Its debug information has no types.
    pub fn load(subject: &Subject, tasks: Arc<Types>) -> Result<Self, NoDebugTypes> {
        let process = subject.process();
        let program = process.program();
        let file = |path: &Path| match &program {
            Some(program) if program == path => process.path("exe"),
            _ => {
                let inside = path.strip_prefix("/").unwrap_or(path);
                process.path("root").join(inside)
            }
        };
        Self::of(tasks, file)
    }

    /// The same of a core dump.
    ///
    /// # Errors
    ///
    /// Its debug information has no types.
    #[cfg(all(
        feature = "watch",
        target_os = "linux",
        not(looptop_elsewhere),
        target_arch = "x86_64"
    ))]
    pub fn of_core(core: &crate::core::CoreFile, tasks: Arc<Types>) -> Result<Self, NoDebugTypes> {
        let file = |path: &Path| {
            if core.has_file(path) {
                path.to_owned()
            } else {
                std::path::PathBuf::new()
            }
        };
        Self::of(tasks, file)
    }

    /// The same, where `file` says where the file of a module is read.
    ///
    /// # Errors
    ///
    /// Its debug information has no types.
    pub fn of(
        tasks: Arc<Types>,
        file: impl Fn(&Path) -> std::path::PathBuf,
    ) -> Result<Self, NoDebugTypes> {
        let mut modules = Vec::new();
        let mut error = NoDebugTypes::Unreadable;
        for (number, module) in tasks.modules().iter().enumerate() {
            let Some(bias) = module.bias else { continue };
            match DebugTypes::load(&file(&module.path)) {
                Ok(types) => modules.push(Module {
                    types,
                    bias,
                    number,
                    ways: Ways::default(),
                    polls: None,
                }),
                Err(why) => error = why,
            }
        }
        if modules.is_empty() {
            return Err(error);
        }
        Ok(Self {
            tasks,
            modules,
            futures: HashMap::new(),
            lines: Lines::default(),
        })
    }

    /// What the indices took, module by module.
    pub fn costs(&self) -> impl Iterator<Item = IndexCosts> {
        self.modules.iter().map(|module| module.types.costs())
    }

    /// Where a task waits.
    ///
    /// # Errors
    ///
    /// It does not wait, or nothing is known of it.
    pub fn chain(
        &mut self,
        memory: &(impl Memory + ?Sized),
        task: &Task,
    ) -> Result<Chain, NoChain> {
        if task.kind == TaskKind::Blocking {
            return Err(NoChain::Blocking);
        }
        let future = self.future(task.vtable).ok_or(NoChain::Unknown)?;
        let before = memory.read_u64(task.header).ok_or(NoChain::Moved)?;
        let state = crate::tasks::state_of(before);
        match state {
            TaskState::Running => return Err(NoChain::Running),
            TaskState::Complete => return Err(NoChain::Moved),
            TaskState::Idle | TaskState::Scheduled => {}
        }
        if self.tasks.id_of(memory, task.header) != Some(task.id) {
            return Err(NoChain::Moved);
        }
        let module = &mut self.modules[future.module];
        let mut reader = Reader::new(&mut module.types, memory, module.bias);
        let at = task.header.wrapping_add(future.at);
        let now = reader.view(future.stage, at).ok_or(NoChain::Unknown)?;
        let running = running(&mut reader, &now).ok_or(NoChain::Moved)?;
        let mut walk = Walk::new(&mut reader, &mut module.ways, &self.tasks);
        let root = walk.future(&running, 0);
        let cut = walk.cut | walk.reader.cut;
        if memory.read_u64(task.header) != Some(before) {
            return Err(NoChain::Moved);
        }
        let mut chain = Chain {
            task: task.id,
            root,
            by: By::Types,
            cut: cut.then_some(Cut::Bound),
            is_scheduled: state == TaskState::Scheduled,
            is_certain: future.is_certain,
            wakers_known: false,
        };
        self.lines.mend(&mut chain);
        Ok(chain)
    }

    /// Whether the line of an await in a chain is not known that a macro such as `select!`
    /// has written, and may become known: by [`Self::learn_lines`].
    pub fn wants_lines(&self, chain: &Chain) -> bool {
        self.lines.are_wanted(chain)
    }

    /// Takes the lines of such awaits from an interpreted poll of the same task, for this
    /// chain and all others of the same async code.
    pub fn learn_lines(&mut self, chain: &mut Chain, polled: &Chain) {
        self.lines.learn(chain, polled);
        self.lines.mend(chain);
    }

    /// The type of the future of tasks with a vtable: its full name, if it is known.
    pub fn future_type(&mut self, vtable: u64) -> Option<Arc<str>> {
        let future = self.future(vtable)?;
        let types = &mut self.modules[future.module].types;
        let stage = types.get(future.stage)?;
        let (_, argument) = stage.parameters.first()?;
        Some(Arc::clone(&types.get(*argument)?.name))
    }

    fn future(&mut self, vtable: u64) -> Option<Future> {
        if let Some(known) = self.futures.get(&vtable) {
            return *known;
        }
        let found = self.find(vtable);
        self.futures.insert(vtable, found);
        found
    }

    /// The arguments of tokio's functions for the task name the type of its cell, and its
    /// debug information says where in it the future is.
    fn find(&mut self, vtable: u64) -> Option<Future> {
        let task = self.tasks.get(vtable)?;
        let number = task.module;
        let module = self.modules.iter().position(|m| m.number == number)?;
        let Module {
            types, bias, polls, ..
        } = &mut self.modules[module];
        let functions: Vec<u64> = task
            .functions
            .iter()
            .map(|f| f.wrapping_sub(*bias))
            .collect();
        // What its poll is called by counts most, then what most of the others are.
        let of_poll = types.task_arguments(&functions[..1]);
        let mut all = types.task_arguments(&functions);
        let mut is_certain = of_poll.len() == 1;
        if is_certain && all.first() != of_poll.first() {
            // Of a task whose own poll is elsewhere this one is not.
            let polls = polls.get_or_insert_with(|| all_polls(types, *bias, &self.tasks, number));
            let mut others = all.iter().filter(|arguments| !of_poll.contains(arguments));
            is_certain = others.all(|arguments| polls.contains(arguments));
        }
        all.sort_by_key(|arguments| !of_poll.contains(arguments));
        let core = "tokio::runtime::task::core::";
        for arguments in &all {
            let found = types
                .named(&format!("{core}Cell<{arguments}>"))
                .and_then(|cell| stage(types, cell, 0, &["core", "stage"]))
                .or_else(|| {
                    let core = types.named(&format!("{core}Core<{arguments}>"))?;
                    stage(types, core, task.scheduler_offset, &["stage"])
                });
            if let Some((stage, at)) = found {
                return Some(Future {
                    module,
                    stage,
                    at,
                    is_certain,
                });
            }
        }
        None
    }
}

/// The arguments of all functions that poll the tasks of a module.
fn all_polls(types: &mut DebugTypes, bias: u64, tasks: &Types, module: usize) -> HashSet<Arc<str>> {
    let tasks = tasks.iter().filter(|task| task.module == module);
    let polls = tasks.map(|task| task.poll().wrapping_sub(bias));
    polls
        .flat_map(|poll| types.task_arguments(&[poll]))
        .collect()
}

/// The `Stage` within a type, and where it is.
fn stage(
    types: &mut DebugTypes,
    within: TypeId,
    mut at: u64,
    path: &[&str],
) -> Option<(TypeId, u64)> {
    let mut id = within;
    for name in path {
        let ty = types.get(id)?;
        let member = ty.members.iter().find(|member| &*member.name == *name)?;
        at = at.checked_add(member.at)?;
        id = member.ty;
    }
    // Through the cells around it.
    for _ in 0..4 {
        let ty = types.get(id)?;
        if ty.variants.is_some() {
            return Some((id, at));
        }
        let member = ty
            .members
            .iter()
            .find(|member| matches!(&*member.name, "stage" | "value" | "__0"))?;
        at = at.checked_add(member.at)?;
        id = member.ty;
    }
    None
}

/// The future in a task's stage, while it has one.
fn running<M: Memory + ?Sized>(reader: &mut Reader<'_, M>, stage: &View) -> Option<View> {
    let (variant, fields) = reader.variant(stage)?;
    if &*variant.name != "Running" {
        return None;
    }
    reader.field(&fields, "__0")
}
