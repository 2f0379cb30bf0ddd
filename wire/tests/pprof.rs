//! Profiles are what pprof's readers expect: decoded by a description that is not the
//! writer's, and held to the rules that `go tool pprof` checks.
#![cfg(feature = "pprof")]

use std::{collections::BTreeSet, io::Read, path::Path};

use flate2::read::GzDecoder;
use looptop_wire::pprof::{Builder, Frame, Label, MAX_SAMPLES, Measure};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

/// What a file holds.
fn decoded(file: &[u8]) -> DynamicMessage {
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = protox::compile(["profile.proto"], [folder]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let kind = pool.get_message_by_name("expected.Profile").unwrap();
    let profile = DynamicMessage::decode(kind, bytes.as_slice()).unwrap();
    assert_known(&profile);
    profile
}

/// Every field is one that the format has.
fn assert_known(message: &DynamicMessage) {
    let unknown: Vec<_> = message.unknown_fields().collect();
    let name = message.descriptor().name().to_owned();
    assert!(unknown.is_empty(), "{unknown:?} in {name}");
    for (_, value) in message.fields() {
        match value {
            Value::Message(inner) => assert_known(inner),
            Value::List(list) => {
                let inner = list.iter().filter_map(Value::as_message);
                inner.for_each(assert_known);
            }
            _ => {}
        }
    }
}

fn list(message: &DynamicMessage, field: &str) -> Vec<Value> {
    let value = message.get_field_by_name(field).unwrap();
    value.as_list().unwrap().to_vec()
}

fn messages(message: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let all = list(message, field);
    all.iter()
        .map(|value| value.as_message().unwrap().clone())
        .collect()
}

fn number(message: &DynamicMessage, field: &str) -> i64 {
    let value = message.get_field_by_name(field).unwrap();
    value
        .as_i64()
        .or_else(|| Some(value.as_u64()? as i64))
        .unwrap()
}

fn text(profile: &DynamicMessage, at: i64) -> String {
    list(profile, "string_table")[usize::try_from(at).unwrap()]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What pprof refuses, and what a profile must be to be of use: ids from 1 and unique,
/// all that is named is there, all texts are in the table.
fn assert_valid(profile: &DynamicMessage) {
    let texts = list(profile, "string_table");
    assert_eq!(texts[0].as_str(), Some(""), "the first text is empty");
    let all: BTreeSet<_> = texts.iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(all.len(), texts.len(), "each text once");
    let is_text = |message: &DynamicMessage, field: &str| {
        let at = number(message, field);
        assert!((0..texts.len() as i64).contains(&at), "{field}: {at}");
    };
    let ids = |field: &str| {
        let ids: Vec<i64> = messages(profile, field)
            .iter()
            .map(|m| number(m, "id"))
            .collect();
        let unique: BTreeSet<i64> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "{field}: unique");
        assert!(!unique.contains(&0), "{field}: not 0");
        unique
    };
    let (mappings, locations, functions) = (ids("mapping"), ids("location"), ids("function"));
    for mapping in messages(profile, "mapping") {
        is_text(&mapping, "filename");
        is_text(&mapping, "build_id");
    }
    for function in messages(profile, "function") {
        is_text(&function, "name");
        is_text(&function, "filename");
    }
    for location in messages(profile, "location") {
        let mapping = number(&location, "mapping_id");
        assert!(mapping == 0 || mappings.contains(&mapping));
        for line in messages(&location, "line") {
            assert!(functions.contains(&number(&line, "function_id")));
        }
    }
    let types = messages(profile, "sample_type");
    assert!(!types.is_empty());
    for kind in &types {
        is_text(kind, "type");
        is_text(kind, "unit");
    }
    for sample in messages(profile, "sample") {
        assert_eq!(list(&sample, "value").len(), types.len());
        for location in list(&sample, "location_id") {
            assert!(locations.contains(&(location.as_u64().unwrap() as i64)));
        }
        for label in messages(&sample, "label") {
            is_text(&label, "key");
            is_text(&label, "str");
        }
    }
}

fn builder() -> Builder {
    Builder::new(&[
        Measure::new("stalls", "count"),
        Measure::new("blocked", "nanoseconds"),
    ])
}

#[test]
fn a_profile_has_its_stacks_values_and_labels() {
    let mut builder = builder();
    builder.time(1_000, 2_000);
    builder.comment("shop");
    let program = builder.module("/usr/bin/shop", &[0xab, 0x0c]);
    let library = builder.module("/lib/libc.so.6", &[]);
    assert_eq!(builder.module("", &[]), None);
    assert_eq!(builder.module("/usr/bin/shop", &[0xab, 0x0c]), program);
    let stack = [
        Frame::named("std::thread::sleep", "", 0).within(program),
        Frame::named("shop::pay", "src/pay.rs", 42).within(program),
    ];
    let labels = [Label::new("cause", "sleeping"), Label::new("task", "")];
    builder.sample(&stack, &[1, 5_000], &labels);
    builder.sample(&stack, &[1, 7_000], &labels);
    builder.sample(&stack, &[1, 1], &[Label::new("cause", "computing")]);
    builder.sample(&[Frame::address(0x30).within(library)], &[1, 9], &[]);
    builder.sample(&[Frame::address(0x30)], &[1], &[]);
    let profile = decoded(&builder.finish());
    assert_valid(&profile);

    assert_eq!(
        (
            number(&profile, "time_nanos"),
            number(&profile, "duration_nanos")
        ),
        (1_000, 2_000)
    );
    assert_eq!(
        text(&profile, number(&profile, "default_sample_type")),
        "blocked"
    );
    let mappings = messages(&profile, "mapping");
    let mapping = |at: usize| {
        let name = text(&profile, number(&mappings[at], "filename"));
        let id = text(&profile, number(&mappings[at], "build_id"));
        (name, id, number(&mappings[at], "memory_limit"))
    };
    assert_eq!(mapping(0), ("/usr/bin/shop".into(), "ab0c".into(), 0));
    assert_eq!(mapping(1), ("/lib/libc.so.6".into(), String::new(), 0x31));
    let has = |at: usize| {
        mappings[at]
            .get_field_by_name("has_functions")
            .unwrap()
            .as_bool()
    };
    assert_eq!(
        (has(0), has(1)),
        (Some(true), Some(false)),
        "what has no names is looked up"
    );

    let samples = messages(&profile, "sample");
    let values: Vec<Vec<i64>> = samples
        .iter()
        .map(|sample| {
            list(sample, "value")
                .iter()
                .map(|v| v.as_i64().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(
        values,
        [[2, 12_000], [1, 1], [1, 9], [1, 0]],
        "alike ones are one"
    );
    let label = &messages(&samples[0], "label");
    assert_eq!(label.len(), 1, "an empty one is left out");
    assert_eq!(text(&profile, number(&label[0], "key")), "cause");
    assert_eq!(text(&profile, number(&label[0], "str")), "sleeping");
    let leaf = list(&samples[0], "location_id")[1].as_u64().unwrap();
    let location = &messages(&profile, "location")[leaf as usize - 1];
    let line = &messages(location, "line")[0];
    assert_eq!(number(line, "line"), 42);
    let function = number(line, "function_id");
    let function = &messages(&profile, "function")[function as usize - 1];
    assert_eq!(text(&profile, number(function, "name")), "shop::pay");
    assert_eq!(text(&profile, number(function, "filename")), "src/pay.rs");
}

#[test]
fn an_empty_profile_is_one() {
    let profile = decoded(&builder().finish());
    assert_valid(&profile);
    assert!(messages(&profile, "sample").is_empty());
}

#[test]
fn what_is_over_the_bound_is_counted() {
    let mut builder = builder();
    for at in 0..MAX_SAMPLES as u64 + 3 {
        builder.sample(&[Frame::address(at)], &[1, 1], &[]);
    }
    assert_eq!(builder.left_out(), 3);
    let profile = builder.into_profile();
    assert_eq!(profile.sample.len(), MAX_SAMPLES);
    assert_eq!(
        profile.location.len(),
        MAX_SAMPLES,
        "nothing is kept of the others"
    );
}
