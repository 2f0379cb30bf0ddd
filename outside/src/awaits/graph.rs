//! From chains to who waits for whom.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_symbols::name;

use super::chain::{By, Chain, Held, Leaf, Link, Node, NodeKind, Role, Wanted};
use super::names::path_of;
use crate::waits::{
    Hold, HoldRole, Need, Party, Place, Resource, ResourceKind, Target, Waits, Want,
};

/// Adds what chains say to what is known of waiting and holding.
pub fn waits<'a>(chains: impl IntoIterator<Item = &'a Chain>, into: &mut Waits) {
    let mut functions = Functions::default();
    for chain in chains {
        let party = Party::Task(chain.task);
        let Some(root) = &chain.root else { continue };
        // What is not in the tree may let it go on.
        if chain.cut.is_none() && !chain.is_scheduled {
            let mut need = need(root, None, &mut functions);
            // So may a branch of a `select!` that was inlined, and has no name.
            if chain.by == By::Interpreter && !chain.is_certain {
                let outside = Need::One(Want {
                    target: Target::Outside,
                    place: None,
                });
                need = Need::Any(vec![need, outside]);
            }
            if chain.wakers_known {
                need = Need::All(vec![need, only(chain)]);
            }
            into.wait(party, need);
        }
        holds(root, None, party, chain.is_certain, &mut functions, into);
    }
}

/// One of what a task waits for, where nothing else can wake it.
fn only(chain: &Chain) -> Need {
    let leaves = chain.nodes().filter_map(|node| node.leaf.as_ref());
    let wants = leaves.map(|leaf| Want {
        target: target(leaf),
        place: None,
    });
    Need::Any(wants.map(Need::One).collect())
}

/// What a future needs to go on. `around` is where the innermost of the application's async
/// code waits.
fn need(node: &Node, around: Option<&Place>, functions: &mut Functions) -> Need {
    let own = place(node, functions);
    let around = match &own {
        // Lines of tokio's own help nobody.
        Some(place) if !is_of_tokio(&node.name) => Some(place),
        _ => around,
    };
    if let Some(leaf) = &node.leaf {
        return Need::One(Want {
            target: target(leaf),
            place: around.cloned(),
        });
    }
    let awaited = node
        .children
        .iter()
        .filter(|child| child.link == Link::Awaited);
    let mut needs: Vec<Need> = awaited
        .map(|child| need(child, around, functions))
        .collect();
    let outside = || {
        Need::One(Want {
            target: Target::Outside,
            place: around.cloned(),
        })
    };
    if node.kind == NodeKind::Join {
        return Need::All(needs);
    }
    // It is polled soon, or what it waits for is not known.
    let is_async = matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
    let unstarted = !is_async && node.children.iter().any(|c| c.link == Link::NotStarted);
    if needs.is_empty() || unstarted || !is_whole(node) {
        needs.push(outside());
    }
    if needs.len() == 1 {
        needs.remove(0)
    } else {
        Need::Any(needs)
    }
}

/// Whether what a future may go on for is all among its children.
fn is_whole(node: &Node) -> bool {
    match node.kind {
        NodeKind::AsyncFn | NodeKind::AsyncBlock | NodeKind::Wrapper | NodeKind::Join => true,
        NodeKind::Select => {
            node.name.starts_with("core::future::poll_fn::")
                || node.name.starts_with("tokio::time::timeout::")
        }
        NodeKind::Combinator | NodeKind::Leaf => false,
    }
}

fn target(leaf: &Leaf) -> Target {
    match leaf {
        Leaf::Resource(wanted) => of_resource(wanted),
        Leaf::Task { id: Some(id), .. } => Target::End(Party::Task(*id)),
        Leaf::Task { id: None, .. } | Leaf::Timer { .. } | Leaf::Socket { .. } => Target::Outside,
        Leaf::Never => Target::Never,
    }
}

fn of_resource(wanted: &Wanted) -> Target {
    let resource = wanted.address;
    match wanted.kind {
        kind if kind.has_permits() => Target::Permits {
            resource,
            amount: wanted.amount.saturating_sub(wanted.given),
        },
        // A sender that waits asks for permits, a receiver for nothing that is counted.
        ResourceKind::Mpsc if wanted.senders.is_none() => Target::Room { resource },
        ResourceKind::Mpsc => Target::Message { resource },
        ResourceKind::Oneshot if wanted.amount > 0 => Target::Message { resource },
        _ => Target::Other { resource },
    }
}

/// What a future and those within it hold, and what is known of resources.
fn holds(
    node: &Node,
    around: Option<&Place>,
    party: Party,
    is_certain: bool,
    functions: &mut Functions,
    into: &mut Waits,
) {
    let own = place(node, functions).filter(|_| !is_of_tokio(&node.name));
    let around = own.as_ref().or(around);
    for held in &node.holds {
        into.resource(Resource {
            address: held.address,
            kind: held.kind,
            free: None,
            total: held.total,
            senders: None,
            name: held.resource.clone(),
        });
        into.hold(Hold {
            party,
            resource: held.address,
            role: role(held),
            name: Some(Arc::clone(&held.name)),
            place: around.cloned(),
            is_certain,
        });
    }
    if let Some(Leaf::Resource(wanted)) = &node.leaf {
        into.resource(Resource {
            address: wanted.address,
            kind: wanted.kind,
            free: wanted.free,
            total: wanted.total,
            senders: wanted.senders,
            name: wanted.name.clone(),
        });
        // What it was given so far nobody else gets.
        if wanted.kind.has_permits() && wanted.given > 0 {
            into.hold(Hold {
                party,
                resource: wanted.address,
                role: HoldRole::Permits(wanted.given),
                name: None,
                place: around.cloned(),
                is_certain,
            });
        }
    }
    for child in &node.children {
        holds(child, around, party, is_certain, functions, into);
    }
}

fn role(held: &Held) -> HoldRole {
    match held.role {
        Role::Guard => HoldRole::Permits(held.amount),
        Role::Receiver => HoldRole::Receiver,
        Role::Sender => HoldRole::Sender,
    }
}

fn is_of_tokio(name: &str) -> bool {
    name.starts_with("tokio::")
}

/// Functions as a reader knows them, by where the names of their types are in memory:
/// these are the chains', and stay there meanwhile.
#[derive(Default)]
struct Functions(HashMap<(*const u8, usize), Arc<str>>);

impl Functions {
    fn of(&mut self, name: &str) -> Arc<str> {
        let known = self.0.entry((name.as_ptr(), name.len()));
        let known = known.or_insert_with(|| name::short_future(path_of(name)).into());
        Arc::clone(known)
    }
}

/// Where async code is suspended.
fn place(node: &Node, functions: &mut Functions) -> Option<Place> {
    let location = node.location.as_ref()?;
    Some(Place {
        file: Arc::clone(&location.file),
        line: location.line,
        function: Some(functions.of(&node.name)),
    })
}
