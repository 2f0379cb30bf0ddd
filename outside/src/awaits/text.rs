//! Chains as text.

use std::fmt::Write;
use std::time::Duration;

use looptop_symbols::name;

use super::chain::{Chain, Held, Interest, Leaf, Link, Node, NodeKind, Role, Wanted};
use super::names::path_of;
use crate::waits::ResourceKind;

/// Characters of a name.
const MAX_NAME: usize = 120;

/// A chain, a line for each future, each indented below the one that awaits it. `now` is
/// the system's monotonic clock, for timers.
pub fn text(chain: &Chain, now: Duration) -> String {
    let mut text = String::new();
    match &chain.root {
        Some(root) => add(&mut text, root, 0, now),
        None => text.push_str("nothing is known of its future\n"),
    }
    if let Some(cut) = &chain.cut {
        let _ = writeln!(text, "({cut})");
    }
    text
}

fn add(text: &mut String, node: &Node, depth: usize, now: Duration) {
    let _ = writeln!(text, "{:1$}{2}", "", depth * 2, node_text(node, now));
    for held in &node.holds {
        let _ = writeln!(text, "{:1$}holds {2}", "", depth * 2 + 4, held_text(held));
    }
    for child in &node.children {
        add(text, child, depth + 1, now);
    }
}

/// One future in a line.
pub fn node_text(node: &Node, now: Duration) -> String {
    let mut text = match node.link {
        Link::Awaited => String::new(),
        Link::NotStarted => "not yet polled: ".to_owned(),
        Link::Kept => "kept, not polled: ".to_owned(),
    };
    let named = match node.kind {
        NodeKind::AsyncBlock => format!("async block in {}", short(path_of(&node.name))),
        NodeKind::Select if node.is_of_macro() => "select".to_owned(),
        NodeKind::Join if node.is_of_macro() => "join".to_owned(),
        NodeKind::Select => format!("any of {}", short(path_of(&node.name))),
        NodeKind::Join => format!("all of {}", short(path_of(&node.name))),
        NodeKind::AsyncFn | NodeKind::Wrapper | NodeKind::Combinator => short(path_of(&node.name)),
        NodeKind::Leaf => String::new(),
    };
    text.push_str(&named);
    if let Some(leaf) = &node.leaf {
        text.push_str(&leaf_text(leaf, now));
    } else if node.kind == NodeKind::Leaf {
        text.push_str(&short(path_of(&node.name)));
    }
    if let Some(location) = &node.location {
        let below = if node.by_macro { "below " } else { "" };
        let _ = write!(text, " ({below}{location})");
    }
    text
}

fn short(path: &str) -> String {
    let short = name::short_future(path);
    short.chars().take(MAX_NAME).collect()
}

fn leaf_text(leaf: &Leaf, now: Duration) -> String {
    match leaf {
        Leaf::Resource(wanted) => wanted_text(wanted),
        Leaf::Task { id: Some(id), .. } => format!("waits for the end of task {id}"),
        Leaf::Task { id: None, .. } => "waits for the end of a task".to_owned(),
        Leaf::Timer { due } => match due.checked_sub(now) {
            Some(left) => format!("waits for a timer, {:.1} s left", left.as_secs_f64()),
            None => "waits for a timer that is due".to_owned(),
        },
        Leaf::Socket { fd, interest } => {
            let fd = fd.map_or_else(
                || "a descriptor".to_owned(),
                |fd| format!("descriptor {fd}"),
            );
            let interest = match interest {
                Interest::Readable => " to be readable",
                Interest::Writable => " to be writable",
                Interest::Unknown => "",
            };
            format!("waits for {fd}{interest}")
        }
        Leaf::Never => "never ends by itself".to_owned(),
    }
}

fn wanted_text(wanted: &Wanted) -> String {
    let kind = called(wanted.kind, wanted.name.as_deref());
    let at = wanted.address;
    let mut text = match wanted.kind {
        ResourceKind::Semaphore | ResourceKind::RwLock => {
            format!("waits for {} of {kind} {at:#x}", permits(wanted.amount))
        }
        ResourceKind::Mpsc if wanted.senders.is_none() => {
            format!("waits for room in {kind} {at:#x}")
        }
        ResourceKind::Oneshot if wanted.amount == 0 => {
            format!("waits until nobody receives from {kind} {at:#x}")
        }
        _ => format!("waits for {kind} {at:#x}"),
    };
    let mut facts = Vec::new();
    let mut fact = |number: Option<u64>, what: &str| {
        facts.extend(number.map(|number| format!("{number} {what}")));
    };
    if matches!(wanted.kind, ResourceKind::Semaphore | ResourceKind::RwLock) {
        fact(wanted.free, "free");
        fact((wanted.given > 0).then_some(wanted.given), "given already");
    }
    fact(wanted.queued, "queued");
    if wanted.kind == ResourceKind::Mpsc {
        fact(wanted.total, "places");
    }
    fact(wanted.senders, "senders");
    fact(wanted.arrived, "arrived");
    if !facts.is_empty() {
        let _ = write!(text, ", {}", facts.join(", "));
    }
    text
}

/// What a resource is, and what it is called.
fn called(kind: ResourceKind, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{} `{name}`", kind.name()),
        None => kind.name().to_owned(),
    }
}

fn permits(number: u64) -> String {
    if number == 1 {
        "1 permit".to_owned()
    } else {
        format!("{number} permits")
    }
}

fn held_text(held: &Held) -> String {
    let kind = called(held.kind, held.resource.as_deref());
    let (at, name) = (held.address, &held.name);
    match held.role {
        Role::Guard if held.amount == 1 => format!("{kind} {at:#x} in `{name}`"),
        Role::Guard => format!("{kind} {at:#x} in `{name}`, {} permits", held.amount),
        Role::Receiver => format!("the receiver of {kind} {at:#x} in `{name}`"),
        Role::Sender => format!("a sender of {kind} {at:#x} in `{name}`"),
    }
}
