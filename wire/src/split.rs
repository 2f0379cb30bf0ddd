//! A frame over [`MAX_MESSAGE_BYTES`] becomes several: split, never dropped.
//!
//! The parts carry the same `now_ns`; all but the last have `more` set. A part
//! never mentions a string or location that comes in a later part, because
//! these travel first.

use prost::Message;

use crate::{MAX_MESSAGE_BYTES, columns, proto::Frame};

/// Room that is left in each part for its own fields.
const HEADROOM: usize = 256;

/// Cuts `frame` into parts of at most [`MAX_MESSAGE_BYTES`], in the order in
/// which they are to be sent. `sequence` is for the caller to set.
///
/// A single record (one string, one stall) is never cut; all of them are
/// bounded far below a message by those who make them.
pub fn split(frame: Frame) -> Vec<Frame> {
    split_at(frame, MAX_MESSAGE_BYTES)
}

fn split_at(mut frame: Frame, limit: usize) -> Vec<Frame> {
    if frame.encoded_len() <= limit {
        return vec![frame];
    }
    let limit = limit.saturating_sub(HEADROOM).max(1);
    let now_ns = frame.now_ns;
    let snapshot_complete = std::mem::take(&mut frame.snapshot_complete);
    let last_more = std::mem::take(&mut frame.more);
    let mut parts = Parts {
        now_ns,
        limit,
        done: Vec::new(),
        open: Frame::default(),
        size: 0,
    };

    macro_rules! pack {
        ($($list:ident),*) => {$(
            for record in std::mem::take(&mut frame.$list) {
                parts.reserve(record.encoded_len() + 8);
                parts.open.$list.push(record);
            }
        )*};
    }
    pack!(
        strings, locations, modules, runtimes, workers, threads, lag, sites
    );
    if let Some(tasks) = frame.tasks.take() {
        parts.tasks(tasks);
    }
    for id in std::mem::take(&mut frame.forgotten_tasks) {
        parts.reserve(10);
        parts.open.forgotten_tasks.push(id);
    }
    pack!(resources, async_ops, stalls, gauges, ended_cells, names);
    pack!(await_shapes, wait_resources, task_waits, thread_waits);
    parts.reserve(1024);
    parts.open.process = frame.process.take();
    parts.open.host = frame.host.take();
    parts.open.loss = frame.loss.take();
    parts.open.outside = frame.outside.take();
    parts.open.waits_read = frame.waits_read.take();
    if let Some(coverage) = frame.coverage.take() {
        parts.reserve(coverage.encoded_len() + 8);
        parts.open.coverage = Some(coverage);
    }
    if let Some(history) = frame.history.take() {
        parts.reserve(history.encoded_len() + 8);
        parts.open.history = Some(history);
    }

    let mut done = parts.finish();
    if let Some(last) = done.last_mut() {
        last.more = last_more;
        last.snapshot_complete = snapshot_complete;
    }
    done
}

struct Parts {
    now_ns: u64,
    limit: usize,
    done: Vec<Frame>,
    open: Frame,
    size: usize,
}

impl Parts {
    /// Makes room for a record of `size` bytes, closing the open part if need be.
    fn reserve(&mut self, size: usize) {
        if self.size > 0 && self.size + size > self.limit {
            self.close();
        }
        self.size += size;
    }

    fn close(&mut self) {
        let mut part = std::mem::take(&mut self.open);
        part.now_ns = self.now_ns;
        part.more = true;
        self.done.push(part);
        self.size = 0;
    }

    /// Halves the columns until they fit, and gives each piece a part.
    fn tasks(&mut self, mut tasks: crate::proto::Tasks) {
        let size = tasks.encoded_len() + 8;
        if size > self.limit && tasks.id.len() > 1 {
            let half = tasks.id.len() / 2;
            let tail = columns::split_off(&mut tasks, half);
            self.tasks(tasks);
            self.tasks(tail);
            return;
        }
        if self.open.tasks.is_some() {
            self.close();
        }
        self.reserve(size);
        self.open.tasks = Some(tasks);
    }

    fn finish(mut self) -> Vec<Frame> {
        self.close();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Coverage, InternedString, Loss, Stall, Stranger, Tasks};

    fn large() -> Frame {
        Frame {
            now_ns: 42,
            snapshot_complete: true,
            strings: (1..200)
                .map(|id| InternedString {
                    id,
                    text: format!("name {id}"),
                })
                .collect(),
            tasks: Some(Tasks {
                id: (0..5_000).collect(),
                polls: (0..5_000).map(|n| n * 1_000).collect(),
                ..Tasks::default()
            }),
            forgotten_tasks: (0..3_000).collect(),
            stalls: (0..50)
                .map(|id| Stall {
                    id,
                    ..Stall::default()
                })
                .collect(),
            loss: Some(Loss {
                frames: 3,
                ..Loss::default()
            }),
            coverage: Some(Coverage {
                strangers: (0..64)
                    .map(|tid| Stranger {
                        tid,
                        ..Stranger::default()
                    })
                    .collect(),
                ..Coverage::default()
            }),
            ..Frame::default()
        }
    }

    #[test]
    fn a_small_frame_stays_whole() {
        assert_eq!(split(large()), [large()]);
    }

    #[test]
    fn parts_fit_and_add_up() {
        let limit = 4_096;
        let parts = split_at(large(), limit);
        assert!(parts.len() > 5);
        let mut sum = Frame {
            tasks: Some(Tasks::default()),
            ..Frame::default()
        };
        for (n, part) in parts.iter().enumerate() {
            assert!(part.encoded_len() <= limit, "part {n}");
            assert_eq!(part.now_ns, 42);
            assert_eq!(part.more, n + 1 < parts.len());
            assert_eq!(part.snapshot_complete, n + 1 == parts.len());
            sum.strings.extend(part.strings.iter().cloned());
            sum.forgotten_tasks.extend(&part.forgotten_tasks);
            sum.stalls.extend(part.stalls.iter().cloned());
            sum.loss = part.loss.or(sum.loss);
            sum.coverage = part.coverage.clone().or(sum.coverage);
            if let (Some(all), Some(some)) = (&mut sum.tasks, &part.tasks) {
                columns::check(some).unwrap();
                all.id.extend(&some.id);
                all.polls.extend(&some.polls);
            }
        }
        sum.now_ns = 42;
        sum.snapshot_complete = true;
        assert_eq!(sum, large());
    }

    #[test]
    fn names_come_before_what_mentions_them() {
        let parts = split_at(large(), 4_096);
        let last_string = parts.iter().rposition(|p| !p.strings.is_empty()).unwrap();
        let first_task = parts.iter().position(|p| p.tasks.is_some()).unwrap();
        assert!(last_string <= first_task);
    }
}
