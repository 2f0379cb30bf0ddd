//! From futures that were polled to the nodes of a chain.

use std::sync::Arc;

use looptop_symbols::types::Location;

use super::super::chain::{Leaf, Node, NodeKind, Wanted};
use super::super::leaf;
use super::super::names::{JOIN, SELECT, TRANSPARENT, WRAPPERS, is_poll_fn};
use super::sites::{What, is_short, last_part, module_of, type_of};
use super::tree::{Polled, Tree};
use super::wanted::Accesses;
use crate::space::Space;
use crate::waits::ResourceKind;

/// What only passes polls on, of which no name says more.
const PASSES_ON: &str = "core::future::future::Future";

/// A closure that is polled.
const POLL_FN: &str = "core::future::poll_fn::PollFn<>";

/// Futures within each other that are taken.
const MAX_DEPTH: usize = 192;

/// Makes the nodes of a tree.
pub(super) struct Nodes<'a, S> {
    pub(super) tree: &'a Tree,
    pub(super) accesses: &'a Accesses<'a, S>,
    /// A list polls only those of its futures that were woken.
    pub(super) has_list: bool,
    /// How many futures are around the next one.
    pub(super) depth: usize,
    /// There are more within each other than are taken.
    pub(super) is_cut: bool,
}

/// The async functions around a future, the innermost last.
pub(super) type Around<'a> = &'a [Arc<str>];

impl<S: Space> Nodes<'_, S> {
    /// The task's own future; `None` where nothing names it.
    pub(super) fn root(&mut self) -> Option<Node> {
        let mut roots = Vec::new();
        for root in &self.tree.roots {
            roots.extend(self.nodes(*root, &[]));
        }
        // What is seen beside the first one is of the same function.
        let first = roots.iter().position(Node::is_telling).unwrap_or(0);
        (first < roots.len()).then(|| roots.swap_remove(first))
    }

    /// The node of a future, or those of its children where it only wraps them.
    fn nodes(&mut self, at: usize, around: Around<'_>) -> Vec<Node> {
        if self.depth >= MAX_DEPTH {
            self.is_cut = true;
            return Vec::new();
        }
        self.depth += 1;
        let nodes = self.nodes_at(at, around);
        self.depth -= 1;
        nodes
    }

    fn nodes_at(&mut self, at: usize, around: Around<'_>) -> Vec<Node> {
        let polled = &self.tree.all[at];
        let path = path(self.tree, polled);
        if is_poll_fn(&path) {
            return vec![self.poll_fn(at, &path, around)];
        }
        if matches!(polled.function.what, What::Body | What::Closure) {
            return self.async_code(at, &path, around);
        }
        let mut children = self.children(at, around);
        let begins = |list: &[&str]| list.iter().any(|name| path.starts_with(name));
        let kind = if leaf::is(&path) {
            NodeKind::Leaf
        } else if begins(SELECT) {
            NodeKind::Select
        } else if begins(JOIN) {
            // One that has ended is asked, and has nothing within.
            children.retain(|child| !is_empty(child));
            NodeKind::Join
        } else {
            let is_one = is_of_one(&children);
            match children.len() {
                0 => NodeKind::Leaf,
                _ if is_one && begins(WRAPPERS) => NodeKind::Wrapper,
                // Several are of as many of it.
                _ if begins(TRANSPARENT) => return children,
                1 => NodeKind::Combinator,
                _ if is_one => NodeKind::Combinator,
                _ => NodeKind::Select,
            }
        };
        let is_list = matches!(kind, NodeKind::Select | NodeKind::Join);
        self.has_list |= is_list && children.is_empty();
        let mut node = Node::new(kind, &path, None);
        if kind == NodeKind::Leaf {
            node.leaf = self.accesses.leaf(self.tree, at, &path, around);
            if is_message(node.leaf.as_ref()) {
                let messages = self.accesses.messages(self.tree, at, around);
                if messages.len() > 1 {
                    return messages
                        .into_iter()
                        .map(|leaf| with_leaf(&node, leaf))
                        .collect();
                }
            }
            if node.leaf.is_some() {
                children.clear();
            }
        }
        node.children = children;
        one_each(node)
    }

    fn children(&mut self, at: usize, around: Around<'_>) -> Vec<Node> {
        let children = &self.tree.all[at].children;
        let nodes = children.iter().flat_map(|child| self.nodes(*child, around));
        in_order(nodes.collect())
    }

    fn async_code(&mut self, at: usize, path: &Arc<str>, around: Around<'_>) -> Vec<Node> {
        let mut inner = around.to_vec();
        inner.push(Arc::clone(path));
        let mut node = Node::new(kind_of_code(path), path, None);
        (node.location, node.by_macro) = location(self.tree, at);
        node.children = self.children(at, &inner);
        // What was asked once more, and had nothing to ask.
        if node.children.iter().any(|child| !is_empty(child)) {
            node.children.retain(|child| !is_empty(child));
        }
        if node.children.is_empty() {
            let several = self.accesses.sockets(self.tree, at, &inner);
            let leaves = if several.is_empty() {
                self.inlined(at, path, &inner)
            } else {
                several
            };
            let leaves: Vec<Node> = leaves.into_iter().map(leaf_node).collect();
            if leaves.len() > 1 {
                // Whichever comes first.
                let mut any = Node::new(NodeKind::Select, &Arc::from(POLL_FN), None);
                any.children = leaves;
                node.children.push(any);
            } else {
                node.children = leaves;
            }
        }
        one_each(node)
    }

    /// What async code waits for that has no futures within: they were inlined into it.
    fn inlined(&self, at: usize, path: &Arc<str>, inner: Around<'_>) -> Vec<Leaf> {
        let leaf = self.accesses.leaf(self.tree, at, path, inner);
        let several = match leaf {
            None => self.accesses.tasks(self.tree, at, inner),
            Some(Leaf::Socket { .. }) => self.accesses.sockets_asked(self.tree, at, inner),
            Some(_) if is_message(leaf.as_ref()) => self.accesses.messages(self.tree, at, inner),
            Some(_) => Vec::new(),
        };
        if several.is_empty() {
            return leaf.into_iter().collect();
        }
        several
    }

    /// The closures of `select!` and `join!`, and what else is a closure that is polled.
    fn poll_fn(&mut self, at: usize, path: &Arc<str>, around: Around<'_>) -> Node {
        let tree = self.tree;
        let mut kind = None;
        let mut branches = Vec::new();
        for child in &tree.all[at].children {
            let polled = &tree.all[*child];
            // The closure itself is no future.
            let maker = polled.function.name.strip_suffix("::{{closure}}");
            let is_closure = polled.function.what == What::Closure
                && maker.is_some()
                && maker == around.last().map(|name| &**name);
            let within: &[usize] = if is_closure {
                kind = kind.or_else(|| polled.seen_at.iter().find_map(macro_of));
                &polled.children
            } else {
                std::slice::from_ref(child)
            };
            for branch in within {
                let polled = &tree.all[*branch];
                let by = [&polled.via, &polled.asked_at];
                kind = kind.or_else(|| by.into_iter().flatten().find_map(macro_of));
                branches.extend(self.nodes(*branch, around));
            }
        }
        // What has ended; in what is no macro, what was asked once more.
        let has_others = branches.iter().any(|branch| !is_empty(branch));
        if kind == Some(NodeKind::Join) || (kind.is_none() && has_others) {
            branches.retain(|branch| !is_empty(branch));
        }
        if branches.is_empty() {
            return self.poll_fn_alone(at, path, around);
        }
        let branches = in_order(branches);
        // What it does with them is not known: of `select!` and `join!` the macro is.
        let kind = kind.unwrap_or(NodeKind::Combinator);
        let mut node = Node::new(kind, path, None);
        node.children = branches;
        node
    }

    /// A closure that is polled, and polls nothing that has a name.
    fn poll_fn_alone(&mut self, at: usize, path: &Arc<str>, around: Around<'_>) -> Node {
        let mut node = Node::new(NodeKind::Leaf, path, None);
        let owner = around.last().map_or("", |name| name);
        if owner.starts_with("tokio::task::join_set::") {
            node.kind = NodeKind::Select;
            let tasks = self.accesses.tasks(self.tree, at, around).into_iter();
            node.children = tasks.map(leaf_node).collect();
            self.has_list |= node.children.is_empty();
            return node;
        }
        let several = self.accesses.sockets(self.tree, at, around);
        if !several.is_empty() {
            node.kind = NodeKind::Select;
            node.children = several.into_iter().map(leaf_node).collect();
            return node;
        }
        node.leaf = self.accesses.leaf(self.tree, at, path, around);
        if !owner.starts_with("tokio::") {
            // It may be a `select!` of which this is one branch.
            node.children.extend(node.leaf.take().map(leaf_node));
            node.kind = NodeKind::Combinator;
        }
        node
    }
}

/// Futures in one order, whichever is polled first: `select!` begins with one by chance, and
/// `join!` with each in turn.
fn in_order(mut nodes: Vec<Node>) -> Vec<Node> {
    let line = |node: &Node| node.location.as_ref().map(|at| at.line);
    nodes.sort_by(|one, other| (&one.name, line(one)).cmp(&(&other.name, line(other))));
    nodes
}

/// What is waited for by a future that has no name, as it was inlined.
pub(super) fn leaf_node(leaf: Leaf) -> Node {
    let name = match &leaf {
        Leaf::Resource(wanted) if wanted.kind.has_permits() => {
            "tokio::sync::batch_semaphore::Acquire"
        }
        Leaf::Task { .. } => "tokio::runtime::task::join::JoinHandle",
        Leaf::Timer { .. } => "tokio::time::sleep::Sleep",
        _ => PASSES_ON,
    };
    let mut node = Node::new(NodeKind::Leaf, &Arc::from(name), None);
    node.leaf = Some(leaf);
    node
}

/// A node that is the same but for what it waits for.
fn with_leaf(node: &Node, leaf: Leaf) -> Node {
    let mut node = node.clone();
    node.leaf = Some(leaf);
    node
}

/// What a receiver of a channel with many senders waits for.
fn is_message(leaf: Option<&Leaf>) -> bool {
    let is = |wanted: &Wanted| wanted.kind == ResourceKind::Mpsc && wanted.senders.is_some();
    matches!(leaf, Some(Leaf::Resource(wanted)) if is(wanted))
}

/// What has ended: it only passes polls on, and there was nothing to pass them on to.
fn is_empty(node: &Node) -> bool {
    node.kind == NodeKind::Leaf
        && node.leaf.is_none()
        && TRANSPARENT.iter().any(|name| node.name.starts_with(name))
}

/// What a macro's code makes, by the file that it is in.
fn macro_of(at: &Arc<Location>) -> Option<NodeKind> {
    const FILES: &[(&str, NodeKind)] = &[
        ("macros/select.rs", NodeKind::Select),
        ("macros/join.rs", NodeKind::Join),
        ("macros/try_join.rs", NodeKind::Join),
        ("async_await/select_mod.rs", NodeKind::Select),
        ("async_await/join_mod.rs", NodeKind::Join),
    ];
    let file = FILES.iter().find(|(file, _)| at.source.ends_with(file));
    file.map(|(_, kind)| *kind)
}

/// What a future is called: its type, or the path of its function.
fn path(tree: &Tree, polled: &Polled) -> Arc<str> {
    let name = &polled.function.name;
    let module = || {
        let mut children = polled.children.iter();
        let by_child = || children.find_map(|child| tree.all[*child].asked_at.as_ref());
        let source = polled.source.as_ref().or(polled.seen_at.first());
        let source = source.or_else(by_child)?;
        module_of(&source.source).or_else(|| {
            let file = source.source.rsplit('/').next()?;
            Some(file.strip_suffix(".rs").unwrap_or(file).to_owned())
        })
    };
    match &polled.function.what {
        What::Poll(of) => Arc::clone(of),
        What::ShortPoll => {
            let ty = module().and_then(|module| type_of(&module));
            ty.map_or_else(|| Arc::from(PASSES_ON), Arc::from)
        }
        What::Body if is_short(name) => match module() {
            Some(module) => Arc::from(format!("{module}::{}", last_part(name))),
            None => Arc::clone(name),
        },
        _ => Arc::clone(name),
    }
}

/// Whether async code is a function's, or a block within one.
fn kind_of_code(path: &str) -> NodeKind {
    let last = last_part(path);
    let is_block = last.starts_with("{async_block")
        || last.starts_with("{async_closure")
        || last.contains("gen")
        || path.ends_with("{{closure}}::{{closure}}");
    if is_block {
        NodeKind::AsyncBlock
    } else {
        NodeKind::AsyncFn
    }
}

/// The await at which async code is suspended: where it polls the next future. Where that
/// was not seen, where the code begins, and `true`.
fn location(tree: &Tree, at: usize) -> (Option<Location>, bool) {
    let polled = &tree.all[at];
    let children = polled.children.iter().rev();
    let mut asked_at = children.filter_map(|child| tree.all[*child].asked_at.as_ref());
    if let Some(at) = asked_at.next() {
        return (Some(Location::clone(at)), false);
    }
    // It begins with a jump that is written where it begins itself.
    let seen = polled.seen_at.iter().rev();
    let first = seen.clone().min_by_key(|at| at.line);
    let last = first.and_then(|first| seen.clone().find(|at| at.line != first.line));
    let location = last.or(first).map(|at| Location::clone(at));
    (location, last.is_none() && first.is_some())
}

/// Whether nodes are the same but for what they wait for: of one function, which was
/// inlined into that of a list, or of one that was polled by it.
fn is_of_one(nodes: &[Node]) -> bool {
    let mut others = nodes.iter().skip(1);
    let first = nodes.first();
    first.is_some_and(|first| {
        others.all(|other| {
            other.name == first.name && other.location == first.location && other.kind == first.kind
        })
    })
}

/// Async code, and what only wraps, awaits one future: where several were seen that are the
/// same, there are several of it.
fn one_each(mut node: Node) -> Vec<Node> {
    let is_one = matches!(
        node.kind,
        NodeKind::AsyncFn | NodeKind::AsyncBlock | NodeKind::Wrapper | NodeKind::Combinator
    );
    if !is_one || node.children.len() < 2 || !is_of_one(&node.children) {
        return vec![node];
    }
    let children = std::mem::take(&mut node.children);
    let copies = children.into_iter().map(|child| {
        let mut copy = node.clone();
        copy.children.push(child);
        copy
    });
    copies.collect()
}
