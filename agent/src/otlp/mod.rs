//! What `/metrics` shows, and each stall as a log record, sent to a collector of
//! OpenTelemetry by OTLP.
//!
//! The thread that judges frames for `/metrics` runs from the start then, and hands each look
//! to an [`Exporter`]. That never waits: records go into a queue with a bound, of numbers the
//! newest are kept, and tasks on the agent's own runtime send both ([`sender`]). What found no
//! room, or could not be sent, is counted, and said once.
//!
//! - [`settings`]: what the builder and the environment say, as OpenTelemetry calls it,
//! - [`record`]: a stall as a log record,
//! - [`numbers`]: families of numbers as OpenTelemetry's metrics,
//! - [`sender`]: the queue and the calls.
//!
//! The trace of a stalled task is found by `crate::traces`.

mod numbers;
mod record;
mod sender;
pub(crate) mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use looptop_diagnosis::model::{Model, Stall, StallId};

use self::numbers::Numbers;
use self::sender::Outbox;
use crate::metrics::{self, page::View};
use crate::publish::feed::Feed;
use crate::shared::Shared;
use crate::sync::lock;

/// What instruments, as OpenTelemetry calls it.
const SCOPE: &str = "looptop";
/// The semantic conventions whose names are used: `code.file.path` and its like.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";
/// A stall that goes on for so long is reported while it does, and once more at its end.
const LONG: Duration = Duration::from_secs(10);

/// What the agent's threads share of it.
#[derive(Debug, Default)]
pub(crate) struct Otlp {
    outbox: OnceLock<Arc<Outbox>>,
    losses: Arc<Losses>,
}

/// What could not be sent. Absolute.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    records: AtomicU64,
    exports: AtomicU64,
    said: [AtomicBool; 2],
}

/// What is lost at once.
#[derive(Clone, Copy, Debug)]
enum Lost {
    /// So many log records.
    Records(u64),
    /// One export of all numbers; the next has what they have become.
    Numbers,
}

impl Losses {
    /// Counts it, and says why if it is the first of its kind.
    fn add(&self, lost: Lost, why: &str) {
        let (what, said) = match lost {
            Lost::Records(count) => {
                self.records.fetch_add(count, Relaxed);
                ("stalls", &self.said[0])
            }
            Lost::Numbers => {
                self.exports.fetch_add(1, Relaxed);
                ("metrics", &self.said[1])
            }
        };
        if !said.swap(true, Relaxed) {
            crate::complain(&format!(
                "{what} were not sent by OTLP: {why}; more of these are counted and not said"
            ));
        }
    }

    /// What of it there is, as `looptop_lost_total` names it.
    pub(crate) fn counted(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("log records", self.records.load(Relaxed)),
            ("metric exports", self.exports.load(Relaxed)),
        ]
    }
}

/// Starts what sends, where the application asked for it; to be called on the agent's
/// runtime.
pub(crate) fn start(shared: &Arc<Shared>, feed: &Feed) {
    let settings = match shared.config.otlp.settings(&shared.config) {
        Ok(Some(settings)) => settings,
        Ok(None) => return,
        Err(why) => return crate::complain(&format!("nothing is sent by OTLP: {why}")),
    };
    let started = sender::start(shared.otlp.losses(), settings).and_then(|outbox| {
        drop(shared.otlp.outbox.set(outbox));
        metrics::observe_for_export(shared, feed).map_err(str::to_owned)
    });
    if let Err(why) = started {
        crate::complain(&format!("nothing is sent by OTLP: {why}"));
    }
}

impl Otlp {
    pub(crate) fn losses(&self) -> &Arc<Losses> {
        &self.losses
    }
}

/// Hands looks of the observing thread to those who send them.
pub(crate) struct Exporter {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    /// Stalls that were reported, as long as the model holds them.
    said: BTreeMap<StallId, Said>,
    /// When numbers are sent next.
    due: Instant,
    began_unix_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    InProgress,
    Ended,
}

impl Exporter {
    /// `None` where nothing is to be sent.
    pub(crate) fn new(shared: &Arc<Shared>) -> Option<Self> {
        let outbox = Arc::clone(shared.otlp.outbox.get()?);
        let due = Instant::now() + outbox.settings().interval;
        Some(Self {
            shared: Arc::clone(shared),
            outbox,
            said: BTreeMap::new(),
            due,
            began_unix_ns: unix_ns(),
        })
    }

    /// Takes one look. Never waits.
    pub(crate) fn take(&mut self, view: &View<'_>) {
        if self.outbox.settings().logs {
            self.take_stalls(view);
        }
        let now = Instant::now();
        if self.outbox.settings().metrics && now >= self.due {
            let settings = self.outbox.settings();
            self.due = now + settings.interval;
            let mut numbers = Numbers::new(self.began_unix_ns, unix_ns());
            view.write(&mut numbers, settings.shown);
            self.outbox.put_numbers(numbers.into_metrics());
        }
    }

    fn take_stalls(&mut self, view: &View<'_>) {
        let model = view.model;
        let mut news: Vec<&Stall> = Vec::new();
        for stall in model.stalls.iter().filter(|s| !s.is_in_place()) {
            if let Some(said) = self.news_of(stall, view) {
                self.said.insert(stall.id, said);
                news.push(stall);
            }
        }
        // As they began: the log has the newest first.
        news.sort_by_key(|stall| (stall.started, stall.id));
        for stall in news {
            self.outbox.put_record(self.record(stall, model));
        }
        if model.complete {
            let held: BTreeSet<StallId> = model.stalls.iter().map(|stall| stall.id).collect();
            self.said.retain(|id, _| held.contains(id));
        }
    }

    /// What is new of a stall and worth a record: its culprit is known as well as it will be.
    fn news_of(&self, stall: &Stall, view: &View<'_>) -> Option<Said> {
        let now = if !stall.live {
            Said::Ended
        } else if stall.age(view.model.now) >= LONG {
            Said::InProgress
        } else {
            return None;
        };
        let is_new = self.said.get(&stall.id).is_none_or(|said| *said < now);
        (is_new && view.has_counted(stall.id)).then_some(now)
    }

    fn record(
        &self,
        stall: &Stall,
        model: &Model,
    ) -> opentelemetry_proto::tonic::logs::v1::LogRecord {
        let trace = lock(&self.shared.stalls).trace_of(crate::ids::StallId(stall.id.0));
        let shown = self.outbox.settings().shown;
        record::of(stall, model, trace, shown, unix_ns())
    }
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
