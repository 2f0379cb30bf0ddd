//! The fields of tokio's task spans and waker events.

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;

use looptop_wire::proto::TaskKind;
use tracing_core::field::{Field, Visit};

use crate::task::Text;
use crate::task::local::{Local, PendingOp};
use crate::task::traced::WakerOp;

/// A longer name or field is cut at a character boundary.
const MAX_TEXT: usize = 256;

/// What a task's span says.
#[derive(Debug)]
pub(super) struct TaskFields<'a> {
    local: &'a Local,
    pub(super) id: u64,
    pub(super) kind: TaskKind,
    /// Empty where the span has none.
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) size: u32,
    pub(super) original_size: u32,
    text: Text,
}

impl<'a> TaskFields<'a> {
    pub(super) fn new(local: &'a Local) -> Self {
        Self {
            local,
            id: 0,
            kind: TaskKind::Unknown,
            file: "",
            line: 0,
            column: 0,
            size: 0,
            original_size: 0,
            text: Text::default(),
        }
    }

    /// `None` where the task has neither a name nor further fields, as most.
    pub(super) fn text(&mut self) -> Option<Arc<Text>> {
        (self.text != Text::default()).then(|| Arc::new(std::mem::take(&mut self.text)))
    }

    fn further(&mut self, field: &Field, value: &dyn Debug) {
        let fields = &mut self.text.fields;
        let separator = if fields.is_empty() { "" } else { " " };
        let mut to = Bounded(fields, MAX_TEXT);
        let _ = write!(to, "{separator}{}={value:?}", field.name());
    }
}

impl Visit for TaskFields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let small = u32::try_from(value).unwrap_or(u32::MAX);
        match field.name() {
            "task.id" => self.id = value,
            "loc.line" => self.line = small,
            "loc.col" => self.column = small,
            "size.bytes" => self.size = small,
            "original_size.bytes" => self.original_size = small,
            _ => self.further(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "loc.file" => self.file = self.local.file(value),
            "kind" => self.kind = kind(value),
            "task.name" => drop(Bounded(&mut self.text.name, MAX_TEXT).write_str(value)),
            _ => self.further(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "kind" => {
                let mut word = Word::default();
                let _ = write!(word, "{value:?}");
                self.kind = kind(word.as_str());
            }
            "task.name" => drop(write!(Bounded(&mut self.text.name, MAX_TEXT), "{value:?}")),
            _ => self.further(field, value),
        }
    }
}

fn kind(word: &str) -> TaskKind {
    match word {
        "task" => TaskKind::Task,
        "local" => TaskKind::Local,
        "blocking" => TaskKind::Blocking,
        "block_on" => TaskKind::BlockOn,
        _ => TaskKind::Unknown,
    }
}

/// Text on the stack, for the few words that `kind` can be.
#[derive(Debug, Default)]
struct Word {
    bytes: [u8; 16],
    len: usize,
}

impl Word {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Fills the text up to so many bytes and drops the rest.
pub(super) struct Bounded<'a>(pub(super) &'a mut String, pub(super) usize);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.1.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Ok(())
    }
}

/// An operation that was polled: which, and whether it is pending.
#[derive(Debug, Default)]
pub(super) struct PollFields {
    is_ready: bool,
    op: Option<PendingOp>,
}

impl PollFields {
    pub(super) fn pending(&self) -> Option<PendingOp> {
        self.op.filter(|_| !self.is_ready)
    }
}

impl Visit for PollFields {
    fn record_bool(&mut self, _: &Field, value: bool) {
        self.is_ready = value;
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.op = match value {
            "poll_acquire" => Some(PendingOp::Permit),
            "poll" => Some(PendingOp::Lock),
            _ => None,
        };
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// A waker event: whose waker, and what happened to it.
#[derive(Debug, Default)]
pub(super) struct WakerFields {
    /// The id of the task's span; 0 is none.
    pub(super) span: u64,
    pub(super) op: Option<WakerOp>,
}

impl Visit for WakerFields {
    // The only number and the only text of these events are these.
    fn record_u64(&mut self, _: &Field, value: u64) {
        self.span = value;
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        self.op = match value {
            "waker.clone" => Some(WakerOp::Clone),
            "waker.drop" => Some(WakerOp::Drop),
            "waker.wake" => Some(WakerOp::Wake),
            "waker.wake_by_ref" => Some(WakerOp::WakeByRef),
            _ => None,
        };
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut name = String::new();
        let _ = Bounded(&mut name, MAX_TEXT).write_str(&"é".repeat(200));
        assert_eq!(name.len(), MAX_TEXT);
        let _ = Bounded(&mut name, MAX_TEXT).write_str("more");
        assert_eq!(name.len(), MAX_TEXT);
    }

    #[test]
    fn words_that_do_not_fit_are_unknown_kinds() {
        let mut word = Word::default();
        assert!(word.write_str("a kind of the year 2040").is_err());
        assert_eq!(kind(word.as_str()), TaskKind::Unknown);
        assert_eq!(kind("block_on"), TaskKind::BlockOn);
    }
}
