//! What was read, as frames for those who may see it.

use looptop_wire::intern::Interner;
use looptop_wire::proto::{self, Capability, CapabilityKind};

use super::tasks::{Changes, Tasks};
use crate::access::Permission;
use crate::level::Levels;
use crate::publish::OfMemory;
use crate::shared::Shared;

/// What viewers know of it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    tasks: Tasks,
    /// What was taken in last.
    number: u64,
    /// Tasks are listed: nothing else shows any.
    lists: bool,
    /// What was said of what can be known.
    said: Vec<Capability>,
}

/// Whether the agent counts tasks at its level, or why not.
fn counted() -> Result<(), String> {
    Levels::now(crate::subscriber::state()).know(CapabilityKind::Tasks)
}

impl Frames {
    /// Takes in what is new.
    pub(crate) fn sample(&mut self, shared: &Shared, interner: &mut Interner) {
        let newest = shared.waits.newest();
        self.lists = newest.is_some() && counted().is_err();
        if !self.lists && !self.tasks.is_empty() {
            self.tasks.forget();
        }
        let Some(seen) = newest else {
            self.number = 0;
            return;
        };
        if seen.number != self.number {
            self.number = seen.number;
            if self.lists {
                self.tasks.take(&seen, interner);
            }
        }
    }

    /// What changed. With `again` everybody was told again what can be known of tasks.
    pub(crate) fn delta(&mut self, shared: &Shared, now_ns: u64, again: bool) -> OfMemory {
        let changes = self.tasks.changes();
        let capabilities = self.capabilities(shared);
        let news = again || capabilities != self.said;
        self.said.clone_from(&capabilities);
        let capabilities = if news { capabilities } else { Vec::new() };
        self.frames(now_ns, changes, capabilities)
    }

    /// Everything.
    pub(crate) fn state(&self, shared: &Shared, now_ns: u64) -> OfMemory {
        let capabilities = self.capabilities(shared);
        self.frames(now_ns, self.tasks.all(), capabilities)
    }

    /// What can be known by reading too.
    fn capabilities(&self, shared: &Shared) -> Vec<Capability> {
        if !shared.config.waits {
            return Vec::new();
        }
        let waits = super::know(shared, Permission::Memory);
        let of = |kind: CapabilityKind, known: Result<(), String>| Capability {
            kind: kind.into(),
            available: known.is_ok(),
            reason: known.err().unwrap_or_default(),
        };
        let tasks = if self.lists { Ok(()) } else { counted() };
        vec![
            of(CapabilityKind::Tasks, tasks),
            of(CapabilityKind::Waits, waits),
        ]
    }

    fn frames(&self, now_ns: u64, changes: Changes, capabilities: Vec<Capability>) -> OfMemory {
        let Changes {
            mut columns,
            forgotten,
            sites,
        } = changes;
        if !capabilities.is_empty() {
            if columns.is_empty() {
                columns.push(proto::Tasks::default());
            }
            columns[0].capabilities = capabilities;
        }
        let frame = |forgotten_tasks, sites| proto::Frame {
            now_ns,
            forgotten_tasks,
            sites,
            ..proto::Frame::default()
        };
        let mut of = OfMemory::default();
        if self.lists {
            let is_empty = columns.is_empty() && forgotten.is_empty() && sites.is_empty();
            if !is_empty {
                of.after(frame(forgotten, sites), columns);
            }
            return of;
        }
        // Whoever shows these tasks now must find them gone.
        if !forgotten.is_empty() || !sites.is_empty() {
            of.before(frame(forgotten, sites));
        }
        if !columns.is_empty() {
            of.after(frame(Vec::new(), Vec::new()), columns);
        }
        of
    }
}
