//! Which numbers there are, and what they are called.
//!
//! Numbers of tokio's have the names of OpenTelemetry's instrumentation of tokio, as its
//! exporters write them for Prometheus (`tokio.worker.park_count` is
//! `tokio_worker_park_count_total`); what only this agent knows begins with `looptop_`.
//! `docs/fleet.md` lists them, with those of tokio-metrics' facade beside.

use std::collections::BTreeMap;
use std::time::Duration;

use looptop_diagnosis::diagnose::{Engine, Level};
#[cfg(feature = "otlp")]
use looptop_diagnosis::model::StallId;
use looptop_diagnosis::model::{Model, RuntimeId, Stall, ThreadRole};
use looptop_wire::proto::{self, Frame};

use super::Shown;
use super::counts::{Counts, LAG_BOUNDS};
use super::culprit::{ByCulprit, Culprit};
use super::families::{Histogram, Kind, Page, Sink};
use super::text::Text;

/// Workers of which there are series; more are left out.
const MAX_WORKERS: usize = 512;
/// Gauges of the application's own, likewise.
const MAX_GAUGES: usize = 100;

/// Runtimes and workers as the agent sends them, with what the model leaves out.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    runtimes: BTreeMap<u32, proto::Runtime>,
    workers: BTreeMap<(u32, u32), proto::Worker>,
}

impl Runtimes {
    pub(super) fn add(&mut self, frame: &Frame) {
        for runtime in &frame.runtimes {
            if runtime.gone {
                self.runtimes.remove(&runtime.id);
                self.workers.retain(|(of, _), _| *of != runtime.id);
            } else {
                self.runtimes.insert(runtime.id, runtime.clone());
            }
        }
        for worker in &frame.workers {
            let of = (worker.runtime, worker.index);
            if self.runtimes.contains_key(&worker.runtime) {
                self.workers.insert(of, *worker);
            }
        }
    }
}

/// What a page is made from.
pub(crate) struct View<'a> {
    pub(crate) model: &'a Model,
    pub(super) engine: &'a Engine,
    pub(super) runtimes: &'a Runtimes,
    pub(super) counts: &'a Counts,
    /// What was lost beside what the model knows of.
    pub(super) lost: Vec<(&'static str, u64)>,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn some(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

impl View<'_> {
    /// All of it as text, for who may see so much.
    pub(super) fn page(&self, shown: Shown) -> String {
        let mut text = Text::default();
        self.write(&mut text, shown);
        text.into_string()
    }

    /// Whether a stall was counted: its culprit is known as well as it will be.
    #[cfg(feature = "otlp")]
    pub(crate) fn has_counted(&self, stall: StallId) -> bool {
        self.counts.has(stall)
    }

    /// All of it, for who may see so much.
    pub(crate) fn write(&self, sink: &mut dyn Sink, shown: Shown) {
        let mut page = Page::new(sink);
        self.agent(&mut page);
        self.stalls(&mut page, shown);
        self.findings(&mut page, shown);
        self.lag(&mut page, shown);
        self.runtimes(&mut page, shown);
        self.workers(&mut page, shown);
        self.threads(&mut page);
        self.process(&mut page);
        self.losses(&mut page);
        if shown == Shown::Names {
            self.gauges(&mut page);
        }
    }

    /// The name of a runtime, which is a name; its number where numbers alone are shown.
    fn runtime(&self, id: u32, shown: Shown) -> String {
        match shown {
            Shown::Names => self.model.runtime_name(RuntimeId(id)),
            Shown::Numbers => id.to_string(),
        }
    }

    fn agent(&self, page: &mut Page) {
        let version = env!("CARGO_PKG_VERSION");
        page.family(
            Kind::Gauge,
            "looptop_agent_info",
            "Always 1; the version of looptop's agent.",
        )
        .sample(&[("version", version)], 1.0);
        let verdict = self.engine.verdict(self.model).level;
        let mut family = page.family(
            Kind::Gauge,
            "looptop_verdict",
            "1 for what looptop says of the event loop now, 0 for all else it may say.",
        );
        let levels = Level::ALL.into_iter();
        for level in levels.filter(|level| *level != Level::CoreDump) {
            let word = level.word().to_ascii_lowercase();
            family.sample(&[("level", &word)], f64::from(level == verdict));
        }
    }

    fn stalls(&self, page: &mut Page, shown: Shown) {
        let stalls = &self.counts.stalls;
        let totals = by_shown(stalls, shown, |sum, add| {
            sum.count += add.count;
            sum.seconds += add.seconds;
        });
        let mut family = page.family(
            Kind::Counter,
            "looptop_stalls_total",
            "Polls over the agent's threshold, by the function that is to blame.",
        );
        for ((), culprit, total) in &totals {
            family.sample(&culprit.labels(), total.count as f64);
        }
        let mut family = page.family(
            Kind::Counter,
            "looptop_stall_seconds_total",
            "Time in polls over the agent's threshold, by the function that is to blame.",
        );
        for ((), culprit, total) in &totals {
            family.sample(&culprit.labels(), total.seconds);
        }
        page.family(
            Kind::Counter,
            "looptop_culprits_over_limit_total",
            "Stalls counted under the function \"other\", because there were too many functions.",
        )
        .sample(&[], stalls.over as f64);
        let live = || self.model.stalls.live().filter(|s| !s.is_in_place());
        page.family(
            Kind::Gauge,
            "looptop_stalls_in_progress",
            "Polls that are over the agent's threshold now.",
        )
        .sample(&[], live().count() as f64);
        let age = |stall: &Stall| stall.age(self.model.now);
        let longest = live().map(age).max().unwrap_or_default();
        page.family(
            Kind::Gauge,
            "looptop_longest_stall_in_progress_seconds",
            "For how long the longest of these polls has lasted.",
        )
        .sample(&[], longest.as_secs_f64());
    }

    fn findings(&self, page: &mut Page, shown: Shown) {
        let mut family = page.family(
            Kind::Gauge,
            "looptop_findings",
            "Findings that there are now, of rules that have found something.",
        );
        for ((rule, severity), count) in &self.counts.present {
            let labels = [("rule", *rule), ("severity", *severity)];
            family.sample(&labels, *count as f64);
        }
        let mut family = page.family(
            Kind::Counter,
            "looptop_finding_seconds_total",
            "Time in which there was a finding, by the function that is to blame.",
        );
        let totals = by_shown(&self.counts.findings, shown, |sum, add| *sum += *add);
        for ((rule, severity), culprit, total) in &totals {
            let [cause, function, location, task] = culprit.labels();
            let of_rule = [("rule", *rule), ("severity", *severity)];
            let labels = [of_rule[0], of_rule[1], cause, function, location, task];
            family.sample(&labels, *total);
        }
    }

    fn lag(&self, page: &mut Page, shown: Shown) {
        let mut family = page.family(
            Kind::Histogram,
            "looptop_loop_lag_seconds",
            "How much later than due the probe task of a runtime ran.",
        );
        for (runtime, lag) in &self.counts.lag {
            let name = self.runtime(*runtime, shown);
            let histogram = Histogram {
                bounds: &LAG_BOUNDS,
                counts: &lag.counts,
                sum: lag.sum,
            };
            family.histogram(&[("runtime", &name)], &histogram);
        }
        let mut family = page.family(
            Kind::Gauge,
            "looptop_loop_lag_overdue_seconds",
            "How late the probe task is that has not run yet.",
        );
        for (runtime, lag) in &self.model.lag {
            let overdue = lag.pending(self.model.now);
            let name = self.runtime(runtime.0, shown);
            family.sample(&[("runtime", &name)], overdue.as_secs_f64());
        }
    }

    fn runtimes(&self, page: &mut Page, shown: Shown) {
        type Value = fn(&proto::Runtime) -> Option<f64>;
        const FAMILIES: &[(Kind, &str, &str, Value)] = &[
            (
                Kind::Gauge,
                "tokio_workers",
                "Worker threads of the runtime.",
                |r| Some(f64::from(r.workers)),
            ),
            (
                Kind::Gauge,
                "tokio_active_tasks",
                "Tasks that have not ended.",
                |r| some(Some(r.live_tasks)),
            ),
            (
                Kind::Gauge,
                "tokio_global_queue_depth",
                "Tasks in the queue that all workers share.",
                |r| some(Some(r.global_queue)),
            ),
            (
                Kind::Counter,
                "tokio_spawned_tasks_count_total",
                "Tasks spawned since the runtime began.",
                |r| some(r.spawned),
            ),
            (
                Kind::Counter,
                "tokio_remote_schedules_total",
                "Tasks scheduled from outside of the runtime.",
                |r| some(r.remote_schedules),
            ),
            (
                Kind::Counter,
                "tokio_budget_forced_yields_total",
                "Times that a task used up its budget and was made to yield.",
                |r| some(r.forced_yields),
            ),
            (
                Kind::Gauge,
                "tokio_blocking_threads",
                "Threads of the blocking pool.",
                |r| some(r.blocking_threads),
            ),
            (
                Kind::Gauge,
                "tokio_idle_blocking_threads",
                "Threads of the blocking pool that have nothing to do.",
                |r| some(r.idle_blocking_threads),
            ),
            (
                Kind::Gauge,
                "tokio_blocking_queue_depth",
                "Jobs that wait for a thread of the blocking pool.",
                |r| some(r.blocking_queue),
            ),
            (
                Kind::Counter,
                "tokio_io_driver_fd_readies_total",
                "Ready events that the I/O driver has processed.",
                |r| some(r.io_ready),
            ),
        ];
        for (kind, name, help, value) in FAMILIES {
            let mut family = page.family(*kind, name, help);
            for runtime in self.runtimes.runtimes.values() {
                let of = self.runtime(runtime.id, shown);
                family.known(&[("runtime", &of)], value(runtime));
            }
        }
    }

    fn workers(&self, page: &mut Page, shown: Shown) {
        type Value = fn(&proto::Worker) -> Option<f64>;
        const FAMILIES: &[(Kind, &str, &str, Value)] = &[
            (
                Kind::Counter,
                "tokio_worker_busy_duration_seconds_total",
                "Time that the worker was not parked.",
                |w| Some(seconds(w.busy_ns)),
            ),
            (
                Kind::Counter,
                "tokio_worker_park_count_total",
                "Times that the worker parked.",
                |w| some(Some(w.parks)),
            ),
            (
                Kind::Counter,
                "tokio_worker_polls_total",
                "Polls of tasks.",
                |w| some(w.polls),
            ),
            (
                Kind::Counter,
                "tokio_worker_task_steals_total",
                "Tasks that the worker took from others.",
                |w| some(w.steals),
            ),
            (
                Kind::Counter,
                "tokio_worker_noops_total",
                "Times that the worker woke up and found nothing to do.",
                |w| some(w.noops),
            ),
            (
                Kind::Counter,
                "tokio_worker_overflows_total",
                "Times that the worker's queue was full.",
                |w| some(w.overflows),
            ),
            (
                Kind::Gauge,
                "tokio_worker_local_queue_depth",
                "Tasks in the worker's own queue.",
                |w| some(w.local_queue),
            ),
            (
                Kind::Gauge,
                "tokio_worker_mean_poll_time_seconds",
                "Mean duration of a poll, weighted towards the newest.",
                |w| w.mean_poll_ns.map(seconds),
            ),
        ];
        for (kind, name, help, value) in FAMILIES {
            let mut family = page.family(*kind, name, help);
            for worker in self.runtimes.workers.values().take(MAX_WORKERS) {
                let of = self.runtime(worker.runtime, shown);
                let index = worker.index.to_string();
                family.known(&[("runtime", &of), ("worker", &index)], value(worker));
            }
        }
    }

    fn threads(&self, page: &mut Page) {
        let mut family = page.family(
            Kind::Counter,
            "looptop_thread_cpu_seconds_total",
            "CPU time of the process's threads while the agent was scraped.",
        );
        for (role, time) in &self.counts.threads {
            family.sample(&[("role", role_word(*role))], time.cpu.as_secs_f64());
        }
        let mut family = page.family(
            Kind::Counter,
            "looptop_run_queue_wait_seconds_total",
            "Time in which threads were ready to run and got no CPU, while the agent was scraped.",
        );
        for (role, time) in &self.counts.threads {
            let waited = time.run_queue.map(|waited| waited.as_secs_f64());
            family.known(&[("role", role_word(*role))], waited);
        }
    }

    fn process(&self, page: &mut Page) {
        let Some(process) = &self.model.process else {
            return;
        };
        let throttled = process.throttled.map(|time: Duration| time.as_secs_f64());
        page.family(
            Kind::Counter,
            "looptop_cgroup_throttled_seconds_total",
            "Time in which the control group's quota held the process back.",
        )
        .known(&[], throttled);
    }

    fn losses(&self, page: &mut Page) {
        let loss = &self.model.loss;
        let mut family = page.family(
            Kind::Counter,
            "looptop_lost_total",
            "What the agent had to drop or refuse.",
        );
        for (what, count) in [
            ("tasks", loss.tasks),
            ("strings", loss.strings),
            ("frames", loss.frames),
            ("stalls", loss.stalls),
            ("finished tasks", loss.history),
            ("captures", loss.captures),
            ("slots", loss.slots),
            ("viewers", loss.refused_viewers),
            ("connections", loss.refused_connections),
            ("calls", loss.refused_calls),
        ]
        .into_iter()
        .chain(self.lost.iter().copied())
        {
            family.sample(&[("what", what)], count as f64);
        }
        page.family(
            Kind::Counter,
            "looptop_watchdog_late_seconds_total",
            "How much later than due the agent's watchdog ran, in all.",
        )
        .sample(&[], seconds(loss.watchdog_late_ns));
    }

    fn gauges(&self, page: &mut Page) {
        let mut family = page.family(
            Kind::Gauge,
            "looptop_reported",
            "What the application reports itself, by looptop_agent::gauge.",
        );
        for (name, gauge) in self.model.gauges.iter().take(MAX_GAUGES) {
            let name = self.model.texts.get(*name);
            family.sample(&[("name", name)], gauge.value);
        }
    }
}

/// What is counted by culprit, for who may see so much: without names those of one cause
/// are one.
fn by_shown<K: Ord + Clone, V: Default>(
    counted: &ByCulprit<K, V>,
    shown: Shown,
    add: impl Fn(&mut V, &V),
) -> Vec<(K, Culprit, V)> {
    let mut totals: BTreeMap<(K, Culprit), V> = BTreeMap::new();
    for (key, culprit, value) in counted.iter() {
        let culprit = match shown {
            Shown::Names => culprit.clone(),
            Shown::Numbers => culprit.without_names(),
        };
        add(totals.entry((key.clone(), culprit)).or_default(), value);
    }
    let totals = totals.into_iter();
    totals
        .map(|((key, culprit), value)| (key, culprit, value))
        .collect()
}

fn role_word(role: ThreadRole) -> &'static str {
    match role {
        ThreadRole::Worker => "worker",
        ThreadRole::Blocking => "blocking",
        ThreadRole::Agent => "agent",
        ThreadRole::Stranger => "stranger",
        ThreadRole::BlockOn => "block_on",
        ThreadRole::Unknown | ThreadRole::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use looptop_diagnosis::diagnose::Window;
    use looptop_diagnosis::model::fixtures;

    use super::*;

    fn pages(model: &Model) -> [String; 2] {
        let mut engine = Engine::new(Window::Live);
        engine.update(model);
        let mut counts = Counts::default();
        counts.add(model, engine.findings());
        let mut runtimes = Runtimes::default();
        runtimes.add(&Frame {
            runtimes: vec![proto::Runtime {
                workers: 2,
                ..proto::Runtime::default()
            }],
            workers: vec![proto::Worker::default()],
            ..Frame::default()
        });
        let view = View {
            model,
            engine: &engine,
            runtimes: &runtimes,
            counts: &counts,
            lost: vec![("log records", 3)],
        };
        [Shown::Names, Shown::Numbers].map(|shown| view.page(shown))
    }

    #[test]
    fn each_family_is_there_once_with_a_name_that_the_format_allows() {
        let mut model = fixtures::starving();
        let now = model.now;
        let frame = Frame {
            gauges: vec![proto::Gauge::default()],
            ..fixtures::frame(now)
        };
        model.apply(&frame).expect("a frame");
        let [page, _] = pages(&model);
        assert!(page.contains("looptop_reported"), "{page}");
        let names: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        assert!(names.len() > 12, "{names:?}");
        for name in names {
            let is_allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(is_allowed), "{name}");
            // `promtool check metrics` wants no kinds in names.
            let kinds = ["gauge", "counter", "histogram", "summary", "untyped"];
            assert!(!kinds.iter().any(|kind| name.contains(kind)), "{name}");
        }
    }

    #[test]
    fn who_may_see_numbers_alone_sees_no_name() {
        let model = fixtures::starving();
        let [names, numbers] = pages(&model);
        let finding = names.lines().find(|l| l.contains("location="));
        let location = finding.expect("a finding with its place");
        assert!(!numbers.contains(location));
        for label in ["function=", "location=", "task=", "name="] {
            assert!(!numbers.contains(label), "{label}");
        }
        assert!(numbers.contains("looptop_finding_seconds_total{rule="));
    }
}
