//! Calls that hold up an event loop, by the names of their functions.
//!
//! To add one, add a line to [`CALLS`]. A pattern is compared with the clean name
//! of a function ([`super::name::clean`]) part by part: `*` stands for any number
//! of parts, and for any characters within one; the first line that matches wins.

use super::{Frame, name};
pub use crate::model::CallKind;

/// A blocking call found on a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockingCall {
    /// What kind of call.
    pub kind: CallKind,
    /// Its name as a user writes it: `std::thread::sleep`.
    pub name: &'static str,
    /// Position of its frame on the stack.
    pub frame: usize,
}

/// Pattern, kind, and the name to show.
pub const CALLS: &[(&str, CallKind, &str)] = &[
    // Executors first: what they wait in are locks and conditions too.
    (
        "tokio::runtime::*::block_on",
        CallKind::NestedExecutor,
        "tokio's block_on",
    ),
    (
        "futures_executor::*::block_on",
        CallKind::NestedExecutor,
        "futures::executor::block_on",
    ),
    (
        "futures_executor::*::run*",
        CallKind::NestedExecutor,
        "futures::executor::LocalPool",
    ),
    (
        "futures_lite::*::block_on",
        CallKind::NestedExecutor,
        "futures_lite::block_on",
    ),
    (
        "pollster::*block_on",
        CallKind::NestedExecutor,
        "pollster::block_on",
    ),
    (
        "async_io::*::block_on",
        CallKind::NestedExecutor,
        "async_io::block_on",
    ),
    (
        "async_std::*::block_on",
        CallKind::NestedExecutor,
        "async_std::task::block_on",
    ),
    (
        "smol::*block_on",
        CallKind::NestedExecutor,
        "smol::block_on",
    ),
    // Clients that hide sockets, threads and locks.
    ("reqwest::blocking::*", CallKind::Http, "reqwest::blocking"),
    ("ureq::*", CallKind::Http, "ureq"),
    ("curl::easy::*", CallKind::Http, "curl::easy"),
    ("minreq::*", CallKind::Http, "minreq"),
    ("attohttpc::*", CallKind::Http, "attohttpc"),
    ("rusqlite::*", CallKind::Database, "rusqlite"),
    ("sqlite3_*", CallKind::Database, "SQLite"),
    ("postgres::*", CallKind::Database, "postgres"),
    ("mysql::*", CallKind::Database, "mysql"),
    ("diesel::*", CallKind::Database, "diesel"),
    (
        "redis::connection::*",
        CallKind::Database,
        "redis (blocking)",
    ),
    // Work.
    ("flate2::*", CallKind::Compute, "flate2 (compression)"),
    (
        "miniz_oxide::*",
        CallKind::Compute,
        "miniz_oxide (compression)",
    ),
    ("zstd::*", CallKind::Compute, "zstd (compression)"),
    ("zstd_safe::*", CallKind::Compute, "zstd (compression)"),
    ("brotli::*", CallKind::Compute, "brotli (compression)"),
    ("lz4_flex::*", CallKind::Compute, "lz4 (compression)"),
    ("sha1::*", CallKind::Compute, "sha1 (hashing)"),
    ("sha2::*", CallKind::Compute, "sha2 (hashing)"),
    ("blake3::*", CallKind::Compute, "blake3 (hashing)"),
    ("md5::*", CallKind::Compute, "md5 (hashing)"),
    ("argon2::*", CallKind::Compute, "argon2 (password hashing)"),
    ("bcrypt::*", CallKind::Compute, "bcrypt (password hashing)"),
    ("scrypt::*", CallKind::Compute, "scrypt (password hashing)"),
    ("pbkdf2::*", CallKind::Compute, "pbkdf2 (password hashing)"),
    ("serde_json::*", CallKind::Compute, "serde_json"),
    ("regex::*", CallKind::Compute, "regex"),
    ("image::*", CallKind::Compute, "image"),
    ("core::slice::*sort*", CallKind::Compute, "sort"),
    ("alloc::slice::*sort*", CallKind::Compute, "sort"),
    // The standard library.
    (
        "std::thread::*sleep*",
        CallKind::Sleep,
        "std::thread::sleep",
    ),
    (
        "*::to_socket_addrs",
        CallKind::NameResolution,
        "ToSocketAddrs",
    ),
    (
        "std::sys::net::*::lookup_host",
        CallKind::NameResolution,
        "ToSocketAddrs",
    ),
    (
        "std::net::*::connect*",
        CallKind::Network,
        "std::net connect",
    ),
    ("std::net::*::accept*", CallKind::Network, "std::net accept"),
    ("std::net::*", CallKind::Network, "std::net"),
    (
        "std::os::unix::net::*",
        CallKind::Network,
        "std::os::unix::net",
    ),
    ("std::fs::*", CallKind::File, "std::fs"),
    (
        "std::io::stdio::Stdin*",
        CallKind::Terminal,
        "std::io::stdin",
    ),
    (
        "std::io::stdio::stdin*",
        CallKind::Terminal,
        "std::io::stdin",
    ),
    ("std::io::pipe::*", CallKind::File, "std::io::pipe"),
    (
        "std::process::*::wait*",
        CallKind::Process,
        "std::process::Child::wait",
    ),
    (
        "std::process::*::output",
        CallKind::Process,
        "std::process::Command::output",
    ),
    (
        "std::process::*::status",
        CallKind::Process,
        "std::process::Command::status",
    ),
    ("std::process::*", CallKind::Process, "std::process"),
    (
        "std::sync::*::mutex::*",
        CallKind::Lock,
        "std::sync::Mutex::lock",
    ),
    (
        "std::sync::*::rwlock::*",
        CallKind::Lock,
        "std::sync::RwLock",
    ),
    ("std::sync::*once*", CallKind::Lock, "std::sync::Once"),
    (
        "std::sync::*lazy_lock::*",
        CallKind::Lock,
        "std::sync::LazyLock",
    ),
    (
        "std::sync::*condvar::*",
        CallKind::Condition,
        "std::sync::Condvar::wait",
    ),
    (
        "std::sync::barrier::*",
        CallKind::Condition,
        "std::sync::Barrier::wait",
    ),
    ("std::sync::mpsc::*", CallKind::Channel, "std::sync::mpsc"),
    ("std::sync::mpmc::*", CallKind::Channel, "std::sync::mpsc"),
    ("std::thread::*::join", CallKind::Join, "JoinHandle::join"),
    ("std::thread::*join*", CallKind::Join, "JoinHandle::join"),
    (
        "std::thread::*park*",
        CallKind::Condition,
        "std::thread::park",
    ),
    // What is left of the above where the compiler turned their calls into jumps.
    (
        "std::sys::thread::*sleep*",
        CallKind::Sleep,
        "std::thread::sleep",
    ),
    ("std::sys::fs::*", CallKind::File, "std::fs"),
    ("std::sys::net::*", CallKind::Network, "std::net"),
    ("std::sys::process::*", CallKind::Process, "std::process"),
    (
        "std::sys::sync::mutex::*",
        CallKind::Lock,
        "std::sync::Mutex::lock",
    ),
    (
        "std::sys::sync::rwlock::*",
        CallKind::Lock,
        "std::sync::RwLock",
    ),
    (
        "std::sys::sync::condvar::*",
        CallKind::Condition,
        "std::sync::Condvar::wait",
    ),
    ("std::sys::sync::once::*", CallKind::Lock, "std::sync::Once"),
    // Other locks and channels.
    (
        "parking_lot::*condvar*",
        CallKind::Condition,
        "parking_lot::Condvar::wait",
    ),
    ("parking_lot::*", CallKind::Lock, "parking_lot lock"),
    (
        "lock_api::mutex::*",
        CallKind::Lock,
        "parking_lot::Mutex::lock",
    ),
    ("lock_api::rwlock::*", CallKind::Lock, "parking_lot::RwLock"),
    (
        "crossbeam_channel::*",
        CallKind::Channel,
        "crossbeam_channel",
    ),
    ("flume::*", CallKind::Channel, "flume (blocking)"),
    (
        "tokio::sync::*::blocking_lock*",
        CallKind::Lock,
        "blocking_lock",
    ),
    (
        "tokio::sync::*::blocking_*",
        CallKind::Channel,
        "blocking_recv / blocking_send",
    ),
    ("rayon::*", CallKind::Join, "rayon (waits for its pool)"),
    (
        "rayon_core::*",
        CallKind::Join,
        "rayon (waits for its pool)",
    ),
    // C.
    ("getaddrinfo", CallKind::NameResolution, "getaddrinfo"),
    ("gethostbyname*", CallKind::NameResolution, "gethostbyname"),
    ("nanosleep", CallKind::Sleep, "nanosleep"),
    ("usleep", CallKind::Sleep, "usleep"),
    ("sleep", CallKind::Sleep, "sleep"),
    ("*clock_nanosleep", CallKind::Sleep, "nanosleep"),
    ("*pthread_mutex_lock", CallKind::Lock, "pthread_mutex_lock"),
    (
        "*pthread_cond_*wait*",
        CallKind::Condition,
        "pthread_cond_wait",
    ),
    ("*pthread_join*", CallKind::Join, "pthread_join"),
    ("fsync", CallKind::File, "fsync"),
    ("fdatasync", CallKind::File, "fdatasync"),
    ("waitpid", CallKind::Process, "waitpid"),
    ("*wait4", CallKind::Process, "wait4"),
    ("qsort*", CallKind::Compute, "qsort"),
];

/// Frames that poll a task, or drive an executor: what is inside of one runs in a
/// poll.
const EXECUTORS: &[&str] = &[
    "tokio::runtime::task::*::poll*",
    "tokio::runtime::*::block_on*",
    "tokio::task::local::*::tick",
    "futures_executor::*::block_on*",
    "futures_executor::*::run*",
    "futures_lite::*::block_on",
    "pollster::*block_on",
    "async_task::*::run*",
    "async_executor::*",
    "async_io::*::block_on",
    "smol::*block_on",
];

/// The outermost blocking call that the frame at `caller` leads to, `frames` being
/// innermost first: of `read_to_string -> open -> open64` the first.
///
/// An executor counts only where `caller` runs inside of another one.
pub fn blocking_call(frames: &[Frame], caller: usize) -> Option<BlockingCall> {
    let nested = inside_executor(frames, caller);
    (0..caller.min(frames.len())).rev().find_map(|frame| {
        let (kind, name) = classify(frames[frame].function.as_deref()?)?;
        (kind != CallKind::NestedExecutor || nested).then_some(BlockingCall { kind, name, frame })
    })
}

/// Kind and shown name of one function.
pub fn classify(function: &str) -> Option<(CallKind, &'static str)> {
    let clean = name::clean(function);
    CALLS
        .iter()
        .find(|(pattern, ..)| matches(pattern, &clean))
        .map(|&(_, kind, name)| (kind, name))
}

/// Does the function poll tasks or drive an executor?
pub(super) fn is_executor(function: &str) -> bool {
    let clean = name::clean(function);
    EXECUTORS.iter().any(|pattern| matches(pattern, &clean))
}

/// Is there an executor outside of the frame?
pub(super) fn inside_executor(frames: &[Frame], frame: usize) -> bool {
    frames
        .iter()
        .skip(frame + 1)
        .filter_map(|frame| frame.function.as_deref())
        .any(is_executor)
}

/// `*` stands for any characters; `::*::` also for nothing between two parts.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(after) = name.strip_prefix(start) else {
                return false;
            };
            // `a::*::b` also means `a::b`.
            if start.ends_with("::") && rest.starts_with("::") && matches(&rest[2..], after) {
                return true;
            }
            after
                .char_indices()
                .map(|(place, _)| &after[place..])
                .chain([""])
                .any(|tail| matches(rest, tail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_calls() {
        let cases: &[(&str, Option<CallKind>)] = &[
            ("std::thread::functions::sleep", Some(CallKind::Sleep)),
            ("std::thread::sleep", Some(CallKind::Sleep)),
            ("std::sys::thread::unix::sleep", Some(CallKind::Sleep)),
            ("std::fs::read_to_string::inner", Some(CallKind::File)),
            (
                "<std::fs::File as std::io::Read>::read",
                Some(CallKind::File),
            ),
            (
                "<&std::fs::File as std::io::Write>::write",
                Some(CallKind::File),
            ),
            (
                "std::sync::poison::mutex::Mutex<T>::lock",
                Some(CallKind::Lock),
            ),
            ("std::sync::poison::mutex::lock", Some(CallKind::Lock)),
            (
                "std::sync::poison::condvar::Condvar::wait",
                Some(CallKind::Condition),
            ),
            (
                "std::sync::mpsc::Receiver<T>::recv",
                Some(CallKind::Channel),
            ),
            (
                "<str as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs",
                Some(CallKind::NameResolution),
            ),
            ("std::net::tcp::TcpStream::connect", Some(CallKind::Network)),
            (
                "reqwest::blocking::client::Client::get",
                Some(CallKind::Http),
            ),
            (
                "rusqlite::statement::Statement::query",
                Some(CallKind::Database),
            ),
            ("pollster::block_on", Some(CallKind::NestedExecutor)),
            (
                "tokio::runtime::runtime::Runtime::block_on",
                Some(CallKind::NestedExecutor),
            ),
            ("std::thread::JoinHandle<T>::join", Some(CallKind::Join)),
            ("std::process::Command::output", Some(CallKind::Process)),
            (
                "core::slice::sort::stable::drift::sort",
                Some(CallKind::Compute),
            ),
            ("app::render", None),
            ("core::ptr::drop_in_place", None),
        ];
        for (function, expected) in cases {
            assert_eq!(
                classify(function).map(|(kind, _)| kind),
                *expected,
                "{function}"
            );
        }
    }

    #[test]
    fn every_pattern_can_be_reached() {
        for (position, (pattern, ..)) in CALLS.iter().enumerate() {
            let example = pattern.replace('*', "x");
            let first = CALLS
                .iter()
                .position(|(other, ..)| matches(other, &example));
            assert_eq!(
                first,
                Some(position),
                "{pattern} is hidden by an earlier line"
            );
        }
    }
}
