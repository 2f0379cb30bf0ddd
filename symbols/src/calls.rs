//! Calls that hold up an event loop, by the names of their functions.
//!
//! To add one, add a line to [`CALLS`]. A pattern is compared with the clean name
//! of a function ([`super::name::clean`]) part by part: `*` stands for any number
//! of parts, and for any characters within one; the first line that matches wins.

use super::{CallKind, Frame, name};

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
    // Logs: what they wait for is whoever reads them.
    (
        "tracing_subscriber::fmt::*::on_event",
        CallKind::Output,
        TRACING,
    ),
    (
        "tracing_subscriber::fmt::*::write*",
        CallKind::Output,
        TRACING,
    ),
    (
        "tracing_core::event::Event::*dispatch*",
        CallKind::Output,
        TRACING,
    ),
    (
        "tracing_core::dispatcher::Dispatch::event",
        CallKind::Output,
        TRACING,
    ),
    ("log::__private_api::*", CallKind::Output, "log::log!"),
    ("env_logger::*", CallKind::Output, "env_logger"),
    ("simplelog::*", CallKind::Output, "simplelog"),
    ("fern::*", CallKind::Output, "fern"),
    ("std::io::stdio::_print", CallKind::Output, "println!"),
    ("std::io::stdio::_eprint", CallKind::Output, "eprintln!"),
    ("std::io::stdio::print_to", CallKind::Output, "println!"),
    (
        "std::io::stdio::Stdout*",
        CallKind::Output,
        "std::io::stdout",
    ),
    (
        "std::io::stdio::stdout*",
        CallKind::Output,
        "std::io::stdout",
    ),
    (
        "std::io::stdio::Stderr*",
        CallKind::Output,
        "std::io::stderr",
    ),
    (
        "std::io::stdio::stderr*",
        CallKind::Output,
        "std::io::stderr",
    ),
    // Clients that hide sockets, threads and locks.
    ("reqwest::blocking::*", CallKind::Http, "reqwest::blocking"),
    ("ureq::*", CallKind::Http, "ureq"),
    ("curl::easy::*", CallKind::Http, "curl::easy"),
    ("minreq::*", CallKind::Http, "minreq"),
    ("attohttpc::*", CallKind::Http, "attohttpc"),
    ("rusqlite::*", CallKind::Database, "rusqlite"),
    ("sqlite3_*", CallKind::Database, "SQLite"),
    ("unixSleep", CallKind::Database, BUSY_HANDLER),
    ("postgres::*", CallKind::Database, "postgres"),
    ("mysql::*", CallKind::Database, "mysql"),
    ("diesel::*", CallKind::Database, "diesel"),
    ("r2d2::*", CallKind::Database, R2D2),
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
    // Where the thin functions of `regex` were inlined.
    ("regex_automata::*", CallKind::Compute, "regex"),
    ("regex_syntax::*", CallKind::Compute, "regex"),
    ("fancy_regex::*", CallKind::Compute, "regex"),
    ("zip::*", CallKind::Compute, "zip (archive)"),
    ("tar::*", CallKind::File, "tar (archive)"),
    ("csv::*", CallKind::Compute, "csv"),
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
    // One code for several names: see `name::shown`.
    ("std::net::*::read", CallKind::Network, RECV),
    ("std::net::*::recv", CallKind::Network, RECV),
    ("std::net::*::peek", CallKind::Network, RECV),
    ("std::net::*::write", CallKind::Network, SEND),
    ("std::net::*::send", CallKind::Network, SEND),
    ("std::os::unix::net::*::read", CallKind::Network, RECV),
    ("std::os::unix::net::*::recv", CallKind::Network, RECV),
    ("std::os::unix::net::*::peek", CallKind::Network, RECV),
    ("std::os::unix::net::*::write", CallKind::Network, SEND),
    ("std::os::unix::net::*::send", CallKind::Network, SEND),
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
    ("std::io::pipe::*", CallKind::File, PIPE),
    // The same code as that of any pipe, under the name that the linker kept.
    ("std::process::ChildStd*", CallKind::File, PIPE),
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
        "std::sync::*::mutex::*lock*",
        CallKind::Lock,
        "std::sync::Mutex::lock",
    ),
    (
        "std::sync::*::rwlock::*read*",
        CallKind::Lock,
        "std::sync::RwLock::read",
    ),
    (
        "std::sync::*::rwlock::*write*",
        CallKind::Lock,
        "std::sync::RwLock::write",
    ),
    ("std::sync::*once*", CallKind::Lock, "std::sync::Once"),
    (
        "std::sync::*lazy_lock::*",
        CallKind::Lock,
        "std::sync::LazyLock",
    ),
    (
        "std::sync::*condvar::*wait*",
        CallKind::Condition,
        "std::sync::Condvar::wait",
    ),
    (
        "std::sync::barrier::*wait*",
        CallKind::Condition,
        "std::sync::Barrier::wait",
    ),
    (
        "std::sync::mpsc::*recv*",
        CallKind::Channel,
        "std::sync::mpsc::Receiver::recv",
    ),
    // It has room for everything, and waits for a lock within at most.
    (
        "std::sync::mpsc::Sender::send",
        CallKind::Channel,
        "std::sync::mpsc::Sender::send",
    ),
    (
        "std::sync::mpsc::*send*",
        CallKind::Channel,
        "std::sync::mpsc::SyncSender::send",
    ),
    ("std::sync::mpsc::*", CallKind::Channel, "std::sync::mpsc"),
    (
        "std::sync::mpmc::*recv*",
        CallKind::Channel,
        "std::sync::mpsc::Receiver::recv",
    ),
    ("std::sync::mpmc::*", CallKind::Channel, "std::sync::mpsc"),
    (
        "std::thread::scoped::*",
        CallKind::Join,
        "std::thread::scope",
    ),
    (
        "std::thread::*join*",
        CallKind::Join,
        "std::thread::JoinHandle::join",
    ),
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
    (
        "std::sys::thread::*join*",
        CallKind::Join,
        "std::thread::JoinHandle::join",
    ),
    (
        "std::sys::pal::*::thread::*join*",
        CallKind::Join,
        "std::thread::JoinHandle::join",
    ),
    (
        "std::sys::pal::*::thread::*sleep*",
        CallKind::Sleep,
        "std::thread::sleep",
    ),
    (
        "std::sys::*thread_parking::*park*",
        CallKind::Condition,
        "std::thread::park",
    ),
    (
        "std::sys::*pipe::*read2",
        CallKind::Process,
        "std::process::Command::output",
    ),
    ("std::sys::fs::*", CallKind::File, "std::fs"),
    ("std::sys::pal::*::fs::*", CallKind::File, "std::fs"),
    ("std::sys::net::*::recv_with_flags", CallKind::Network, RECV),
    ("std::sys::net::*", CallKind::Network, "std::net"),
    ("std::sys::process::*", CallKind::Process, "std::process"),
    (
        "std::sys::sync::mutex::*lock*",
        CallKind::Lock,
        "std::sync::Mutex::lock",
    ),
    (
        "std::sys::sync::rwlock::*",
        CallKind::Lock,
        "std::sync::RwLock",
    ),
    (
        "std::sys::sync::condvar::*wait*",
        CallKind::Condition,
        "std::sync::Condvar::wait",
    ),
    ("std::sys::sync::once::*", CallKind::Lock, "std::sync::Once"),
    // A loop that asks again and again, and lets other threads run between.
    ("std::thread::*yield_now", CallKind::Compute, YIELD_NOW),
    (
        "std::sys::*thread::*yield_now",
        CallKind::Compute,
        YIELD_NOW,
    ),
    ("*sched_yield", CallKind::Compute, YIELD_NOW),
    // Other locks and channels.
    ("dashmap::*", CallKind::Lock, "dashmap"),
    (
        "parking_lot::*condvar*wait*",
        CallKind::Condition,
        "parking_lot::Condvar::wait",
    ),
    (
        "parking_lot::*mutex::*::lock*",
        CallKind::Lock,
        "parking_lot::Mutex::lock",
    ),
    (
        "parking_lot::*rwlock::*::*lock*",
        CallKind::Lock,
        "parking_lot::RwLock",
    ),
    (
        "parking_lot_core::*park*",
        CallKind::Lock,
        "parking_lot lock",
    ),
    (
        "lock_api::mutex::*lock*",
        CallKind::Lock,
        "parking_lot::Mutex::lock",
    ),
    ("lock_api::rwlock::*", CallKind::Lock, "parking_lot::RwLock"),
    (
        "event_listener::*",
        CallKind::Condition,
        "event_listener::Listener::wait",
    ),
    ("parking::*", CallKind::Condition, "parking::Parker::park"),
    (
        "crossbeam_channel::*recv*",
        CallKind::Channel,
        "crossbeam_channel::Receiver::recv",
    ),
    (
        "crossbeam_channel::*send*",
        CallKind::Channel,
        "crossbeam_channel::Sender::send",
    ),
    (
        "crossbeam_channel::*",
        CallKind::Channel,
        "crossbeam_channel",
    ),
    ("flume::*recv*", CallKind::Channel, "flume::Receiver::recv"),
    ("flume::*send*", CallKind::Channel, "flume::Sender::send"),
    ("tokio::sync::watch::*borrow*", CallKind::Lock, WATCH_BORROW),
    ("tokio::sync::watch::*send*", CallKind::Lock, WATCH_SEND),
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
    ("*pthread_*join*", CallKind::Join, "pthread_join"),
    ("fsync", CallKind::File, "fsync"),
    ("fdatasync", CallKind::File, "fdatasync"),
    ("*waitpid", CallKind::Process, "waitpid"),
    ("*waitid", CallKind::Process, "waitid"),
    ("*wait4", CallKind::Process, "wait4"),
    ("qsort*", CallKind::Compute, "qsort"),
];

/// What waits inside of a call for something better to name than the call: the
/// call's kind, the inner function, and the name to show.
const INSIDE: &[(CallKind, &str, &str)] = &[
    (CallKind::Database, "unixSleep", BUSY_HANDLER),
    (CallKind::Database, "*sqlite*BusyCallback", BUSY_HANDLER),
    (CallKind::Database, "*InvokeBusyHandler", BUSY_HANDLER),
];

/// While another connection writes, `SQLite` sleeps and tries again.
const BUSY_HANDLER: &str = "SQLite's busy handler";
const PIPE: &str = "std::io::pipe";
/// A pool of connections, whose `get` waits until one is free.
const R2D2: &str = "r2d2 (pool of connections)";
const RECV: &str = name::RECV;
const SEND: &str = name::SEND;
/// `tracing::info!` and its like, which call every layer.
const TRACING: &str = "tracing::event!";
const WATCH_BORROW: &str = "tokio::sync::watch::Receiver::borrow";
const WATCH_SEND: &str = "tokio::sync::watch::Sender::send";
const YIELD_NOW: &str = "std::thread::yield_now";

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

/// Frames between a task's poll and the future that the application wrote.
#[cfg(feature = "lines")]
const WRAPPERS: &[&str] = &[
    "tokio::runtime::*",
    "tokio::task::*",
    "tokio::loom::*",
    "tokio::time::timeout::*",
    "tracing::*",
    "tracing_futures::*",
    "futures_util::*::poll*",
    "core::panic::*",
    "core::pin::*",
    "core::future::*",
    "core::ops::function::*",
    "alloc::boxed::*",
    "std::panic::*",
    "std::panicking::*",
];

/// The outermost blocking call that the frame at `caller` leads to, `frames` being
/// innermost first: of `read_to_string -> open -> open64` the first.
///
/// An executor counts only where `caller` runs inside of another one.
pub fn blocking_call(frames: &[Frame], caller: usize) -> Option<BlockingCall> {
    let nested = inside_executor(frames, caller);
    let outermost = |caller: usize| {
        (0..caller.min(frames.len())).rev().find_map(|frame| {
            let (kind, name) = classify(frames[frame].function.as_deref()?)?;
            let counts = kind != CallKind::NestedExecutor || nested;
            counts.then_some(BlockingCall { kind, name, frame })
        })
    };
    let mut call = outermost(caller)?;
    // It runs a closure of the caller's, which may be what blocks: its code is often
    // inlined into a function of the standard library's.
    while call.name == RUNS_CLOSURES {
        match outermost(call.frame) {
            Some(inner) => call = inner,
            None => break,
        }
    }
    let inside = |&(kind, pattern, name): &(CallKind, &str, &'static str)| {
        let found = frames[..call.frame].iter().any(|frame| {
            let function = frame.function.as_deref().map(name::clean);
            function.is_some_and(|function| matches(pattern, &function))
        });
        (kind == call.kind && found).then_some(name)
    };
    let name = INSIDE.iter().find_map(inside).unwrap_or(call.name);
    Some(BlockingCall { name, ..call })
}

/// The blocking call of a stack on which nobody is to blame: what is inside of
/// the innermost executor, or that executor where it runs inside of another. Of a
/// stack that was cut short, what there is of it.
pub fn innermost_call(frames: &[Frame]) -> Option<BlockingCall> {
    let executor = frames
        .iter()
        .position(|frame| frame.function.as_deref().is_some_and(is_executor));
    let Some(executor) = executor else {
        return blocking_call(frames, frames.len());
    };
    // A worker without work parks in its scheduler: nobody called that.
    let idles = |frame: &Frame| {
        let function = frame.function.as_deref().map(name::clean);
        function.is_some_and(|function| function.starts_with("tokio::runtime::scheduler::"))
    };
    let nested = !frames[executor]
        .function
        .as_deref()
        .is_some_and(polls_a_task)
        && inside_executor(frames, executor);
    if !nested && frames[..executor].iter().any(idles) {
        return None;
    }
    blocking_call(frames, executor + usize::from(nested))
}

/// The call that runs code of its caller's, and makes others wait meanwhile.
const RUNS_CLOSURES: &str = "std::sync::Once";

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

/// Does the function poll a task of tokio's?
pub(super) fn polls_a_task(function: &str) -> bool {
    matches("tokio::runtime::task::*::poll*", &name::clean(function))
}

/// Does the function only pass the poll of a task on to the application's future?
#[cfg(feature = "lines")]
pub(super) fn wraps_a_future(function: &str) -> bool {
    let clean = name::clean(function);
    WRAPPERS.iter().any(|pattern| matches(pattern, &clean))
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
mod tests;
