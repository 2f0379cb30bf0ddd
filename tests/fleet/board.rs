//! The board of `deploy/grafana/`: its queries, and what they must say of the lab.

use super::{
    CULPRIT, file,
    prometheus::{Prometheus, Sample},
};

/// A panel's title and queries.
pub(crate) struct Panel {
    pub(crate) title: String,
    queries: Vec<String>,
}

/// All panels of the board.
pub(crate) fn panels() -> Vec<Panel> {
    let text = std::fs::read_to_string(file("deploy/grafana/looptop.json")).unwrap();
    let board: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = board["panels"].as_array().unwrap();
    assert!(panels.len() > 10, "{} panels", panels.len());
    panels.iter().map(Panel::new).collect()
}

impl Panel {
    fn new(panel: &serde_json::Value) -> Self {
        let query = |target: &serde_json::Value| {
            let query = target["expr"].as_str().unwrap();
            // As Grafana does, for all jobs and instances.
            let query = query.replace("$job", ".*").replace("$instance", ".*");
            let query = query.replace("$__rate_interval", "30s");
            assert!(!query.contains('$'), "{query}");
            query
        };
        let targets = panel["targets"].as_array().unwrap();
        Self {
            title: panel["title"].as_str().unwrap().to_owned(),
            queries: targets.iter().map(query).collect(),
        }
    }

    /// What each of its queries answers now.
    pub(crate) fn answers(&self, prometheus: &Prometheus) -> Vec<Vec<Sample>> {
        let queries = self.queries.iter();
        queries.map(|query| prometheus.query(query)).collect()
    }

    /// Whether that is what is known of the lab while a handler sleeps for 100 ms on each of
    /// its two workers, again and again, and 24 clients ask for nothing else.
    pub(crate) fn shows_the_lab(&self, answers: &[Vec<Sample>]) -> bool {
        let all = || answers.iter().flatten();
        let is_culprit = |sample: &Sample| sample.label("function") == CULPRIT;
        let of_culprit = || all().filter(|s| is_culprit(s)).map(|s| s.value);
        let between = |low: f64, high: f64| move |value: f64| (low..=high).contains(&value);
        let one = |label: &str, value: &str, is_right: &dyn Fn(f64) -> bool| {
            all().any(|s| s.label(label) == value && is_right(s.value))
        };
        match self.title.as_str() {
            "Verdict" => all().any(|s| ["slow", "starved"].contains(&s.label("level"))),
            "Findings now" => one("rule", "blocked-worker", &|count| count >= 1.0),
            // Both workers all the time, as far as the machine lets them.
            "Who blocks the workers" => of_culprit().any(between(1.0, 2.2)),
            // Ten a second on each worker, and not many more.
            "Stalls" => one("cause", "sleeping", &between(5.0, 22.0)),
            "Findings over time" => of_culprit().any(between(0.5, 1.1)),
            // One sleep, or what an observer that is late makes of it.
            "Longest stall in progress" => all().any(|s| between(0.0, 1.0)(s.value)),
            "Loop lag" => answers[1].iter().any(|s| between(0.05, 10.0)(s.value)),
            "Workers" => all().any(|s| between(0.7, 1.1)(s.value)),
            "Tasks" => all().any(|s| between(10.0, 200.0)(s.value)),
            "Queues" => answers.iter().all(|of| !of.is_empty()),
            // A handler, its connection and the client's share each request.
            "Polls" => all().any(|s| between(10.0, 2_000.0)(s.value)),
            "Blocking pool" => answers[1].iter().any(|s| s.is(0.0)),
            "CPU" => one("role", "worker", &between(0.0, 1.0)),
            "Waits for a CPU" => one("role", "worker", &|wait| wait >= 0.0),
            "What the agent drops" => one("what", "stalls", &|lost| lost >= 0.0),
            "Agents" => one("version", env!("CARGO_PKG_VERSION"), &|count| count >= 1.0),
            other => panic!("nothing is known of the panel {other}"),
        }
    }
}
