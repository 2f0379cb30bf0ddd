//! From chains to shapes, which many tasks share, and what is each task's own.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{Hold, ResourceFact, Shape, ShapeNode, TaskAt, Want, What};
use crate::awaits::{Chain, Held, Leaf, Node, Wanted};
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

/// Takes a chain apart; `None` where nothing is known of its future.
pub(super) fn parts(chain: &Chain) -> Option<Parts> {
    let mut parts = Parts {
        shape: Shape {
            nodes: Vec::new(),
            by: chain.by,
            cut: chain.cut.as_ref().map(|cut| cut.to_string().into()),
        },
        wants: Vec::new(),
        holds: Vec::new(),
        resources: Vec::new(),
    };
    add(chain.root.as_ref()?, 0, chain.is_certain, &mut parts);
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
        queued: wanted.queued,
        senders: wanted.senders,
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
        name: held.resource.clone(),
    }
}
