//! The types that a program's debug information describes: where the fields of a struct
//! are, which variant an enum is in, and of an async fn at which await it is suspended.
//!
//! They are there where a crate was built with `debug = "full"` (or `true`, or 2), for all
//! that it uses: also for the types of its dependencies, which may have line tables only.
//!
//! An async fn or block is a struct with variants: `Unresumed`, `Returned`, `Panicked`, and
//! `Suspend0` and so on for each await, where [`Variant::location`] is written. The
//! variant's struct has `__awaitee`, what is awaited there, beside what lives across it.
//!
//! Nothing but an index is held in memory: 16 bytes for each type, 16 for each vtable of a
//! trait object. Types are read from the file when they are asked for, and the last
//! [`MAX_KNOWN`] are kept. While the index is built, the texts of the file and one unit of
//! debug information are in memory as well. [`DebugTypes::costs`] says what it took.
//!
//! What the file says is not trusted: nothing here panics or goes on for ever by its say-so.
//! Offsets may be any; who follows them in memory checks what is there.

mod file;
mod index;
mod model;
mod parse;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use file::Sections;
use index::{Index, ROOT};
use looptop_procfs::FileId;
pub use model::{Kind, Location, Member, Type, Variant, Variants};
use parse::{Field, Parsed};
use unit::{Opened, SourceFile};

use crate::paths::Paths;
use crate::shared::Shared;

/// Types that are kept once they were read.
pub const MAX_KNOWN: usize = 16_384;
/// Units that are kept open.
const MAX_OPEN: usize = 64;
/// Namespaces around a type that are looked at.
const MAX_PATH: usize = 256;
/// Bytes of a full name.
const MAX_NAME: usize = 64 << 10;
/// Descriptions of one name that are looked at for one with members.
const MAX_SAME: usize = 64;

/// Which type: its entry in the file's debug information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(u32);

/// Why a file says nothing of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoDebugTypes {
    /// The file cannot be read, or is none that is known.
    #[error("the program's file cannot be read")]
    Unreadable,
    /// It describes no types.
    #[error(
        "the program was built without types: set `debug = \"full\"` in its `[profile.release]` \
         (dependencies may keep `debug = \"line-tables-only\"`)"
    )]
    None,
    /// It has types, and none of them is a task's.
    #[error("the debug information of the program describes no task")]
    NoTasks,
}

/// What an index holds and took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexCosts {
    /// Units of debug information.
    pub units: usize,
    /// Those that describe types.
    pub with_types: usize,
    /// Those that were not understood to their end.
    pub unread: usize,
    /// Types.
    pub types: usize,
    /// Vtables of trait objects.
    pub vtables: usize,
    /// Functions of tasks.
    pub functions: usize,
    /// Bytes of the index.
    pub bytes: usize,
    /// How long it took to build.
    pub time: Duration,
    /// There was more than an index may hold.
    pub cut: bool,
}

/// What is read of a file at once.
#[derive(Debug)]
struct Indexed {
    sections: Sections,
    index: Index,
    costs: IndexCosts,
}

static INDEXED: Shared<FileId, Indexed> = Shared::new();

/// The types that a program's file describes.
#[derive(Debug)]
pub struct DebugTypes {
    /// In memory once, however many have it loaded.
    file: Arc<Indexed>,
    paths: Paths,
    open: HashMap<usize, Arc<Opened>>,
    files: HashMap<usize, Arc<[Option<SourceFile>]>>,
    known: HashMap<TypeId, Option<Arc<Type>>>,
    by_name: HashMap<Box<str>, Option<TypeId>>,
    scopes: HashMap<u32, Arc<str>>,
}

impl Indexed {
    fn load(path: &Path) -> Result<Self, NoDebugTypes> {
        let began = Instant::now();
        let file = File::open(path).map_err(|_| NoDebugTypes::Unreadable)?;
        let again = file.try_clone().map_err(|_| NoDebugTypes::Unreadable)?;
        let cache = object::ReadCache::new(again);
        let object = object::File::parse(&cache).map_err(|_| NoDebugTypes::Unreadable)?;
        let sections = Sections::of(file, &object);
        let index = Index::of(&sections);
        let (types, vtables, functions) = index.counts();
        if types == 0 {
            return Err(NoDebugTypes::None);
        }
        if functions == 0 {
            return Err(NoDebugTypes::NoTasks);
        }
        let costs = IndexCosts {
            units: index.units.len(),
            with_types: index.with_types,
            unread: index.unread,
            types,
            vtables,
            functions,
            bytes: index.memory() + sections.memory(),
            time: began.elapsed(),
            cut: index.cut,
        };
        Ok(Self {
            sections,
            index,
            costs,
        })
    }
}

impl DebugTypes {
    /// Reads the program at `path` once: its units with types entry by entry, of others only
    /// what kinds of entries they have. Where somebody has it loaded already, nothing is
    /// read.
    ///
    /// # Errors
    ///
    /// It has no types.
    pub fn load(path: &Path) -> Result<Self, NoDebugTypes> {
        Ok(Self {
            file: INDEXED.of(path, || Indexed::load(path))?,
            paths: Paths::default(),
            open: HashMap::new(),
            files: HashMap::new(),
            known: HashMap::new(),
            by_name: HashMap::new(),
            scopes: HashMap::new(),
        })
    }

    /// What the index took.
    pub fn costs(&self) -> IndexCosts {
        self.file.costs
    }

    /// The type, if the file describes it.
    pub fn get(&mut self, id: TypeId) -> Option<Arc<Type>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = self.read(id).map(Arc::new);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(id, found.clone());
        found
    }

    /// The type with a full name, arguments included.
    pub fn named(&mut self, name: &str) -> Option<TypeId> {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let found: Vec<u32> = self.file.index.named(name).take(MAX_SAME).collect();
        let found = found.into_iter().map(TypeId);
        let found = found
            .into_iter()
            .find(|id| self.full_name(*id).is_some_and(|other| &*other == name));
        if self.by_name.len() >= MAX_KNOWN {
            self.by_name.clear();
        }
        self.by_name.insert(name.into(), found);
        found
    }

    /// The type of a trait object whose vtable is at an address, as the file counts.
    pub fn of_vtable(&self, address: u64) -> Option<TypeId> {
        self.file.index.vtable(address).map(TypeId)
    }

    /// The arguments of tokio's functions for a task, `F, S`: the types of its future and
    /// its scheduler. `functions` are those of its vtable, as the file counts. Functions
    /// of several tasks may have been merged: then all that any may be for are returned,
    /// those that most of the functions name first.
    pub fn task_arguments(&mut self, functions: &[u64]) -> Vec<Arc<str>> {
        let mut found: Vec<(usize, Arc<str>)> = Vec::new();
        for function in functions {
            let entries: Vec<u32> = self
                .file
                .index
                .functions(*function)
                .take(MAX_SAME)
                .collect();
            for entry in entries {
                let Some(name) = self.function_name(entry) else {
                    continue;
                };
                let arguments = name.find('<').and_then(|at| {
                    let rest = name.get(at + 1..)?;
                    rest.strip_suffix('>')
                });
                let Some(arguments) = arguments else { continue };
                match found.iter_mut().find(|(_, known)| **known == *arguments) {
                    Some((times, _)) => *times += 1,
                    None => found.push((1, arguments.into())),
                }
            }
        }
        found.sort_by_key(|(times, _)| std::cmp::Reverse(*times));
        found.into_iter().map(|(_, arguments)| arguments).collect()
    }

    fn function_name(&mut self, entry: u32) -> Option<String> {
        let opened = self.open(self.file.index.unit(entry)?)?;
        parse::function(&opened, &self.file.sections, entry)
    }

    fn open(&mut self, unit: usize) -> Option<Arc<Opened>> {
        if let Some(known) = self.open.get(&unit) {
            return Some(Arc::clone(known));
        }
        let opened = Arc::new(Opened::of(
            &self.file.index.units[unit],
            &self.file.sections,
        )?);
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(unit, Arc::clone(&opened));
        Some(opened)
    }

    fn files(&mut self, unit: usize) -> Option<Arc<[Option<SourceFile>]>> {
        if let Some(known) = self.files.get(&unit) {
            return Some(Arc::clone(known));
        }
        let opened = self.open(unit)?;
        let files: Arc<[_]> = opened.files(&self.file.sections, &mut self.paths).into();
        if self.files.len() >= MAX_OPEN {
            self.files.clear();
        }
        self.files.insert(unit, Arc::clone(&files));
        Some(files)
    }

    /// The full name of a type that is in a namespace.
    fn full_name(&mut self, id: TypeId) -> Option<String> {
        let opened = self.open(self.file.index.unit(id.0)?)?;
        let name = parse::function(&opened, &self.file.sections, id.0)?;
        Some(self.in_scope(id, &name))
    }

    fn in_scope(&mut self, id: TypeId, name: &str) -> String {
        let scope = self.file.index.scope(id.0).unwrap_or(ROOT);
        match self.scope(scope) {
            Some(path) if path.len() + name.len() < MAX_NAME => format!("{path}::{name}"),
            _ => name.to_owned(),
        }
    }

    /// The path of a namespace.
    fn scope(&mut self, scope: u32) -> Option<Arc<str>> {
        if scope == ROOT {
            return None;
        }
        if let Some(known) = self.scopes.get(&scope) {
            return Some(Arc::clone(known));
        }
        let mut parts = Vec::new();
        let mut at = scope;
        while let Some((entry, around)) = self.file.index.scopes.get(at as usize).copied() {
            let opened = self.open(self.file.index.unit(entry)?)?;
            let name = parse::function(&opened, &self.file.sections, entry);
            parts.push(name.unwrap_or_default());
            // A namespace is around those that come after it.
            if around == ROOT || around >= at || parts.len() > MAX_PATH {
                break;
            }
            at = around;
        }
        parts.reverse();
        let path: Arc<str> = parts.join("::").into();
        if self.scopes.len() >= MAX_KNOWN {
            self.scopes.clear();
        }
        self.scopes.insert(scope, Arc::clone(&path));
        Some(path)
    }

    fn read(&mut self, id: TypeId) -> Option<Type> {
        let (parsed, unit) = self.parse(id)?;
        let name = self.in_scope(id, &parsed.name);
        let is_bare = parsed.kind == Kind::Struct
            && parsed.members.is_empty()
            && parsed.variants.is_empty()
            && parsed.size > 0;
        if is_bare {
            // Some units name a type and leave its members to another.
            let others: Vec<u32> = self.file.index.named(&name).take(MAX_SAME).collect();
            for other in others.into_iter().map(TypeId) {
                let same = self.full_name(other).is_some_and(|other| other == name);
                if same
                    && other != id
                    && let Some((parsed, unit)) = self.parse(other)
                    && !(parsed.members.is_empty() && parsed.variants.is_empty())
                {
                    return Some(self.finish(parsed, unit, &name));
                }
            }
        }
        Some(self.finish(parsed, unit, &name))
    }

    fn parse(&mut self, id: TypeId) -> Option<(Parsed, usize)> {
        let unit = self.file.index.unit(id.0)?;
        let opened = self.open(unit)?;
        let mut parsed = parse::parse(&opened, &self.file.sections, id.0)?;
        if parsed.kind == Kind::Other
            && let Some(target) = parsed.target
            && let Some((of, unit)) = self.parse_once(target)
        {
            // Another name of a type.
            let name = std::mem::take(&mut parsed.name);
            parsed = of;
            if parsed.name.is_empty() {
                parsed.name = name;
            }
            return Some((parsed, unit));
        }
        Some((parsed, unit))
    }

    fn parse_once(&mut self, id: TypeId) -> Option<(Parsed, usize)> {
        let unit = self.file.index.unit(id.0)?;
        let opened = self.open(unit)?;
        Some((parse::parse(&opened, &self.file.sections, id.0)?, unit))
    }

    fn finish(&mut self, parsed: Parsed, unit: usize, name: &str) -> Type {
        let size_of_number = |types: &mut Self| {
            let (_, of) = parsed.discriminant?;
            Some(types.parse_once(of?)?.0.size.clamp(1, 8))
        };
        let size = size_of_number(self).unwrap_or(u64::from(parsed.discriminant.is_some()));
        let member = |field: Field| {
            Some(Member {
                name: field.name.into(),
                at: field.at,
                ty: field.ty?,
            })
        };
        let mut variants = Vec::new();
        for (number, field) in parsed.variants {
            let location = self.location(unit, field.file, field.line);
            let Some(ty) = field.ty else { continue };
            variants.push(Variant {
                number,
                name: field.name.into(),
                at: field.at,
                ty,
                location,
            });
        }
        let at = parsed.discriminant.map_or(0, |(at, _)| at);
        let parameters = parsed.parameters.into_iter();
        Type {
            name: name.into(),
            kind: parsed.kind,
            size: parsed.size,
            target: parsed.target,
            count: parsed.count.unwrap_or(0),
            members: parsed.members.into_iter().filter_map(member).collect(),
            variants: (!variants.is_empty()).then(|| Variants {
                at,
                size,
                all: variants.into(),
            }),
            parameters: parameters.map(|(name, id)| (name.into(), id)).collect(),
        }
    }

    fn location(&mut self, unit: usize, file: Option<u64>, line: u32) -> Option<Location> {
        let file = usize::try_from(file?).ok()?;
        let files = self.files(unit)?;
        let file = files.get(file)?.as_ref()?;
        (line > 0).then(|| Location {
            file: Arc::clone(&file.shown),
            source: Arc::clone(&file.source),
            line,
        })
    }
}
