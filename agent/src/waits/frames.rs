//! What was read, as frames for those who may see it.

use looptop_outside::waiting::TaskAt;
use looptop_wire::intern::Interner;
use looptop_wire::proto::{self, Capability, CapabilityKind};

use super::chains::{Chains, Session};
use super::tasks::{Changes, Tasks};
use crate::access::Permission;
use crate::clock::now_ns;
use crate::level::Levels;
use crate::publish::OfMemory;
use crate::shared::Shared;
use crate::sync::lock;
use crate::thread_clock::monotonic_ns;

/// What viewers know of it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    tasks: Tasks,
    chains: Chains,
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
        let (newest, found) = shared.waits.take();
        self.lists = newest.is_some() && counted().is_err();
        if !self.lists && !self.tasks.is_empty() {
            self.tasks.forget();
        }
        let Some(seen) = newest else {
            if self.number != 0 {
                self.chains.forget();
            }
            self.number = 0;
            return;
        };
        let is_new = seen.number != self.number;
        self.number = seen.number;
        if is_new && self.lists {
            self.tasks.take(&seen, interner);
        }
        let id = |task: TaskAt| self.tasks.id(task.header, task.id);
        let session = Session {
            task: &id,
            own: &lock(&shared.own_threads).clone(),
            monotonic_offset_ns: monotonic_offset_ns(),
        };
        for read in found {
            self.chains
                .take(&read.found, read.cpu_ns, &session, interner);
        }
        if is_new {
            self.chains.keep_waiting(&seen, id);
        }
    }

    /// What changed. With `again` everybody was told again what can be known of tasks.
    pub(crate) fn delta(&mut self, shared: &Shared, now_ns: u64, again: bool) -> OfMemory {
        let changes = self.tasks.changes();
        let mut waits = frame(now_ns);
        let waits = self.chains.add_changes(&mut waits).then_some(waits);
        let capabilities = self.capabilities(shared);
        let news = again || capabilities != self.said;
        self.said.clone_from(&capabilities);
        let capabilities = if news { capabilities } else { Vec::new() };
        self.frames(now_ns, changes, waits, capabilities)
    }

    /// Everything.
    pub(crate) fn state(&self, shared: &Shared, now_ns: u64) -> OfMemory {
        let capabilities = self.capabilities(shared);
        let mut waits = frame(now_ns);
        self.chains.add_all(&mut waits);
        self.frames(now_ns, self.tasks.all(), Some(waits), capabilities)
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

    fn frames(
        &self,
        now_ns: u64,
        changes: Changes,
        waits: Option<proto::Frame>,
        capabilities: Vec<Capability>,
    ) -> OfMemory {
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
        let mut of = OfMemory::default();
        let mut first = frame(now_ns);
        if self.lists {
            (first.forgotten_tasks, first.sites) = (forgotten, sites);
        } else if !forgotten.is_empty() || !sites.is_empty() {
            // Whoever shows these tasks now must find them gone.
            of.before(proto::Frame {
                forgotten_tasks: forgotten,
                sites,
                ..frame(now_ns)
            });
        }
        let says =
            !(columns.is_empty() && first.forgotten_tasks.is_empty() && first.sites.is_empty());
        if says {
            of.after(first, columns);
        }
        // After the tasks that they are of.
        if let Some(waits) = waits {
            of.after(waits, Vec::new());
        }
        of
    }
}

fn frame(now_ns: u64) -> proto::Frame {
    proto::Frame {
        now_ns,
        ..proto::Frame::default()
    }
}

/// What to add to the system's monotonic clock to get the frames'.
fn monotonic_offset_ns() -> i64 {
    let monotonic = monotonic_ns().unwrap_or_default();
    now_ns().wrapping_sub(monotonic).cast_signed()
}
