//! What is exported is read by the programs that it is for.

use std::{collections::BTreeMap, path::Path, time::Duration};

use looptop_symbols::{Call, CallKind};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

use super::{Table, folded, perfetto, pprof, table};
use crate::{
    model::{Culprit, Resolved, StackFrame, StackOf, StallId},
    record::{
        Recorder, Recording,
        synthetic::{Session, Shape},
    },
};

const MS: u64 = 1_000_000;

fn stack() -> Resolved {
    let frame = |function: &str, file: &str, line, culprit| StackFrame {
        function: function.into(),
        file: file.into(),
        line,
        plumbing: file.is_empty(),
        culprit,
    };
    Resolved {
        frames: vec![
            frame("std::thread::sleep", "", 0, false),
            frame("report::render; draft", "src/report.rs", 42, true),
            frame("tokio::runtime::task::raw::poll", "", 0, false),
        ],
        culprit: Some(Culprit {
            function: "report::render".into(),
            file: "src/report.rs".into(),
            line: 42,
            call: Some(Call {
                kind: CallKind::Sleep,
                name: "std::thread::sleep".into(),
            }),
            ..Culprit::default()
        }),
        ..Resolved::default()
    }
}

/// 8 s with a stall of 150 ms every 2 s, of which the first has a named stack.
fn recording() -> Recording {
    let mut session = Session::new(Shape::default());
    let mut recorder = Recorder::new(Vec::new(), "127.0.0.1:6669", false).unwrap();
    recorder.connected(&session.hello()).unwrap();
    for n in 0..80 {
        recorder.frame(&session.next_frame()).unwrap();
        if n == 10 {
            recorder
                .name(&StackOf::Stall(StallId(1)), &stack())
                .unwrap();
        }
    }
    Recording::from_bytes(recorder.finish().unwrap()).unwrap()
}

/// The trace, decoded by a description that is not the writer's.
fn trace() -> Vec<DynamicMessage> {
    let mut bytes = Vec::new();
    perfetto::write(&recording(), &mut bytes).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export");
    let files = protox::compile(["trace.proto"], [folder]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let kind = pool.get_message_by_name("expected.Trace").unwrap();
    let trace = DynamicMessage::decode(kind, bytes.as_slice()).unwrap();
    assert_known(&trace);
    let packets = trace.get_field_by_name("packet").unwrap();
    packets
        .as_list()
        .unwrap()
        .iter()
        .map(|p| p.as_message().unwrap().clone())
        .collect()
}

/// Every field is one that the format has.
fn assert_known(message: &DynamicMessage) {
    let unknown: Vec<_> = message.unknown_fields().collect();
    assert!(
        unknown.is_empty(),
        "{unknown:?} in {}",
        message.descriptor().name()
    );
    for (_, value) in message.fields() {
        match value {
            Value::Message(inner) => assert_known(inner),
            Value::List(list) => list
                .iter()
                .filter_map(Value::as_message)
                .for_each(assert_known),
            _ => {}
        }
    }
}

fn get<'a>(message: &'a DynamicMessage, path: &[&str]) -> Option<std::borrow::Cow<'a, Value>> {
    let (first, rest) = path.split_first()?;
    if !message.has_field_by_name(first) {
        return None;
    }
    let value = message.get_field_by_name(first)?;
    if rest.is_empty() {
        return Some(value);
    }
    let inner = value.as_message()?.clone();
    get(&inner, rest).map(|value| std::borrow::Cow::Owned(value.into_owned()))
}

fn text(message: &DynamicMessage, path: &[&str]) -> Option<String> {
    get(message, path).and_then(|v| v.as_str().map(str::to_owned))
}

fn number(message: &DynamicMessage, path: &[&str]) -> Option<u64> {
    get(message, path).and_then(|v| v.as_u64())
}

fn event_type(message: &DynamicMessage) -> Option<i32> {
    get(message, &["track_event", "type"]).and_then(|v| v.as_enum_number())
}

#[test]
fn a_trace_has_its_tracks() {
    let packets = trace();
    let mut names = Vec::new();
    let mut uuids = BTreeMap::new();
    for packet in &packets {
        if let Some(name) = text(packet, &["track_descriptor", "name"]) {
            let uuid = number(packet, &["track_descriptor", "uuid"]).unwrap();
            assert!(
                uuids.insert(uuid, name.clone()).is_none(),
                "{name} has another's number"
            );
            names.push(name);
        }
    }
    for name in [
        "synthetic",
        "worker 0 (tokio-rt-worker)",
        "worker 0.0 stalls",
        "lag of main",
        "queue of main",
        "blocking queue of main",
        "live tasks",
        "CPUs used",
        "resident memory",
        "queue",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is missing in {names:?}"
        );
    }
    // Every event is on a track that was named before it.
    let mut seen = std::collections::BTreeSet::new();
    for packet in &packets {
        seen.extend(number(packet, &["track_descriptor", "uuid"]));
        if let Some(track) = number(packet, &["track_event", "track_uuid"]) {
            assert!(seen.contains(&track));
            assert!(number(packet, &["timestamp"]).is_some());
        }
    }
}

#[test]
fn slices_of_a_track_do_not_overlap() {
    let mut open = BTreeMap::new();
    let mut slices = 0;
    let mut events: Vec<(u64, usize, i32, u64)> = Vec::new();
    for (n, packet) in trace().iter().enumerate() {
        if let Some(kind @ (1 | 2)) = event_type(packet) {
            let at = number(packet, &["timestamp"]).unwrap();
            let track = number(packet, &["track_event", "track_uuid"]).unwrap();
            events.push((at, n, kind, track));
        }
    }
    events.sort_unstable();
    for (at, _, kind, track) in events {
        let depth: &mut i32 = open.entry(track).or_default();
        *depth += if kind == 1 { 1 } else { -1 };
        slices += i32::from(kind == 1);
        assert!(
            (0..=1).contains(depth),
            "{depth} slices of {track:x} at {at}"
        );
    }
    assert!(open.values().all(|depth| *depth == 0));
    assert!(slices >= 4, "{slices}");
}

#[test]
fn stalls_have_their_stacks() {
    let packets = trace();
    let stalls: Vec<_> = packets
        .iter()
        .filter(|p| {
            get(p, &["track_event", "categories"])
                .is_some_and(|c| c.as_list().is_some_and(|c| c[0].as_str() == Some("stall")))
        })
        .collect();
    assert_eq!(stalls.len(), 4);
    assert_eq!(
        text(stalls[0], &["track_event", "name"]).as_deref(),
        Some("computing in report::render")
    );
    let frames = get(stalls[0], &["track_event", "callstack", "frames"]).unwrap();
    let names: Vec<_> = frames
        .as_list()
        .unwrap()
        .iter()
        .map(|f| text(f.as_message().unwrap(), &["function_name"]).unwrap())
        .collect();
    assert_eq!(
        names[0], "tokio::runtime::task::raw::poll",
        "outermost first"
    );
    assert_eq!(names[2], "std::thread::sleep");
    assert_eq!(number(stalls[0], &["timestamp"]), Some(150 * MS));
    let others = get(stalls[1], &["track_event", "callstack", "frames"]).unwrap();
    assert_eq!(
        others.as_list().unwrap().len(),
        30,
        "addresses, where there are no names"
    );
}

#[test]
fn counters_have_values() {
    let counters: Vec<_> = trace()
        .into_iter()
        .filter(|p| event_type(p) == Some(4))
        .collect();
    assert!(counters.len() > 400);
    let value = |p: &DynamicMessage| get(p, &["track_event", "double_counter_value"]).is_some();
    assert!(counters.iter().all(value));
}

#[test]
fn a_flame_graph_is_drawn_of_folded_stacks() {
    let mut text = Vec::new();
    folded::write(&recording(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let first = "synthetic;report;tokio::runtime::task::raw::poll;report::render: draft;\
                 std::thread::sleep 150000";
    assert!(text.lines().any(|line| line == first), "{text}");
    // The other three are alike, and one line.
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("synthetic+0x10000 450000"), "{text}");
    let mut options = inferno::flamegraph::Options::default();
    let mut picture = Vec::new();
    inferno::flamegraph::from_lines(&mut options, text.lines(), &mut picture).unwrap();
    let picture = String::from_utf8(picture).unwrap();
    assert!(picture.contains("report::render: draft"));
    assert!(
        picture.contains("600,000 samples") || picture.contains("600000"),
        "all 4 stalls"
    );
}

/// A profile of a recording, as messages.
fn profile() -> looptop_wire::pprof::schema::Profile {
    let mut file = Vec::new();
    pprof::write(&recording(), &mut file).unwrap();
    let mut bytes = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(file.as_slice());
    std::io::Read::read_to_end(&mut gzip, &mut bytes).unwrap();
    prost::Message::decode(bytes.as_slice()).unwrap()
}

#[test]
fn a_profile_has_stalls_by_stack_and_by_label() {
    let profile = profile();
    let text = |at: i64| profile.string_table[at as usize].as_str();
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|t| (text(t.r#type), text(t.unit)))
        .collect();
    assert_eq!(types, [("stalls", "count"), ("blocked", "nanoseconds")]);
    let stalls: i64 = profile.sample.iter().map(|s| s.value[0]).sum();
    let blocked: i64 = profile.sample.iter().map(|s| s.value[1]).sum();
    assert_eq!((stalls, blocked), (4, 600 * MS as i64));
    assert_eq!(
        profile.duration_nanos,
        recording().length().as_nanos() as i64
    );

    let location = |id: u64| profile.location.iter().find(|l| l.id == id).unwrap();
    let functions = |sample: &looptop_wire::pprof::schema::Sample| -> Vec<(&str, &str, i64)> {
        let lines = sample.location_id.iter().flat_map(|id| &location(*id).line);
        let function = |id: u64| profile.function.iter().find(|f| f.id == id).unwrap();
        let shown = lines.map(|l| (function(l.function_id), l.line));
        shown
            .map(|(f, line)| (text(f.name), text(f.filename), line))
            .collect()
    };
    let named = profile
        .sample
        .iter()
        .find(|s| !functions(s).is_empty())
        .unwrap();
    assert_eq!(
        functions(named),
        [
            ("std::thread::sleep", "", 0),
            ("report::render; draft", "src/report.rs", 42),
            ("tokio::runtime::task::raw::poll", "", 0),
        ],
        "innermost first"
    );
    let labels: BTreeMap<_, _> = named
        .label
        .iter()
        .map(|l| (text(l.key), text(l.str)))
        .collect();
    assert_eq!((labels["cause"], labels["task"]), ("computing", "report"));
    assert!(labels.contains_key("worker"), "{labels:?}");
    let unnamed = profile
        .sample
        .iter()
        .find(|s| functions(s).is_empty())
        .unwrap();
    assert_eq!(
        unnamed.location_id.len(),
        30,
        "addresses, where there are no names"
    );
    let of = location(unnamed.location_id[0]).mapping_id;
    let mapping = profile.mapping.iter().find(|m| m.id == of).unwrap();
    assert!(text(mapping.filename).ends_with("synthetic"), "{mapping:?}");
}

#[test]
fn json_holds_samples_and_stalls() {
    let mut text = Vec::new();
    table::write_json(&recording(), &mut text).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["sessions"][0]["name"], "synthetic");
    assert_eq!(json["samples"].as_array().unwrap().len(), 80);
    assert_eq!(json["stalls"].as_array().unwrap().len(), 4);
    insta::assert_json_snapshot!("export_json_stall", json["stalls"][0]);
    insta::assert_json_snapshot!("export_json_sample", json["samples"][41]);
    assert_eq!(json["missing"], serde_json::json!([]));
    let waits = &json["waits"][0];
    assert_eq!(
        (&waits["session"], &waits["target"]),
        (&0.into(), &"127.0.0.1:6669".into())
    );
    assert!(!waits["groups"].as_array().unwrap().is_empty(), "{waits}");
}

#[test]
fn csv_has_as_many_cells_as_columns() {
    for (which, rows) in [(Table::Samples, 80), (Table::Stalls, 4)] {
        let mut text = Vec::new();
        table::write_csv(&recording(), which, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), rows + 1);
        let columns = lines[0].split(',').count();
        assert!(
            lines.iter().all(|line| line.split(',').count() == columns),
            "{text}"
        );
        if which == Table::Stalls {
            insta::assert_snapshot!("export_csv_stalls", lines[..2].join("\n"));
        }
    }
}

#[test]
fn a_walk_sees_what_happened_before_the_recording_began() {
    let walked = folded::write(&recording(), &mut Vec::new()).unwrap();
    let at: Vec<Duration> = walked.stalls.iter().map(|s| s.at).collect();
    let expected = [150, 2_150, 4_150, 6_150].map(Duration::from_millis);
    assert_eq!(at, expected);
    assert!(
        walked
            .stalls
            .iter()
            .all(|s| s.ended && s.duration.as_millis() == 150)
    );
}
