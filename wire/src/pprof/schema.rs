//! The part of pprof's format that is written, by the field numbers of its published
//! schema (`profile.proto` of `google/pprof`). A test decodes it by a description of its
//! own.
//!
//! The rules: texts are places in [`Profile::string_table`], whose first is empty; ids
//! begin at 1; each sample has one value for each [`Profile::sample_type`], and names
//! locations, innermost first; 0 for a mapping means that it is not known.

use prost::Message;

/// A profile.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What the values of samples are.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// Stacks with values.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Binaries and libraries, the program first.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Frames.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All texts.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// When it began, nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// How long it took.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What lies between two samples.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Texts about the whole.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    /// The type of value that is shown first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueType {
    /// A text.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// A text.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// A stack with values.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One for each type.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// By key.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A label of text.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Label {
    /// A text.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// A text.
    #[prost(int64, tag = "2")]
    pub str: i64,
}

/// A binary or library. Addresses are counted from where it begins.
#[allow(clippy::struct_excessive_bools, reason = "the format has them")]
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Mapping {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its first address.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// Behind its last known address.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// A text.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// A text, in hexadecimal digits.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Locations have functions.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Functions have files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Locations have lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Inlined functions are there.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// A frame.
#[derive(Clone, PartialEq, Message)]
pub struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its module; 0 where unknown.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// Within the module; 0 where its name is known instead.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// What stands there.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// From 1; 0 where unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// A text.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// A text.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// A text.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}
