//! Stacks of waiting, for a flame graph: `future;future;wait TASKS`. A task that waits for
//! several things is counted at each, and once more where a part of its chain was not read:
//! the last frame says why.

use std::{collections::BTreeMap, fmt::Write};

use crate::escape::escaped;

use super::entries::{Dump, Group, Node};

pub(super) fn render(dump: &Dump) -> String {
    let mut stacks: BTreeMap<String, u64> = BTreeMap::new();
    for group in &dump.groups {
        for stack in of_group(group) {
            *stacks.entry(stack).or_default() += group.count;
        }
    }
    for without in &dump.without {
        let stack = format!("{};not known", frame(&without.future, None));
        *stacks.entry(stack).or_default() += without.count;
    }
    let mut text = String::new();
    for (stack, count) in stacks {
        let _ = writeln!(text, "{} {count}", escaped(&stack));
    }
    text
}

fn of_group(group: &Group) -> Vec<String> {
    let waits = group.waits.iter().map(|wait| {
        let futures = path(group, wait.node as usize);
        format!("{futures};{}", frame(&wait.asked, None))
    });
    // What was not read of a chain is behind the future that was found last.
    let rest = match &group.cut {
        Some(cut) => Some(format!("not read: {cut}")),
        None if group.waits.is_empty() => Some("not known".to_owned()),
        None => None,
    };
    let rest = rest.map(|why| {
        let futures = path(group, group.tree.len().saturating_sub(1));
        format!("{futures};{}", frame(&why, None))
    });
    waits.chain(rest).collect()
}

/// The futures from the task's own down to the one at `at`; of those that only pass on
/// nothing.
fn path(group: &Group, at: usize) -> String {
    let mut around: Vec<&Node> = Vec::new();
    for node in group.tree.iter().take(at + 1) {
        around.retain(|outer| outer.depth < node.depth);
        around.push(node);
    }
    let told = around.iter().enumerate().filter(|(depth, node)| {
        let parts = matches!(node.kind, "select" | "join");
        *depth == 0 || parts || node.whose != "plumbing"
    });
    let frames = told.map(|(depth, node)| match (node.kind, node.whose) {
        // In a program without names the task's own is known by its address.
        _ if depth == 0 && node.function.is_empty() => frame(&group.future, None),
        ("select", "plumbing") => "select!".to_owned(),
        ("join", "plumbing") => "join!".to_owned(),
        _ => frame(&node.function, node.location.as_deref()),
    });
    frames.collect::<Vec<_>>().join(";")
}

/// A frame without what parts frames.
fn frame(name: &str, at: Option<&str>) -> String {
    let name = match name {
        "" => "?",
        name => name,
    };
    let text = match at {
        Some(at) => format!("{name} ({at})"),
        None => name.to_owned(),
    };
    text.replace(';', ",")
}
