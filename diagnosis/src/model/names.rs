//! Names of stacks to and from a recording.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use looptop_symbols::{Call, CallKind};
use looptop_wire::{
    proto::CodeAddress,
    recorded::{Address, NamedCulprit, NamedFrame, NamedStack},
};

use super::{Culprit, Model, Resolved, StackFrame, StallId};

/// Distinct stacks in one frame; each is some 10 KB at most.
const STACKS_PER_PART: usize = 32;

/// Whose names a stack's are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StackOf {
    /// Those of a stall's most informative stack.
    Stall(StallId),
    /// Those of all that have this very stack and are no stall: the holder of a
    /// lock, a thread that a shutdown waits for, a poll function.
    Addresses(Arc<[CodeAddress]>),
}

/// Names of the stacks that are none of a stall, kept so that the same stack has
/// them at once when it comes again.
#[derive(Debug, Clone, Default)]
pub(super) struct StackNames(HashMap<Arc<[CodeAddress]>, Arc<Resolved>>);

/// Such stacks that are remembered; then those are forgotten.
const MAX_STACKS: usize = 1_024;

/// A stack that several share, for a recording.
pub fn named_stack(owners: Vec<StackOf>, stack: &Resolved) -> NamedStack {
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
            call_kind: call.map(kind_name).unwrap_or_default(),
            within: culprit.within.clone().unwrap_or_default(),
            foreign: culprit.foreign,
            written: culprit.written.clone().unwrap_or_default(),
        }
    };
    let call = stack.call.as_ref();
    let mut named = NamedStack {
        frames: stack.frames.iter().map(frame).collect(),
        culprit: stack.culprit.as_ref().map(culprit),
        problem: stack.problem.clone().unwrap_or_default(),
        call: call.map(|call| call.name.clone()).unwrap_or_default(),
        call_kind: call.map(kind_name).unwrap_or_default(),
        future: stack.future.clone().unwrap_or_default(),
        no_lines: stack.no_lines.clone().unwrap_or_default(),
        ..NamedStack::default()
    };
    for owner in owners {
        match owner {
            StackOf::Stall(id) => named.stalls.push(id.0),
            StackOf::Addresses(addresses) => {
                named.addresses = addresses.iter().map(recorded_address).collect();
            }
        }
    }
    named
}

fn recorded_address(at: &CodeAddress) -> Address {
    Address {
        module: at.module,
        offset: at.offset,
    }
}

fn code_address(at: &Address) -> CodeAddress {
    CodeAddress {
        module: at.module,
        offset: at.offset,
    }
}

fn kind_name(call: &Call) -> String {
    format!("{:?}", call.kind)
}

/// All names that a model has, those of stalls each distinct stack once, in parts
/// for a frame each.
pub(super) fn parts(model: &Model) -> Vec<Vec<NamedStack>> {
    let mut places = HashMap::<&Resolved, usize>::new();
    let mut stacks: Vec<(&Resolved, Vec<StackOf>)> = Vec::new();
    for (stall, resolved) in model
        .stalls
        .iter()
        .filter_map(|s| Some((s.id, s.resolved.as_deref()?)))
    {
        let place = *places.entry(resolved).or_insert_with(|| {
            stacks.push((resolved, Vec::new()));
            stacks.len() - 1
        });
        stacks[place].1.push(StackOf::Stall(stall));
    }
    let order = |stack: &[CodeAddress]| -> Vec<(u32, u64)> {
        stack.iter().map(|at| (at.module, at.offset)).collect()
    };
    let others: BTreeMap<_, (&[CodeAddress], &Resolved)> = model
        .other_stacks()
        .filter_map(|(stack, resolved)| Some((order(stack), (stack, resolved?))))
        .collect();
    let others = others
        .into_values()
        .map(|(stack, resolved)| (resolved, vec![StackOf::Addresses(stack.into())]));
    let named: Vec<NamedStack> = stacks
        .into_iter()
        .chain(others)
        .map(|(stack, owners)| named_stack(owners, stack))
        .collect();
    named
        .chunks(STACKS_PER_PART)
        .map(<[NamedStack]>::to_vec)
        .collect()
}

impl Model {
    /// The stacks that are none of a stall, with the names that they have; the
    /// same one may come several times.
    pub fn other_stacks(&self) -> impl Iterator<Item = (&[CodeAddress], Option<&Resolved>)> {
        let holders = self.stalls.iter().filter_map(|s| s.holder.as_deref());
        let holders = holders.map(|h| (&*h.stack.frames, h.resolved.as_deref()));
        let waits = self.runtimes.iter().flat_map(|r| &r.shutdown_waits);
        let waits = waits.map(|w| (&*w.stack.frames, w.resolved.as_deref()));
        let cells = self.ended_cells.values();
        let cells = cells.map(|c| (std::slice::from_ref(&c.poll), c.resolved.as_deref()));
        let all = holders.chain(waits).chain(cells);
        all.filter(|(stack, _)| !stack.is_empty())
    }

    /// Gives a stack its names, unless a recording did.
    pub fn resolve(&mut self, owner: &StackOf, resolved: Arc<Resolved>) {
        match owner {
            StackOf::Stall(id) => self.stalls.resolve(*id, resolved),
            StackOf::Addresses(stack) => {
                self.remember(stack, resolved, true);
                self.name_others();
            }
        }
    }

    /// Takes over the names that stacks have in `other`, a model of the same
    /// session.
    pub fn adopt_names(&mut self, other: &Model) {
        self.stalls.adopt_names(&other.stalls);
        for (stack, resolved) in &other.stack_names.0 {
            self.remember(stack, Arc::clone(resolved), false);
        }
        self.name_others();
    }

    /// Takes over the names of a recording.
    pub(super) fn name(&mut self, names: &[NamedStack]) {
        for named in names {
            let stack = Arc::new(stack(named));
            for stall in &named.stalls {
                self.stalls
                    .resolve_recorded(StallId(*stall), Arc::clone(&stack));
            }
            if !named.addresses.is_empty() && named.addresses.len() <= MAX_FRAMES {
                let addresses = named.addresses.iter().map(code_address).collect();
                self.remember(&addresses, stack, true);
            }
        }
        self.name_others();
    }

    fn remember(&mut self, stack: &Arc<[CodeAddress]>, resolved: Arc<Resolved>, newer: bool) {
        let known = &mut self.stack_names.0;
        if known.len() >= MAX_STACKS {
            known.clear();
        }
        if newer || !known.contains_key(stack) {
            known.insert(Arc::clone(stack), resolved);
        }
    }

    /// Gives the stacks that are none of a stall the names that are known.
    fn name_others(&mut self) {
        let known = &self.stack_names.0;
        if known.is_empty() {
            return;
        }
        let is_new = |names: &Option<Arc<Resolved>>, known: &Arc<Resolved>| {
            names
                .as_ref()
                .is_none_or(|names| !Arc::ptr_eq(names, known))
        };
        for holder in self.stalls.holders_mut() {
            if let Some(names) = known.get(&*holder.stack.frames)
                && is_new(&holder.resolved, names)
            {
                Arc::make_mut(holder).resolved = Some(Arc::clone(names));
            }
        }
        for wait in self.runtimes.iter_mut().flat_map(|r| &mut r.shutdown_waits) {
            let names = known.get(&*wait.stack.frames).cloned();
            wait.resolved = names.or(wait.resolved.take());
        }
        for cells in self.ended_cells.values_mut() {
            let names = known.get(std::slice::from_ref(&cells.poll)).cloned();
            cells.resolved = names.or(cells.resolved.take());
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
        call: call(&named.call_kind, &named.call),
        future: some(&named.future),
        problem: some(&named.problem),
        no_lines: some(&named.no_lines),
    }
}

fn some(named: &str) -> Option<String> {
    (!named.is_empty()).then(|| text(named))
}

fn call(kind: &str, name: &str) -> Option<Call> {
    let kind = CallKind::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == kind)?;
    Some(Call {
        kind,
        name: text(name),
    })
}

fn culprit(named: &NamedCulprit) -> Culprit {
    Culprit {
        function: text(&named.function),
        file: text(&named.file),
        line: named.line,
        written: some(&named.written),
        call: call(&named.call_kind, &named.call),
        within: some(&named.within),
        foreign: named.foreign,
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
                    written: Some("src/main.rs:3".into()),
                    call: Some(Call {
                        kind,
                        name: "std::thread::sleep".into(),
                    }),
                    within: Some("bcrypt::hash".into()),
                    foreign: true,
                }),
                call: Some(Call {
                    kind,
                    name: "nanosleep".into(),
                }),
                future: Some("app::serve".into()),
                problem: Some("libc is stripped".into()),
                no_lines: Some("no line".into()),
            };
            assert_eq!(
                stack(&named_stack(vec![StackOf::Stall(StallId(1))], &resolved)),
                resolved
            );
        }
        assert_eq!(stack(&NamedStack::default()), Resolved::default());
    }
}
