//! One type, from its entry.

use gimli::constants as c;

use super::file::Sections;
use super::unit::{Kept, Opened, number};
use super::{Kind, TypeId};

/// Entries below a type that are read.
const MAX_ENTRIES: usize = 1 << 18;
/// Members and variants of a type.
const MAX_MEMBERS: usize = 1 << 14;

/// A type as its entry says, with the texts that are in it.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) target: Option<TypeId>,
    pub(super) count: Option<u64>,
    pub(super) members: Vec<Field>,
    /// Where the number of the variant is, and its type.
    pub(super) discriminant: Option<(u64, Option<TypeId>)>,
    pub(super) variants: Vec<(Option<u64>, Field)>,
    pub(super) parameters: Vec<(String, TypeId)>,
}

#[derive(Default)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) at: u64,
    pub(super) ty: Option<TypeId>,
    pub(super) file: Option<u64>,
    pub(super) line: u32,
}

/// The same, before its texts are read.
#[derive(Default)]
struct Entry {
    name: Option<Kept>,
    size: u64,
    of: Option<u32>,
    at: u64,
    file: Option<u64>,
    line: u32,
    value: Option<u64>,
    count: Option<u64>,
}

/// The type whose entry is at an offset of the section.
pub(super) fn parse(opened: &Opened, sections: &Sections, at: u32) -> Option<Parsed> {
    let raw = opened.entries(sections, at, |entries| Raw::read(opened, entries))?;
    Some(raw.with_texts(opened, sections))
}

#[derive(Default)]
struct Raw {
    kind: Kind,
    entry: Entry,
    members: Vec<Entry>,
    discriminant: Option<Entry>,
    variants: Vec<(Option<u64>, Entry)>,
    parameters: Vec<Entry>,
    count: Option<u64>,
}

impl Raw {
    fn read(
        opened: &Opened,
        entries: &mut gimli::EntriesRaw<'_, super::file::Slice<'_>>,
    ) -> gimli::Result<Self> {
        let mut found = Self::default();
        let Some(abbreviation) = entries.read_abbreviation()? else {
            return Ok(found);
        };
        found.kind = kind(abbreviation.tag());
        found.entry = Entry::read(opened, entries, abbreviation)?;
        // What is at a depth belongs to it only within the right parent: a type may
        // have types within it.
        let (mut in_part, mut in_variant, mut value) = (false, false, None);
        let mut left = MAX_ENTRIES;
        while entries.next_depth() > 0 && left > 0 {
            left -= 1;
            let depth = entries.next_depth();
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let entry = Entry::read(opened, entries, abbreviation)?;
            let tag = abbreviation.tag();
            if depth == 1 {
                in_part = tag == c::DW_TAG_variant_part;
            }
            if depth <= 2 {
                in_variant = in_part && tag == c::DW_TAG_variant;
            }
            match (depth, tag) {
                (1, c::DW_TAG_member) if found.members.len() < MAX_MEMBERS => {
                    found.members.push(entry);
                }
                (1, c::DW_TAG_template_type_parameter) => found.parameters.push(entry),
                (1, c::DW_TAG_subrange_type) => found.count = entry.count,
                (2, c::DW_TAG_member) if in_part => found.discriminant = Some(entry),
                (2, c::DW_TAG_variant) if in_part => value = entry.value,
                (3, c::DW_TAG_member) if in_variant && found.variants.len() < MAX_MEMBERS => {
                    found.variants.push((value, entry));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn with_texts(self, opened: &Opened, sections: &Sections) -> Parsed {
        let text = |name: Option<Kept>| {
            let text = name.and_then(|name| name.text(opened, sections));
            text.unwrap_or_default()
        };
        let field = |entry: Entry| Field {
            at: entry.at,
            ty: entry.of.map(TypeId),
            file: entry.file,
            line: entry.line,
            name: text(entry.name),
        };
        let parameters = self.parameters.into_iter();
        let parameters = parameters.filter_map(|entry| Some((TypeId(entry.of?), entry.name)));
        Parsed {
            kind: self.kind,
            size: self.entry.size,
            target: self.entry.of.map(TypeId),
            count: self.count,
            name: text(self.entry.name),
            members: self.members.into_iter().map(field).collect(),
            discriminant: self.discriminant.map(|d| (d.at, d.of.map(TypeId))),
            variants: self
                .variants
                .into_iter()
                .map(|(value, entry)| (value, field(entry)))
                .collect(),
            parameters: parameters.map(|(id, name)| (text(name), id)).collect(),
        }
    }
}

fn kind(tag: gimli::DwTag) -> Kind {
    match tag {
        c::DW_TAG_structure_type | c::DW_TAG_class_type => Kind::Struct,
        c::DW_TAG_union_type => Kind::Union,
        c::DW_TAG_enumeration_type | c::DW_TAG_base_type => Kind::Number,
        c::DW_TAG_pointer_type | c::DW_TAG_reference_type => Kind::Pointer,
        c::DW_TAG_array_type => Kind::Array,
        _ => Kind::Other,
    }
}

impl Entry {
    fn read(
        opened: &Opened,
        entries: &mut gimli::EntriesRaw<'_, super::file::Slice<'_>>,
        abbreviation: &gimli::Abbreviation,
    ) -> gimli::Result<Self> {
        let mut entry = Self::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            let value = attribute.value();
            match attribute.name() {
                c::DW_AT_name => entry.name = Some(Kept::of(&value)),
                c::DW_AT_byte_size => entry.size = number(&value).unwrap_or(0),
                c::DW_AT_type => entry.of = opened.reference(&value),
                c::DW_AT_data_member_location => entry.at = number(&value).unwrap_or(0),
                c::DW_AT_decl_file => {
                    entry.file = match value {
                        gimli::AttributeValue::FileIndex(index) => Some(index),
                        other => number(&other),
                    };
                }
                c::DW_AT_decl_line => {
                    let line = number(&value).unwrap_or(0);
                    entry.line = u32::try_from(line).unwrap_or(0);
                }
                c::DW_AT_discr_value => entry.value = number(&value),
                c::DW_AT_count => entry.count = number(&value),
                _ => {}
            }
        }
        Ok(entry)
    }
}

/// What the entry of a function of tasks says: its name, which has the types, and where
/// another entry says it.
pub(super) fn function(opened: &Opened, sections: &Sections, at: u32) -> Option<String> {
    let name = opened.entries(sections, at, |entries| {
        let Some(abbreviation) = entries.read_abbreviation()? else {
            return Ok(None);
        };
        Ok(Entry::read(opened, entries, abbreviation)?.name)
    })??;
    name.text(opened, sections)
}
