//! A stack with names, and who of it is to blame.

use looptop_symbols::{Call, CallKind};

/// A stack with names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// Innermost first, inlined functions as frames of their own.
    pub frames: Vec<StackFrame>,
    /// Who is to blame.
    pub culprit: Option<Culprit>,
    /// The blocking call, also where nobody is to blame.
    pub call: Option<Call>,
    /// The function of the future that the task polls, readable.
    pub future: Option<String>,
    /// Why names are missing, as a sentence for the screen.
    pub problem: Option<String>,
    /// The program was built without line tables: how to get them, likewise.
    pub no_lines: Option<String>,
}

impl Resolved {
    /// The thread ran Rust code, rather than waiting in a system call: those are
    /// made by the C library, or by a call that is known to block.
    pub(super) fn runs(&self) -> bool {
        let innermost = self.frames.first();
        let in_rust = innermost.is_some_and(|frame| {
            std::path::Path::new(&frame.file)
                .extension()
                .is_some_and(|extension| extension == "rs")
        });
        in_rust && self.call().is_none()
    }

    /// The blocking call: the culprit's, or the stack's where nobody is to blame.
    pub fn call(&self) -> Option<&Call> {
        let of_culprit = self.culprit.as_ref().and_then(|c| c.call.as_ref());
        of_culprit.or(self.call.as_ref())
    }

    /// What of names or lines is missing, and how to get it.
    pub fn missing(&self) -> Option<&str> {
        self.problem.as_deref().or(self.no_lines.as_deref())
    }

    /// The poll is inside `block_in_place`, which has given its worker to another
    /// thread.
    pub(super) fn is_in_place(&self) -> bool {
        self.frames.iter().any(|frame| {
            // What it calls, where it has become a part of its caller.
            if frame.function.ends_with("runtime_mt::exit_runtime") {
                return true;
            }
            let Some(path) = frame.function.strip_suffix("block_in_place") else {
                return false;
            };
            let of_tokio = match path.strip_suffix("::").map(|p| p.rsplit("::").next()) {
                Some(Some("task" | "blocking" | "worker" | "scheduler" | "block_in_place")) => true,
                _ => path.is_empty() && !frame.file.is_empty(),
            };
            of_tokio && (frame.file.is_empty() || frame.file.starts_with("tokio-"))
        })
    }

    /// The thread was in a call that never sleeps on a timer.
    pub(super) fn does_io(&self) -> bool {
        matches!(
            self.call().map(|call| call.kind),
            Some(CallKind::File | CallKind::Terminal | CallKind::Network)
        )
    }
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct StackFrame {
    /// Readable name, or module and offset.
    pub function: String,
    /// Source file; empty where unknown.
    pub file: String,
    /// From 1; 0 where unknown.
    pub line: u32,
    /// Runtime, standard library or system: folded by default.
    pub plumbing: bool,
    /// The frame that the culprit names.
    pub culprit: bool,
}

/// The line that keeps a worker from its other tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Culprit {
    /// The user's function, readable.
    pub function: String,
    /// Its source file, relative where it can be.
    pub file: String,
    /// The line that called what blocks; 0 where unknown.
    pub line: u32,
    /// Where its async fn is written, `src/main.rs:41`: where the body begins, not what
    /// blocks. Known of programs without line tables.
    pub written: Option<String>,
    /// The blocking call below it, where recognised.
    pub call: Option<Call>,
    /// What of a dependency it called, on the way to where the time goes:
    /// `bcrypt::hash`.
    pub within: Option<String>,
    /// It is a dependency's: no frame of the stack is the application's own.
    pub foreign: bool,
}

impl Culprit {
    /// `file:line`, or the file; `None` where neither is known.
    pub fn location(&self) -> Option<String> {
        source(&self.file, self.line)
    }

    /// `app::sign_in (src/main.rs:7)`, or what of it is known: `app::sign_in (async code
    /// at src/main.rs:3)`.
    pub fn place(&self) -> String {
        let place = self.location().or_else(|| self.definition());
        with_place(&self.function, &place.unwrap_or_default())
    }

    /// `async code at src/main.rs:3`; `None` where that is not known, or where it is all
    /// that is known, and the function's name.
    pub fn definition(&self) -> Option<String> {
        let written = self.written.as_deref()?;
        (!self.function.ends_with(written)).then(|| format!("async code at {written}"))
    }

    /// The place with what it called of a dependency: `bcrypt::hash called by
    /// app::sign_in (src/main.rs:7)`.
    pub fn sentence(&self) -> String {
        match &self.within {
            Some(within) => format!("{within} called by {}", self.place()),
            None if self.foreign => format!("{}, of a dependency", self.place()),
            None => self.place(),
        }
    }
}

impl StackFrame {
    /// `file:line`, or the file; `None` where neither is known.
    pub fn location(&self) -> Option<String> {
        source(&self.file, self.line)
    }
}

fn source(file: &str, line: u32) -> Option<String> {
    match (file, line) {
        ("", _) => None,
        (file, 0) => Some(file.to_owned()),
        (file, line) => Some(format!("{file}:{line}")),
    }
}

/// The last two parts of a path, which name a function and its module or type:
/// `report::render` of `app::report::render`. What has angle brackets or spaces stays whole.
pub fn brief_path(path: &str) -> &str {
    if path.contains(['<', ' ']) {
        return path;
    }
    let start = path.rmatch_indices("::").nth(1);
    start.map_or(path, |(at, colons)| &path[at + colons.len()..])
}

/// A name and its place in a sentence: `app::handler (src/main.rs:7)`; only one of
/// them where the other is not known, never an empty bracket.
pub fn with_place(name: &str, place: &str) -> String {
    match (name, place) {
        (name, "") => name.to_owned(),
        ("", place) => place.to_owned(),
        (name, place) => format!("{name} ({place})"),
    }
}
