//! Types as debug information describes them.

use std::sync::Arc;

use super::TypeId;

/// What a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A struct, a tuple, an enum with data, a closure, an async fn, a wide pointer.
    Struct,
    /// A union.
    Union,
    /// A number, a character, an enum without data.
    Number,
    /// A pointer or reference, to [`Type::target`].
    Pointer,
    /// An array, of [`Type::target`].
    Array,
    /// Something else.
    #[default]
    Other,
}

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Its full path with its arguments.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// What a pointer points to, or an array consists of.
    pub target: Option<TypeId>,
    /// How many an array has.
    pub count: u64,
    /// Its fields. An enum's are in its variants.
    pub members: Box<[Member]>,
    /// Its variants, if it is an enum with data, or async code.
    pub variants: Option<Variants>,
    /// Its type arguments, by the names of the parameters.
    pub parameters: Box<[(Box<str>, TypeId)]>,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name; `__0` and so on in a tuple.
    pub name: Box<str>,
    /// Bytes from the beginning of what it is a field of.
    pub at: u64,
    /// Its type.
    pub ty: TypeId,
}

/// The variants of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants {
    /// Where the number of the variant is, in bytes from the beginning.
    pub at: u64,
    /// The bytes of that number, 8 at most; 0 where there is only one variant.
    pub size: u64,
    /// All of them.
    pub all: Box<[Variant]>,
}

/// One variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its number; `None` is what the enum is with a number that no variant has.
    pub number: Option<u64>,
    /// Its name: in async code a number, 0, 1 and 2 for `Unresumed`, `Returned` and
    /// `Panicked`.
    pub name: Box<str>,
    /// Bytes from the beginning of the enum.
    pub at: u64,
    /// Its fields are those of this type.
    pub ty: TypeId,
    /// Of async code: where the await is.
    pub location: Option<Location>,
}

/// A line of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// As a reader knows it, like [`Frame::file`](crate::Frame::file).
    pub file: Arc<str>,
    /// As the compiler wrote it.
    pub source: Arc<str>,
    /// From 1.
    pub line: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Variants {
    /// The variant that has a number.
    pub fn with(&self, number: u64) -> Option<&Variant> {
        let bits = self.size.min(8) * 8;
        let mask = u64::MAX.checked_shr(64 - bits as u32).unwrap_or(0);
        let has = |variant: &&Variant| variant.number.is_some_and(|n| n & mask == number & mask);
        let other = || self.all.iter().find(|variant| variant.number.is_none());
        self.all.iter().find(has).or_else(other)
    }
}
