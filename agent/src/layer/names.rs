//! Names for tasks from the application's own spans.
//!
//! `tokio::spawn(serve(socket).instrument(info_span!("connection", %addr)))` makes a
//! task whose name is `connection addr=127.0.0.1:5`: the first span of the
//! application that is entered in the task's first poll, which is the outermost.
//!
//! The layer takes no interest in these spans: it sees those that another layer
//! wants, and what nobody wants stays as cheap as it is. What a span costs more:
//!
//! - *When it is entered*, a look at the flags of the task that is polled.
//! - *When it is made*, its fields become text, as they are gone afterwards. That is
//!   done for callsites whose spans do name tasks: each may do it [`TRUST`] times,
//!   and every task that it names pays for two more. The spans of requests, of which
//!   a task serves thousands, are therefore soon left alone.
//!
//! Where the application has no spans, a poll takes 2 instructions more, of 1,350, and
//! a spawn 110, of 7,600 (`valgrind --tool=callgrind overhead once wakers wake 40000`,
//! and `spawn 300000`, with the benchmark `overhead` of the agent).
//!
//! A name belongs to the task only while its span is open. A request that a
//! connection serves in its first poll names it no longer than that request lasts.

use std::fmt::{self, Debug, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicUsize};
use std::sync::{Arc, OnceLock};

use tracing_core::field::{Field, Visit};
use tracing_core::{Metadata, span};

use super::fields::Bounded;
use crate::task::Text;

/// Spans of one callsite whose fields become text before any has named a task.
const TRUST: i32 = 32;
/// What a named task pays for.
const RETURN: i32 = 2;
/// Callsites that are remembered; the spans of others name tasks without fields.
const CALLSITES: usize = 256;
/// Places in which a callsite is looked for.
const PROBES: usize = 8;
/// A longer name is cut at a character boundary.
const MAX_NAME: usize = 128;

/// The text of a span that may name a task, kept with it.
pub(super) struct SpanText(pub(super) Arc<Text>);

/// The task that a span has named, kept with it.
pub(super) struct Names(pub(super) u64);

/// What is known of the callsites of the application's spans.
#[derive(Debug)]
pub(super) struct SpanNames(Box<[Callsite]>);

#[derive(Debug, Default)]
struct Callsite {
    /// The address of its metadata; 0 while the place is free.
    metadata: AtomicUsize,
    /// Texts that were made, less what the tasks that they named pay for.
    spent: AtomicI32,
    /// The name without fields.
    short: OnceLock<Arc<Text>>,
}

impl Default for SpanNames {
    fn default() -> Self {
        Self((0..CALLSITES).map(|_| Callsite::default()).collect())
    }
}

impl SpanNames {
    /// The text of a span that is being made, where it is likely to name a task.
    pub(super) fn text(&self, attrs: &span::Attributes<'_>) -> Option<SpanText> {
        let metadata = attrs.metadata();
        let callsite = self.callsite(metadata)?;
        if callsite.spent.load(Relaxed) >= TRUST || !is_the_applications(metadata) {
            return None;
        }
        if metadata.fields().is_empty() {
            return None;
        }
        callsite.spent.fetch_add(1, Relaxed);
        Some(SpanText(Arc::new(text(attrs))))
    }

    /// The name for a task that a span of this callsite gives it, of which `full` is
    /// the text that was made with the span.
    pub(super) fn name(
        &self,
        metadata: &'static Metadata<'static>,
        full: Option<Arc<Text>>,
    ) -> Arc<Text> {
        let short = || Arc::new(named(metadata));
        let Some(callsite) = self.callsite(metadata) else {
            return full.unwrap_or_else(short);
        };
        let pay = |spent: i32| Some((spent - RETURN).max(-TRUST));
        // Nobody has to see it at once.
        let _ = callsite.spent.fetch_update(Relaxed, Relaxed, pay);
        full.unwrap_or_else(|| Arc::clone(callsite.short.get_or_init(short)))
    }

    /// What is known of a callsite; `None` where there is no room for it.
    fn callsite(&self, metadata: &'static Metadata<'static>) -> Option<&Callsite> {
        let address = std::ptr::from_ref(metadata).addr();
        let spread = (address as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let places = (0..PROBES).map(|n| &self.0[(spread as usize + n) % CALLSITES]);
        for place in places {
            let mut known = place.metadata.load(Relaxed);
            if known == 0 {
                // The number alone says whose place it is.
                let taken = place
                    .metadata
                    .compare_exchange(0, address, Relaxed, Relaxed);
                known = taken.map_or_else(|other| other, |_| address);
            }
            if known == address {
                return Some(place);
            }
        }
        None
    }
}

/// Whether a span is no part of tokio's own instrumentation.
pub(super) fn is_the_applications(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    metadata.is_span()
        && !metadata.name().starts_with("runtime.")
        && target != "tokio"
        && !target.starts_with("tokio::")
}

/// The name of a span without fields.
fn named(metadata: &'static Metadata<'static>) -> Text {
    let mut name = String::new();
    let _ = Escaped(Bounded(&mut name, MAX_NAME)).write_str(metadata.name());
    Text {
        name,
        fields: String::new(),
        span: metadata.name(),
    }
}

fn text(attrs: &span::Attributes<'_>) -> Text {
    let mut text = named(attrs.metadata());
    attrs.record(&mut SpanFields(&mut text.name));
    text
}

/// Adds ` key=value` for each field.
struct SpanFields<'a>(&'a mut String);

impl Visit for SpanFields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Where there is no room left, not even the value is formatted.
        if self.0.len() >= MAX_NAME {
            return;
        }
        let mut to = Escaped(Bounded(self.0, MAX_NAME));
        let _ = match field.name() {
            "message" => write!(to, " {value:?}"),
            name => write!(to, " {name}={value:?}"),
        };
    }
}

/// Writes control characters as in a literal of Rust.
struct Escaped<'a>(Bounded<'a>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let control = part.chars().next_back().filter(|last| last.is_control());
            let plain = part.len() - control.map_or(0, char::len_utf8);
            self.0.write_str(&part[..plain])?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tracing_core::callsite::DefaultCallsite;
    use tracing_core::field::Value;
    use tracing_core::{Kind, Level, metadata};

    static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
    static METADATA: Metadata<'static> = metadata! {
        name: "request",
        target: "app",
        level: Level::INFO,
        fields: &["uri"],
        callsite: &CALLSITE,
        kind: Kind::SPAN,
    };

    fn made(names: &SpanNames) -> Option<SpanText> {
        let fields = METADATA.fields();
        let uri = fields.field("uri").unwrap();
        let values = [(&uri, Some(&"/x" as &dyn Value))];
        let values = fields.value_set(&values);
        names.text(&span::Attributes::new(&METADATA, &values))
    }

    #[test]
    fn only_spans_that_name_tasks_are_worth_a_text() {
        let names = SpanNames::default();
        let texts = (0..1_000).filter_map(|_| made(&names)).count();
        assert_eq!(texts, TRUST as usize);
        // Without a text the name is left, and pays for two.
        assert_eq!(names.name(&METADATA, None).name, "request");
        assert_eq!(
            (0..10).filter_map(|_| made(&names)).count(),
            RETURN as usize
        );
        // Those that each name a task never run out.
        let names = SpanNames::default();
        for _ in 0..1_000 {
            let text = made(&names).expect("paid for");
            assert_eq!(names.name(&METADATA, Some(text.0)).name, "request uri=/x");
        }
    }

    #[test]
    fn names_are_bounded_and_hold_no_control_characters() {
        let written = |text: &str| {
            let mut name = String::from("request");
            let _ = write!(Escaped(Bounded(&mut name, MAX_NAME)), "{text}");
            name
        };
        for (text, expected) in [
            (" uri=/x", "request uri=/x"),
            (" a\u{1b}[2J\nb", "request a\\u{1b}[2J\\nb"),
            ("\u{9b}31m", "request\\u{9b}31m"),
            ("", "request"),
        ] {
            assert_eq!(written(text), expected);
        }
        let long = written(&"é\n".repeat(100));
        assert!(
            long.len() <= MAX_NAME && long.len() > MAX_NAME - 4,
            "{long}"
        );
    }
}
