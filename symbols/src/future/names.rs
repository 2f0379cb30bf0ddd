//! What the names of symbols say of tasks and their futures.

use crate::name;

/// Bytes of a symbol's name that are looked at; that of a web server's future has 20,000.
pub(super) const MAX_NAME: usize = 64 << 10;

/// What a symbol is to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A function of tokio's tasks, or of what they call on the way to a drop.
    Task,
    /// The same, and the first function of a vtable.
    Poll,
    /// It may drop what holds a task's future.
    Drop,
    /// The body of an async fn or block, a closure, or another future's poll.
    Body,
    /// The panic of an async fn that is polled after it has ended.
    Resumed,
}

/// By the mangled name, without taking it apart: there are a hundred thousand of them.
pub(super) fn kind(raw: &str) -> Option<Kind> {
    if raw.len() > MAX_NAME {
        return None;
    }
    if raw.contains("fn_resumed") || raw.contains("coroutine_resumed") {
        return Some(Kind::Resumed);
    }
    let legacy = "tokio..runtime..task..";
    let v0 = "5tokio7runtime4task";
    if raw.contains(legacy) || raw.contains(v0) {
        return Some(
            if raw.contains("drop_in_place") || raw.contains("drop_glue") {
                Kind::Drop
            } else if raw.contains("5tokio7runtime4task3raw4poll") {
                Kind::Poll
            } else {
                Kind::Task
            },
        );
    }
    // What is not optimized drops by this function.
    if raw.contains("4core3mem4drop17h")
        || raw.starts_with("_RINvNtC") && raw.contains("4core3mem4drop")
    {
        return Some(Kind::Task);
    }
    let is_body = ["$u7b$$u7b$closure$u7d$$u7d$17h", "4poll17h"]
        .iter()
        .any(|end| raw.contains(end));
    // In the newer mangling `NC` is a closure, and what is generic has its arguments.
    let is_v0_body = raw.starts_with("_RNC") || raw.starts_with("_RINC") || raw.contains("4poll");
    (is_body || is_v0_body).then_some(Kind::Body)
}

pub(super) fn demangled(raw: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(raw));
    match name.find(".llvm.") {
        Some(end) => name[..end].to_owned(),
        None => name,
    }
}

/// The future in the name of a generic function of tokio's tasks, which symbols have
/// (`tokio::runtime::task::raw::poll::<F, S>`) since Rust 1.97, and line tables always
/// (`poll<F, S>`).
pub(super) fn of_generic(name: &str) -> Option<&str> {
    let future = *name::arguments(name).first()?;
    // `T` is the parameter itself, of the older mangling.
    future.contains("::").then_some(future)
}

/// The async fn or block whose body a function is.
pub(super) fn of_body(raw: &str) -> Option<String> {
    Some(demangled(raw)).filter(|name| is_body(name))
}

/// A name is that of an async fn's or block's body, and has its path.
pub(super) fn is_body(name: &str) -> bool {
    let last = name.rsplit_once("::").map(|(_, last)| last);
    last.is_some_and(|last| last.starts_with('{') && last.contains("closure"))
}

/// Whether a future's type may hold the async fn with this body: its name is in it.
pub(super) fn may_hold(future: &str, body: &str) -> bool {
    let function = body.rsplit("::").find(|part| !part.starts_with('{'));
    function.is_none_or(|function| future.contains(function))
}

/// The future that a drop function of a task drops.
pub(super) fn dropped(raw: &str) -> Option<String> {
    if kind(raw) != Some(Kind::Drop) {
        return None;
    }
    let name = demangled(raw);
    let mut holder = *name::arguments(&name).first()?;
    for wrapper in ["alloc::boxed::Box<", "core::cell::UnsafeCell<"] {
        if holder.starts_with(wrapper) {
            holder = name::arguments(holder).first()?;
        }
    }
    let inside = holder.strip_prefix("tokio::runtime::task::")?;
    let path = &inside[..inside.find('<')?];
    let holds_future = ["Stage", "CoreStage", "Cell", "Core", "Guard"];
    if !holds_future.contains(&path.rsplit("::").next()?) {
        return None;
    }
    let future = *name::arguments(holder).first()?;
    future.contains("::").then(|| future.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_in_the_name_of_a_drop() {
        for (symbol, expected) in [
            (
                "_ZN4core3ptr103drop_in_place$LT$tokio..runtime..task..core..Stage$LT$app..handler\
                 ..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h0123456789abcdefE",
                Some("app::handler::{{closure}}"),
            ),
            (
                "_ZN4core3ptr98drop_in_place$LT$tokio..runtime..task..core..Cell$LT$app..Job$C$\
                 alloc..sync..Arc$LT$u8$GT$$GT$$GT$17h0123456789abcdefE",
                Some("app::Job"),
            ),
            (
                "_ZN4core3ptr123drop_in_place$LT$alloc..boxed..Box$LT$tokio..runtime..task..core..\
                 Cell$LT$app..Job$C$alloc..sync..Arc$LT$u8$GT$$GT$$GT$$GT$17h0123456789abcdefE",
                Some("app::Job"),
            ),
            (
                "_ZN4core3ptr75drop_in_place$LT$tokio..runtime..task..join..JoinHandle$LT$app..Job\
                 $GT$$GT$17h0123456789abcdefE",
                None,
            ),
            (
                "_ZN4core3ptr29drop_in_place$LT$app..Job$GT$17h0123456789abcdefE",
                None,
            ),
        ] {
            assert_eq!(dropped(symbol).as_deref(), expected, "{symbol}");
        }
    }

    #[test]
    fn the_future_in_the_name_of_a_poll() {
        for (name, expected) in [
            (
                "tokio::runtime::task::raw::poll::<app::fetch::{closure#0}, alloc::sync::Arc<S>>",
                Some("app::fetch::{closure#0}"),
            ),
            (
                "poll<app::fetch::{async_fn_env#0}, alloc::sync::Arc<S>>",
                Some("app::fetch::{async_fn_env#0}"),
            ),
            ("tokio::runtime::task::raw::poll", None),
            ("tokio::runtime::task::core::Core<T,S>::poll", None),
        ] {
            assert_eq!(of_generic(name), expected, "{name}");
        }
    }

    #[test]
    fn what_a_future_may_hold() {
        for (future, body, expected) in [
            ("app::fetch::{{closure}}", "app::fetch::{{closure}}", true),
            (
                "tokio::time::timeout::Timeout<app::fetch::{{closure}}>",
                "app::fetch::{{closure}}",
                true,
            ),
            (
                "app::report::{{closure}}",
                "app::archive::{{closure}}",
                false,
            ),
            (
                "app::main::{{closure}}",
                "app::main::{{closure}}::{{closure}}",
                true,
            ),
            ("app::Job", "{{closure}}", true),
        ] {
            assert_eq!(may_hold(future, body), expected, "{future} {body}");
        }
        assert!(is_body("app::fetch::{{closure}}") && is_body("app::fetch::{closure#0}"));
        assert!(!is_body("app::fetch") && !is_body("{{closure}}"));
    }

    #[test]
    fn the_kinds_of_symbols() {
        for (raw, expected) in [
            (
                "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE",
                Some(Kind::Poll),
            ),
            (
                "_RINvNtNtNtCs1_5tokio7runtime4task3raw4pollNCNvCs2_3app5fetch0NtB4_1SEB10_",
                Some(Kind::Poll),
            ),
            (
                "_ZN5tokio7runtime4task7harness20Harness$LT$T$C$S$GT$4poll17h0123456789abcdefE",
                Some(Kind::Task),
            ),
            (
                "_ZN3app5fetch28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                Some(Kind::Body),
            ),
            (
                "_RNvNtNtCs1_4core9panicking11panic_const28panic_const_async_fn_resumed",
                Some(Kind::Resumed),
            ),
            ("_ZN3app5fetch17h0123456789abcdefE", None),
        ] {
            assert_eq!(kind(raw), expected, "{raw}");
        }
    }
}
