//! The units of debug information: in Rust, one for each part of a crate that was compiled
//! by itself.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, Encoding, EntriesRaw, Format, LittleEndian, UnitOffset,
    constants as c,
};

use super::file::{Sections, Slice};
use crate::paths::Paths;

pub(super) type Value<'a> = AttributeValue<Slice<'a>, usize>;

/// Units that a file may have.
const MAX_UNITS: usize = 1 << 17;
/// Files that a unit may name.
const MAX_FILES: usize = 1 << 16;
/// Bytes of one unit's line table, of which only the header is of interest.
const MAX_LINES: u64 = 256 << 20;
/// Bytes of entries that are read at first, and at most for one of them.
const ENTRIES: usize = 2 << 10;
const MAX_ENTRIES: usize = 16 << 20;

/// Where a unit is. Offsets are those of the whole section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) start: u32,
    /// Its entries.
    pub(super) entries: Range<u32>,
    pub(super) abbreviations: u32,
    version: u16,
    address_size: u8,
}

/// A unit of which something was asked.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) unit: Unit,
    pub(super) abbreviations: Arc<Abbreviations>,
    string_offsets: u64,
    addresses: u64,
    lines: Option<u64>,
    directory: Option<String>,
}

/// A file of a unit.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// As a reader knows it.
    pub(super) shown: Arc<str>,
    /// As the compiler wrote it.
    pub(super) source: Arc<str>,
}

/// The units of a file, in their order. What is no unit ends them.
pub(super) fn units(sections: &Sections) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut at = 0;
    while units.len() < MAX_UNITS
        && let Some(next) = unit_at(sections, at, &mut units)
    {
        at = next;
    }
    units
}

/// Adds the unit at an offset, unless it is one that has no types for us; where the next
/// begins.
fn unit_at(sections: &Sections, start: u64, units: &mut Vec<Unit>) -> Option<u64> {
    let header = sections.read(&sections.info, start, 32)?;
    let half = |at: usize| Some(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let length = word(0)?;
    if length == 0xffff_ffff {
        // 64-bit offsets, which no compiler of Rust writes: skipped.
        let length = u64::from(word(4)?) | u64::from(word(8)?) << 32;
        return start.checked_add(12)?.checked_add(length);
    }
    let end = start.checked_add(4)?.checked_add(u64::from(length))?;
    let version = half(4)?;
    let (abbreviations, address_size, size) = match (version, header.get(6)?) {
        (2..=4, _) => (word(6)?, *header.get(10)?, 11),
        (5, 1 | 3) => (word(8)?, *header.get(7)?, 12),
        _ => return Some(end),
    };
    let in_section = u32::try_from(end)
        .ok()
        .filter(|_| end <= sections.info.size());
    if let Some(end32) = in_section
        && address_size == 8
        && start + size <= end
    {
        units.push(Unit {
            start: start as u32,
            entries: (start + size) as u32..end32,
            abbreviations,
            version,
            address_size,
        });
    }
    Some(end)
}

impl Unit {
    pub(super) fn encoding(&self) -> Encoding {
        Encoding {
            format: Format::Dwarf32,
            version: self.version,
            address_size: self.address_size,
        }
    }

    /// The entries in `bytes`, which begin at an offset of the section.
    pub(super) fn raw<'a, 'b>(
        &self,
        abbreviations: &'b Abbreviations,
        bytes: &'a [u8],
        at: u32,
    ) -> EntriesRaw<'b, Slice<'a>> {
        let input = Slice::new(bytes, LittleEndian);
        let offset = UnitOffset((at - self.start) as usize);
        EntriesRaw::new(input, self.encoding(), abbreviations, offset)
    }
}

impl Opened {
    pub(super) fn of(unit: &Unit, sections: &Sections) -> Option<Self> {
        let abbreviations = sections.abbreviations(u64::from(unit.abbreviations), u64::MAX)?;
        Self::with(unit, Arc::new(abbreviations), sections)
    }

    /// The same with its abbreviations, where they were read.
    pub(super) fn with(
        unit: &Unit,
        abbreviations: Arc<Abbreviations>,
        sections: &Sections,
    ) -> Option<Self> {
        let mut opened = Self {
            abbreviations,
            unit: unit.clone(),
            // Behind the header of the table, where a unit does not say.
            string_offsets: 8,
            addresses: 8,
            lines: None,
            directory: None,
        };
        opened.read_root(sections)?;
        Some(opened)
    }

    fn read_root(&mut self, sections: &Sections) -> Option<()> {
        let (mut offsets, mut addresses, mut lines) = (None, None, None);
        let mut directory = None;
        self.entries(sections, self.unit.entries.start, |entries| {
            let Some(abbreviation) = entries.read_abbreviation()? else {
                return Ok(());
            };
            for attribute in abbreviation.attributes() {
                let attribute = entries.read_attribute(*attribute)?;
                let value = attribute.value();
                match (attribute.name(), &value) {
                    (c::DW_AT_str_offsets_base, AttributeValue::DebugStrOffsetsBase(base)) => {
                        offsets = Some(base.0 as u64);
                    }
                    (c::DW_AT_addr_base, AttributeValue::DebugAddrBase(base)) => {
                        addresses = Some(base.0 as u64);
                    }
                    (c::DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => {
                        lines = Some(offset.0 as u64);
                    }
                    (c::DW_AT_comp_dir, value) => directory = Some(Kept::of(value)),
                    _ => {}
                }
            }
            Ok(())
        })?;
        self.string_offsets = offsets.unwrap_or(self.string_offsets);
        self.addresses = addresses.unwrap_or(self.addresses);
        self.lines = lines;
        self.directory = directory.and_then(|kept| kept.text(self, sections));
        Some(())
    }

    /// Calls `f` with the entries from an offset of the section on. Of a large unit only
    /// some bytes are read at first; `f` is called again with more of them where it fails.
    pub(super) fn entries<T>(
        &self,
        sections: &Sections,
        at: u32,
        mut f: impl FnMut(&mut EntriesRaw<'_, Slice<'_>>) -> gimli::Result<T>,
    ) -> Option<T> {
        if !self.unit.entries.contains(&at) {
            return None;
        }
        let whole = (self.unit.entries.end - at) as usize;
        let mut length = ENTRIES.min(whole);
        loop {
            let bytes = sections.read(&sections.info, u64::from(at), length)?;
            let mut entries = self.unit.raw(&self.abbreviations, &bytes, at);
            match f(&mut entries) {
                Ok(found) => return Some(found),
                Err(gimli::Error::UnexpectedEof(_)) if length < whole.min(MAX_ENTRIES) => {
                    length = (length * 8).min(whole);
                }
                Err(_) => return None,
            }
        }
    }

    /// The offset in the section that a reference is.
    pub(super) fn reference(&self, value: &Value<'_>) -> Option<u32> {
        reference(&self.unit, value)
    }

    /// The text of an attribute.
    pub(super) fn text(&self, sections: &Sections, value: &Value<'_>) -> Option<String> {
        Kept::of(value).text(self, sections)
    }

    pub(super) fn address(&self, sections: &Sections, value: &Value<'_>) -> Option<u64> {
        match value {
            AttributeValue::Addr(address) => Some(*address),
            AttributeValue::DebugAddrIndex(index) => {
                sections.indexed_address(self.addresses, index.0 as u64)
            }
            _ => None,
        }
    }

    pub(super) fn indexed_address(&self, sections: &Sections, index: u64) -> Option<u64> {
        sections.indexed_address(self.addresses, index)
    }

    /// The files that the unit's entries name by number.
    pub(super) fn files(&self, sections: &Sections, paths: &mut Paths) -> Vec<Option<SourceFile>> {
        self.read_files(sections, paths).unwrap_or_default()
    }

    fn read_files(
        &self,
        sections: &Sections,
        paths: &mut Paths,
    ) -> Option<Vec<Option<SourceFile>>> {
        let at = self.lines?;
        let length = sections.read(&sections.line, at, 4)?;
        let length = u64::from(u32::from_le_bytes(length.try_into().ok()?)) + 4;
        let length = usize::try_from(length.min(MAX_LINES)).ok()?;
        let bytes = sections.read(&sections.line, at, length)?;
        let lines = gimli::DebugLine::new(&bytes, LittleEndian);
        let directory = self.directory.as_deref().unwrap_or_default();
        let comp_dir = Slice::new(directory.as_bytes(), LittleEndian);
        let offset = gimli::DebugLineOffset(0);
        let program = lines
            .program(offset, self.unit.address_size, Some(comp_dir), None)
            .ok()?;
        let header = program.header();
        let count = header.file_names().len().min(MAX_FILES) + 1;
        let file = |number: u64| {
            let file = header.file(number)?;
            let mut path = String::new();
            if let Some(within) = file.directory(header) {
                path = joined(directory, &self.text(sections, &within)?);
            }
            let path = joined(&path, &self.text(sections, &file.path_name())?);
            Some(SourceFile {
                shown: paths.shown_path(&path).into(),
                source: path.into(),
            })
        };
        Some((0..count as u64).map(file).collect())
    }
}

/// The offset in the section that a reference of a unit's entry is.
pub(super) fn reference(unit: &Unit, value: &Value<'_>) -> Option<u32> {
    match value {
        AttributeValue::UnitRef(offset) => unit.start.checked_add(u32::try_from(offset.0).ok()?),
        AttributeValue::DebugInfoRef(offset) => u32::try_from(offset.0).ok(),
        _ => None,
    }
}

pub(super) fn number(value: &Value<'_>) -> Option<u64> {
    let signed = || value.sdata_value().map(i64::cast_unsigned);
    value.udata_value().or_else(signed)
}

fn joined(directory: &str, path: &str) -> String {
    if path.starts_with('/') || directory.is_empty() {
        return path.to_owned();
    }
    format!("{}/{path}", directory.trim_end_matches('/'))
}

/// A text, or where it is: it outlives the bytes in which it was found.
pub(super) enum Kept {
    Text(String),
    String(u64),
    LineString(u64),
    Index(u64),
    None,
}

impl Kept {
    pub(super) fn of(value: &Value<'_>) -> Self {
        match value {
            AttributeValue::String(text) => Self::Text(text.to_string_lossy().into_owned()),
            AttributeValue::DebugStrRef(at) => Self::String(at.0 as u64),
            AttributeValue::DebugLineStrRef(at) => Self::LineString(at.0 as u64),
            AttributeValue::DebugStrOffsetsIndex(index) => Self::Index(index.0 as u64),
            _ => Self::None,
        }
    }

    pub(super) fn text(self, unit: &Opened, sections: &Sections) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::String(at) => sections.string(&sections.strings, at),
            Self::LineString(at) => sections.line_string(at),
            Self::Index(index) => sections.indexed_string(unit.string_offsets, index),
            Self::None => None,
        }
    }
}
