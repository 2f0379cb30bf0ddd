//! Names for code addresses, and what of a stack matters.
//!
//! [`Symbolizer`] reads binaries on a thread of its own: names and lines, whose a
//! crate is (`crates`), code of several names (`aliases`); [`Lines`] is a single binary,
//! for whoever knows which. [`Futures`] says which future a task polls, and where its async
//! code is written. All the rest are pure functions over the result: [`name`] tidies
//! function names, [`origin`] separates user code from dependencies and plumbing, [`calls`]
//! knows blocking calls, and [`stack`] picks the culprit and the frames worth showing.
//! [`elf`] finds the symbols of a file without reading them; [`scheduler`] sees from a
//! stack where in tokio a thread stands. [`types`] says what a value in memory is.
//!
//! Without the feature `lines` nothing here reads names out of binaries.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "lines")]
mod aliases;
mod call;
pub mod calls;
mod crates;
pub mod elf;
#[cfg(feature = "lines")]
mod future;
#[cfg(feature = "lines")]
mod image;
#[cfg(feature = "lines")]
mod lines;
pub mod name;
pub mod origin;
#[cfg(feature = "lines")]
mod paths;
#[cfg(feature = "lines")]
mod resolver;
pub mod scheduler;
#[cfg(feature = "lines")]
mod shared;
#[cfg(feature = "lines")]
mod source;
pub mod stack;
#[cfg(feature = "lines")]
mod table;
#[cfg(feature = "types")]
pub mod types;
#[cfg(feature = "lines")]
mod worker;

#[cfg(all(test, feature = "lines"))]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use call::{Call, CallKind};
pub use calls::{BlockingCall, innermost_call};
pub use crates::Crates;
#[cfg(feature = "lines")]
pub use future::{FutureName, Futures, Memory, NamedBy, Place, TaskCode};
#[cfg(feature = "lines")]
pub use lines::{Function, Lines};
pub use origin::Origin;
#[cfg(feature = "lines")]
pub use resolver::{Remote, Resolution, Resolver};
pub use stack::{Culprit, Row, culprit, fold};
#[cfg(feature = "lines")]
pub use worker::{Answer, Symbolizer};

/// A file with code, as the observed process names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binary {
    /// Absolute path, or a name in brackets such as `[vdso]`.
    pub path: PathBuf,
    /// GNU build id; empty where it has none.
    pub build_id: Vec<u8>,
}

/// An address in a binary, as the file itself counts; of a return address, one
/// byte before it. Without a binary, an address in the process's memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodeAddress {
    /// Where the code is.
    pub binary: Option<Arc<Binary>>,
    /// Where in it.
    pub offset: u64,
}

/// One function of a stack. Several share an address where they were inlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Demangled, without the compiler's hash, otherwise as in the binary;
    /// `None` where nothing names it.
    pub function: Option<Arc<str>>,
    /// Source file: of user code relative to its workspace, of a dependency from
    /// its name and version on (`tokio-1.54.1/src/...`), of the standard library
    /// from its crate on (`std/src/...`).
    pub file: Option<Arc<str>>,
    /// The same as the binary has it.
    pub source: Option<Arc<str>>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Its code stands inside the next frame's function.
    pub inlined: bool,
    /// Whose code it is.
    pub origin: Origin,
    /// Where the code is.
    pub address: CodeAddress,
}

impl Frame {
    /// What to show for the function: its tidied name, with its crate, or file and
    /// offset.
    pub fn label(&self) -> String {
        match (&self.function, &self.address.binary) {
            (Some(function), _) => match name::kind_of_closure(function) {
                Some(kind) => format!("{kind} in {}", name::shown(function)),
                None => name::shown(function),
            },
            (None, Some(binary)) => {
                let file = binary.path.file_name().unwrap_or(binary.path.as_os_str());
                format!("{}+{:#x}", file.to_string_lossy(), self.address.offset)
            }
            (None, None) => format!("{:#x}", self.address.offset),
        }
    }

    /// `file:line`, `file`, or nothing.
    pub fn location(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    }
}
