//! Profiles in pprof's format (`profile.proto`): stacks with values and labels, for
//! `go tool pprof`, Parca, Pyroscope and others.
//!
//! ```
//! use looptop_wire::pprof::{Builder, Frame, Label, Measure};
//!
//! let mut builder = Builder::new(&[Measure::new("stalls", "count")]);
//! let frame = Frame::named("app::handler", "src/main.rs", 7);
//! builder.sample(&[frame], &[1], &[Label::new("cause", "sleeping")]);
//! let file = builder.finish();
//! assert_eq!(file[..2], [0x1f, 0x8b], "gzip");
//! ```
//!
//! No I/O and no clock: whoever has the stacks gives them, and gets bytes. Samples that
//! differ in their values alone become one. [`schema`] has the messages, and describes
//! the rules that [`Builder`] keeps.

pub mod schema;

use std::{collections::HashMap, io::Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

use schema::{Function, Line, Location, Mapping, Profile, Sample, ValueType};

/// Different samples that a profile holds at most; what comes after is counted.
pub const MAX_SAMPLES: usize = 1 << 17;

/// What is measured, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure<'a> {
    kind: &'a str,
    unit: &'a str,
}

impl<'a> Measure<'a> {
    /// `stalls` in `count`, `blocked` in `nanoseconds`.
    pub fn new(kind: &'a str, unit: &'a str) -> Self {
        Self { kind, unit }
    }
}

/// A binary or library, in a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Module(u64);

/// A frame of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    module: Option<Module>,
    code: Code<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code<'a> {
    Named {
        function: &'a str,
        file: &'a str,
        line: u32,
    },
    Address(u64),
}

impl<'a> Frame<'a> {
    /// A function; an empty file and line 0 where these are unknown.
    pub fn named(function: &'a str, file: &'a str, line: u32) -> Self {
        Self {
            module: None,
            code: Code::Named {
                function,
                file,
                line,
            },
        }
    }

    /// An address without a name, counted from where its module begins.
    pub fn address(offset: u64) -> Self {
        Self {
            module: None,
            code: Code::Address(offset),
        }
    }

    /// It is in this module.
    #[must_use]
    pub fn within(self, module: Option<Module>) -> Self {
        Self { module, ..self }
    }
}

/// What a sample is recognised by besides its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> Label<'a> {
    /// A label of text; with an empty value it is left out.
    pub fn new(key: &'a str, value: &'a str) -> Self {
        Self { key, value }
    }
}

/// A profile that is being put together.
#[derive(Debug)]
pub struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    modules: HashMap<(i64, i64), Module>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Place, u64>,
    samples: HashMap<Stack, usize>,
    left_out: u64,
}

/// What makes a sample one: its locations and its labels.
type Stack = (Vec<u64>, Vec<(i64, i64)>);

/// What makes a location one: its module, and its function and line or its address.
type Place = (u64, Result<(u64, i64), u64>);

impl Builder {
    /// A profile each of whose samples has a value for each of `measures`, the last of
    /// which is what viewers show first.
    pub fn new(measures: &[Measure<'_>]) -> Self {
        let mut builder = Self {
            profile: Profile::default(),
            strings: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
            samples: HashMap::new(),
            left_out: 0,
        };
        // The first text of the table must be the empty one.
        builder.string("");
        for measure in measures {
            let value = builder.value_type(*measure);
            builder.profile.sample_type.push(value);
            builder.profile.default_sample_type = value.r#type;
            // Every one of the events is there.
            builder.profile.period_type = Some(value);
            builder.profile.period = 1;
        }
        builder
    }

    /// When it began, in nanoseconds since 1970, and how long it took.
    pub fn time(&mut self, unix_ns: i64, duration_ns: i64) {
        self.profile.time_nanos = unix_ns;
        self.profile.duration_nanos = duration_ns;
    }

    /// Something to be said of the whole.
    pub fn comment(&mut self, text: &str) {
        let text = self.string(text);
        self.profile.comment.push(text);
    }

    /// A binary or library by its path and its GNU build id, empty where unknown. The
    /// first is the program itself. `None` where nothing of it is known.
    pub fn module(&mut self, path: &str, build_id: &[u8]) -> Option<Module> {
        if path.is_empty() && build_id.is_empty() {
            return None;
        }
        let hex = build_id
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let key = (self.string(path), self.string(&hex));
        if let Some(module) = self.modules.get(&key) {
            return Some(*module);
        }
        let module = Module(self.profile.mapping.len() as u64 + 1);
        self.profile.mapping.push(Mapping {
            id: module.0,
            filename: key.0,
            build_id: key.1,
            ..Mapping::default()
        });
        self.modules.insert(key, module);
        Some(module)
    }

    /// Adds a sample: its stack, innermost frame first, a value for each measure, and
    /// labels. It joins an earlier one with the same stack and labels.
    pub fn sample(&mut self, stack: &[Frame<'_>], values: &[i64], labels: &[Label<'_>]) {
        if self.samples.len() >= MAX_SAMPLES {
            self.left_out += 1;
            return;
        }
        let locations: Vec<u64> = stack.iter().map(|frame| self.location(frame)).collect();
        let known = labels.iter().filter(|label| !label.value.is_empty());
        let known: Vec<&Label<'_>> = known.collect();
        let mut labels: Vec<(i64, i64)> = known
            .into_iter()
            .map(|label| (self.string(label.key), self.string(label.value)))
            .collect();
        labels.sort_unstable();
        labels.dedup_by_key(|label| label.0);
        let measures = self.profile.sample_type.len();
        let values = values
            .iter()
            .copied()
            .chain(std::iter::repeat(0))
            .take(measures);
        if let Some(at) = self.samples.get(&(locations.clone(), labels.clone())) {
            let sums = self.profile.sample[*at].value.iter_mut();
            sums.zip(values)
                .for_each(|(sum, value)| *sum = sum.saturating_add(value));
            return;
        }
        self.profile.sample.push(Sample {
            location_id: locations.clone(),
            value: values.collect(),
            label: labels
                .iter()
                .map(|(key, str)| schema::Label {
                    key: *key,
                    str: *str,
                })
                .collect(),
        });
        self.samples
            .insert((locations, labels), self.profile.sample.len() - 1);
    }

    /// Samples that came when there was no room any more.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The messages.
    pub fn into_profile(self) -> Profile {
        self.profile
    }

    /// The file: the messages, compressed by gzip.
    pub fn finish(self) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        // Memory takes all that is written to it.
        let _ = gzip.write_all(&self.profile.encode_to_vec());
        gzip.finish().unwrap_or_default()
    }

    fn value_type(&mut self, measure: Measure<'_>) -> ValueType {
        ValueType {
            r#type: self.string(measure.kind),
            unit: self.string(measure.unit),
        }
    }

    /// A text's place in the table.
    fn string(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    fn location(&mut self, frame: &Frame<'_>) -> u64 {
        let code = match frame.code {
            Code::Named {
                function,
                file,
                line,
            } => Ok((self.function(function, file), i64::from(line))),
            Code::Address(address) => Err(address),
        };
        let module = frame.module.map_or(0, |module| module.0);
        if let Some(id) = self.locations.get(&(module, code)) {
            return *id;
        }
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location {
            id,
            mapping_id: module,
            address: code.err().unwrap_or_default(),
            line: code
                .ok()
                .map(|(function_id, line)| Line { function_id, line })
                .into_iter()
                .collect(),
        });
        self.locations.insert((module, code), id);
        self.note(module, code, frame);
        id
    }

    /// Notes of a module what is known of its code, so that viewers do not look it up.
    fn note(&mut self, module: u64, code: Result<(u64, i64), u64>, frame: &Frame<'_>) {
        let at = module.checked_sub(1).map(|at| at as usize);
        let Some(mapping) = at.and_then(|at| self.profile.mapping.get_mut(at)) else {
            return;
        };
        match (code, frame.code) {
            (Ok((_, line)), Code::Named { file, .. }) => {
                mapping.has_functions = true;
                mapping.has_filenames |= !file.is_empty();
                mapping.has_line_numbers |= line > 0;
                // Frames of inlined functions are frames of their own here.
                mapping.has_inline_frames = true;
            }
            (code, _) => {
                let address = code.err().unwrap_or_default();
                mapping.memory_limit = mapping.memory_limit.max(address.saturating_add(1));
            }
        }
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let key = (self.string(name), self.string(file));
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.profile.function.len() as u64 + 1;
        self.profile.function.push(Function {
            id,
            name: key.0,
            system_name: key.0,
            filename: key.1,
        });
        self.functions.insert(key, id);
        id
    }
}
