//! From a future down to what it waits for.

use std::collections::HashSet;
use std::sync::Arc;

use looptop_symbols::types::{Kind, Location, TypeId, Variant};
use looptop_unwind::Memory;

use super::chain::{Leaf, Link, Node, NodeKind};
use super::named::Ways;
use super::names::{
    JOIN, SELECT, TRANSPARENT, WRAPPERS, async_kind, is_bookkeeping, is_dull, is_poll_fn,
    may_be_future,
};
use super::view::{MAX_ELEMENTS, Reader, View};
use super::{guard, leaf, names};
use crate::tasks::Types;

/// Futures within futures.
const MAX_DEPTH: usize = 192;
/// Futures of one chain.
const MAX_NODES: usize = 1_024;

/// Walks one task's future.
pub(super) struct Walk<'a, 'b, M: ?Sized> {
    pub(super) reader: &'b mut Reader<'a, M>,
    ways: &'b mut Ways,
    pub(super) tasks: &'b Types,
    /// The async fns and blocks around, with the fields of the variant in which each is.
    pub(super) around: Vec<Around>,
    /// The same, and the one whose variables are looked at.
    variables: Vec<Around>,
    /// What was come along already.
    seen: HashSet<(u64, usize)>,
    nodes: usize,
    pub(super) cut: bool,
}

/// An async fn or block around a future.
#[derive(Debug, Clone)]
pub(super) struct Around {
    pub(super) name: Arc<str>,
    /// The fields of the variant in which it is.
    pub(super) fields: View,
}

impl<'a, 'b, M: Memory + ?Sized> Walk<'a, 'b, M> {
    pub(super) fn new(reader: &'b mut Reader<'a, M>, ways: &'b mut Ways, tasks: &'b Types) -> Self {
        Self {
            reader,
            ways,
            tasks,
            around: Vec::new(),
            variables: Vec::new(),
            seen: HashSet::new(),
            nodes: 0,
            cut: false,
        }
    }

    /// The future at a place; `None` where there is none that waits.
    pub(super) fn future(&mut self, of: &View, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            self.cut = true;
            return None;
        }
        if !self.reader.step() {
            return None;
        }
        if of.ty.kind == Kind::Pointer {
            return self.behind_pointer(of, depth);
        }
        if let Some(kind) = async_kind(&of.ty.name) {
            return self.async_code(of, kind, depth);
        }
        if leaf::is(&of.ty.name) || leaf::is_stream(&of.ty.name) {
            if !self.is_new(of) {
                return None;
            }
            return Some(leaf::of(self, of));
        }
        if of.ty.kind != Kind::Struct || is_dull(&of.ty.name) {
            return None;
        }
        if is_poll_fn(&of.ty.name) {
            return self.poll_fn(of, depth);
        }
        if of.is("futures_util::future::future::shared::Shared<") {
            let shared = self.reader.field(of, "inner")?;
            let shared = self.reader.find_type(&shared, "alloc::sync::Arc<")?;
            let shared = self.reader.target(&shared)?;
            let inner = self.reader.find(&shared, "future_or_output")?;
            return self.future(&inner, depth + 1);
        }
        if of.is("tokio_util::util::maybe_dangling::MaybeDangling<") {
            // It is in a union, whose fields nobody describes.
            let mut parameters = of.ty.parameters.iter();
            let (_, inner) = parameters.find(|(name, _)| &**name == "T")?;
            let inner = self.reader.view(*inner, of.at)?;
            return self.future(&inner, depth + 1);
        }
        if of.is("tokio::signal::reusable_box::ReusableBoxFuture<") {
            let boxed = self.reader.field(of, "boxed")?;
            let pointer = self.reader.field(&boxed, "pointer")?;
            let inner = self.reader.dynamic(&pointer)?;
            return self.future(&inner, depth + 1);
        }
        if of.is("futures_util::stream::futures_unordered::FuturesUnordered<") {
            let children = self.unordered(of, depth);
            return self.put_together(of, children);
        }
        if self.reader.field(of, "vtable").is_some() {
            let inner = self.reader.dynamic(of)?;
            return self.future(&inner, depth + 1);
        }
        if let Some((elements, length)) = self.reader.elements(of) {
            self.cut |= length > MAX_ELEMENTS;
            let elements = elements.iter();
            let children = elements.filter_map(|element| self.future(element, depth + 1));
            let children = children.collect();
            return self.put_together(of, children);
        }
        let (mut children, mut holds) = (Vec::new(), Vec::new());
        for (name, field) in self.reader.fields(of) {
            if guard::is_guard(&field) {
                guard::held(self, &field, &name, true, &mut holds);
            } else if !is_bookkeeping(&name) {
                children.extend(self.future(&field, depth + 1));
            }
        }
        if children.is_empty() {
            return self.own_socket(of);
        }
        if holds.is_empty() {
            return self.put_together(of, children);
        }
        // Such as what limits how many calls a service takes.
        let mut node = Node::new(kind_of_some(of, children.len()), &of.ty.name, Some(of.at));
        (node.children, node.holds) = (children, holds);
        Some(node)
    }

    /// What the resource at an address is called, by the innermost of the application's own
    /// async code that leads to it.
    pub(super) fn name_of(&mut self, address: u64) -> Option<Arc<str>> {
        let own = self.variables.iter().rev();
        let mut own = own.filter(|around| !around.name.starts_with("tokio::"));
        let (reader, ways) = (&mut *self.reader, &mut *self.ways);
        own.find_map(|around| ways.name(reader, &around.name, &around.fields, address))
    }

    /// Whether it was not come along before.
    fn is_new(&mut self, of: &View) -> bool {
        self.nodes += 1;
        let ty = Arc::as_ptr(&of.ty).addr();
        self.seen.insert((of.at, ty))
    }

    fn async_code(&mut self, of: &View, kind: NodeKind, depth: usize) -> Option<Node> {
        if !self.is_new(of) {
            return None;
        }
        let (variant, fields) = self.reader.variant(of)?;
        let mut node = Node::new(kind, &of.ty.name, Some(of.at));
        match &*variant.name {
            "0" => {
                node.link = Link::NotStarted;
                return Some(node);
            }
            // It has ended, or panicked.
            "1" | "2" => return None,
            _ => {}
        }
        (node.location, node.by_macro) = written(of, &variant);
        node.state = variant.number;
        let around = Around {
            name: Arc::clone(&of.ty.name),
            fields: fields.clone(),
        };
        self.variables.push(around.clone());
        self.around.push(around);
        if let Some(awaitee) = self.reader.field(&fields, "__awaitee") {
            node.children.extend(self.future(&awaitee, depth + 1));
            // What is neither known nor has anything within: then its type is all.
            if node.children.is_empty() {
                let known = leaf::by_place(self, &awaitee);
                let awaitee = self.reader.behind(&awaitee).unwrap_or(awaitee);
                let unknown = || Node::new(NodeKind::Leaf, &awaitee.ty.name, Some(awaitee.at));
                node.children.push(known.unwrap_or_else(unknown));
            }
        }
        self.around.pop();
        self.keeps(of, &fields, kind, &mut node, depth);
        self.variables.pop();
        Some(node)
    }

    /// What lives across the await beside what is awaited.
    fn keeps(&mut self, of: &View, fields: &View, kind: NodeKind, node: &mut Node, depth: usize) {
        let own = of.ty.name.starts_with("tokio::");
        // What an async fn was called with is described where it was at first, in each
        // variant. What of it lives on is described a second time, as a variable.
        let moved = if kind == NodeKind::AsyncFn {
            self.upvars(of)
        } else {
            HashSet::new()
        };
        for (number, member) in fields.ty.members.iter().enumerate() {
            let others = &fields.ty.members[..number];
            let again = others.iter().any(|other| other == member);
            let lives = !moved.contains(&(member.at, member.ty))
                || fields.ty.members[number + 1..]
                    .iter()
                    .any(|other| other == member);
            // What the compiler has named is moved on at once, or is a second time there.
            if member.name.starts_with("__") || again || !lives {
                continue;
            }
            let Some(at) = fields.at.checked_add(member.at) else {
                continue;
            };
            let Some(field) = self.reader.view(member.ty, at) else {
                continue;
            };
            guard::held(self, &field, &member.name, own, &mut node.holds);
            let is_future = field.ty.kind == Kind::Struct && may_be_future(&field.ty.name);
            if is_future
                && let Some(mut kept) = self.future(&field, depth + 1)
                && matters(&kept)
            {
                if kept.link == Link::Awaited {
                    kept.link = Link::Kept;
                }
                node.children.push(kept);
            }
        }
    }

    /// Where an async fn has what it was called with, before it begins.
    fn upvars(&mut self, of: &View) -> HashSet<(u64, TypeId)> {
        let unresumed = of.ty.variants.as_ref().and_then(|variants| {
            let first = variants.all.iter().find(|variant| &*variant.name == "0")?;
            self.reader.types.get(first.ty)
        });
        let members = unresumed.iter().flat_map(|ty| ty.members.iter());
        members.map(|member| (member.at, member.ty)).collect()
    }

    /// References and boxes that own or poll a future lead on; others lead anywhere.
    fn behind_pointer(&mut self, of: &View, depth: usize) -> Option<Node> {
        let polls = of.is("&mut ") || of.is("alloc::boxed::Box<");
        if !polls {
            return None;
        }
        let target = self.reader.target(of)?;
        let leads_on = may_be_future(&target.ty.name)
            || leaf::is(&target.ty.name)
            || target.ty.kind == Kind::Pointer
            || target.is("core::pin::Pin<")
            || target.is("alloc::boxed::Box<");
        if !leads_on {
            return None;
        }
        self.future(&target, depth + 1)
    }

    /// The closures of `select!` and `join!`.
    fn poll_fn(&mut self, of: &View, depth: usize) -> Option<Node> {
        let closure = self.reader.fields(of).into_iter().next()?.1;
        let captured = self.reader.fields(&closure);
        let named = |name: &str| {
            let found = captured.iter().find(|(field, _)| {
                let field = field.strip_prefix("_ref__").unwrap_or(field);
                field == name
            });
            found.map(|(_, view)| view.clone())
        };
        let futures = named("futures").and_then(|futures| self.reader.behind(&futures));
        if let Some(futures) = futures {
            let disabled = named("disabled").and_then(|mask| self.reader.behind(&mask));
            let mask = disabled.as_ref().and_then(|mask| self.reader.number(mask));
            let kind = if disabled.is_some() {
                NodeKind::Select
            } else {
                NodeKind::Join
            };
            let mut node = Node::new(kind, &of.ty.name, Some(of.at));
            for (number, (_, branch)) in self.reader.fields(&futures).iter().enumerate() {
                let bit = |mask: u64| mask.checked_shr(number as u32).unwrap_or(0) & 1;
                if mask.is_some_and(|mask| bit(mask) == 1) {
                    continue;
                }
                if let Some(child) = self.future(branch, depth + 1) {
                    node.children.push(child);
                } else if kind == NodeKind::Select {
                    // It is polled, and may go on for a reason that is not seen.
                    let unknown = || Node::new(NodeKind::Leaf, &branch.ty.name, Some(branch.at));
                    let known = leaf::by_place(self, branch);
                    node.children.push(known.unwrap_or_else(unknown));
                }
            }
            return Some(node);
        }
        if let Some(known) = leaf::by_place(self, of) {
            return Some(known);
        }
        // The macros of `futures` capture each by itself.
        let mut children = Vec::new();
        let mut is_join = true;
        for (name, field) in &captured {
            let Some(inner) = self.reader.behind(field) else {
                continue;
            };
            // Where an end of a channel is all that it has, it is polled itself.
            let is_end = leaf::is_receiver(&inner.ty.name);
            if !may_be_future(&inner.ty.name) && !is_end {
                continue;
            }
            let child = if is_end {
                Some(leaf::of(self, &inner))
            } else {
                self.future(&inner, depth + 1)
            };
            if let Some(child) = child {
                let name = name.strip_prefix("_ref__").unwrap_or(name);
                is_join &= name.starts_with("_fut");
                children.push(child);
            }
        }
        let is_of_tokio = |around: &Around| around.name.starts_with("tokio::");
        if children.len() == 1 && self.around.last().is_some_and(is_of_tokio) {
            return children.pop();
        }
        let kind = match children.len() {
            0 => return self.captured_alone(&captured),
            _ if is_join => NodeKind::Join,
            1 => NodeKind::Combinator,
            _ => NodeKind::Select,
        };
        let mut node = Node::new(kind, &of.ty.name, Some(of.at));
        node.children = children;
        Some(node)
    }

    /// What a closure polls that captures nothing else, and of which nothing more is known.
    fn captured_alone(&mut self, captured: &[(Box<str>, View)]) -> Option<Node> {
        let [(_, only)] = captured else {
            return None;
        };
        let only = self.reader.behind(only)?;
        let is_future = only.ty.kind == Kind::Struct && may_be_future(&only.ty.name);
        is_future.then(|| Node::new(NodeKind::Leaf, &only.ty.name, Some(only.at)))
    }

    /// The futures of a `FuturesUnordered`, along its list.
    fn unordered(&mut self, of: &View, depth: usize) -> Vec<Node> {
        let mut children = Vec::new();
        let Some(head) = self.reader.field(of, "head_all") else {
            return children;
        };
        let mut at = self.reader.number(&head).unwrap_or(0);
        let Some(task) = self.pointee(&head) else {
            return children;
        };
        for _ in 0..MAX_ELEMENTS {
            if at == 0 {
                return children;
            }
            let Some(item) = self.reader.view(task, at) else {
                return children;
            };
            let future = self.reader.field(&item, "future");
            children.extend(future.and_then(|future| self.future(&future, depth + 1)));
            let next = self.reader.field(&item, "next_all");
            let next = next.and_then(|next| self.reader.number(&next));
            // The place of one that is being put in.
            at = next.filter(|next| *next != item.at).unwrap_or(0);
        }
        self.cut = true;
        children
    }

    /// What the pointer within a value points to.
    fn pointee(&mut self, of: &View) -> Option<TypeId> {
        if of.ty.kind == Kind::Pointer {
            return of.ty.target;
        }
        let fields = self.reader.fields(of);
        fields.iter().find_map(|(_, field)| self.pointee(field))
    }

    /// What stands around children that were found.
    fn put_together(&mut self, of: &View, mut children: Vec<Node>) -> Option<Node> {
        let begins = |list: &[&str]| list.iter().any(|name| of.ty.name.starts_with(name));
        let kind = if begins(SELECT) {
            NodeKind::Select
        } else if begins(JOIN) {
            NodeKind::Join
        } else {
            kind_of_some(of, children.len())
        };
        let is_one = matches!(kind, NodeKind::Combinator | NodeKind::Wrapper);
        let passes_on = is_one && begins(TRANSPARENT);
        match children.len() {
            0 => None,
            1 if passes_on => children.pop(),
            _ => {
                self.nodes += 1;
                let mut node = Node::new(kind, &of.ty.name, Some(of.at));
                // A list within a join is the join's.
                let is_list = |child: &Node| {
                    child.kind == NodeKind::Select
                        && child.location.is_none()
                        && child.leaf.is_none()
                };
                let only_list = matches!(&children[..], [child] if is_list(child));
                if only_list && !is_one {
                    node.children = std::mem::take(&mut children[0].children);
                } else {
                    node.children = children;
                }
                Some(node)
            }
        }
    }

    /// A future with a socket of its own, in which nothing else is found, probably waits
    /// for that.
    fn own_socket(&mut self, of: &View) -> Option<Node> {
        if !of.is("tokio::io::poll_evented::PollEvented<") {
            return None;
        }
        self.nodes += 1;
        Some(leaf::of_socket(self, of))
    }
}

/// Whether a future that is not polled may keep others waiting: by what its async code has,
/// or by its place in a queue.
fn matters(kept: &Node) -> bool {
    let itself = match (kept.kind, &kept.leaf) {
        (NodeKind::AsyncFn | NodeKind::AsyncBlock, _) => true,
        (_, Some(Leaf::Resource(wanted))) => wanted.kind.has_permits(),
        _ => false,
    };
    itself || kept.children.iter().any(matters)
}

/// What something is of which its name says nothing else.
fn kind_of_some(of: &View, children: usize) -> NodeKind {
    if children > 1 {
        // Any of them may be what it waits for.
        NodeKind::Select
    } else if WRAPPERS.iter().any(|name| of.ty.name.starts_with(name)) {
        NodeKind::Wrapper
    } else {
        NodeKind::Combinator
    }
}

/// Where an await is written, and whether that is a macro: then where its function begins
/// is said.
fn written(of: &View, variant: &Variant) -> (Option<Location>, bool) {
    let variants = of
        .ty
        .variants
        .iter()
        .flat_map(|variants| variants.all.iter());
    let mut begin = variants.filter(|variant| &*variant.name == "0");
    let begin = begin.find_map(|variant| variant.location.as_ref());
    match (&variant.location, begin) {
        (Some(at), Some(begin)) if at.source != begin.source => (Some(begin.clone()), true),
        // A macro has written all of it.
        (Some(at), _) if names::is_of_another_crate(&of.ty.name, &at.source) => {
            (Some(at.clone()), true)
        }
        (at, _) => (at.clone(), false),
    }
}
