//! An await chain as it is read: the application's own futures, and of the rest how much
//! there is of whose.
//!
//! ```text
//! Handler::run                  src/server.rs:324   select!, any of 2
//! ├ Shutdown::recv              src/shutdown.rs:44
//! │ └ waits for ...
//! └ Connection::read            src/connection.rs:72
//!   └ … 3 of tokio, tower
//!     └ waits for ...
//! ```

use looptop_symbols::name;

use crate::{
    diagnose::waits::{Whose, function_words, polled_wants, whose},
    model::{AwaitKind, AwaitLink, AwaitNode, Model, TaskWait, brief_path},
};

/// A row of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Row {
    /// The lines of the tree before it.
    pub(in crate::app) rails: String,
    /// The same before further lines of it.
    pub(in crate::app) below: String,
    /// What it shows.
    pub(in crate::app) what: What,
}

/// What a row of a chain shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum What {
    /// A future, by its place among the nodes, and how it waits for those below.
    Future {
        node: usize,
        is_own: bool,
        how: String,
    },
    /// So many futures of these crates.
    Folded { count: usize, crates: Vec<String> },
    /// One of the task's holds.
    Hold(usize),
    /// One of the task's wants.
    Want(usize),
    /// So many more futures beside those above it.
    More(usize),
}

/// Columns that the lines of a tree take at most: what is deeper stands below what is
/// above it.
const MAX_RAILS: usize = 24;
/// Futures beside each other that are shown at most.
const MAX_BESIDE: usize = 200;
/// The same of those that wait at one line, unless the whole of a chain is wanted.
const MAX_ALIKE: usize = 3;

/// The rows of a chain: `whole`, or with what is not the application's own folded.
pub(in crate::app) fn rows(model: &Model, wait: &TaskWait, whole: bool) -> Vec<Row> {
    let nodes = &wait.shape.nodes;
    let mut tree = Tree {
        model,
        wait,
        whole,
        own: nodes
            .iter()
            .map(|node| whose(model, node) == Whose::Application)
            .collect(),
        children: children(nodes),
        rows: Vec::new(),
    };
    if !nodes.is_empty() {
        tree.add(&Item::Future(0), "", None);
    }
    tree.rows
}

/// The children of each node, in one pass.
fn children(nodes: &[AwaitNode]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); nodes.len()];
    let mut above: Vec<usize> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        above.truncate(node.depth as usize);
        if let Some(parent) = above.last() {
            children[*parent].push(at);
        }
        above.push(at);
    }
    children
}

/// What a future is called: its path without arguments.
pub(in crate::app) fn future_name(model: &Model, node: &AwaitNode) -> String {
    let whole = model.text(node.future);
    let path = name::shown(whole);
    match node.kind {
        _ if whole.is_empty() => "a future without a name".to_owned(),
        AwaitKind::AsyncBlock => format!("async block in {path}"),
        _ => path,
    }
}

/// Branches of a chain that a line names.
const MAX_NAMED: usize = 4;

/// The application's own futures of a chain in one line, each awaiting the next; where it
/// parts, the branches beside each other, "…" for those of which none is the application's:
/// "`Handler::run` > (`Shutdown::recv` | `Connection::read`)". Of branches with `|` any lets it go
/// on, with `&` all are needed.
pub(in crate::app) fn own_text(model: &Model, wait: &TaskWait) -> String {
    let nodes = &wait.shape.nodes;
    let (_, all) = polled_wants(wait);
    own_below(model, nodes, &children(nodes), all, 0)
}

fn own_below(
    model: &Model,
    nodes: &[AwaitNode],
    children: &[Vec<usize>],
    all: bool,
    at: usize,
) -> String {
    let node = &nodes[at];
    let polled = children[at].iter().filter(|child| {
        let link = nodes[**child].link;
        !matches!(link, AwaitLink::Kept | AwaitLink::NotStarted)
    });
    let texts = polled.map(|child| own_below(model, nodes, children, all, *child));
    let mut texts: Vec<String> = texts.collect();
    let count = texts.len();
    texts.sort_by_key(String::is_empty);
    texts.dedup();
    let below = match texts.as_slice() {
        [] => String::new(),
        [one] if one.is_empty() && count > 1 => how(model, node, count, true),
        [one] => one.clone(),
        several => {
            let all = match node.kind {
                AwaitKind::Select => false,
                AwaitKind::Join => true,
                _ => all,
            };
            let named = several
                .iter()
                .take(MAX_NAMED)
                .map(|text| match text.as_str() {
                    "" => "…",
                    text => text,
                });
            let mut named: Vec<&str> = named.collect();
            if several.len() > MAX_NAMED && named.last() != Some(&"…") {
                named.push("…");
            }
            format!("({})", named.join(if all { " & " } else { " | " }))
        }
    };
    let is_own = whose(model, node) == Whose::Application;
    let own = is_own.then(|| short(&function_words(model, node)));
    match (own.filter(|own| !own.is_empty()), below.as_str()) {
        (Some(own), "") => own,
        (Some(own), below) => format!("{own} > {below}"),
        (None, _) => below,
    }
}

/// The last two parts of a path, which name a function where its module is known.
fn short(path: &str) -> String {
    let path = path.split(" + ").next().unwrap_or(path);
    brief_path(path).to_owned()
}

/// Macros such as `select!` make a closure of what they poll.
pub(in crate::app) fn is_of_macro(model: &Model, node: &AwaitNode) -> bool {
    let name = model.text(node.future);
    [
        "core::future::poll_fn::PollFn",
        "futures_util::future::poll_fn::PollFn",
    ]
    .iter()
    .any(|path| name.starts_with(path))
}

/// How a future waits for so many others: "select!, any of 2", with its name where it has
/// no row of its own.
fn how(model: &Model, node: &AwaitNode, count: usize, is_named: bool) -> String {
    let (makro, of) = match node.kind {
        AwaitKind::Select => ("select!", "any"),
        AwaitKind::Join => ("join!", "all"),
        _ => return String::new(),
    };
    let of = format!("{of} of {count}");
    if is_of_macro(model, node) {
        return format!("{makro}, {of}");
    }
    let path = name::clean(model.text(node.future));
    match path.rsplit("::").next() {
        Some(last) if !last.is_empty() && is_named => format!("{last}, {of}"),
        _ => of,
    }
}

/// They are the same, as far as can be said without what is below them.
fn is_alike(one: &AwaitNode, other: &AwaitNode) -> bool {
    one.future.is_some()
        && (one.future, one.location, one.link) == (other.future, other.location, other.link)
}

/// What stands below a future.
#[derive(Debug, Clone, Copy)]
enum Item {
    Future(usize),
    Hold(usize),
    Want(usize),
    More(usize),
}

struct Tree<'a> {
    model: &'a Model,
    wait: &'a TaskWait,
    whole: bool,
    own: Vec<bool>,
    children: Vec<Vec<usize>>,
    rows: Vec<Row>,
}

impl Tree<'_> {
    /// Adds an item, and all below it. `above` are the lines before it; `last` says
    /// whether others follow beside it, and is `None` of the root.
    fn add(&mut self, item: &Item, above: &str, last: Option<bool>) {
        let (rails, below) = match last {
            None => (String::new(), String::new()),
            // Too deep for more lines.
            Some(_) if above.chars().count() >= MAX_RAILS => {
                (format!("{above}└ "), above.to_owned())
            }
            Some(true) => (format!("{above}└ "), format!("{above}  ")),
            Some(false) => (format!("{above}├ "), format!("{above}│ ")),
        };
        let (what, items) = match *item {
            Item::Future(node) => self.future(node),
            Item::Hold(at) => (What::Hold(at), Vec::new()),
            Item::Want(at) => (What::Want(at), Vec::new()),
            Item::More(count) => (What::More(count), Vec::new()),
        };
        self.rows.push(Row {
            rails,
            below: below.clone(),
            what,
        });
        let count = items.len();
        for (n, item) in items.iter().enumerate() {
            self.add(item, &below, Some(n + 1 == count));
        }
    }

    /// What a future is shown as, and what stands below it.
    fn future(&self, node: usize) -> (What, Vec<Item>) {
        let run = self.folded(node);
        if let Some(deepest) = run.last().copied() {
            let what = What::Folded {
                count: run.len(),
                crates: self.crates(&run),
            };
            return (what, self.below(deepest, &self.children[deepest]));
        }
        let nodes = &self.wait.shape.nodes;
        let (by, waits_for) = self.waits_by(node);
        let what = What::Future {
            node,
            is_own: self.own[node],
            how: how(self.model, &nodes[by], waits_for.len(), by != node),
        };
        (what, self.below(node, waits_for))
    }

    /// The future that says how one waits for several, and these: it, or the only one
    /// that it awaits, which then needs no row.
    fn waits_by(&self, node: usize) -> (usize, &[usize]) {
        let branches = |at: usize| {
            let kind = self.wait.shape.nodes[at].kind;
            matches!(kind, AwaitKind::Select | AwaitKind::Join)
        };
        if let [only] = self.children[node][..]
            && !self.whole
            && branches(only)
            && !branches(node)
            && self.is_plain(only)
            && self.children[only].len() > 1
        {
            return (only, &self.children[only]);
        }
        (node, &self.children[node])
    }

    fn below(&self, node: usize, children: &[usize]) -> Vec<Item> {
        let mut items = self.own_items(node);
        let nodes = &self.wait.shape.nodes;
        let mut alike = 0;
        for (n, child) in children.iter().enumerate() {
            let before = n.checked_sub(1).map(|n| &nodes[children[n]]);
            let is_alike = before.is_some_and(|before| is_alike(before, &nodes[*child]));
            alike = if is_alike { alike + 1 } else { 0 };
            let is_left_out = n >= MAX_BESIDE || (!self.whole && alike >= MAX_ALIKE);
            if is_left_out {
                match items.last_mut() {
                    Some(Item::More(count)) => *count += 1,
                    _ => items.push(Item::More(1)),
                }
                continue;
            }
            let wanted = self.own_items(*child);
            // What is waited for says all that the future in which it is would.
            let alone = self.is_foldable(*child) && self.children[*child].is_empty();
            if alone && !wanted.is_empty() {
                items.extend(wanted);
            } else {
                items.push(Item::Future(*child));
            }
        }
        items
    }

    /// What a future itself holds, and waits for.
    fn own_items(&self, node: usize) -> Vec<Item> {
        let at = node as u32;
        let holds = self.wait.holds.iter().enumerate();
        let holds = holds.filter(|(_, hold)| hold.node == at);
        let wants = self.wait.wants.iter().enumerate();
        let wants = wants.filter(|(_, want)| want.node == at);
        holds
            .map(|(n, _)| Item::Hold(n))
            .chain(wants.map(|(n, _)| Item::Want(n)))
            .collect()
    }

    /// It is awaited, and holds nothing.
    fn is_plain(&self, node: usize) -> bool {
        let link = self.wait.shape.nodes[node].link;
        let holds = self.wait.holds.iter().any(|hold| hold.node == node as u32);
        !matches!(link, AwaitLink::Kept | AwaitLink::NotStarted) && !holds
    }

    fn is_foldable(&self, node: usize) -> bool {
        // Where nothing is the application's own, the task's future stands for it.
        let is_needed = node == 0 && !self.own.contains(&true);
        !self.whole
            && !self.own[node]
            && !is_needed
            && self.children[node].len() <= 1
            && self.is_plain(node)
    }

    /// The run of futures from one on that become one row.
    fn folded(&self, node: usize) -> Vec<usize> {
        let mut run = Vec::new();
        let mut at = node;
        while self.is_foldable(at) {
            run.push(at);
            match self.children[at][..] {
                [only] if !self.wants_something(at) => at = only,
                _ => break,
            }
        }
        run
    }

    fn wants_something(&self, node: usize) -> bool {
        self.wait.wants.iter().any(|want| want.node == node as u32)
    }

    /// The crates of some futures, each once.
    fn crates(&self, nodes: &[usize]) -> Vec<String> {
        let mut crates: Vec<String> = Vec::new();
        for node in nodes {
            let whole = self.model.text(self.wait.shape.nodes[*node].future);
            let path = name::clean(whole);
            let krate = path.split("::").next().unwrap_or_default();
            if path.contains("::") && !crates.iter().any(|known| known == krate) {
                crates.push(krate.to_owned());
            }
        }
        crates
    }
}
