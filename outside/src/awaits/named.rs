//! What a resource is called: the variable that leads to it, and the fields on the way.
//!
//! Of `shop.orders.lock().await` the async fn has a variable `shop`, which leads to a
//! struct in whose field `orders` the lock is: `shop.orders`. A way that was found is tried
//! first in other tasks of the same async fn.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_symbols::types::Kind;
use looptop_unwind::Memory;

use super::guard;
use super::view::{Reader, View};

/// Pointers on the way.
const MAX_POINTERS: usize = 4;
/// Structs within structs.
const MAX_WITHIN: u32 = 8;
/// Values that are looked at for one name.
const MAX_LOOKED: u32 = 256;
/// Ways that are kept of an async fn, and of how many.
const MAX_WAYS: usize = 8;
const MAX_KNOWN: usize = 4_096;
/// Characters of a name.
const MAX_NAME: usize = 80;

/// Ways to resources, by the names of the types of the async fns that have them.
#[derive(Debug, Default)]
pub(super) struct Ways(HashMap<Arc<str>, Vec<Way>>);

/// From the variables of an async fn to a resource.
#[derive(Debug, Clone)]
struct Way {
    name: Arc<str>,
    /// Where a pointer is, from the beginning of what the one before points to.
    pointers: Vec<u64>,
    /// Where the resource is, from the beginning of what the last one points to.
    at: u64,
}

impl Ways {
    /// What the resource at an address is called by an async fn of a type, whose variables
    /// are the fields of `fields`.
    pub(super) fn name<M: Memory + ?Sized>(
        &mut self,
        reader: &mut Reader<'_, M>,
        of: &Arc<str>,
        fields: &View,
        address: u64,
    ) -> Option<Arc<str>> {
        if let Some(ways) = self.0.get(of) {
            let known = ways
                .iter()
                .find(|way| way.leads(reader, fields.at, address));
            if let Some(known) = known {
                return Some(Arc::clone(&known.name));
            }
            if ways.len() >= MAX_WAYS {
                return None;
            }
        }
        let mut search = Search {
            address,
            left: MAX_LOOKED,
            pointers: Vec::new(),
        };
        let way = search.variables(reader, fields)?;
        if self.0.len() >= MAX_KNOWN {
            self.0.clear();
        }
        let name = Arc::clone(&way.name);
        self.0.entry(Arc::clone(of)).or_default().push(way);
        Some(name)
    }
}

impl Way {
    fn leads<M: Memory + ?Sized>(&self, reader: &Reader<'_, M>, mut at: u64, address: u64) -> bool {
        for pointer in &self.pointers {
            match reader.bytes(at.wrapping_add(*pointer), 8) {
                Some(next) if next != 0 => at = next,
                _ => return false,
            }
        }
        at.wrapping_add(self.at) == address
    }
}

/// Looks for the way to an address.
struct Search {
    address: u64,
    left: u32,
    /// The pointers that were followed.
    pointers: Vec<u64>,
}

impl Search {
    fn variables<M: Memory + ?Sized>(
        &mut self,
        reader: &mut Reader<'_, M>,
        fields: &View,
    ) -> Option<Way> {
        // One that is not used says least.
        let mut members: Vec<_> = fields.ty.members.to_vec();
        members.sort_by_key(|member| member.name.starts_with('_'));
        for member in members {
            if member.name.starts_with("__") {
                continue;
            }
            let Some(at) = fields.at.checked_add(member.at) else {
                continue;
            };
            let Some(variable) = reader.view(member.ty, at) else {
                continue;
            };
            let name = member.name.strip_prefix("_ref__").unwrap_or(&member.name);
            let found = self.within(reader, &variable, name, fields.at, MAX_WITHIN);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// `base` is where what the last pointer points to begins.
    fn within<M: Memory + ?Sized>(
        &mut self,
        reader: &mut Reader<'_, M>,
        of: &View,
        name: &str,
        base: u64,
        levels: u32,
    ) -> Option<Way> {
        self.left = self.left.checked_sub(1)?;
        if levels == 0 || name.len() > MAX_NAME {
            return None;
        }
        if of.ty.kind == Kind::Pointer {
            return self.behind(reader, of, name, base);
        }
        // A guard leads to it, and is not called as it is.
        if of.ty.kind != Kind::Struct || of.ty.size == 0 || guard::is_guard(of) {
            return None;
        }
        let end = of.at.saturating_add(of.ty.size);
        let is_here = (of.at..end).contains(&self.address);
        if is_here && is_resource(&of.ty.name) {
            return Some(self.way(name, base));
        }
        let is_own = !is_of_others(&of.ty.name);
        for (field, inner) in reader.fields(of) {
            let end = inner.at.saturating_add(inner.ty.size);
            if is_here && !(inner.at..end).contains(&self.address) {
                continue;
            }
            // What a wrapper calls it is no name for a reader, nor are numbers.
            let is_named = is_own && !field.starts_with("__");
            let inner_name = match name {
                "self" | "this" if is_named => field.to_string(),
                _ if is_named => format!("{name}.{field}"),
                _ => name.to_owned(),
            };
            let found = self.within(reader, &inner, &inner_name, base, levels - 1);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn behind<M: Memory + ?Sized>(
        &mut self,
        reader: &mut Reader<'_, M>,
        of: &View,
        name: &str,
        base: u64,
    ) -> Option<Way> {
        if self.pointers.len() >= MAX_POINTERS {
            return None;
        }
        let at = reader.bytes(of.at, 8).filter(|at| *at != 0)?;
        let target = reader.view(of.ty.target?, at)?;
        self.pointers.push(of.at.wrapping_sub(base));
        // Of an `Arc` the counts are around it.
        let is_here = (at..at.saturating_add(target.ty.size)).contains(&self.address);
        let found = if is_here || may_lead_on(&target.ty.name) {
            self.within(reader, &target, name, at, MAX_WITHIN)
        } else {
            None
        };
        self.pointers.pop();
        found
    }

    fn way(&self, name: &str, base: u64) -> Way {
        Way {
            name: Arc::from(name),
            pointers: self.pointers.clone(),
            at: self.address.wrapping_sub(base),
        }
    }
}

/// Whether a type is what is waited for, or the inside of what leads to it.
fn is_resource(name: &str) -> bool {
    [
        "tokio::sync::",
        "std::sync::",
        "lock_api::",
        "futures_channel::",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

/// Whether a type is a wrapper, whose fields have no names for a reader.
fn is_of_others(name: &str) -> bool {
    let starts = [
        "core::",
        "alloc::",
        "std::",
        "tokio::",
        "tokio_util::",
        "lock_api::",
        "parking_lot",
        "futures_",
        "(",
        "[",
        "&",
    ];
    starts.iter().any(|start| name.starts_with(start))
}

/// Whether there may be a resource behind what a pointer points to, in which it is not.
fn may_lead_on(name: &str) -> bool {
    let leads_nowhere = [
        "tokio::runtime::",
        "tokio::sync::",
        "core::task::",
        "alloc::string::",
        "alloc::collections::",
        "std::collections::",
        "hashbrown::",
        "bytes::",
        "tracing",
        "dyn ",
        "u8",
        "str",
    ];
    !leads_nowhere.iter().any(|start| name.starts_with(start))
}
