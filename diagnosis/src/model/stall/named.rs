//! Names that were found for a stack, as the model has them.

use looptop_symbols::{self as symbols, BlockingCall, Call, Origin, Resolution, Row};

use super::{Culprit, Resolved, StackFrame};

impl Resolved {
    /// What is shown of the names that were found for a stack.
    pub fn of(found: &Resolution) -> Self {
        let culprit = symbols::culprit(&found.frames);
        // A poll function by itself, not a call on a stack: it stands for its future.
        let alone = found
            .frames
            .windows(2)
            .all(|w| w[0].address == w[1].address);
        let future = found.future.as_deref().map(symbols::name::shown);
        let own_place = found.future_place.as_ref().filter(|place| place.is_own());
        let future = future.or_else(|| Some(format!("async code at {}", own_place?)));
        let call = |call: BlockingCall| Call {
            kind: call.kind,
            name: call.name.to_owned(),
        };
        let mut frames: Vec<StackFrame> = found
            .frames
            .iter()
            .map(|frame| StackFrame {
                function: match &future {
                    Some(future) if alone => future.clone(),
                    _ => label(frame),
                },
                file: place(frame).0.to_owned(),
                line: place(frame).1,
                plumbing: true,
                culprit: false,
            })
            .collect();
        for row in symbols::fold(&found.frames) {
            if let Row::Frame(position) = row {
                frames[position].plumbing = false;
            }
        }
        if let Some(culprit) = &culprit {
            frames[culprit.frame].culprit = true;
        }
        Self {
            frames,
            culprit: culprit.map(|culprit| Culprit {
                function: culprit.function,
                file: culprit.file.as_deref().unwrap_or_default().to_owned(),
                line: culprit.line.unwrap_or_default(),
                written: found.culprit_place.as_ref().map(ToString::to_string),
                call: culprit.blocking_call.map(call),
                within: culprit.within,
                foreign: culprit.origin != Origin::User,
            }),
            call: symbols::innermost_call(&found.frames).map(call),
            future,
            problem: (!found.problems.is_empty()).then(|| found.problems.join("; ")),
            no_lines: found.no_lines.clone(),
        }
    }
}

/// As a person would write it; a function of the agent's with its whole path, by
/// which a stall is known as the agent's own.
fn label(frame: &symbols::Frame) -> String {
    let full = frame.function.as_deref().map(symbols::name::clean);
    match full {
        Some(path) if path.starts_with("looptop_agent::") => path,
        _ => frame.label(),
    }
}

/// Where its code stands; of a call on a socket the file says the kind of another as
/// likely as that of this one.
fn place(frame: &symbols::Frame) -> (&str, u32) {
    if [symbols::name::RECV, symbols::name::SEND].contains(&&*frame.label()) {
        return ("", 0);
    }
    let file = frame.file.as_deref().unwrap_or_default();
    (file, frame.line.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use symbols::CodeAddress;

    use super::*;

    #[test]
    fn a_poll_function_by_itself_says_its_future() {
        let frame = |function: &str, offset| symbols::Frame {
            function: Some(function.into()),
            file: None,
            source: None,
            line: None,
            inlined: false,
            origin: Origin::Plumbing,
            address: CodeAddress {
                binary: None,
                offset,
            },
        };
        let poll = frame("tokio::runtime::task::raw::poll", 1);
        let run = frame("tokio::runtime::blocking::pool::Inner::run", 2);
        let future = "app::answer::{{closure}}";
        for (frames, future, shown) in [
            (vec![poll.clone()], Some(future), "app::answer"),
            (vec![poll.clone()], None, "tokio::runtime::task::raw::poll"),
            (
                vec![poll, run],
                Some(future),
                "tokio::runtime::task::raw::poll",
            ),
        ] {
            let resolved = Resolved::of(&Resolution {
                frames,
                future: future.map(str::to_owned),
                ..Resolution::default()
            });
            assert_eq!(resolved.frames[0].function, shown);
            assert_eq!(resolved.future.as_deref(), future.map(|_| "app::answer"));
        }
    }
}
