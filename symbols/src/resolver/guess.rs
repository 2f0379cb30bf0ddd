//! Names for what the compiler inlined without a name of its own: closures, `Drop`s,
//! and the `async fn` that a task polls.

use std::path::Path;

use crate::crates::Crates;
use crate::future::Place;
use crate::origin::{Seen, origin};
use crate::{Frame, Origin, calls, name};

/// Wrappers of a future that are looked through.
const MAX_WRAPPERS: usize = 6;

/// Line tables name an inlined closure or `async` block only `{async_block#0}`.
/// Its type is a parameter of the functions that poll or call it, further out on
/// the stack, and that type's name has the whole path.
pub(super) fn name_inlined_closures(frames: &mut [Frame], future: Option<&str>) {
    for position in 0..frames.len() {
        let (inner, outer) = frames[position..].split_at_mut(1);
        let frame = &mut inner[0];
        let Some(function) = frame.function.as_deref().filter(|_| frame.inlined) else {
            continue;
        };
        let found = outer
            .iter()
            .filter_map(|outer| outer.function.as_deref())
            .chain(future)
            .find_map(|outer| name::closure_path(function, outer));
        if let Some(found) = found {
            frame.function = Some(found.into());
        }
    }
}

pub(super) fn polls_a_task(frame: &Frame) -> bool {
    let function = frame.function.as_deref();
    function.is_some_and(calls::polls_a_task)
}

/// Where no frame inside of the poll is the user's, its `async fn` was inlined into
/// the poll without a trace: shows it there, as what it is.
pub(super) fn show_future(frames: &mut Vec<Frame>, future: &str) {
    let Some(poll) = poll_without_user(frames) else {
        return;
    };
    let wraps = |frame: &&Frame| {
        let function = frame.function.as_deref();
        frame.origin == Origin::Plumbing && function.is_some_and(calls::wraps_a_future)
    };
    let at = poll - frames[..poll].iter().rev().take_while(wraps).count();
    show(frames, at, future);
}

/// The task's poll on a stack that has no frame of the user's inside of it.
pub(super) fn poll_without_user(frames: &[Frame]) -> Option<usize> {
    let poll = frames.iter().position(polls_a_task)?;
    let user = frames[..poll].iter().any(|f| f.origin == Origin::User);
    (!user).then_some(poll)
}

/// The place of the application's that the code of a function is certain to be in: that
/// of the function itself, or the only one of the application's.
pub(super) fn own_place(places: &[Place]) -> Option<Place> {
    let mut own = places.iter().filter(|place| place.is_own());
    let first = own.next()?;
    (places.first() == Some(first) || own.next().is_none()).then(|| first.clone())
}

/// Places that are named where the code is in one of them.
const MAX_PLACES: usize = 3;

/// What says where the application's async code in a function is written, and the last
/// place of it: certain, or one of a few, such as a handler and what it awaits.
pub(super) fn own_async_code(places: &[Place]) -> Option<(String, Place)> {
    let own: Vec<Place> = match own_place(places) {
        Some(place) => vec![place],
        None => places.iter().filter(|p| p.is_own()).cloned().collect(),
    };
    let last = own.last().filter(|_| own.len() <= MAX_PLACES)?.clone();
    let shown: Vec<String> = own.iter().map(ToString::to_string).collect();
    Some((format!("async code at {}", shown.join(" or ")), last))
}

/// Shows a function of the user's that is a part of that of the frame at `at`.
pub(super) fn show(frames: &mut Vec<Frame>, at: usize, function: &str) {
    let shown = Frame {
        function: Some(function.into()),
        file: None,
        source: None,
        line: None,
        inlined: true,
        origin: Origin::User,
        address: frames[at].address.clone(),
    };
    frames.insert(at, shown);
}

/// The `Drop` of the application's that was inlined into the function that drops
/// a value of its type.
pub(super) fn dropped_by(frame: &Frame, crates: &Crates) -> Option<String> {
    let dropped = dropped_type(frame.function.as_deref()?)?;
    // With lines, the `Drop` has a frame of its own.
    if frame.line.is_some() {
        return None;
    }
    let own = !dropped.contains('{') && is_own(dropped, crates);
    own.then(|| format!("<{dropped} as core::ops::drop::Drop>::drop"))
}

/// The type whose values a function of core's drops.
fn dropped_type(function: &str) -> Option<&str> {
    let inner = function
        .strip_prefix("core::ptr::drop_in_place")
        .or_else(|| function.strip_prefix("core::ptr::drop_glue"))?;
    let inner = inner.strip_prefix("::").unwrap_or(inner);
    inner.strip_prefix('<')?.strip_suffix('>')
}

/// Line tables name an inlined `Drop` only `drop`; whose it is says the function
/// that drops a value.
pub(super) fn name_inlined_drops(frames: &mut [Frame]) {
    for position in 1..frames.len() {
        let (inner, outer) = frames.split_at_mut(position);
        let frame = &mut inner[position - 1];
        let is_drop = |function: &str| function.rsplit("::").next() == Some("drop");
        let bare = frame.inlined && frame.line.is_some();
        if let Some(dropped) = outer[0].function.as_deref().and_then(dropped_type)
            && bare
            && frame.function.as_deref().is_some_and(is_drop)
        {
            frame.function = Some(format!("<{dropped} as core::ops::drop::Drop>::drop").into());
        }
    }
}

/// A future without tracing's span and the box around it.
pub(super) fn unwrapped(future: &str) -> &str {
    let mut future = future;
    for _ in 0..MAX_WRAPPERS {
        let wrapper = [
            "tracing::instrument::Instrumented<",
            "core::pin::Pin<",
            "alloc::boxed::Box<",
        ]
        .iter()
        .any(|wrapper| future.starts_with(wrapper));
        match name::arguments(future).first() {
            Some(inner) if wrapper => future = inner,
            _ => break,
        }
    }
    future
}

/// Whether a path is of the application's own crates.
pub(super) fn is_own(path: &str, crates: &Crates) -> bool {
    let seen = Seen {
        function: Some(path),
        file: None,
        binary: Some(Path::new("")),
        own_c: false,
    };
    origin(seen, crates) == Origin::User
}

/// The application's own future in a type: that itself, or in what wraps futures.
pub(super) fn own_future(future: &str, crates: &Crates) -> Option<String> {
    let mut future = future;
    for _ in 0..MAX_WRAPPERS {
        if is_own(future, crates) {
            return Some(future.to_owned());
        }
        future = name::arguments(future).first()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, line: u32) -> Place {
        Place {
            file: source.into(),
            source: source.into(),
            line,
            column: 1,
        }
    }

    #[test]
    fn async_code_of_a_handler_is_in_one_of_a_few_places() {
        let handler = place("/r/registry/src/index-1/axum-0.8.9/src/handler/mod.rs", 249);
        let own = |lines: &[u32]| -> Vec<Place> {
            let own = lines.iter().map(|line| place("src/main.rs", *line));
            std::iter::once(handler.clone()).chain(own).collect()
        };
        let text = |places: &[Place]| own_async_code(places).map(|(text, _)| text);
        let one = text(&own(&[9]));
        assert_eq!(one.as_deref(), Some("async code at src/main.rs:9"));
        let two = text(&own(&[9, 14]));
        let both = "async code at src/main.rs:9 or src/main.rs:14";
        assert_eq!(two.as_deref(), Some(both));
        // Its own comes first: the code is certain to be in it.
        let first = text(&own(&[9, 14])[1..]);
        assert_eq!(first.as_deref(), Some("async code at src/main.rs:9"));
        assert_eq!(text(&own(&[1, 2, 3, 4])), None);
        assert_eq!(text(&own(&[])), None);
    }
}
