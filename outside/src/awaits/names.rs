//! What a future is by the name of its type.

use super::chain::NodeKind;
use super::leaf;

/// What wraps a future without a word worth of its own.
pub(super) const TRANSPARENT: &[&str] = &[
    "core::",
    "alloc::",
    "std::",
    "async_stream::",
    "&mut ",
    "(",
    "[",
    "futures_util::fns::",
    "futures_util::future::future::",
    "futures_util::future::join_all::JoinAllKind",
    "futures_util::future::maybe_done::",
    "futures_util::future::try_future::",
    "futures_util::future::try_join_all::TryJoinAllKind",
    "futures_util::future::try_maybe_done::",
    "futures_util::stream::",
    "futures_util::unfold_state::",
    "tokio::future::maybe_done::",
    "tokio::net::",
    "tokio::runtime::task::",
    "tokio::task::coop::",
    "tokio::time::interval::",
    "tokio::util::",
    "tokio_stream::",
    "tokio_util::codec::",
    "tokio_util::io::",
    "tokio_util::sync::poll_semaphore::",
    "tokio_util::sync::reusable_box::",
    "tokio_util::time::delay_queue::",
    "tower::util::map_",
    "tower::util::oneshot::State<",
];

/// What passes the polls on to its only child, and is worth a word.
pub(super) const WRAPPERS: &[&str] = &[
    "tracing::instrument::",
    "tracing_futures::",
    "tokio::task::task_local::",
    "tokio_util::sync::cancellation_token::WaitForCancellationFuture",
    "tokio_util::task::",
    "tower::limit::concurrency::future::",
    "tower::util::",
];

/// What goes on when one of its children does.
pub(super) const SELECT: &[&str] = &[
    "tokio::time::timeout::Timeout<",
    "tower::timeout::future::ResponseFuture<",
    "futures_util::future::select::Select<",
    "futures_util::future::try_select::TrySelect<",
    "futures_util::future::select_all::SelectAll<",
    "futures_util::future::select_ok::SelectOk<",
    "futures_util::stream::futures_unordered::FuturesUnordered<",
    "futures_util::stream::futures_ordered::FuturesOrdered<",
    "futures_util::stream::stream::buffer_unordered::BufferUnordered<",
    "futures_util::stream::stream::buffered::Buffered<",
    "futures_util::stream::select_with_strategy::SelectWithStrategy<",
    "futures_util::abortable::Abortable<",
    "tokio_stream::stream_ext::merge::Merge<",
    "tokio_stream::stream_ext::timeout::Timeout<",
    "tokio_stream::stream_ext::timeout_repeating::TimeoutRepeating<",
    "tokio_stream::stream_map::StreamMap<",
    "tokio_util::sync::cancellation_token::RunUntilCancelled",
];

/// What goes on when all of them have ended.
pub(super) const JOIN: &[&str] = &[
    "futures_util::future::join::Join",
    "futures_util::future::join_all::JoinAll<",
    "futures_util::future::try_join::TryJoin",
    "futures_util::future::try_join_all::TryJoinAll<",
];

/// The closures that macros such as `select!` make.
pub(super) fn is_poll_fn(name: &str) -> bool {
    name.starts_with("core::future::poll_fn::PollFn<")
        || name.starts_with("futures_util::future::poll_fn::PollFn<")
}

/// Whether a type is that of an async fn or block.
pub(super) fn async_kind(name: &str) -> Option<NodeKind> {
    if name.starts_with(['&', '*', '(', '[']) {
        return None;
    }
    // Before its arguments.
    let path = path_of(name);
    let last = path.rsplit("::").next()?;
    if last.starts_with("{async_fn_env#") {
        Some(NodeKind::AsyncFn)
    } else if last.starts_with("{async_block_env#")
        || last.starts_with("{async_closure_env#")
        || last.starts_with("{async_gen")
        || last.starts_with("{gen_")
    {
        Some(NodeKind::AsyncBlock)
    } else {
        None
    }
}

/// A type's path without its last arguments: `a::{impl#0}::f::{async_fn_env#0}` of
/// `a::{impl#0}::f::{async_fn_env#0}<T>`.
pub(super) fn path_of(name: &str) -> &str {
    if !name.ends_with('>') {
        return name;
    }
    let mut depth = 0_u32;
    for (at, byte) in name.bytes().enumerate().rev() {
        match byte {
            // Not that of `->`.
            b'>' if at > 0 && name.as_bytes()[at - 1] != b'-' => depth += 1,
            b'<' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &name[..at];
                }
            }
            _ => {}
        }
    }
    name
}

/// Whether a source is of another crate than the function: then a macro wrote it.
pub(super) fn is_of_another_crate(function: &str, source: &str) -> bool {
    let Some((_, inside)) = source.split_once("/registry/src/") else {
        return false;
    };
    // Behind the registry's folder: `async-stream-0.3.6/src/lib.rs`.
    let package = inside.split('/').nth(1).unwrap_or_default();
    let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
    let of = function.split("::").next().unwrap_or(function);
    of.trim_start_matches('<') != name.replace('-', "_")
}

/// By its name, what may be or hold a future.
pub(super) fn may_be_future(name: &str) -> bool {
    [
        "{async_",
        "{gen_",
        "uture",
        "tream",
        "tokio::time::",
        "tokio_util::",
        "Pin<",
        "Instrumented",
    ]
    .iter()
    .any(|part| name.contains(part))
        || leaf::is(name)
}

/// Types in which there is nothing to look for.
pub(super) fn is_dull(name: &str) -> bool {
    [
        "core::marker::",
        "core::sync::atomic::",
        "core::task::",
        "alloc::sync::",
        "alloc::rc::",
        "alloc::string::",
        "alloc::collections::",
        "core::ptr::",
        "std::collections::",
        "std::sync::",
        "std::time::",
        "tracing::span::Span",
        "tokio::runtime::scheduler::",
        "tokio::sync::mpsc::",
        "tokio::sync::watch::",
        "tokio::sync::mutex::",
        "tokio::sync::rwlock::",
        "tokio::sync::semaphore::",
        "bytes::",
    ]
    .iter()
    .any(|dull| name.starts_with(dull))
}

/// Fields that hold no future that is polled.
pub(super) fn is_bookkeeping(name: &str) -> bool {
    matches!(
        name,
        "ready_to_run_queue" | "waker" | "span" | "queued_outputs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn async_code_is_known_by_its_name() {
        for (name, expected) in [
            ("app::fetch::{async_fn_env#0}", Some(NodeKind::AsyncFn)),
            (
                "app::fetch::{async_fn_env#0}<app::A<u8>, fn(u8) -> u8>",
                Some(NodeKind::AsyncFn),
            ),
            (
                "app::f::{async_fn#0}::{async_block_env#3}<T>",
                Some(NodeKind::AsyncBlock),
            ),
            ("app::f::{async_fn#0}::{closure_env#0}<T>", None),
            ("core::pin::Pin<&mut app::f::{async_fn_env#0}>", None),
            ("&mut app::f::{async_fn_env#0}", None),
            (
                "<app::f::{async_fn_env#0} as core::future::Future>::{vtable_type}",
                None,
            ),
            ("", None),
            (">", None),
            ("->", None),
        ] {
            assert_eq!(async_kind(name), expected, "{name}");
        }
    }

    #[test]
    fn a_source_is_of_the_crate_whose_function_it_is() {
        let stream = "/home/a/.cargo/registry/src/index.crates.io-1/async-stream-0.3.6/src/lib.rs";
        for (function, source, expected) in [
            ("app::items::{async_block_env#0}", stream, true),
            ("async_stream::next::{async_fn_env#0}", stream, false),
            (
                "app::items::{async_fn_env#0}",
                "/home/a/app/src/main.rs",
                false,
            ),
        ] {
            assert_eq!(
                is_of_another_crate(function, source),
                expected,
                "{function}"
            );
        }
    }

    #[test]
    fn arguments_are_left_out_of_a_path() {
        for (name, expected) in [
            ("a::B<c::D<e>>", "a::B"),
            ("a::B<c>::D<fn(u8) -> e<f>>", "a::B<c>::D"),
            ("a::B", "a::B"),
            ("a>", "a>"),
        ] {
            assert_eq!(path_of(name), expected);
        }
    }
}
