//! Which types a file describes, and where: 16 bytes for each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use gimli::{Abbreviation, Abbreviations, AttributeValue, constants as c};

use super::file::Sections;
use super::unit::{self, Opened, Unit, Value};

/// Types that are kept; those beyond are as if they were not described.
const MAX_TYPES: usize = 4 << 20;
/// Namespaces that are kept.
const MAX_SCOPES: usize = 2 << 20;
/// Vtables of trait objects, and functions of tasks, that are kept.
const MAX_VTABLES: usize = 1 << 20;
const MAX_FUNCTIONS: usize = 1 << 20;
/// Bytes of one unit, which are in memory while it is read. A larger one is left out.
const MAX_UNIT: u32 = 1 << 30;
/// Bytes of the texts that are held in memory while the index is built.
const MAX_STRINGS: u64 = 1 << 30;
/// Kinds of entries that a unit may have.
const MAX_ABBREVIATIONS: u64 = 1 << 16;

/// No namespace.
pub(super) const ROOT: u32 = u32::MAX;

/// Functions of tokio's tasks that are generic over future and scheduler.
const OF_TASK: &[&str] = &[
    "poll",
    "dealloc",
    "try_read_output",
    "drop_join_handle_slow",
    "drop_abort_handle",
    "shutdown",
];
const RAW: &str = "tokio::runtime::task::raw";

/// Where things are in a file's debug information.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) units: Vec<Unit>,
    /// Namespaces: their entry, and the one around.
    pub(super) scopes: Vec<(u32, u32)>,
    /// Types: their entry, and the namespace around; by entry.
    pub(super) types: Vec<(u32, u32)>,
    /// Types with their members, by the hash of their full names.
    names: Vec<(u32, u32)>,
    /// Addresses of trait objects' vtables, and the entries of their types.
    vtables: Vec<(u64, u32)>,
    /// Addresses of the functions of tasks, and the entries that name them.
    functions: Vec<(u64, u32)>,
    /// Units with types, and units that could not be read to their end.
    pub(super) with_types: usize,
    pub(super) unread: usize,
    /// Something is over a bound.
    pub(super) cut: bool,
}

/// A namespace on the way to an entry.
struct Level {
    depth: isize,
    scope: u32,
    hash: Hash,
}

/// What a unit's entries say of each other, put together at its end.
#[derive(Default)]
struct Loose {
    /// Types of vtables, and whose they are.
    vtable_types: HashMap<u32, u32>,
    /// Addresses of variables, and their types.
    variables: Vec<(u64, u32)>,
    /// Entries of functions of tasks.
    of_task: HashSet<u32>,
    /// Addresses of functions, and the entries that describe them.
    functions: Vec<(u64, u32)>,
}

impl Index {
    /// Reads all units once.
    pub(super) fn of(sections: &Sections) -> Self {
        let units = unit::units(sections);
        let size = sections.strings.size();
        let strings = if size <= MAX_STRINGS {
            sections.read(&sections.strings, 0, size as usize)
        } else {
            None
        };
        let strings = strings.unwrap_or_default();
        let mut index = Self::default();
        // Units have tables of abbreviations each, or share them; so each is read once, and
        // ends before the next begins: overlapping ones could be read without end.
        let mut order: Vec<&Unit> = units.iter().collect();
        order.sort_by_key(|unit| unit.abbreviations);
        for same in order.chunk_by(|a, b| a.abbreviations == b.abbreviations) {
            let at = same[0].abbreviations;
            let next = order.partition_point(|unit| unit.abbreviations <= at);
            let end = order
                .get(next)
                .map_or(u64::MAX, |unit| unit.abbreviations.into());
            let Some(abbreviations) = sections.abbreviations(at.into(), end).map(Arc::new) else {
                index.unread += same.len();
                continue;
            };
            // Nearly all units of dependencies have lines only.
            if !has_types(&abbreviations) {
                continue;
            }
            for unit in same {
                index.with_types += 1;
                let opened = Opened::with(unit, Arc::clone(&abbreviations), sections);
                let read = opened.and_then(|opened| index.read(&opened, sections, &strings));
                index.unread += usize::from(read.is_none());
            }
        }
        index.units = units;
        index.types.sort_unstable();
        index.names.sort_unstable();
        index.vtables.sort_unstable();
        index.vtables.dedup_by_key(|(address, _)| *address);
        index.functions.sort_unstable();
        for list in [&mut index.scopes, &mut index.types, &mut index.names] {
            list.shrink_to_fit();
        }
        for list in [&mut index.vtables, &mut index.functions] {
            list.shrink_to_fit();
        }
        index
    }

    /// Bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        let pairs = self.scopes.capacity() + self.types.capacity() + self.names.capacity();
        let addresses = self.vtables.capacity() + self.functions.capacity();
        pairs * 8 + addresses * 16 + self.units.capacity() * size_of::<Unit>()
    }

    /// The unit around an offset.
    pub(super) fn unit(&self, at: u32) -> Option<usize> {
        let number = self.units.partition_point(|unit| unit.start <= at);
        let number = number.checked_sub(1)?;
        self.units[number].entries.contains(&at).then_some(number)
    }

    /// The namespace around a type.
    pub(super) fn scope(&self, at: u32) -> Option<u32> {
        let found = self.types.binary_search_by_key(&at, |(entry, _)| *entry);
        Some(self.types[found.ok()?].1)
    }

    /// Types with their members that may have a full name: several of one name, and
    /// some of others.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = u32> {
        let hash = Hash::default().with(name.as_bytes()).short();
        let first = self.names.partition_point(|(other, _)| *other < hash);
        let found = self.names[first..].iter();
        found
            .take_while(move |(other, _)| *other == hash)
            .map(|(_, entry)| *entry)
    }

    /// The type whose trait object has its vtable at an address.
    pub(super) fn vtable(&self, address: u64) -> Option<u32> {
        let found = self.vtables.binary_search_by_key(&address, |(at, _)| *at);
        Some(self.vtables[found.ok()?].1)
    }

    /// The entries that name the function of a task at an address.
    pub(super) fn functions(&self, address: u64) -> impl Iterator<Item = u32> {
        let first = self.functions.partition_point(|(at, _)| *at < address);
        let found = self.functions[first..].iter();
        found
            .take_while(move |(at, _)| *at == address)
            .map(|(_, entry)| *entry)
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.types.len(), self.vtables.len(), self.functions.len())
    }

    #[allow(clippy::too_many_lines, reason = "one pass over a unit's entries")]
    fn read(&mut self, opened: &Opened, sections: &Sections, strings: &[u8]) -> Option<()> {
        let unit = &opened.unit;
        let length = unit.entries.end - unit.entries.start;
        if length > MAX_UNIT {
            self.cut = true;
            return None;
        }
        let at = unit.entries.start;
        let bytes = sections.read(&sections.info, u64::from(at), length as usize)?;
        let mut entries = unit.raw(&opened.abbreviations, &bytes, at);
        let mut path: Vec<Level> = Vec::new();
        let mut loose = Loose::default();
        let reader = Texts {
            opened,
            sections,
            strings,
        };
        let mut whole = Some(());
        while !entries.is_empty() {
            let depth = entries.next_depth();
            let entry = unit.start + entries.next_offset().0 as u32;
            let Ok(abbreviation) = entries.read_abbreviation() else {
                whole = None;
                break;
            };
            let Some(abbreviation) = abbreviation else {
                if depth <= 1 {
                    break;
                }
                continue;
            };
            while path.last().is_some_and(|level| level.depth >= depth) {
                path.pop();
            }
            let around = path.last();
            // Directly in a namespace, or in none.
            let named = around.map_or(0, |level| level.depth) + 1 == depth;
            let tag = abbreviation.tag();
            let wanted = match tag {
                c::DW_TAG_namespace
                | c::DW_TAG_structure_type
                | c::DW_TAG_union_type
                | c::DW_TAG_enumeration_type => named,
                c::DW_TAG_variable => depth == 1,
                c::DW_TAG_subprogram => true,
                _ => false,
            };
            if !wanted {
                if entries.skip_attributes(abbreviation.attributes()).is_err() {
                    whole = None;
                    break;
                }
                continue;
            }
            let Some(found) = Attributes::read(&mut entries, abbreviation, &reader) else {
                whole = None;
                break;
            };
            let (scope, hash) = around.map_or((ROOT, Hash::default()), |l| (l.scope, l.hash));
            match tag {
                c::DW_TAG_namespace => {
                    if self.scopes.len() >= MAX_SCOPES || path.len() > 1_000 {
                        self.cut = true;
                        continue;
                    }
                    path.push(Level {
                        depth,
                        scope: self.scopes.len() as u32,
                        hash: hash.within(scope, &found.name),
                    });
                    self.scopes.push((entry, scope));
                }
                c::DW_TAG_variable => loose.variables.extend(found.address.zip(found.of)),
                c::DW_TAG_subprogram => {
                    let function = || {
                        let name = std::str::from_utf8(&found.name).ok()?;
                        let name = name.split('<').next()?;
                        OF_TASK.contains(&name).then_some(())
                    };
                    if hash == Hash::default().with(RAW.as_bytes()) && function().is_some() {
                        loose.of_task.insert(entry);
                    }
                    let address = found.address.filter(|address| *address != 0);
                    let named_by = found.origin.unwrap_or(entry);
                    loose.functions.extend(address.map(|at| (at, named_by)));
                }
                _ => {
                    if let Some(whose) = found.containing {
                        loose.vtable_types.insert(entry, whose);
                    }
                    if self.types.len() >= MAX_TYPES {
                        self.cut = true;
                        continue;
                    }
                    self.types.push((entry, scope));
                    if abbreviation.has_children() {
                        let hash = hash.within(scope, &found.name);
                        self.names.push((hash.short(), entry));
                    }
                }
            }
        }
        self.take(loose);
        whole
    }

    fn take(&mut self, loose: Loose) {
        let vtables = loose.variables.into_iter();
        let vtables = vtables.filter(|(address, _)| *address != 0);
        let vtables =
            vtables.filter_map(|(address, of)| Some((address, *loose.vtable_types.get(&of)?)));
        let left = MAX_VTABLES.saturating_sub(self.vtables.len());
        self.vtables.extend(vtables.take(left));
        let functions = loose.functions.into_iter();
        let functions = functions.filter(|(_, by)| loose.of_task.contains(by));
        let left = MAX_FUNCTIONS.saturating_sub(self.functions.len());
        self.functions.extend(functions.take(left));
    }
}

/// Whether a unit describes any type with members.
fn has_types(abbreviations: &Abbreviations) -> bool {
    // Compilers number them from 1 on without a gap.
    let all = (1..MAX_ABBREVIATIONS).map_while(|code| abbreviations.get(code));
    let is_type =
        |found: &Abbreviation| found.tag() == c::DW_TAG_structure_type && found.has_children();
    all.into_iter().any(is_type)
}

struct Texts<'a> {
    opened: &'a Opened,
    sections: &'a Sections,
    /// The whole section.
    strings: &'a [u8],
}

impl Texts<'_> {
    fn text(&self, value: &Value<'_>) -> Vec<u8> {
        match value {
            AttributeValue::DebugStrRef(at) if at.0 < self.strings.len() => {
                let rest = &self.strings[at.0..];
                let rest = &rest[..rest.len().min(super::file::MAX_STRING)];
                let end = rest.iter().position(|byte| *byte == 0);
                rest[..end.unwrap_or(0)].to_vec()
            }
            value => {
                let text = self.opened.text(self.sections, value);
                text.unwrap_or_default().into_bytes()
            }
        }
    }
}

/// What of an entry is of interest.
#[derive(Default)]
struct Attributes {
    name: Vec<u8>,
    address: Option<u64>,
    of: Option<u32>,
    origin: Option<u32>,
    containing: Option<u32>,
}

impl Attributes {
    fn read(
        entries: &mut gimli::EntriesRaw<'_, super::file::Slice<'_>>,
        abbreviation: &Abbreviation,
        texts: &Texts<'_>,
    ) -> Option<Self> {
        let mut found = Self::default();
        let opened = texts.opened;
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification).ok()?;
            let value = attribute.value();
            match attribute.name() {
                c::DW_AT_name => found.name = texts.text(&value),
                c::DW_AT_low_pc => found.address = opened.address(texts.sections, &value),
                c::DW_AT_type => found.of = opened.reference(&value),
                c::DW_AT_abstract_origin | c::DW_AT_specification => {
                    found.origin = opened.reference(&value);
                }
                c::DW_AT_containing_type => found.containing = opened.reference(&value),
                c::DW_AT_location => {
                    if let AttributeValue::Exprloc(expression) = value {
                        let mut operations = expression.operations(opened.unit.encoding());
                        found.address = match operations.next() {
                            Ok(Some(gimli::Operation::Address { address })) => Some(address),
                            Ok(Some(gimli::Operation::AddressIndex { index })) => {
                                opened.indexed_address(texts.sections, index.0 as u64)
                            }
                            _ => None,
                        };
                    }
                }
                _ => {}
            }
        }
        Some(found)
    }
}

/// FNV-1a of a full name, which is added to part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn with(self, bytes: &[u8]) -> Self {
        let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(bytes.iter().fold(self.0, add))
    }

    /// Of a name in the namespace whose hash this is.
    fn within(self, scope: u32, name: &[u8]) -> Self {
        if scope == ROOT {
            self.with(name)
        } else {
            self.with(b"::").with(name)
        }
    }

    fn short(self) -> u32 {
        (self.0 ^ self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_hash_however_they_are_put_together() {
        let parts = Hash::default().within(ROOT, b"a").within(0, b"b<c::D>");
        assert_eq!(parts, Hash::default().with(b"a::b<c::D>"));
        assert_ne!(parts.short(), Hash::default().with(b"a::b<c::E>").short());
    }
}
