//! What is known of the functions at code addresses.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_symbols::types::Location;

/// A function at a code address, as whoever has names knows it: the fields are those of
/// [`Frame`](looptop_symbols::Frame).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// Demangled; empty where nothing names it.
    pub name: Arc<str>,
    /// Its source, as a reader knows it.
    pub file: Option<Arc<str>>,
    /// The same as it was built.
    pub source: Option<Arc<str>>,
    /// Line, from 1: where it calls the next one, or where the address is.
    pub line: Option<u32>,
}

/// Functions of one address that are taken.
const MAX_INLINED: usize = 64;
/// Addresses that are kept.
const MAX_SITES: usize = 65_536;

/// A function, whatever the address.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Function {
    pub(super) name: Arc<str>,
    pub(super) what: What,
    /// It is of the standard library.
    pub(super) is_standard: bool,
}

/// What a function is by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// The `poll` of a future, or the `poll_next` of a stream, of this type.
    Poll(Arc<str>),
    /// The same of a type of which only the file is known.
    ShortPoll,
    /// The body of an async fn or block.
    Body,
    /// The body of an async fn or block, or a closure.
    Closure,
    /// A closure.
    PlainClosure,
    Other,
}

/// The functions at one code address.
#[derive(Debug)]
pub(super) struct Site {
    /// Outermost first.
    pub(super) functions: Box<[Inlined]>,
    /// Which functions were inlined is known there, or does not matter.
    pub(super) is_complete: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Inlined {
    pub(super) function: Arc<Function>,
    /// Where it calls the next one.
    pub(super) location: Option<Arc<Location>>,
    /// It is tokio's, around the poll of a task's future.
    pub(super) is_harness: bool,
    /// It is a poll or closure of something that a future is made of.
    pub(super) is_of_machinery: bool,
}

/// Names of code addresses, each asked for once.
#[derive(Debug, Default)]
pub(super) struct Sites {
    known: HashMap<u64, Arc<Site>>,
    functions: HashMap<Arc<str>, Arc<Function>>,
    locations: HashMap<Location, Arc<Location>>,
    /// Addresses at which the same is known have one site.
    same: HashMap<Box<[Inlined]>, Arc<Site>>,
}

impl Sites {
    /// The functions at an address; `functions` names them, innermost first.
    pub(super) fn at(
        &mut self,
        address: u64,
        functions: &mut dyn FnMut(u64) -> Vec<Named>,
    ) -> Arc<Site> {
        if let Some(known) = self.known.get(&address) {
            return Arc::clone(known);
        }
        if self.known.len() >= MAX_SITES {
            *self = Self::default();
        }
        let site = self.site(functions(address));
        self.known.insert(address, Arc::clone(&site));
        site
    }

    fn site(&mut self, mut named: Vec<Named>) -> Arc<Site> {
        named.truncate(MAX_INLINED);
        named.reverse();
        // Of what is not Rust, such as the C library, no future is a part.
        let is_rust = named.is_empty() || named.iter().any(|one| one.name.contains("::"));
        let has_lines = named
            .iter()
            .any(|one| one.source.is_some() || one.file.is_some());
        // What is of the standard library and polls nothing, nothing was inlined into.
        let is_standard = |name: &str| is_of_standard(name) && what(name) == What::Other;
        let is_standard = named.first().is_some_and(|one| is_standard(&one.name));
        let functions = named.into_iter().map(|one| {
            let location = location(&one);
            let module = location.as_ref().and_then(|at| module_of(&at.source));
            let function = self.function(&one.name);
            Inlined {
                is_harness: is_of_the_harness(&one),
                is_of_machinery: match function.what {
                    What::ShortPoll => module.is_some_and(|module| !has_futures(&module)),
                    // A macro of the standard library has written it.
                    What::Closure => location.as_ref().is_some_and(is_in_standard),
                    _ => false,
                },
                location: location.map(|at| self.location(at)),
                function,
            }
        });
        let functions: Box<[Inlined]> = functions.collect();
        if let Some(known) = self.same.get(&functions) {
            return Arc::clone(known);
        }
        let site = Arc::new(Site {
            functions: functions.clone(),
            is_complete: has_lines || is_standard || !is_rust,
        });
        self.same.insert(functions, Arc::clone(&site));
        site
    }

    /// One location has one address.
    fn location(&mut self, location: Location) -> Arc<Location> {
        if let Some(known) = self.locations.get(&location) {
            return Arc::clone(known);
        }
        let known = Arc::new(location.clone());
        self.locations.insert(location, Arc::clone(&known));
        known
    }

    fn function(&mut self, name: &Arc<str>) -> Arc<Function> {
        if let Some(known) = self.functions.get(name) {
            return Arc::clone(known);
        }
        let function = Arc::new(Function {
            name: Arc::clone(name),
            what: what(name),
            is_standard: is_of_standard(name),
        });
        self.functions
            .insert(Arc::clone(name), Arc::clone(&function));
        function
    }
}

fn location(named: &Named) -> Option<Location> {
    let source = named.source.as_ref().or(named.file.as_ref())?;
    Some(Location {
        file: Arc::clone(named.file.as_ref().unwrap_or(source)),
        source: Arc::clone(source),
        line: named.line?,
    })
}

/// Whether a function is of the standard library.
fn is_of_standard(name: &str) -> bool {
    let by_trait = [" as alloc::", " as core::", " as std::"];
    STANDARD.iter().any(|start| name.starts_with(start))
        || by_trait.iter().any(|part| name.contains(part))
}

/// Whether code is written in the standard library.
fn is_in_standard(location: &Location) -> bool {
    let source = &location.source;
    source.starts_with("/rustc/") || source.contains("/rustlib/src/rust/library/")
}

/// Is it a function of tokio's around the poll of a task's future?
fn is_of_the_harness(named: &Named) -> bool {
    let name = named.name.trim_start_matches('<');
    if name.contains("JoinHandle") {
        return false;
    }
    let by_name = name.starts_with("tokio::runtime::task::");
    let file = named.source.as_deref().or(named.file.as_deref());
    let by_file = file.is_some_and(|file| {
        let mut files = ["task/core.rs", "task/harness.rs", "task/raw.rs"].into_iter();
        file.contains("/runtime/") && files.any(|end| file.ends_with(end))
    });
    by_name || by_file
}

/// What a poll goes through that is of no future, but where a name says so.
const MACHINERY: &[&str] = &[
    "tokio::loom",
    "tokio::runtime::",
    "tokio::sync::task::",
    "tokio::task::coop",
    "tokio::util::",
    "alloc::",
    "core::",
    "std::",
];
/// The compiler writes calls of the allocator, without lines.
const STANDARD: &[&str] = &[
    "alloc::", "core::", "std::", "<alloc::", "<core::", "<std::", "__rustc",
];

/// What a function is by its name.
fn what(name: &str) -> What {
    if let Some(of) = polled_type(name) {
        return What::Poll(Arc::from(of));
    }
    let last = last_part(name);
    if last.starts_with("{async_") || last.starts_with("{gen_") {
        return What::Body;
    }
    if last.starts_with("{closure") {
        return What::PlainClosure;
    }
    if name.ends_with("{{closure}}") {
        let path = name.trim_start_matches('<');
        let of_machinery = MACHINERY.iter().any(|start| path.starts_with(start));
        return if of_machinery {
            What::PlainClosure
        } else {
            What::Closure
        };
    }
    // What is inlined may be without its path.
    if is_short(name) && matches!(last, "poll" | "poll_next") {
        return What::ShortPoll;
    }
    What::Other
}

/// The type of which a function is the `poll`: of `<T as Future>::poll`.
fn polled_type(name: &str) -> Option<&str> {
    const METHODS: &[&str] = &[
        " as core::future::future::Future>::poll",
        " as futures_core::stream::Stream>::poll_next",
        " as futures_core::future::TryFuture>::try_poll",
    ];
    let of = METHODS.iter().find_map(|end| name.strip_suffix(end))?;
    of.strip_prefix('<')
}

/// Whether a name is without its path, as that of what is inlined may be.
pub(super) fn is_short(name: &str) -> bool {
    !path_of_call(name).contains("::")
}

/// A name before the arguments that it is called with.
fn path_of_call(name: &str) -> &str {
    match name.find('<') {
        Some(at) if at > 0 => name[..at].trim_end_matches("::"),
        _ => name,
    }
}

/// The last part of a path, without what it is generic over.
pub(super) fn last_part(name: &str) -> &str {
    let path = super::super::names::path_of(name).trim_end_matches("::");
    // Not within brackets.
    let mut depth = 0_u32;
    for (at, byte) in path.bytes().enumerate().rev() {
        match byte {
            b'>' if at > 0 && path.as_bytes()[at - 1] != b'-' => depth += 1,
            b'<' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => return &path[at + 1..],
            _ => {}
        }
    }
    path
}

/// Where a source is among the modules of its crate: `tokio::sync::semaphore` of
/// `tokio-1.54.1/src/sync/semaphore.rs`.
pub(super) fn module_of(source: &str) -> Option<String> {
    let (before, inside) = source.rsplit_once("/src/")?;
    let package = before.rsplit('/').next().unwrap_or(before);
    // Without its version.
    let name = match package.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => package,
    };
    let mut module = name.replace('-', "_");
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    for part in inside.split('/') {
        if !matches!(part, "mod" | "lib" | "main") {
            module.push_str("::");
            module.push_str(part);
        }
    }
    Some(module)
}

/// Types whose `poll` is in a file that is not called as they are.
const FILES: &[(&str, &str)] = &[
    ("tokio::sync::batch_semaphore", "Acquire"),
    ("tokio::sync::notify", "Notified"),
    ("tokio::sync::oneshot", "Receiver<"),
    ("tokio::sync::broadcast", "Recv<"),
    ("tokio::runtime::task::join", "JoinHandle<"),
    ("tokio::runtime::io::scheduled_io", "Readiness"),
    ("tokio::task::task_local", "TaskLocalFuture<"),
    ("tracing::instrument", "Instrumented<"),
    ("tower::timeout::future", "ResponseFuture<"),
    ("tower::limit::concurrency::future", "ResponseFuture<"),
    ("core::future::future", ""),
    ("futures_core::future", ""),
    ("futures_core::stream", ""),
];

/// Whether the `poll` of a file is of a future, and not of what one is made of.
fn has_futures(module: &str) -> bool {
    let known = FILES.iter().any(|(file, _)| *file == module);
    let of_machinery = MACHINERY.iter().any(|start| module.starts_with(start));
    known
        || !of_machinery
        || module.starts_with("core::")
        || module.starts_with("tokio::task::coop")
}

/// The type of which a file has the `poll`, by the module that it is; `None` where it is
/// not known.
pub(super) fn type_of(module: &str) -> Option<String> {
    if let Some((_, name)) = FILES.iter().find(|(file, _)| *file == module) {
        return (!name.is_empty()).then(|| format!("{module}::{name}"));
    }
    // A macro at the root of a crate may have written it for any type.
    let (_, last) = module.rsplit_once("::")?;
    let mut name = String::new();
    for word in last.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    Some(format!("{module}::{name}<"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_their_names() {
        let poll = |of: &str| What::Poll(Arc::from(of));
        for (name, expected) in [
            (
                "<tokio::time::sleep::Sleep as core::future::future::Future>::poll",
                poll("tokio::time::sleep::Sleep"),
            ),
            (
                "<futures_util::stream::futures_unordered::FuturesUnordered<Fut> as \
                 futures_core::stream::Stream>::poll_next",
                poll("futures_util::stream::futures_unordered::FuturesUnordered<Fut>"),
            ),
            ("app::fetch::{{closure}}", What::Closure),
            ("{async_fn#0}<u32>", What::Body),
            ("app::fetch::{async_block#1}", What::Body),
            ("{closure#0}<a::B<c>, d::{async_fn#0}>", What::PlainClosure),
            (
                "tokio::task::coop::poll_proceed::{{closure}}",
                What::PlainClosure,
            ),
            ("poll<app::idle::{async_fn_env#0}>", What::ShortPoll),
            ("poll", What::ShortPoll),
            ("poll_next<a::B>", What::ShortPoll),
            ("app::Thing::poll", What::Other),
            ("with_mut<core::option::Option<u8>, ()>", What::Other),
            ("memcpy", What::Other),
            ("", What::Other),
        ] {
            assert_eq!(what(name), expected, "{name}");
        }
    }

    #[test]
    fn nothing_was_inlined_into_what_polls_nothing() {
        for (name, line, is_complete) in [
            ("__rustc::__rust_alloc", None, true),
            ("__rustc[5224e6b81cd82a8f]::__rust_dealloc", None, true),
            ("core::ptr::drop_in_place", None, true),
            ("malloc", None, true),
            ("app::fetch::{{closure}}", None, false),
            ("app::fetch::{{closure}}", Some(7), true),
            (
                "<core::future::Ready<T> as core::future::future::Future>::poll",
                None,
                false,
            ),
        ] {
            let named = |_| {
                vec![Named {
                    name: Arc::from(name),
                    file: line.map(|_| Arc::from("src/app.rs")),
                    source: None,
                    line,
                }]
            };
            let site = Sites::default().at(0x1000, &mut { named });
            assert_eq!(site.is_complete, is_complete, "{name}");
        }
    }

    #[test]
    fn a_file_is_a_module_and_its_poll_that_of_a_type() {
        for (source, module, ty) in [
            (
                "/home/a/.cargo/registry/src/index/tokio-1.54.1/src/time/sleep.rs",
                "tokio::time::sleep",
                Some("tokio::time::sleep::Sleep<"),
            ),
            (
                "tokio-1.54.1/src/sync/batch_semaphore.rs",
                "tokio::sync::batch_semaphore",
                Some("tokio::sync::batch_semaphore::Acquire"),
            ),
            (
                "/r/futures-util-0.3.34/src/future/join_all.rs",
                "futures_util::future::join_all",
                Some("futures_util::future::join_all::JoinAll<"),
            ),
            (
                "/rustc/abc/library/core/src/future/future.rs",
                "core::future::future",
                None,
            ),
            (
                "/home/a/my-app/src/orders/mod.rs",
                "my_app::orders",
                Some("my_app::orders::Orders<"),
            ),
        ] {
            assert_eq!(module_of(source).as_deref(), Some(module));
            assert_eq!(type_of(module).as_deref(), ty);
        }
        assert_eq!(module_of("main.rs"), None);
        assert_eq!(type_of("futures_util"), None);
        assert!(has_futures("tokio::time::sleep"));
        assert!(!has_futures("tokio::runtime::time::entry"));
        assert!(has_futures("tokio::runtime::task::join"));
    }

    #[test]
    fn the_last_part_of_a_path() {
        for (name, last) in [
            ("a::b::C<d::e>", "C"),
            ("a::b<c::d>::e", "e"),
            ("{closure#0}<a::b>", "{closure#0}"),
            ("f", "f"),
            ("", ""),
        ] {
            assert_eq!(last_part(name), last);
        }
    }
}
