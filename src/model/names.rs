//! Names of stacks to and from a recording.

use std::{collections::HashMap, sync::Arc};

use looptop_wire::proto::{NamedCulprit, NamedFrame, NamedStack};

use super::{Call, CallKind, Culprit, Resolved, StackFrame, StallId, StallLog};

/// Distinct stacks in one frame; each is some 10 KB at most.
const STACKS_PER_PART: usize = 32;

/// A stack that several stalls share, for a recording.
pub fn named_stack(stalls: Vec<StallId>, stack: &Resolved) -> NamedStack {
    let frame = |frame: &StackFrame| NamedFrame {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
        plumbing: frame.plumbing,
        culprit: frame.culprit,
    };
    let culprit = |culprit: &Culprit| {
        let call = culprit.call.as_ref();
        NamedCulprit {
            function: culprit.function.clone(),
            file: culprit.file.clone(),
            line: culprit.line,
            call: call.map(|call| call.name.clone()).unwrap_or_default(),
            call_kind: call
                .map(|call| format!("{:?}", call.kind))
                .unwrap_or_default(),
        }
    };
    NamedStack {
        stalls: stalls.into_iter().map(|id| id.0).collect(),
        frames: stack.frames.iter().map(frame).collect(),
        culprit: stack.culprit.as_ref().map(culprit),
        problem: stack.problem.clone().unwrap_or_default(),
    }
}

/// All names of a log, each distinct stack once, in parts for a frame each.
pub(super) fn parts(log: &StallLog) -> Vec<Vec<NamedStack>> {
    let mut places = HashMap::<&Resolved, usize>::new();
    let mut stacks: Vec<(&Resolved, Vec<StallId>)> = Vec::new();
    for (stall, resolved) in log
        .iter()
        .filter_map(|s| Some((s.id, s.resolved.as_deref()?)))
    {
        let place = *places.entry(resolved).or_insert_with(|| {
            stacks.push((resolved, Vec::new()));
            stacks.len() - 1
        });
        stacks[place].1.push(stall);
    }
    let named: Vec<NamedStack> = stacks
        .into_iter()
        .map(|(stack, stalls)| named_stack(stalls, stack))
        .collect();
    named
        .chunks(STACKS_PER_PART)
        .map(<[NamedStack]>::to_vec)
        .collect()
}

impl StallLog {
    /// Takes over the names of a recording.
    pub(super) fn name(&mut self, names: &[NamedStack]) {
        for named in names {
            let stack = Arc::new(stack(named));
            for stall in &named.stalls {
                self.resolve_recorded(StallId(*stall), Arc::clone(&stack));
            }
        }
    }
}

/// Frames of a stack that are taken, and bytes of a name.
const MAX_FRAMES: usize = 2_048;
const MAX_NAME: usize = 4 << 10;

fn text(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_NAME)].to_owned()
}

fn stack(named: &NamedStack) -> Resolved {
    let frame = |frame: &NamedFrame| StackFrame {
        function: text(&frame.function),
        file: text(&frame.file),
        line: frame.line,
        plumbing: frame.plumbing,
        culprit: frame.culprit,
    };
    Resolved {
        frames: named.frames.iter().take(MAX_FRAMES).map(frame).collect(),
        culprit: named.culprit.as_ref().map(culprit),
        problem: (!named.problem.is_empty()).then(|| text(&named.problem)),
    }
}

fn culprit(named: &NamedCulprit) -> Culprit {
    let kind = CallKind::ALL
        .into_iter()
        .find(|kind| format!("{kind:?}") == named.call_kind);
    Culprit {
        function: text(&named.function),
        file: text(&named.file),
        line: named.line,
        call: kind.map(|kind| Call {
            kind,
            name: text(&named.call),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for kind in CallKind::ALL {
            let resolved = Resolved {
                frames: vec![
                    StackFrame {
                        function: "std::thread::sleep".into(),
                        plumbing: true,
                        ..StackFrame::default()
                    },
                    StackFrame {
                        function: "app::work".into(),
                        file: "src/main.rs".into(),
                        line: 7,
                        plumbing: false,
                        culprit: true,
                    },
                ],
                culprit: Some(Culprit {
                    function: "app::work".into(),
                    file: "src/main.rs".into(),
                    line: 7,
                    call: Some(Call {
                        kind,
                        name: "std::thread::sleep".into(),
                    }),
                }),
                problem: Some("libc is stripped".into()),
            };
            assert_eq!(stack(&named_stack(vec![StallId(1)], &resolved)), resolved);
        }
        assert_eq!(stack(&NamedStack::default()), Resolved::default());
    }
}
