//! What a viewer would remember of an application.

use std::collections::HashMap;

use looptop::source::{Event, Source};
use looptop_wire::{
    columns::Row,
    proto::{Frame, TaskKind, TaskState},
};

use crate::script::until;

/// One task as a viewer would remember it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) state: TaskState,
    pub(crate) kind: TaskKind,
    pub(crate) polls: u64,
    pub(crate) busy_ns: u64,
    pub(crate) scheduled_ns: Option<u64>,
    pub(crate) self_wakes: u64,
    pub(crate) original_size: u64,
    pub(crate) running_since: Option<u64>,
}

/// What a viewer would remember of the frames.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) strings: HashMap<u32, String>,
    pub(crate) files: HashMap<u32, u32>,
    pub(crate) tasks: HashMap<u64, Seen>,
    pub(crate) threads: HashMap<String, u64>,
    pub(crate) resources: Vec<String>,
    pub(crate) ops: Vec<(u64, String)>,
    pub(crate) now_ns: u64,
}

impl Memory {
    fn take(&mut self, frame: Frame) {
        assert!(frame.now_ns >= self.now_ns);
        self.now_ns = frame.now_ns;
        let strings = frame.strings.into_iter();
        self.strings.extend(strings.map(|s| (s.id, s.text)));
        self.files
            .extend(frame.locations.iter().map(|l| (l.id, l.file)));
        let text = |id: Option<u32>| {
            let text = id.and_then(|id| self.strings.get(&id));
            text.cloned().unwrap_or_default()
        };
        for row in Row::all(&frame.tasks.unwrap_or_default()) {
            let file = row.location().and_then(|l| self.files.get(&l)).copied();
            let seen = Seen {
                name: text(row.name()),
                file: text(file),
                state: row.state(),
                kind: row.kind(),
                polls: row.polls().unwrap(),
                busy_ns: row.busy_ns().unwrap(),
                scheduled_ns: row.scheduled_ns(),
                self_wakes: row.self_wakes().unwrap(),
                original_size: row.original_size_bytes().unwrap_or(0),
                running_since: row.poll_started_at_ns().unwrap(),
            };
            self.tasks.insert(row.id(), seen);
        }
        for thread in &frame.threads {
            let cpu = thread.user_ns + thread.system_ns;
            self.threads.insert(text(Some(thread.name)), cpu);
        }
        for resource in &frame.resources {
            self.resources.push(text(Some(resource.type_name)));
        }
        for op in &frame.async_ops {
            self.ops.push((op.task, text(Some(op.source))));
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Seen> {
        self.tasks.values().find(|task| task.name == name)
    }

    /// How long the task's present poll has run, in ns.
    pub(crate) fn age(&self, name: &str) -> u64 {
        let since = self.named(name).and_then(|task| task.running_since);
        since.map_or(0, |since| self.now_ns - since)
    }
}

pub(crate) async fn until_memory(source: &mut Source, what: impl Fn(&Memory) -> bool) -> Memory {
    let mut memory = Memory::default();
    until(source, |event| {
        if let Event::Frame(frame) = event {
            memory.take(frame.into_frame());
        }
        what(&memory).then_some(())
    })
    .await;
    memory
}
