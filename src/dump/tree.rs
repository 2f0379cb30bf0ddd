//! The futures of tasks that wait alike, for people: a chain stays in one column, and
//! where it parts each branch stands beside the others, down to what it waits for.
//!
//! ```text
//! shop::Handler::run  src/server.rs:324
//! select!, any of 2
//! ├ shop::Shutdown::recv  src/shutdown.rs:44
//! │ waits for message of broadcast channel shutdown (empty, 1 sender)
//! └ shop::Connection::read  src/connection.rs:72
//!   waits for socket 127.0.0.1:6379 <- 127.0.0.1:51234 to read
//! ```

use super::entries::{Group, Node, Wait};

/// Branches beside each other that are shown.
const MAX_BRANCHES: usize = 16;
/// Futures that are named where nothing is known of what is waited for.
const MAX_HINTS: usize = 3;

/// The lines below the one that names the tasks' own future.
pub(super) fn lines(group: &Group) -> Vec<String> {
    let first = own(&group.tree);
    let tree = Tree {
        group,
        children: children(&group.tree),
        first,
    };
    let mut lines = Vec::new();
    draw(&tree.items(0), "", &mut lines);
    if group.waits.is_empty() {
        lines.push(format!(
            "waits for something that is not known{}",
            within(&tree)
        ));
    }
    lines
}

/// The futures of other crates in which nothing more is seen: a hint of what is waited for.
fn within(tree: &Tree<'_>) -> String {
    let nodes = tree.group.tree.iter().enumerate().skip(tree.first + 1);
    let ends = nodes.filter(|(at, node)| node.whose == "plumbing" && tree.children[*at].is_empty());
    let mut names: Vec<&str> = Vec::new();
    for (_, node) in ends {
        if !node.function.is_empty() && !names.contains(&&*node.function) {
            names.push(&node.function);
        }
    }
    names.truncate(MAX_HINTS);
    if names.is_empty() {
        return String::new();
    }
    format!(", in {}", names.join(", "))
}

/// The task's own future among its nodes: not what only wraps it, as tokio's tracing wraps
/// every task.
pub(super) fn own(tree: &[Node]) -> usize {
    let says = |node: &Node| node.kind != "wrapper" || node.whose != "plumbing";
    tree.iter().position(says).unwrap_or(0)
}

/// Where a future waits, behind its name.
pub(super) fn location(node: &Node) -> String {
    match &node.location {
        None => String::new(),
        Some(at) if node.by_macro => format!("  in the fn at {at}"),
        Some(at) => format!("  {at}"),
    }
}

/// A line, those that continue it, and what stands below.
struct Item {
    line: String,
    more: Vec<String>,
    below: Vec<Item>,
    /// It is polled with what is around it.
    is_polled: bool,
}

struct Tree<'a> {
    group: &'a Group,
    children: Vec<Vec<usize>>,
    /// The future that the line above names.
    first: usize,
}

impl Tree<'_> {
    /// What is shown of a future and all below it: of one that only passes on what it
    /// passes on.
    fn items(&self, at: usize) -> Vec<Item> {
        let Some(node) = self.group.tree.get(at) else {
            return Vec::new();
        };
        let waits = self.group.waits.iter().filter(|w| w.node as usize == at);
        let mut below: Vec<Item> = waits.map(of_wait).collect();
        below.extend(
            self.children[at]
                .iter()
                .flat_map(|child| self.items(*child)),
        );
        let branches = below.iter().filter(|item| item.is_polled).count();
        let name = match (node.kind, node.whose) {
            ("select", _) if node.function.contains("timeout") => "timeout".to_owned(),
            ("select", "plumbing") => parted("select!, any", branches),
            ("join", "plumbing") => parted("join!, all", branches),
            // Some future that polls several.
            (_, "plumbing") if self.children[at].len() > 1 && branches > 1 => {
                let of = if self.group.needs_all { "all" } else { "any" };
                format!("{of} of {branches}")
            }
            (_, "plumbing") => return below,
            _ if at <= self.first => return below,
            ("select", _) if branches > 1 => format!("{}, any of {branches}", node.function),
            ("join", _) if branches > 1 => format!("{}, all of {branches}", node.function),
            _ => node.function.clone(),
        };
        let link = match node.link {
            "kept" => "kept and not polled: ",
            "not started" => "not polled yet: ",
            _ => "",
        };
        vec![Item {
            line: format!("{link}{name}{}", location(node)),
            more: Vec::new(),
            below,
            is_polled: link.is_empty(),
        }]
    }
}

fn of_wait(wait: &Wait) -> Item {
    let such = match wait.others {
        0 => String::new(),
        n => format!(" (one of {} such)", n + 1),
    };
    let of_first = |who: &String| match (wait.others, who.strip_prefix("which ")) {
        (0, _) => format!("  {who}"),
        (_, Some(does)) => format!("  the first {does}"),
        (_, None) => format!("  the first: {who}"),
    };
    Item {
        line: format!("waits for {}{such}", wait.what),
        more: wait.held_by.iter().map(of_first).collect(),
        below: Vec::new(),
        is_polled: true,
    }
}

fn parted(of: &str, branches: usize) -> String {
    match of.split_once(',') {
        Some((alone, _)) if branches < 2 => alone.to_owned(),
        _ => format!("{of} of {branches}"),
    }
}

/// The children of each node, in one pass.
fn children(nodes: &[Node]) -> Vec<Vec<usize>> {
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

/// How many times a future awaits just the like, as one that is recursive does, and the
/// innermost of them.
fn repeated(item: &Item) -> (u64, &Item) {
    let (mut times, mut item) = (1, item);
    while let [below] = item.below.as_slice()
        && below.line == item.line
        && item.more.is_empty()
    {
        (times, item) = (times + 1, below);
    }
    (times, item)
}

fn draw(items: &[Item], before: &str, lines: &mut Vec<String>) {
    let shown = items.len().min(MAX_BRANCHES);
    let hidden = items.len() - shown;
    for (n, item) in items[..shown].iter().enumerate() {
        let (times, item) = repeated(item);
        let (rail, below) = match n + 1 {
            _ if items.len() == 1 => ("", ""),
            last if last == items.len() => ("└ ", "  "),
            _ => ("├ ", "│ "),
        };
        let times = match times {
            1 => String::new(),
            times => format!("  ({times} times, each in the one before)"),
        };
        lines.push(format!("{before}{rail}{}{times}", item.line));
        let before = format!("{before}{below}");
        lines.extend(item.more.iter().map(|more| format!("{before}{more}")));
        draw(&item.below, &before, lines);
    }
    if hidden > 0 {
        lines.push(format!("{before}└ and {hidden} more"));
    }
}
