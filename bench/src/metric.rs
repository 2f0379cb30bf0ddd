//! What is measured: one line here is one row of the table.

use crate::options::Section;

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    SpawnOne,
    Spawn1000,
    Yield1,
    Yield16,
    Yield4000,
    Notify,
    Mpsc,
    Spawn1000TwoWorkers,
    Yield16TwoWorkers,
    Requests,
    RequestCpu,
    P50,
    P99,
    RequestsViewed,
    RequestCpuViewed,
    P50Viewed,
    P99Viewed,
    RequestsTask,
    RequestCpuTask,
    Idle10k,
    Idle100k,
    Churn1k,
    Churn1kCpu,
    Churn20k,
    Churn20kCpu,
    Stall,
    StallChurn,
    Scrape,
    ScrapeCpu,
    ScrapeStalls,
    InstructionsPoll,
    InstructionsWake,
    InstructionsSpawn,
    InstructionsSpawnOwn,
}

/// How a cell relates to the program that nobody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// `+8 ns` and `×1.1`
    Difference,
    /// `×0.98`
    Ratio,
    /// Nothing to compare with.
    Alone,
}

/// How a metric is shown.
pub(crate) struct Description {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) section: Section,
    pub(crate) beside: Beside,
}

impl Metric {
    pub(crate) const ALL: [Self; 34] = [
        Self::SpawnOne,
        Self::Spawn1000,
        Self::Yield1,
        Self::Yield16,
        Self::Yield4000,
        Self::Notify,
        Self::Mpsc,
        Self::Spawn1000TwoWorkers,
        Self::Yield16TwoWorkers,
        Self::Requests,
        Self::RequestCpu,
        Self::P50,
        Self::P99,
        Self::RequestsViewed,
        Self::RequestCpuViewed,
        Self::P50Viewed,
        Self::P99Viewed,
        Self::RequestsTask,
        Self::RequestCpuTask,
        Self::Idle10k,
        Self::Idle100k,
        Self::Churn1k,
        Self::Churn1kCpu,
        Self::Churn20k,
        Self::Churn20kCpu,
        Self::Stall,
        Self::StallChurn,
        Self::Scrape,
        Self::ScrapeCpu,
        Self::ScrapeStalls,
        Self::InstructionsPoll,
        Self::InstructionsWake,
        Self::InstructionsSpawn,
        Self::InstructionsSpawnOwn,
    ];

    /// What `bare` is compared by: it has no viewer.
    pub(crate) fn unwatched(self) -> Self {
        match self {
            Self::RequestsViewed => Self::Requests,
            Self::RequestCpuViewed => Self::RequestCpu,
            Self::P50Viewed => Self::P50,
            Self::P99Viewed => Self::P99,
            other => other,
        }
    }

    #[rustfmt::skip]
    pub(crate) fn describe(self) -> Description {
        use Beside::{Alone, Difference, Ratio};
        use Section::{Churn, Http, Idle, Instructions, Micro, Scrape, Stall};
        let (id, title, unit, section, beside) = match self {
            Self::SpawnOne => ("spawn_one", "spawn + join, one by one", "ns", Micro, Difference),
            Self::Spawn1000 => ("spawn_1000", "spawn + join, 1,000 at once", "ns", Micro, Difference),
            Self::Yield1 => ("yield_1", "poll: `yield_now`, 1 task", "ns", Micro, Difference),
            Self::Yield16 => ("yield_16", "poll: `yield_now`, 16 tasks in turn", "ns", Micro, Difference),
            Self::Yield4000 => ("yield_4000", "poll: `yield_now`, 4,000 tasks in turn", "ns", Micro, Difference),
            Self::Notify => ("notify", "poll with a wake: `Notify` ping-pong", "ns", Micro, Difference),
            Self::Mpsc => ("mpsc", "poll with a wake: `mpsc` ping-pong", "ns", Micro, Difference),
            Self::Spawn1000TwoWorkers => ("spawn_1000_2w", "spawn + join, 1,000 at once, 2 workers", "ns", Micro, Difference),
            Self::Yield16TwoWorkers => ("yield_16_2w", "poll: `yield_now`, 16 tasks, 2 workers", "ns", Micro, Difference),
            Self::Requests => ("http_rps", "HTTP, no viewer: requests/s", "1/s", Http, Ratio),
            Self::RequestCpu => ("http_cpu", "HTTP, no viewer: CPU per request", "µs", Http, Ratio),
            Self::P50 => ("http_p50", "HTTP, no viewer: p50", "µs", Http, Ratio),
            Self::P99 => ("http_p99", "HTTP, no viewer: p99", "µs", Http, Ratio),
            Self::RequestsViewed => ("http_rps_viewed", "HTTP, viewer at 10 Hz: requests/s", "1/s", Http, Ratio),
            Self::RequestCpuViewed => ("http_cpu_viewed", "HTTP, viewer at 10 Hz: CPU per request", "µs", Http, Ratio),
            Self::P50Viewed => ("http_p50_viewed", "HTTP, viewer at 10 Hz: p50", "µs", Http, Ratio),
            Self::P99Viewed => ("http_p99_viewed", "HTTP, viewer at 10 Hz: p99", "µs", Http, Ratio),
            Self::RequestsTask => ("http_rps_task", "HTTP, a task per request, no viewer: requests/s", "1/s", Http, Ratio),
            Self::RequestCpuTask => ("http_cpu_task", "HTTP, a task per request, no viewer: CPU per request", "µs", Http, Ratio),
            Self::Idle10k => ("idle_10k", "memory per waiting task, 10,000 tasks", "B", Idle, Difference),
            Self::Idle100k => ("idle_100k", "memory per waiting task, 100,000 tasks", "B", Idle, Difference),
            Self::Churn1k => ("churn_1k", "resident memory after 1,000 spawns/s", "MB", Churn, Difference),
            Self::Churn1kCpu => ("churn_1k_cpu", "CPU per spawn at 1,000 spawns/s", "µs", Churn, Difference),
            Self::Churn20k => ("churn_20k", "resident memory after 20,000 spawns/s", "MB", Churn, Difference),
            Self::Churn20kCpu => ("churn_20k_cpu", "CPU per spawn at 20,000 spawns/s", "µs", Churn, Difference),
            Self::Stall => ("stall", "a 200 ms stall is seen after", "ms", Stall, Alone),
            Self::StallChurn => ("stall_churn", "the same under 1,000 spawns/s", "ms", Stall, Alone),
            Self::Scrape => ("scrape", "a scrape of 10,000 tasks that all change", "ms", Scrape, Alone),
            Self::ScrapeCpu => ("scrape_cpu", "CPU of the agent, scraped each second", "%", Scrape, Alone),
            Self::ScrapeStalls => ("scrape_stalls", "stalls while it is scraped", "", Scrape, Alone),
            Self::InstructionsPoll => ("instructions_poll", "instructions per poll (`yield_now`)", "", Instructions, Difference),
            Self::InstructionsWake => ("instructions_wake", "instructions per poll with a wake (`Notify`)", "", Instructions, Difference),
            Self::InstructionsSpawn => ("instructions_spawn", "instructions per spawn + join", "", Instructions, Difference),
            Self::InstructionsSpawnOwn => ("instructions_spawn_own", "the same without those of malloc and free", "", Instructions, Difference),
        };
        Description { id, title, unit, section, beside }
    }
}
