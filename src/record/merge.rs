//! Several frames become one: what counts in the end, and every event.

use looptop_wire::{columns, proto::Frame};

/// Takes a later frame of changes into an earlier one. Gives the later one back
/// where they cannot be one, because they know different things of tasks.
///
/// Counters are absolute, so the newer value is all that is needed; lag samples
/// and stalls are events, and all of them stay.
pub(super) fn merge(earlier: &mut Frame, later: Frame) -> Result<(), Box<Frame>> {
    let of_recordings = |frame: &Frame| frame.past.is_some() || !frame.names.is_empty();
    if of_recordings(earlier) || of_recordings(&later) {
        return Err(Box::new(later));
    }
    let tasks = earlier.tasks.get_or_insert_default();
    let newer = later.tasks.clone().unwrap_or_default();
    let valid = columns::check(tasks).is_ok() && columns::check(&newer).is_ok();
    if !valid || !columns::merge(tasks, &newer, &later.forgotten_tasks) {
        return Err(Box::new(later));
    }
    earlier.sequence = later.sequence;
    earlier.now_ns = later.now_ns;
    earlier.more = later.more;
    earlier.snapshot_complete |= later.snapshot_complete;
    earlier.strings.extend(later.strings);
    earlier.locations.extend(later.locations);
    earlier.modules.extend(later.modules);
    earlier.forgotten_tasks.extend(later.forgotten_tasks);
    supersede(&mut earlier.runtimes, later.runtimes, |r| r.id);
    supersede(&mut earlier.workers, later.workers, |w| {
        (w.runtime, w.index)
    });
    supersede(&mut earlier.threads, later.threads, |t| t.tid);
    supersede(&mut earlier.sites, later.sites, |s| (s.location, s.kind));
    supersede(&mut earlier.stalls, later.stalls, |s| s.id);
    supersede(&mut earlier.gauges, later.gauges, |g| g.name);
    supersede(&mut earlier.resources, later.resources, |r| r.id);
    supersede(&mut earlier.async_ops, later.async_ops, |o| o.id);
    supersede(&mut earlier.ended_cells, later.ended_cells, |c| {
        (c.location, c.poll.map(|poll| (poll.module, poll.offset)))
    });
    earlier.lag.extend(later.lag);
    earlier.process = later.process.or(earlier.process);
    earlier.host = later.host.or(earlier.host);
    earlier.loss = later.loss.or(earlier.loss);
    earlier.coverage = later.coverage.or(earlier.coverage.take());
    Ok(())
}

fn supersede<T, K: Ord>(earlier: &mut Vec<T>, later: Vec<T>, key: impl Fn(&T) -> K) {
    if later.is_empty() {
        return;
    }
    let newer: std::collections::BTreeSet<K> = later.iter().map(&key).collect();
    earlier.retain(|record| !newer.contains(&key(record)));
    earlier.extend(later);
}
