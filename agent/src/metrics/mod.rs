//! What `/metrics` shows: the agent's frames, judged by the same rules as on a screen.
//!
//! A thread of its own is a viewer of this agent: once a second it takes a frame into the
//! model, runs the rules and writes the page. Whoever scrapes gets the newest page, which
//! costs a copy, whatever there is to see. Without a scrape for [`KEPT`] the thread ends, and
//! with it everything that is sampled for it; what was counted stays.
//!
//! - [`counts`]: what outlives threads, stalls and the model,
//! - [`culprit`]: who is to blame, as labels, of which there are only so many,
//! - [`names`]: functions and lines for stacks, with the feature `symbols`,
//! - [`page`]: which numbers there are, and what they are called,
//! - [`families`]: what a family of numbers is, whoever writes it,
//! - [`text`]: the exposition format,
//! - [`profile`]: stalls by stack, with the feature `pprof`.
//!
//! With the feature `otlp` and an endpoint the thread runs from the start to the end, and
//! hands each look to `crate::otlp`.

pub(crate) mod counts;
pub(crate) mod culprit;
pub(crate) mod families;
#[cfg_attr(not(feature = "symbols"), path = "without_names.rs")]
mod names;
pub(crate) mod page;
#[cfg(feature = "pprof")]
mod profile;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use looptop_diagnosis::diagnose::{Engine, Window};
use looptop_diagnosis::model::Model;
use looptop_wire::proto::Frame;
use tokio::sync::{Notify, mpsc};

use self::counts::Counts;
use self::names::Names;
use self::page::Runtimes;
pub(crate) use self::text::CONTENT_TYPE;
use crate::access::Permission;
use crate::hello;
use crate::publish::feed::Feed;
use crate::shared::Shared;
use crate::sync::lock;

/// The name of its thread.
const THREAD_NAME: &str = "looptop-metrics";
/// Between two looks of the rules.
const EVERY: Duration = Duration::from_secs(1);
/// So long after the last scrape it goes on: a minute, and what a scrape each minute may
/// come late.
const KEPT: Duration = Duration::from_secs(70);
/// The first page takes as long as a snapshot of all tasks.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who scrapes, and the newest page.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    state: Mutex<State>,
    changed: Notify,
    #[cfg(feature = "pprof")]
    profile: Mutex<profile::Profile>,
}

#[derive(Debug, Default)]
struct State {
    /// The thread is there.
    observes: bool,
    asked: Option<Instant>,
    pages: Option<Pages>,
    /// While no thread has it.
    counts: Option<Box<Counts>>,
}

/// The same moment for all who may see so much.
#[derive(Debug, Clone)]
struct Pages {
    names: Bytes,
    numbers: Bytes,
}

/// What of it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Numbers by kinds of causes, rules and threads.
    Numbers,
    /// Functions, places and names of tasks and runtimes as well.
    Names,
}

/// The newest page; a sentence where there is none. To be called on the agent's runtime.
pub(crate) async fn scrape(
    shared: &Arc<Shared>,
    feed: &Feed,
    shown: Shown,
) -> Result<Bytes, &'static str> {
    let pages = pages(shared, feed).await?;
    Ok(match shown {
        Shown::Numbers => pages.numbers,
        Shown::Names => pages.names,
    })
}

/// The profile of what has blocked, of the last `seconds` or of all there was; a sentence
/// where there is none. To be called on the agent's runtime.
#[cfg(feature = "pprof")]
pub(crate) async fn profile(
    shared: &Arc<Shared>,
    feed: &Feed,
    seconds: Option<u64>,
) -> Result<Bytes, &'static str> {
    pages(shared, feed).await?;
    let shared = Arc::clone(shared);
    // Viewers must not wait for the compression.
    let made = tokio::task::spawn_blocking(move || {
        let of = hello::response(&shared, Permission::Memory);
        lock(&shared.metrics.profile).file(seconds, &of)
    });
    let file = made.await.ok().flatten();
    file.map(Bytes::from)
        .ok_or("the agent has no profile yet: scrape again")
}

/// Observes for OpenTelemetry, for as long as the agent runs. To be called on the agent's
/// runtime.
#[cfg(feature = "otlp")]
pub(crate) fn observe_for_export(shared: &Arc<Shared>, feed: &Feed) -> Result<(), &'static str> {
    let mut state = lock(&shared.metrics.state);
    if state.observes {
        return Ok(());
    }
    start(shared, feed, &mut state)
}

/// The newest pages, which somebody asks for.
async fn pages(shared: &Arc<Shared>, feed: &Feed) -> Result<Pages, &'static str> {
    let metrics = &shared.metrics;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let changed = metrics.changed.notified();
        {
            let mut state = lock(&metrics.state);
            state.asked = Some(Instant::now());
            if let Some(pages) = &state.pages {
                return Ok(pages.clone());
            }
            if !state.observes {
                start(shared, feed, &mut state)?;
            }
        }
        let waited = tokio::time::timeout_at(deadline, changed).await;
        waited.map_err(|_| "the agent has no frame yet: scrape again")?;
    }
}

fn start(shared: &Arc<Shared>, feed: &Feed, state: &mut State) -> Result<(), &'static str> {
    let frames = feed.record(EVERY.as_nanos() as u64);
    let counts = state.counts.take().unwrap_or_default();
    let of_thread = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(THREAD_NAME.into());
    let started = thread.spawn(move || observe(&of_thread, frames, counts));
    started.map_err(|_| "the system refuses the thread that would observe")?;
    state.observes = true;
    Ok(())
}

/// What the thread does, until nobody scrapes any more or the agent ends.
fn observe(shared: &Arc<Shared>, mut frames: mpsc::Receiver<Frame>, counts: Box<Counts>) {
    shared.enter_own_thread();
    // A panic of the agent's own ends here, and what was counted is kept.
    let mut observer = Observer::new(shared, counts);
    let run = AssertUnwindSafe(|| {
        while let Some(frame) = frames.blocking_recv() {
            if let Some(pages) = observer.take(&frame) {
                lock(&shared.metrics.state).pages = Some(pages);
                shared.metrics.changed.notify_waiters();
            }
            let asked = lock(&shared.metrics.state).asked;
            if asked.is_none_or(|at| at.elapsed() > KEPT) && !observer.exports() {
                return;
            }
        }
    });
    drop(catch_unwind(run));
    observer.counts.pause();
    let mut state = lock(&shared.metrics.state);
    state.observes = false;
    state.pages = None;
    state.counts = Some(observer.counts);
    drop(state);
    shared.metrics.changed.notify_waiters();
    shared.leave_own_thread();
}

/// One observation.
struct Observer {
    model: Model,
    engine: Engine,
    names: Names,
    runtimes: Runtimes,
    counts: Box<Counts>,
    shared: Arc<Shared>,
    #[cfg(feature = "otlp")]
    exporter: Option<crate::otlp::Exporter>,
}

impl Observer {
    fn new(shared: &Arc<Shared>, counts: Box<Counts>) -> Self {
        Self {
            model: Model::new(&hello::response(shared, Permission::Memory)),
            engine: Engine::new(Window::Live),
            names: Names::new(shared),
            runtimes: Runtimes::default(),
            counts,
            shared: Arc::clone(shared),
            #[cfg(feature = "otlp")]
            exporter: crate::otlp::Exporter::new(shared),
        }
    }

    /// Somebody gets each look, whether or not there are scrapes.
    #[allow(clippy::unused_self, reason = "only with otlp")]
    fn exports(&self) -> bool {
        #[cfg(feature = "otlp")]
        return self.exporter.is_some();
        #[cfg(not(feature = "otlp"))]
        false
    }

    /// Takes a frame in; the pages once its last part is there.
    fn take(&mut self, frame: &Frame) -> Option<Pages> {
        // What of it is malformed is left out.
        drop(self.model.apply(frame));
        self.runtimes.add(frame);
        self.counts.add_frame(frame);
        if frame.more || !self.model.complete {
            return None;
        }
        self.names.apply(&mut self.model);
        self.engine.update(&self.model);
        self.counts.add(&self.model, self.engine.findings());
        #[cfg(feature = "pprof")]
        lock(&self.shared.metrics.profile).add(&self.model, &self.counts.grown, Instant::now());
        let view = page::View {
            model: &self.model,
            engine: &self.engine,
            runtimes: &self.runtimes,
            counts: &self.counts,
            lost: self.shared.lost_in_export(),
        };
        #[cfg(feature = "otlp")]
        if let Some(exporter) = &mut self.exporter {
            exporter.take(&view);
        }
        Some(Pages {
            names: view.page(Shown::Names).into(),
            numbers: view.page(Shown::Numbers).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ids::{RuntimeId, WorkerIndex};
    use crate::publish::feed;
    use crate::stall::{Stall, StallScope, Subject};

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    }

    #[test]
    fn who_scrapes_gets_a_page_and_what_is_counted_outlives_the_thread() {
        runtime().block_on(async {
            let shared = Arc::new(Shared::new(Config::default(), Ok(())));
            let (feed, serve) = feed::new(&shared);
            tokio::spawn(serve);
            let subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
            let id = lock(&shared.stalls).begin(Stall::new(subject, StallScope::OnePoll, 1));
            lock(&shared.stalls).end(id, 2_000_000_000);
            let counts_one = "\nlooptop_stalls_total{cause=\"unknown\"} 1\n";
            let page = async || {
                let page = scrape(&shared, &feed, Shown::Numbers).await;
                String::from_utf8(page.expect("a page").to_vec()).expect("text")
            };
            let deadline = Instant::now() + Duration::from_secs(20);
            while !page().await.contains(counts_one) {
                assert!(Instant::now() < deadline, "{}", page().await);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Nobody scrapes for long: the thread ends at its next frame.
            lock(&shared.metrics.state).asked = None;
            while lock(&shared.metrics.state).observes {
                assert!(Instant::now() < deadline, "it goes on");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(page().await.contains(counts_one), "{}", page().await);
        });
    }
}
