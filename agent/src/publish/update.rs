//! What goes to viewers at one moment, and which part of it to whom.

use looptop_wire::{proto, split};

use crate::access::Permission;

/// Frames of one moment, in parts that fit a message.
#[derive(Debug)]
pub(crate) struct Update {
    parts: Vec<Part>,
    /// They are everything that is known, not what changed.
    is_state: bool,
}

#[derive(Debug)]
struct Part {
    frame: proto::Frame,
    /// It was read in the process's memory.
    of_memory: bool,
}

/// What of it was read in the process's memory. Its texts are names, which travel with the
/// rest.
#[derive(Debug, Default)]
pub(crate) struct OfMemory {
    before: Vec<proto::Frame>,
    after: Vec<proto::Frame>,
}

/// What one viewer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shows {
    pub(crate) permission: Permission,
    /// It has asked for what is read in memory, and may see it.
    pub(crate) memory: bool,
}

#[cfg_attr(not(feature = "waits"), allow(dead_code, reason = "nothing is read"))]
impl OfMemory {
    /// Adds what must come before the rest.
    pub(crate) fn before(&mut self, frame: proto::Frame) {
        self.before.extend(split::split(frame));
    }

    /// Adds what may refer to texts of the rest.
    pub(crate) fn after(&mut self, frame: proto::Frame, tasks: Vec<proto::Tasks>) {
        self.after.extend(in_parts(frame, tasks));
    }
}

impl Update {
    /// Of what everybody sees and what was read in memory.
    pub(super) fn new(
        frame: proto::Frame,
        tasks: Vec<proto::Tasks>,
        of_memory: OfMemory,
        is_state: bool,
    ) -> Self {
        let mut parts = Vec::new();
        let mut add = |frames: Vec<proto::Frame>, of_memory: bool| {
            let frames = frames.into_iter();
            parts.extend(frames.map(|frame| Part { frame, of_memory }));
        };
        add(of_memory.before, true);
        add(in_parts(frame, tasks), false);
        add(of_memory.after, true);
        Self { parts, is_state }
    }

    /// The frames for one viewer; their numbers are the caller's.
    pub(super) fn frames(&self, shows: Shows) -> impl Iterator<Item = proto::Frame> {
        let is_shown = move |part: &&Part| shows.memory || !part.of_memory;
        let last = self.parts.iter().filter(is_shown).count() - 1;
        let parts = self.parts.iter().filter(is_shown).enumerate();
        parts.map(move |(index, part)| {
            let mut frame = match shows.permission {
                Permission::Numbers => crate::access::reduced::frame(&part.frame),
                Permission::Names | Permission::Memory => part.frame.clone(),
            };
            frame.more = index < last;
            frame.snapshot_complete = self.is_state && index == last;
            frame
        })
    }
}

/// A frame in parts that fit a message. Tasks come in messages of different
/// columns, of which a frame has room for one.
fn in_parts(mut frame: proto::Frame, tasks: Vec<proto::Tasks>) -> Vec<proto::Frame> {
    let mut tasks = tasks.into_iter();
    frame.tasks = tasks.next();
    let now_ns = frame.now_ns;
    let further = tasks.map(|tasks| proto::Frame {
        now_ns,
        tasks: Some(tasks),
        ..proto::Frame::default()
    });
    let frames = std::iter::once(frame).chain(further);
    frames.flat_map(split::split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(id: u64) -> proto::Tasks {
        proto::Tasks {
            id: vec![id],
            ..proto::Tasks::default()
        }
    }

    fn ids(update: &Update, permission: Permission, memory: bool) -> Vec<u64> {
        let shows = Shows { permission, memory };
        let frames: Vec<_> = update.frames(shows).collect();
        let (last, others) = frames.split_last().expect("at least one");
        assert!(last.snapshot_complete && !last.more);
        assert!(others.iter().all(|f| f.more && !f.snapshot_complete));
        let tasks = frames.iter().filter_map(|frame| frame.tasks.as_ref());
        tasks.flat_map(|tasks| tasks.id.clone()).collect()
    }

    #[test]
    fn what_was_read_in_memory_goes_to_who_may_see_it_and_asks() {
        let mut of_memory = OfMemory::default();
        of_memory.before(proto::Frame {
            tasks: Some(tasks(1)),
            ..proto::Frame::default()
        });
        of_memory.after(proto::Frame::default(), vec![tasks(3), tasks(4)]);
        let update = Update::new(proto::Frame::default(), vec![tasks(2)], of_memory, true);
        assert_eq!(ids(&update, Permission::Memory, true), [1, 2, 3, 4]);
        assert_eq!(ids(&update, Permission::Memory, false), [2]);
        assert_eq!(ids(&update, Permission::Names, false), [2]);
        assert_eq!(ids(&update, Permission::Numbers, false), [0; 0]);
    }
}
