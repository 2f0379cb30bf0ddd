//! Every field of a frame survives what is done to frames: the keyframe, splitting
//! and redaction. What may get lost is listed, with its reason.

use std::{collections::BTreeSet, path::Path};

use looptop_wire::{
    MAX_MESSAGE_BYTES, live,
    proto::{AwaitNode, Frame, HelloResponse, InternedString},
    split::split,
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};

use super::redact::Redactor;
use crate::model::Model;

/// Later than every instant in the frame.
const NOW_NS: u64 = 1_000_000_000;

fn kind() -> MessageDescriptor {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/proto");
    let files = protox::compile(["looptop.agent.v1.proto"], [proto]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    pool.get_message_by_name("looptop.agent.v1.Frame").unwrap()
}

/// A message with a value in every field but these, and one element in each list.
fn filled(kind: &MessageDescriptor, empty: &[&str]) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    for field in kind.fields().filter(|f| !empty.contains(&f.name())) {
        let value = match field.kind() {
            Kind::Message(kind) => Value::Message(filled(&kind, empty)),
            Kind::Enum(_) => Value::EnumNumber(1),
            Kind::Bool => Value::Bool(true),
            // A text that is one of a few.
            Kind::String if field.name() == "call_kind" => Value::String("Sleep".into()),
            Kind::String => Value::String("x".into()),
            Kind::Bytes => Value::Bytes(vec![1].into()),
            Kind::Double => Value::F64(1.0),
            Kind::Float => Value::F32(1.0),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(1),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
        };
        let value = if field.is_list() {
            Value::List(vec![value])
        } else {
            value
        };
        message.set_field(&field, value);
    }
    message
}

#[test]
fn a_live_peer_may_send_every_field_but_those_of_recordings() {
    let kind = kind();
    let mut refused = Vec::new();
    for field in kind.fields() {
        let mut message = filled(&kind, &[]);
        for other in kind.fields().filter(|other| *other != field) {
            message.clear_field(&other);
        }
        let frame = Frame::decode(message.encode_to_vec().as_slice()).unwrap();
        if live::check(&frame).is_err() {
            refused.push(field.name().to_owned());
        }
        let of_recordings = match field.kind() {
            Kind::Message(kind) => kind.package_name() == "looptop.recording.v1",
            _ => false,
        };
        assert!(!of_recordings || live::check(&frame).is_err(), "{field:?}");
    }
    // Resources and operations for their numbers.
    assert_eq!(refused, ["resources", "async_ops", "history", "names"]);
}

/// Frames that hold every field between them: what has ended has no value where
/// what lives has one.
fn frames() -> [Frame; 2] {
    let kind = kind();
    let never = ["gone", "more", "withdrawn"];
    let lives = ["gone", "more", "withdrawn", "dropped_at_ns", "ended_at_ns"];
    [&never[..], &lives].map(|empty| {
        let message = filled(&kind, empty);
        let mut frame = Frame::decode(message.encode_to_vec().as_slice()).unwrap();
        // A tree has a root, the node of depth 0 alone.
        for shape in &mut frame.await_shapes {
            let root = AwaitNode {
                depth: 0,
                ..shape.nodes[0]
            };
            shape.nodes.insert(0, root);
        }
        Frame {
            now_ns: NOW_NS,
            forgotten_tasks: vec![2],
            ..frame
        }
    })
}

/// The fields that have a value, by their names from the frame on.
fn fields<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> BTreeSet<String> {
    fn walk(message: &DynamicMessage, within: &str, found: &mut BTreeSet<String>) {
        for (field, value) in message.fields() {
            let name = format!("{within}{}", field.name());
            let one = std::slice::from_ref(value);
            for value in value.as_list().unwrap_or(one) {
                match value {
                    Value::Message(message) => walk(message, &format!("{name}."), found),
                    value if value.is_default(&field.kind()) => {}
                    _ => drop(found.insert(name.clone())),
                }
            }
        }
    }
    let kind = kind();
    let mut found = BTreeSet::new();
    for frame in frames {
        let bytes = frame.encode_to_vec();
        let message = DynamicMessage::decode(kind.clone(), bytes.as_slice()).unwrap();
        walk(&message, "", &mut found);
    }
    found
}

/// Fails unless exactly the fields that may get lost did.
#[track_caller]
fn assert_kept(before: &[Frame], after: &[Frame], lost: &[(&str, &str)]) {
    let before = fields(before);
    assert!(before.len() > 150, "{before:#?}");
    let after = fields(after);
    let missing: BTreeSet<&str> = before.difference(&after).map(String::as_str).collect();
    let expected: BTreeSet<&str> = lost.iter().map(|(field, _)| *field).collect();
    let unexpected: Vec<_> = missing.difference(&expected).collect();
    assert!(unexpected.is_empty(), "lost: {unexpected:#?}");
    let kept: Vec<_> = expected.difference(&missing).collect();
    assert!(kept.is_empty(), "kept after all: {kept:#?}");
}

#[test]
fn a_keyframe_has_every_field() {
    let frames = frames();
    let mut keyframes = Vec::new();
    for frame in &frames {
        let mut model = Model::new(&HelloResponse::default());
        model.apply(frame).unwrap();
        keyframes.extend(model.keyframe());
    }
    let unused = "the viewer does not use it";
    assert_kept(
        &frames,
        &keyframes,
        &[
            ("forgotten_tasks", "a change, not a state"),
            ("lag.at_ns", "in the series of the history"),
            ("lag.lag_ns", "in the series of the history"),
            ("history.series.runtime", "that of workers alone"),
            ("runtimes.io_ready", unused),
            ("runtimes.mean_poll_ns", unused),
            ("runtimes.remote_schedules", unused),
            ("sequence", "the sender counts"),
            ("stalls.samples", unused),
            ("tasks.capabilities.reason", "of what is missing alone"),
            ("workers.noops", unused),
            ("workers.overflows", unused),
        ],
    );
}

#[test]
fn splitting_keeps_every_field() {
    let mut frames = frames();
    for frame in &mut frames {
        frame.strings.push(InternedString {
            id: 2,
            text: "x".repeat(MAX_MESSAGE_BYTES),
        });
    }
    let parts: Vec<_> = frames.iter().cloned().flat_map(split).collect();
    assert!(parts.len() > frames.len());
    assert_kept(
        &frames,
        &parts,
        &[("sequence", "the sender counts the parts")],
    );
}

#[test]
fn redaction_leaves_out_what_it_must_and_nothing_else() {
    let frames = frames();
    let redacted: Vec<_> = frames
        .iter()
        .map(|frame| Redactor::default().frame(frame.clone()))
        .collect();
    let name = "the application's data";
    assert_kept(
        &frames,
        &redacted,
        &[
            ("async_ops.attributes", name),
            ("resources.attributes", name),
            ("stalls.holder.task_name", name),
            ("stalls.name", name),
            ("tasks.fields", name),
            ("tasks.name", name),
        ],
    );
}
