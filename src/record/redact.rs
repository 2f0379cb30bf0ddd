//! Leaving out the names and fields of tasks.
//!
//! Texts travel apart from what mentions them, so none is passed on before
//! something mentions it that stays: a file, a runtime, a thread, a call. A
//! name that is never passed on is in no chunk, not even in a keyframe.

use std::collections::{HashMap, HashSet};

use looptop_wire::proto::{Frame, InternedString};

/// Texts held back, at most; the same as the model holds.
const MAX_HELD: usize = 1 << 20;

/// Redacts the frames of one session.
#[derive(Debug, Default)]
pub struct Redactor {
    held: HashMap<u32, String>,
    passed: HashSet<u32>,
}

impl Redactor {
    /// The frame without names and fields of tasks, and without attributes of
    /// resources.
    #[must_use]
    pub fn frame(&mut self, mut frame: Frame) -> Frame {
        for text in std::mem::take(&mut frame.strings) {
            self.passed.remove(&text.id);
            if self.held.len() < MAX_HELD || self.held.contains_key(&text.id) {
                self.held.insert(text.id, text.text);
            }
        }
        if let Some(tasks) = &mut frame.tasks {
            tasks.name.clear();
            tasks.fields.clear();
        }
        for stall in &mut frame.stalls {
            stall.name = 0;
            if let Some(holder) = &mut stall.holder {
                holder.task_name = 0;
            }
        }
        for resource in &mut frame.resources {
            resource.attributes = 0;
        }
        for operation in &mut frame.async_ops {
            operation.attributes = 0;
        }
        for id in mentioned(&frame) {
            if !self.passed.contains(&id)
                && let Some(text) = self.held.get(&id)
            {
                self.passed.insert(id);
                frame.strings.push(InternedString {
                    id,
                    text: text.clone(),
                });
            }
        }
        frame
    }
}

/// The texts that are mentioned by what stays.
fn mentioned(frame: &Frame) -> Vec<u32> {
    let mut ids: Vec<u32> = frame.locations.iter().map(|l| l.file).collect();
    ids.extend(frame.runtimes.iter().map(|r| r.name));
    ids.extend(frame.threads.iter().map(|t| t.name));
    ids.extend(frame.gauges.iter().map(|g| g.name));
    ids.extend(frame.modules.iter().map(|m| m.path));
    let stalls = frame.stalls.iter();
    ids.extend(stalls.flat_map(|s| [s.syscall, s.object, s.no_stack_reason]));
    let stacks = frame.stalls.iter().flat_map(|s| &s.stacks);
    ids.extend(stacks.map(|stack| stack.syscall));
    let holders = frame.stalls.iter().filter_map(|s| s.holder.as_ref());
    ids.extend(holders.flat_map(|h| [h.name, h.doing, h.object]));
    ids.extend(frame.ended_cells.iter().map(|c| c.r#type));
    // The types of the program, not its data.
    ids.extend(frame.tasks.iter().flat_map(|t| t.future.iter().copied()));
    ids.extend(frame.sites.iter().map(|s| s.future));
    ids.extend(frame.outside.iter().flat_map(|o| [o.no_sampler, o.no_stop]));
    let nodes = frame.await_shapes.iter().flat_map(|s| &s.nodes);
    ids.extend(nodes.map(|node| node.future));
    ids.extend(frame.await_shapes.iter().map(|s| s.cut));
    let holds = frame.task_waits.iter().flat_map(|w| &w.holds);
    ids.extend(holds.map(|hold| hold.name));
    ids.extend(frame.thread_waits.iter().map(|w| w.function));
    ids.extend(frame.wait_resources.iter().map(|r| r.name));
    if let Some(read) = &frame.waits_read {
        ids.push(read.without_reason);
        ids.extend(&read.not_read);
    }
    let resources = frame.resources.iter();
    ids.extend(resources.flat_map(|r| [r.kind, r.type_name, r.target]));
    ids.extend(frame.async_ops.iter().map(|o| o.source));
    ids
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::record::{
        Recorder, Recording, Step,
        synthetic::{Session, Shape},
    };

    #[test]
    fn redacting_leaves_no_name_and_no_field() {
        let mut recorder = Recorder::new(Vec::new(), "t", true).unwrap();
        let mut session = Session::new(Shape::default());
        recorder.connected(&session.hello()).unwrap();
        for _ in 0..250 {
            recorder.frame(&session.next_frame()).unwrap();
        }
        let recording = Recording::from_bytes(recorder.finish().unwrap()).unwrap();
        assert!(recording.sessions()[0].redacted);
        let mut all = String::new();
        for step in recording.frames_at(Duration::from_secs(15)) {
            if let Step::Frame(frame, _) = step {
                let _ = std::fmt::Write::write_fmt(&mut all, format_args!("{frame:?}"));
            }
        }
        for gone in ["http::conn", "ticker", "report", "url=", "customer"] {
            assert!(!all.contains(gone), "{gone} is still there");
        }
        for kept in [
            "src/service.rs",
            "tokio-rt-worker",
            "clock_nanosleep",
            "/app/synthetic",
        ] {
            assert!(all.contains(kept), "{kept} is gone");
        }
        let model = recording.model_at(Duration::from_secs(20)).unwrap();
        let task = model.tasks.live().next().unwrap();
        assert_eq!((task.name, task.fields), (None, None));
        assert!(model.location(task.location).is_some());
    }
}
