//! A stall as a log record of OpenTelemetry: names by its semantic conventions where they
//! have one, otherwise `looptop.*`.

use std::fmt::Write;
use std::time::Duration;

use looptop_diagnosis::diagnose::cause_word;
use looptop_diagnosis::model::{Culprit, Model, Stall};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use crate::metrics::Shown;
use crate::metrics::culprit::task_name;
use crate::stall::TraceIds;

/// What the record is of.
const EVENT: &str = "looptop.stall";
/// From here on it is an error, not a warning: as on the screen.
const GRAVE: Duration = Duration::from_secs(1);
/// Bytes of a stack as text; outer frames beyond are left out.
const MAX_STACK: usize = 8 << 10;
/// Characters of a name; the rest is cut off.
const MAX_NAME: usize = 1_000;

/// The record, as much of it as may be shown.
pub(super) fn of(
    stall: &Stall,
    model: &Model,
    trace: Option<TraceIds>,
    shown: Shown,
    now_unix_ns: u64,
) -> LogRecord {
    let lasted = stall.age(model.now);
    let (number, text) = if lasted >= GRAVE {
        (SeverityNumber::Error, "ERROR")
    } else {
        (SeverityNumber::Warn, "WARN")
    };
    let mut attributes = Attributes::default();
    attributes.numbers(stall, model);
    if shown == Shown::Names {
        attributes.names(stall, model);
    }
    LogRecord {
        time_unix_nano: model.session.started_unix_ns + stall.started.0,
        observed_time_unix_nano: now_unix_ns,
        severity_number: number.into(),
        severity_text: text.to_owned(),
        body: Some(any(Value::StringValue(sentence(stall, lasted, shown)))),
        attributes: attributes.0,
        flags: trace.map_or(0, |ids| u32::from(ids.flags)),
        trace_id: trace.map_or_else(Vec::new, |ids| ids.trace.to_vec()),
        span_id: trace.map_or_else(Vec::new, |ids| ids.span.to_vec()),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}

/// `A poll blocked its thread for 312 ms: sleeping in app::report (src/report.rs:7)`.
fn sentence(stall: &Stall, lasted: Duration, shown: Shown) -> String {
    let has = if stall.live { "has blocked" } else { "blocked" };
    let (ms, cause) = (lasted.as_millis(), cause_word(stall.cause));
    let mut sentence = format!("A poll {has} its thread for {ms} ms: {cause}");
    if let (Shown::Names, Some(culprit)) = (shown, stall.culprit()) {
        let _ = write!(sentence, " in {}", cut(&culprit.sentence()));
    }
    sentence
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn numbers(&mut self, stall: &Stall, model: &Model) {
        self.add("looptop.cause", text(cause_word(stall.cause)));
        let seconds = stall.age(model.now).as_secs_f64();
        self.add("looptop.stall.duration", Value::DoubleValue(seconds));
        self.add("looptop.stall.id", integer(stall.id.0));
        self.add("looptop.stall.in_progress", Value::BoolValue(stall.live));
        if let Some(tid) = stall.tid {
            self.add("thread.id", integer(tid.0));
        }
        if let Some(worker) = stall.worker {
            self.add("looptop.worker", integer(u64::from(worker.index)));
        }
    }

    fn names(&mut self, stall: &Stall, model: &Model) {
        if let Some(worker) = stall.worker {
            self.text("looptop.runtime", &model.runtime_name(worker.runtime));
        }
        if let Some(task) = stall.task {
            self.add("looptop.task.id", integer(task.0));
        }
        self.text("looptop.task.name", &task_name(stall, model));
        if let Some(spawned) = model.location(stall.location) {
            self.text("looptop.task.location", &spawned.to_string());
        }
        if let Some(culprit) = stall.culprit() {
            self.culprit(culprit);
        }
        self.text("code.stacktrace", &stack(stall));
    }

    fn culprit(&mut self, culprit: &Culprit) {
        self.text("code.function.name", &culprit.function);
        self.text("code.file.path", &culprit.file);
        if culprit.line > 0 {
            self.add("code.line.number", integer(u64::from(culprit.line)));
        }
    }

    /// A text, where there is one.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            let value = if value.len() > MAX_STACK {
                cut(value)
            } else {
                value.to_owned()
            };
            self.add(key, Value::StringValue(value));
        }
    }

    fn add(&mut self, key: &str, value: Value) {
        self.0.push(attribute(key, value));
    }
}

/// The stack that shows the stall best, innermost frame first, a line each.
fn stack(stall: &Stall) -> String {
    let mut lines = String::new();
    let frames = stall.resolved.iter().flat_map(|stack| &stack.frames);
    for frame in frames {
        let line = match frame.location() {
            Some(location) => format!("{} at {location}", frame.function),
            None => frame.function.clone(),
        };
        if lines.len() + line.len() >= MAX_STACK {
            lines.push_str("...");
            break;
        }
        let _ = writeln!(lines, "{line}");
    }
    lines
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

pub(super) fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

fn integer(value: u64) -> Value {
    Value::IntValue(value.cast_signed())
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use looptop_diagnosis::model::{Resolved, StackFrame, StallId};
    use looptop_wire::proto::{self, Frame};

    use super::*;

    const S: u64 = 1_000_000_000;

    fn model() -> Model {
        let mut model = Model::default();
        let stall = proto::Stall {
            id: 7,
            state: proto::StallState::Ended.into(),
            tid: Some(4_711),
            task: Some(9),
            name: 1,
            started_at_ns: 10 * S,
            duration_ns: 2 * S,
            cause: proto::Cause::Sleeping.into(),
            ..proto::Stall::default()
        };
        let frame = Frame {
            now_ns: 13 * S,
            snapshot_complete: true,
            strings: vec![proto::InternedString {
                id: 1,
                text: "request".into(),
            }],
            stalls: vec![stall],
            ..Frame::default()
        };
        model.apply(&frame).expect("a frame");
        let frame = |function: &str, file: &str, line| StackFrame {
            function: function.to_owned(),
            file: file.to_owned(),
            line,
            ..StackFrame::default()
        };
        let resolved = Resolved {
            frames: vec![
                frame("clock_nanosleep", "", 0),
                frame("secret::handler", "src/secret.rs", 7),
            ],
            culprit: Some(Culprit {
                function: "secret::handler".into(),
                file: "src/secret.rs".into(),
                line: 7,
                ..Culprit::default()
            }),
            ..Resolved::default()
        };
        model.stalls.resolve(StallId(7), Arc::new(resolved));
        model.session.started_unix_ns = 1_000 * S;
        model
    }

    fn value<'a>(record: &'a LogRecord, key: &str) -> Option<&'a Value> {
        let found = record.attributes.iter().find(|a| a.key == key)?;
        found.value.as_ref()?.value.as_ref()
    }

    #[test]
    fn a_record_has_the_culprit_by_the_conventions_names() {
        let model = model();
        let stall = model.stalls.get(StallId(7)).expect("the stall");
        let ids = TraceIds {
            trace: [3; 16],
            span: [4; 8],
            flags: 1,
        };
        let record = of(stall, &model, Some(ids), Shown::Names, 1_014 * S);
        assert_eq!(record.time_unix_nano, 1_010 * S);
        assert_eq!(record.severity_text, "ERROR");
        assert_eq!((record.trace_id.len(), record.span_id.len()), (16, 8));
        assert_eq!(record.flags, 1);
        for (key, expected) in [
            ("code.function.name", text("secret::handler")),
            ("code.file.path", text("src/secret.rs")),
            ("code.line.number", Value::IntValue(7)),
            ("looptop.cause", text("sleeping")),
            ("looptop.task.name", text("request")),
            ("looptop.stall.duration", Value::DoubleValue(2.0)),
            ("thread.id", Value::IntValue(4_711)),
            (
                "code.stacktrace",
                text("clock_nanosleep\nsecret::handler at src/secret.rs:7\n"),
            ),
        ] {
            assert_eq!(value(&record, key), Some(&expected), "{key}");
        }
        let body = record.body.expect("a body").value;
        let expected = "A poll blocked its thread for 2000 ms: sleeping in secret::handler \
                        (src/secret.rs:7)";
        assert_eq!(body, Some(text(expected)));
    }

    #[test]
    fn numbers_alone_hold_no_name() {
        let model = model();
        let stall = model.stalls.get(StallId(7)).expect("the stall");
        let record = of(stall, &model, None, Shown::Numbers, 1_014 * S);
        let all = format!("{record:?}");
        assert!(!all.contains("secret") && !all.contains("request"), "{all}");
        assert_eq!(value(&record, "looptop.cause"), Some(&text("sleeping")));
        assert!(record.trace_id.is_empty());
    }
}
