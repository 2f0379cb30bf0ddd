//! Fields, attributes, locations and metadata as interned text.

use std::collections::HashMap;

use console_api::{
    Attribute, Field, Location, RegisterMetadata,
    field::{Name, Value},
};
use looptop_wire::intern::{Interner, MAX_ENTRIES, MAX_TEXT_BYTES};

/// Metadata that is kept at most, entries and bytes of text.
const MAX_METADATA: usize = 1 << 16;
const MAX_METADATA_BYTES: usize = 16 << 20;
/// A text of fields or attributes is cut at this many bytes.
const MAX_FIELDS_LEN: usize = 512;

/// What is kept of a span's metadata.
#[derive(Debug)]
struct Metadata {
    target: String,
    field_names: Vec<String>,
}

/// The interner of one stream and the metadata that its fields refer to.
#[derive(Debug, Default)]
pub(super) struct Names {
    interner: Interner,
    metadata: HashMap<u64, Metadata>,
    metadata_bytes: usize,
    /// Newest string id; a larger one from the interner is new.
    newest: u32,
    /// Bytes of attribute and field texts interned so far.
    volatile_bytes: usize,
    volatile: usize,
    refused: u64,
}

impl Names {
    pub(super) fn register(&mut self, update: Option<RegisterMetadata>) {
        for new in update.map(|u| u.metadata).unwrap_or_default() {
            let (Some(id), Some(metadata)) = (new.id, new.metadata) else {
                continue;
            };
            let names = metadata.field_names.iter().map(|name| name.len() + 24);
            let bytes = metadata.target.len() + names.sum::<usize>();
            let full = self.metadata.len() >= MAX_METADATA
                || self.metadata_bytes + bytes > MAX_METADATA_BYTES;
            if full || self.metadata.contains_key(&id.id) {
                continue;
            }
            self.metadata_bytes += bytes;
            let kept = Metadata {
                target: metadata.target,
                field_names: metadata.field_names,
            };
            self.metadata.insert(id.id, kept);
        }
    }

    /// The id of a text that lives as long as its task or resource.
    pub(super) fn string(&mut self, text: &str) -> u32 {
        let id = self.interner.string(text);
        self.newest = self.newest.max(id);
        id
    }

    /// The id of a text that may change with every update. Such texts get half
    /// of the table, lest a counting attribute use up the room for names.
    fn volatile(&mut self, mut text: String) -> u32 {
        text.truncate(text.floor_char_boundary(MAX_FIELDS_LEN));
        if text.is_empty() {
            return 0;
        }
        if self.volatile >= MAX_ENTRIES / 2 || self.volatile_bytes + text.len() > MAX_TEXT_BYTES / 2
        {
            self.refused += 1;
            return 0;
        }
        let before = self.newest;
        let id = self.string(&text);
        if id > before {
            self.volatile += 1;
            self.volatile_bytes += text.len();
        }
        id
    }

    /// The id of a location; 0 where the peer sent none.
    pub(super) fn location(&mut self, location: Option<&Location>) -> u32 {
        let Some(location) = location else { return 0 };
        let file = location.file.as_ref().or(location.module_path.as_ref());
        let Some(file) = file else { return 0 };
        let (line, column) = (location.line.unwrap_or(0), location.column.unwrap_or(0));
        let id = self.interner.location(file, line, column);
        // The location may have brought its file.
        self.string(file);
        id
    }

    /// The id of the target of the metadata `id`.
    pub(super) fn target(&mut self, id: Option<&console_api::MetaId>) -> u32 {
        let Some(metadata) = id.and_then(|id| self.metadata.get(&id.id)) else {
            return 0;
        };
        let id = self.interner.string(&metadata.target);
        self.newest = self.newest.max(id);
        id
    }

    /// The name of `field`, which may be an index into its metadata's names.
    pub(super) fn field_name<'a>(
        &'a self,
        field: &'a Field,
        owner: Option<&console_api::MetaId>,
    ) -> Option<&'a str> {
        match field.name.as_ref()? {
            Name::StrName(name) => Some(name),
            Name::NameIdx(index) => {
                let id = field.metadata_id.as_ref().or(owner)?;
                let names = &self.metadata.get(&id.id)?.field_names;
                names.get(usize::try_from(*index).ok()?).map(String::as_str)
            }
        }
    }

    /// `key=value` of each field, by a space; 0 without fields.
    pub(super) fn fields<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a Field>,
        owner: Option<&console_api::MetaId>,
    ) -> u32 {
        let mut text = String::new();
        for field in fields {
            self.push(&mut text, field, owner, "");
        }
        self.volatile(text)
    }

    /// `key=value unit` of each attribute, in the order of their names.
    pub(super) fn attributes(
        &mut self,
        attributes: &[Attribute],
        owner: Option<&console_api::MetaId>,
    ) -> u32 {
        let mut texts: Vec<String> = Vec::new();
        for attribute in attributes {
            let Some(field) = &attribute.field else {
                continue;
            };
            let mut text = String::new();
            let unit = attribute.unit.as_deref().unwrap_or_default();
            self.push(&mut text, field, owner, unit);
            texts.push(text);
        }
        // The server sends them in no order; a stable one is interned once.
        texts.sort_unstable();
        self.volatile(texts.join(" "))
    }

    fn push(
        &self,
        text: &mut String,
        field: &Field,
        owner: Option<&console_api::MetaId>,
        unit: &str,
    ) {
        if text.len() > MAX_FIELDS_LEN {
            return;
        }
        let (Some(name), Some(value)) = (self.field_name(field, owner), &field.value) else {
            return;
        };
        if !text.is_empty() {
            text.push(' ');
        }
        let value = value_text(value);
        for part in [name, "=", &value, unit] {
            text.push_str(part);
        }
    }

    pub(super) fn interner(&mut self) -> &mut Interner {
        &mut self.interner
    }

    /// Texts that the bounds refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused + self.interner.refused()
    }
}

/// A field's value as text.
pub(super) fn value_text(value: &Value) -> String {
    value.to_string()
}

/// A field's value as a number, in whichever way it was sent.
pub(super) fn value_number(value: &Value) -> Option<u64> {
    match value {
        Value::U64Val(number) => Some(*number),
        Value::I64Val(number) => u64::try_from(*number).ok(),
        Value::DebugVal(text) | Value::StrVal(text) => text.parse().ok(),
        Value::BoolVal(_) => None,
    }
}
