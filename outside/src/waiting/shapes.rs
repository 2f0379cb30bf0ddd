//! From chains to shapes, which many tasks share, and what is each task's own.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{Hold, ResourceFact, Shape, ShapeNode, TaskAt, Want, What};
use crate::awaits::{By, Chain, Held, Leaf, Node, Wanted};
use crate::waits::ResourceKind;

/// Shapes that are kept: a program has few, whatever its memory looks like.
const MAX_SHAPES: usize = 16_384;
/// Nodes of all of them.
const MAX_NODES: usize = 1 << 20;
/// Wants and holds of one task.
const MAX_WANTS: usize = 256;

/// The shapes that were seen, by their numbers from 1.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: HashMap<Arc<Shape>, u32>,
    nodes: usize,
    /// Those that nobody has taken.
    new: Vec<(u32, Arc<Shape>)>,
}

impl Shapes {
    /// The number of a shape; `None` where there are too many.
    pub(super) fn number(&mut self, shape: Shape) -> Option<u32> {
        if let Some(known) = self.known.get(&shape) {
            return Some(*known);
        }
        let nodes = self.nodes + shape.nodes.len();
        if self.known.len() >= MAX_SHAPES || nodes > MAX_NODES {
            return None;
        }
        self.nodes = nodes;
        let number = self.known.len() as u32 + 1;
        let shape = Arc::new(shape);
        self.known.insert(Arc::clone(&shape), number);
        self.new.push((number, shape));
        Some(number)
    }

    /// Those that are new.
    pub(super) fn take(&mut self) -> Vec<(u32, Arc<Shape>)> {
        std::mem::take(&mut self.new)
    }
}

/// A chain, taken apart.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) shape: Shape,
    pub(super) wants: Vec<Want>,
    pub(super) holds: Vec<Hold>,
    pub(super) resources: Vec<ResourceFact>,
}

/// Takes a chain apart; `None` where nothing is known of its future. `poll` is the function
/// that polls its task.
pub(super) fn parts(chain: &Chain, poll: u64) -> Option<Parts> {
    let root = chain.root.as_ref()?;
    let mut parts = Parts {
        shape: Shape {
            nodes: Vec::new(),
            by: chain.by,
            cut: chain.cut.as_ref().map(|cut| cut.to_string().into()),
            poll: (chain.by == By::Interpreter).then_some(poll),
        },
        wants: Vec::new(),
        holds: Vec::new(),
        resources: Vec::new(),
    };
    add(root, 0, chain.is_certain, &mut parts);
    Some(parts)
}

fn add(node: &Node, depth: u32, is_certain: bool, parts: &mut Parts) {
    let at = parts.shape.nodes.len() as u32;
    parts.shape.nodes.push(ShapeNode {
        depth,
        kind: node.kind,
        name: Arc::clone(&node.name),
        location: node.location.clone(),
        by_macro: node.by_macro,
        link: node.link,
    });
    if let Some(leaf) = &node.leaf
        && parts.wants.len() < MAX_WANTS
    {
        parts.wants.push(Want {
            node: at,
            what: what(leaf),
        });
        if let Leaf::Resource(wanted) = leaf {
            parts.resources.push(wanted_resource(wanted));
        }
    }
    for held in node.holds.iter().take(MAX_WANTS) {
        if parts.holds.len() < MAX_WANTS {
            parts.resources.push(held_resource(held));
            parts.holds.push(Hold {
                node: at,
                resource: held.address,
                role: held.role,
                amount: held.amount,
                name: Some(Arc::clone(&held.name)),
                is_certain,
            });
        }
    }
    for child in &node.children {
        add(child, depth + 1, is_certain, parts);
    }
}

fn what(leaf: &Leaf) -> What {
    match leaf {
        Leaf::Resource(wanted) => of_resource(wanted),
        Leaf::Task { id, header } => What::Task(id.map(|id| TaskAt {
            header: *header,
            id,
        })),
        Leaf::Timer { due } => What::Timer { due: *due },
        Leaf::Socket { fd, interest } => What::Socket {
            descriptor: *fd,
            interest: *interest,
            object: None,
        },
        Leaf::Never => What::Never,
    }
}

fn of_resource(wanted: &Wanted) -> What {
    let resource = wanted.address;
    match wanted.kind {
        kind if kind.has_permits() => What::Permits {
            resource,
            amount: wanted.amount,
            given: wanted.given,
        },
        // A sender that waits asks for permits, a receiver for nothing that is counted.
        ResourceKind::Mpsc if wanted.senders.is_none() => What::Room { resource },
        ResourceKind::Mpsc => What::Message { resource },
        ResourceKind::Oneshot if wanted.amount > 0 => What::Message { resource },
        _ => What::Other { resource },
    }
}

fn wanted_resource(wanted: &Wanted) -> ResourceFact {
    ResourceFact {
        address: wanted.address,
        kind: wanted.kind,
        free: wanted.free,
        total: wanted.total,
        queued: wanted.queued.or(wanted.arrived),
        senders: wanted.senders,
        holders_known: None,
        name: wanted.name.clone(),
    }
}

fn held_resource(held: &Held) -> ResourceFact {
    ResourceFact {
        address: held.address,
        kind: held.kind,
        free: None,
        total: held.total,
        queued: None,
        senders: None,
        holders_known: None,
        name: held.resource.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::awaits::NodeKind;

    /// A task's future that waits for a timer.
    fn sleeps(name: &str, by: By) -> Chain {
        let mut root = Node::new(NodeKind::Combinator, &Arc::from(name), None);
        let mut timer = Node::new(NodeKind::Leaf, &Arc::from("timer"), None);
        timer.leaf = Some(Leaf::Timer {
            due: Duration::from_secs(1),
        });
        root.children.push(timer);
        Chain {
            task: 7,
            root: Some(root),
            by,
            cut: None,
            is_scheduled: false,
            is_certain: false,
            wakers_known: false,
        }
    }

    #[test]
    fn tasks_share_a_shape_where_they_are_of_one_type() {
        let mut shapes = Shapes::default();
        for (what, name, by, poll, expected) in [
            ("of a stripped program", "", By::Interpreter, 0x1000, 1),
            ("another of its type", "", By::Interpreter, 0x1000, 1),
            ("one of another type", "", By::Interpreter, 0x2000, 2),
            (
                "an async block",
                "app::{{closure}}",
                By::Interpreter,
                0x3000,
                3,
            ),
            (
                "another beside it",
                "app::{{closure}}",
                By::Interpreter,
                0x4000,
                4,
            ),
            (
                "again the first",
                "app::{{closure}}",
                By::Interpreter,
                0x3000,
                3,
            ),
            // Its name is that of its type.
            ("by types", "app::{async_block#0}", By::Types, 0x5000, 5),
            (
                "by another function",
                "app::{async_block#0}",
                By::Types,
                0x6000,
                5,
            ),
        ] {
            let parts = parts(&sleeps(name, by), poll).expect("a future");
            assert_eq!(shapes.number(parts.shape), Some(expected), "{what}");
        }
        assert_eq!(shapes.take().len(), 5);
    }
}
