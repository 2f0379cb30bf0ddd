//! A viewer of console-subscriber. It gives no warning of a long poll; what a
//! person could notice is a task that is shown in a poll while the stall lasts
//! ("live"), or a busy time that has jumped afterwards ("ended").

use std::collections::HashMap;

use console_api::{
    instrument::{InstrumentRequest, instrument_client::InstrumentClient},
    tasks::Stats,
};

use prost_types::Timestamp;

use super::{Received, ViewerOptions, connect, seen};

/// tokio-console gives up at 4 MiB; this viewer is more patient.
const MAX_UPDATE_BYTES: usize = 256 << 20;
/// A poll at least this old is noticeable.
const LONG_NS: i128 = 10_000_000;
/// A jump of the busy time that only the stall can have made.
const JUMP_NS: i128 = 150_000_000;

pub(super) async fn watch(options: &ViewerOptions, received: &mut Received) -> anyhow::Result<()> {
    let channel = connect(&options.address).await?;
    let mut client = InstrumentClient::new(channel).max_decoding_message_size(MAX_UPDATE_BYTES);
    let request = InstrumentRequest {};
    let mut updates = client.watch_updates(request).await?.into_inner();
    let mut tasks = HashMap::new();
    while let Some(update) = updates.message().await? {
        received.take(&update);
        let now = update.now.map_or(0, instant_ns);
        let Some(changed) = update.task_update else {
            continue;
        };
        for (id, stats) in &changed.stats_update {
            let Some(poll) = Observed::of(stats) else {
                continue;
            };
            let before = tasks.insert(*id, poll);
            let jump = poll.busy - before.map_or(0, |before: Observed| before.busy);
            if jump >= JUMP_NS {
                // The last poll is the one after the stall, at the earliest.
                seen("ended", now - poll.started)?;
            }
            if stats.dropped_at.is_some() {
                tasks.remove(id);
            }
        }
        // Of a poll that lasts nothing more is sent: its age shows that it does.
        let lasting = tasks.values().filter(|poll| poll.running);
        for age in lasting.map(|poll| now - poll.started) {
            if age >= LONG_NS {
                seen("live", age)?;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Observed {
    busy: i128,
    started: i128,
    running: bool,
}

impl Observed {
    fn of(stats: &Stats) -> Option<Self> {
        let polls = stats.poll_stats.as_ref()?;
        let started = instant_ns(polls.last_poll_started?);
        let busy = polls
            .busy_time
            .map_or(0, |d| nanoseconds(d.seconds, d.nanos));
        let ended = polls.last_poll_ended.map(instant_ns);
        Some(Self {
            busy,
            started,
            running: ended.is_none_or(|ended| ended < started),
        })
    }
}

fn instant_ns(instant: Timestamp) -> i128 {
    nanoseconds(instant.seconds, instant.nanos)
}

fn nanoseconds(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}
