//! A program's task types.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use looptop_unwind::Memory;

use super::TaskState;
use super::addresses::AddressMap;
use super::cell::{may_begin_at, task_state};
use super::module::{self, Found};
use super::version::Version;
use super::vtable::{FUNCTIONS, VTABLE_AT, Vtable, is_plausible};
use crate::space::{ProcessSpace, Space};
use crate::{Changed, Subject};

/// Before it tokio keeps its tasks in other lists.
pub(super) const OLDEST: Version = Version {
    major: 1,
    minor: 36,
    patch: 0,
};

/// A program's task types: of each future that it spawns, and of each function that it
/// gives to the blocking pool.
#[derive(Debug)]
#[allow(clippy::struct_field_names, reason = "what it is")]
pub struct Types {
    types: Vec<TaskType>,
    modules: Vec<TaskModule>,
    by_vtable: AddressMap<u32>,
    /// From the lowest vtable to the highest.
    range: Range<u64>,
}

/// A file of the program that holds a tokio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskModule {
    /// As the process sees it.
    pub path: PathBuf,
    /// The newest version that its constants name; `None` where the paths of sources
    /// were left out of it.
    pub tokio: Option<Version>,
    /// It was built with `tokio_unstable`: tasks know where they were spawned.
    pub unstable: bool,
    /// What to add to an address of the file to get the one in memory.
    pub bias: Option<u64>,
    /// Where tokio counts the lists of tasks that it made, where a symbol says so: the
    /// next one's id.
    pub(super) next_list: Option<u64>,
}

/// What a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A future that a runtime polls.
    Async,
    /// A function of the blocking pool. The workers of a multi-thread runtime are such
    /// functions too.
    Blocking,
}

/// One task type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskType {
    /// The address of its vtable.
    pub vtable: u64,
    /// Which of [`Types::modules`] holds it.
    pub module: usize,
    /// The vtable's functions: `poll`, `schedule`, `dealloc`, `try_read_output`,
    /// `drop_join_handle_slow`, `drop_abort_handle`, `shutdown`.
    pub functions: [u64; FUNCTIONS],
    /// A future, or a function of the blocking pool.
    pub kind: TaskKind,
    /// A symbol says that its `poll` is tokio's; otherwise the shape does.
    pub named: bool,
    /// Bytes of a task's allocation, at least.
    pub size: u64,
    /// Where a task holds its list links.
    pub trailer_offset: u64,
    /// Where it holds the address of its scheduler.
    pub scheduler_offset: u64,
    /// Where it holds its id.
    pub id_offset: u64,
    /// Where it holds the address of its spawn location, with `tokio_unstable`.
    pub location_offset: Option<u64>,
}

impl TaskType {
    /// The function that polls it.
    pub fn poll(&self) -> u64 {
        self.functions[0]
    }

    /// Where a task holds its future: after all that comes before it.
    pub fn future_offset(&self) -> u64 {
        self.location_offset.unwrap_or(self.id_offset) + 8
    }

    /// Bytes of its future, at most: of the place that holds the future, and later its
    /// result, with what says which of them is there.
    pub fn future_size(&self) -> u64 {
        self.trailer_offset.saturating_sub(self.future_offset())
    }
}

/// Why a program's task types are not known.
#[derive(Debug, thiserror::Error)]
pub enum NoTypes {
    /// Nothing in it is of tokio.
    #[error("no tokio was found in the program and its libraries")]
    NotTokio,
    /// Its tasks and lists look different.
    #[error("the program was built with tokio {0}; tasks can be read from tokio 1.36 on")]
    TooOld(Version),
    /// There is a tokio, and no task type that looks as expected.
    #[error(
        "no task type was found in the program{}",
        .0.map(|version| format!(", which was built with tokio {version}")).unwrap_or_default()
    )]
    UnknownLayout(Option<Version>),
    /// This user may not read it.
    #[error("the memory of the process cannot be read")]
    Unreadable,
    /// It is no longer the process that was found.
    #[error("the process has ended or runs another program")]
    Changed(Changed),
    /// procfs does not say what is mapped into it.
    #[error("the mappings of the process cannot be read: {0}")]
    NoMappings(io::Error),
}

impl Types {
    /// Searches the constants of the program and its libraries, once: some 30 ms for
    /// 10 MB of them.
    ///
    /// # Errors
    ///
    /// There are none, or they are not understood.
    pub fn load(subject: &Subject) -> Result<Self, NoTypes> {
        let process = subject.process();
        let mappings = process.mappings().map_err(NoTypes::NoMappings)?;
        let files = module::files(process);
        let types = Self::of(&ProcessSpace::of(subject), &mappings, &files);
        // What was read belongs to one program.
        subject.unchanged().map_err(NoTypes::Changed)?;
        types
    }

    /// The same of a core dump.
    ///
    /// # Errors
    ///
    /// There are none, or they are not understood.
    #[cfg(all(
        feature = "watch",
        target_os = "linux",
        not(looptop_elsewhere),
        target_arch = "x86_64"
    ))]
    pub fn of_core(core: &crate::core::CoreFile) -> Result<Self, NoTypes> {
        Self::of(core, &core.mappings(), &|mapping| core.file(&mapping.path))
    }

    /// Those of the modules among `mappings`; `files` opens the file of a mapping.
    pub(super) fn of(
        space: &(impl Space + ?Sized),
        mappings: &[looptop_procfs::Mapping],
        files: &module::Files,
    ) -> Result<Self, NoTypes> {
        let modules = module::group(mappings);
        let code = modules.iter().flat_map(|module| &module.code);
        let readable = |range: &Range<u64>| space.read(range.start, &mut [0; 8]) == 8;
        if !code.take(1).all(readable) {
            return Err(NoTypes::Unreadable);
        }
        let searched = modules.iter().map(|module| module.search(space, files));
        Self::from_found(searched.collect())
    }

    fn from_found(searched: Vec<Found>) -> Result<Self, NoTypes> {
        let (mut types, mut modules) = (Vec::new(), Vec::new());
        let (mut newest, mut named) = (None, false);
        for found in searched {
            newest = newest.max(found.tokio);
            named |= !found.polls.is_empty();
            let old = found.tokio.is_some_and(|version| version < OLDEST);
            if found.vtables.is_empty() || old {
                continue;
            }
            let with_location = found.vtables.iter().filter(|(_, v)| v.location).count();
            let unstable = with_location * 2 > found.vtables.len();
            let module = modules.len();
            let all = found.vtables.iter();
            types.extend(all.map(|(at, vtable)| {
                let named = found.polls.binary_search(&vtable.functions[0]).is_ok();
                task_type(*at, vtable, module, unstable, named)
            }));
            modules.push(TaskModule {
                path: found.path,
                tokio: found.tokio,
                unstable,
                bias: found.bias,
                next_list: found.next_list,
            });
        }
        types.sort_unstable_by_key(|found| found.vtable);
        let (Some(first), Some(last)) = (types.first(), types.last()) else {
            return Err(match newest {
                Some(version) if version < OLDEST => NoTypes::TooOld(version),
                None if !named => NoTypes::NotTokio,
                version => NoTypes::UnknownLayout(version),
            });
        };
        let range = first.vtable..last.vtable + 1;
        let by_vtable = types.iter().zip(0..).map(|(found, i)| (found.vtable, i));
        Ok(Self {
            by_vtable: by_vtable.collect(),
            types,
            modules,
            range,
        })
    }

    /// The type with this vtable.
    pub fn get(&self, vtable: u64) -> Option<&TaskType> {
        Some(&self.types[self.index(vtable)? as usize])
    }

    /// All of them, in the order of their vtables.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TaskType> {
        self.types.iter()
    }

    /// The files that hold them, the program's own first.
    pub fn modules(&self) -> &[TaskModule] {
        &self.modules
    }

    /// The version of tokio; of the first file that names one.
    pub fn tokio_version(&self) -> Option<Version> {
        self.modules.iter().find_map(|module| module.tokio)
    }

    /// The id of the task at `header`; `None` where there is none that is alive.
    pub fn id_of(&self, memory: &(impl Memory + ?Sized), header: u64) -> Option<u64> {
        let field = |offset: u64| memory.read_u64(header.checked_add(offset)?);
        if !may_begin_at(header) {
            return None;
        }
        let found = self.get(field(VTABLE_AT as u64)?)?;
        field(0).filter(|state| is_plausible(*state))?;
        field(found.id_offset).filter(|id| *id != 0)
    }

    /// The job of the blocking pool at `header`: its id, and what it does; `None` where there
    /// is none.
    pub(crate) fn job_at(
        &self,
        memory: &(impl Memory + ?Sized),
        header: u64,
    ) -> Option<(u64, TaskState)> {
        let id = self.id_of(memory, header)?;
        let vtable = memory.read_u64(header.checked_add(VTABLE_AT as u64)?)?;
        let of = self.get(vtable)?;
        let state = memory.read_u64(header)?;
        (of.kind == TaskKind::Blocking).then_some((id, task_state(state)))
    }

    /// Which of all has this vtable.
    pub(super) fn index(&self, vtable: u64) -> Option<u32> {
        if !self.range.contains(&vtable) {
            return None;
        }
        self.by_vtable.get(&vtable).copied()
    }

    pub(super) fn at(&self, index: u32) -> &TaskType {
        &self.types[index as usize]
    }

    /// How many lists of tasks each module has ever made, where it is known.
    pub(super) fn lists_made(&self, memory: &impl Memory) -> Option<u64> {
        let counters = self.modules.iter().filter_map(|module| module.next_list);
        let made = counters.filter_map(|at| memory.read_u64(at)?.checked_sub(1));
        made.reduce(u64::saturating_add)
    }
}

fn task_type(at: u64, vtable: &Vtable, module: usize, unstable: bool, named: bool) -> TaskType {
    TaskType {
        vtable: at,
        module,
        functions: vtable.functions,
        kind: if vtable.is_async() {
            TaskKind::Async
        } else {
            TaskKind::Blocking
        },
        named,
        size: vtable.cell(),
        trailer_offset: vtable.trailer,
        scheduler_offset: vtable.scheduler,
        id_offset: vtable.id,
        location_offset: (unstable && vtable.location).then(|| vtable.id + 8),
    }
}
