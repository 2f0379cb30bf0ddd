//! Lines of the awaits that macros wrote.
//!
//! Types say of such an await where the macro is written; the poll of one task, interpreted,
//! says where it is used. What it said of one task holds for all others of the same async
//! code that are at the same await.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_symbols::types::Location;

use super::chain::{Chain, Node, NodeKind};
use super::names::{is_of_another_crate, path_of};

/// Awaits that are kept.
const MAX_KNOWN: usize = 4_096;
/// So often an await is asked for; a task may have gone on meanwhile.
const MAX_TRIES: u32 = 3;

/// Lines of awaits: by the type of the async code, and its state.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<(Arc<str>, u64), Line>);

#[derive(Debug, Clone)]
enum Line {
    Known(Location),
    /// It was asked for so often.
    Tried(u32),
}

impl Lines {
    /// Whether a poll of the task may say more of its lines.
    pub(super) fn are_wanted(&self, chain: &Chain) -> bool {
        let mut unknown = chain.nodes().filter(|node| node.by_macro);
        unknown.any(|node| {
            let known = node.state.and_then(|state| self.of(node, state));
            matches!(known, None | Some(Line::Tried(..MAX_TRIES)))
        })
    }

    fn of(&self, node: &Node, state: u64) -> Option<&Line> {
        self.0.get(&(Arc::clone(&node.name), state))
    }

    /// Takes what a poll of the same task says.
    pub(super) fn learn(&mut self, chain: &Chain, polled: &Chain) {
        if self.0.len() >= MAX_KNOWN {
            self.0.clear();
        }
        let polled = async_code(polled);
        for (depth, node) in async_code(chain) {
            let (Some(begin), Some(state), true) = (&node.location, node.state, node.by_macro)
            else {
                continue;
            };
            let found = line_of(node, depth, begin, &polled).cloned();
            let known = self.0.entry((Arc::clone(&node.name), state));
            let known = known.or_insert(Line::Tried(0));
            match (found, &mut *known) {
                (Some(location), _) => *known = Line::Known(location),
                (None, Line::Tried(tries)) => *tries += 1,
                (None, Line::Known(_)) => {}
            }
        }
    }

    /// Says in a chain what is known.
    pub(super) fn mend(&self, chain: &mut Chain) {
        let mut nodes: Vec<&mut Node> = chain.root.iter_mut().collect();
        while let Some(node) = nodes.pop() {
            let known = node.state.and_then(|state| self.of(node, state));
            if let (true, Some(Line::Known(location))) = (node.by_macro, known) {
                node.location = Some(location.clone());
                node.by_macro = false;
            }
            nodes.extend(node.children.iter_mut());
        }
    }
}

/// The await at which a poll has seen code, that begins at a place.
fn line_of<'a>(
    node: &Node,
    depth: usize,
    begin: &Location,
    polled: &[(usize, &'a Node)],
) -> Option<&'a Location> {
    let same_file = |at: &Location| at.source == begin.source || at.file == begin.file;
    // Where a macro of another crate wrote all of it, its begin says nothing.
    let is_all_of_macro = is_of_another_crate(&node.name, &begin.source);
    let candidates = polled.iter().filter_map(|(other, node)| {
        let at = node.location.as_ref().filter(|_| !node.by_macro)?;
        let is_behind = is_all_of_macro || (same_file(at) && at.line >= begin.line);
        (*other == depth && is_behind).then_some((*node, at))
    });
    let candidates: Vec<(&Node, &Location)> = candidates.collect();
    let own = function_of(&node.name);
    let by_name = candidates
        .iter()
        .find(|(node, _)| function_of(&node.name) == own);
    // What begins behind is at lines behind.
    let nearest = || candidates.iter().min_by_key(|(_, at)| at.line);
    by_name.or_else(nearest).map(|(_, at)| *at)
}

/// The application's own async code of a chain, and how much of it is around each.
fn async_code(chain: &Chain) -> Vec<(usize, &Node)> {
    let mut found = Vec::new();
    let mut nodes: Vec<(usize, &Node)> = chain.root.iter().map(|root| (0, root)).collect();
    while let Some((depth, node)) = nodes.pop() {
        let is_code = matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
        let is_own = is_code && !node.name.starts_with("tokio::");
        if is_own {
            found.push((depth, node));
        }
        let children = node.children.iter().rev();
        nodes.extend(children.map(|child| (depth + usize::from(is_own), child)));
    }
    found
}

/// The path of the function that async code is of.
fn function_of(name: &str) -> String {
    let parts = path_of(name).split("::");
    let parts = parts.filter(|part| !part.starts_with('{'));
    parts.collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::awaits::{By, Link};

    fn node(name: &str, line: u32, children: Vec<Node>) -> Node {
        let mut node = Node::new(NodeKind::AsyncFn, &Arc::from(name), None);
        node.location = Some(Location {
            file: Arc::from("src/a.rs"),
            source: Arc::from("/home/a/src/a.rs"),
            line,
        });
        node.link = Link::Awaited;
        node.children = children;
        node
    }

    fn chain(by: By, root: Node) -> Chain {
        Chain {
            task: 1,
            root: Some(root),
            by,
            cut: None,
            is_scheduled: false,
            is_certain: true,
            wakers_known: false,
        }
    }

    #[test]
    fn a_poll_says_where_a_macro_is_used() {
        let mut of_macro = node("app::b::{async_fn_env#0}", 20, Vec::new());
        (of_macro.by_macro, of_macro.state) = (true, Some(3));
        let outer = node("app::a::{async_fn_env#0}", 12, vec![of_macro]);
        let mut by_types = chain(By::Types, outer);
        let mut lines = Lines::default();
        assert!(lines.are_wanted(&by_types));
        // Another task's, that is elsewhere, says nothing.
        let elsewhere = node("app::a::{{closure}}", 11, Vec::new());
        lines.learn(&by_types, &chain(By::Interpreter, elsewhere));
        lines.mend(&mut by_types);
        assert!(lines.are_wanted(&by_types));
        let inner = node("a::{async_fn#0}", 24, Vec::new());
        let polled = node("app::a::{{closure}}", 12, vec![inner]);
        lines.learn(&by_types, &chain(By::Interpreter, polled));
        lines.mend(&mut by_types);
        let found: Vec<_> = by_types
            .nodes()
            .map(|node| (node.location.as_ref().unwrap().line, node.by_macro))
            .collect();
        assert_eq!(found, [(12, false), (24, false)]);
        assert!(!lines.are_wanted(&by_types));
    }

    #[test]
    fn what_no_poll_says_is_not_asked_for_ever() {
        let mut of_macro = node("app::b::{async_fn_env#0}", 20, Vec::new());
        (of_macro.by_macro, of_macro.state) = (true, Some(3));
        let by_types = chain(By::Types, of_macro);
        let mut lines = Lines::default();
        let before = node("app::b::{{closure}}", 19, Vec::new());
        for _ in 0..MAX_TRIES {
            assert!(lines.are_wanted(&by_types));
            lines.learn(&by_types, &chain(By::Interpreter, before.clone()));
        }
        assert!(!lines.are_wanted(&by_types));
    }
}
