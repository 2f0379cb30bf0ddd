//! The lab as the screen knows it: what runs in it, what came of it, and which
//! scenario the cursor is on.
//!
//! The lab's client fills it; nothing here knows how. Unknown is `None`.

use std::{sync::Arc, time::Duration};

use ratatui::layout::Rect;

use super::quantity;

/// Which twin of a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Twin {
    /// The mistake.
    Broken,
    /// The same work without the mistake.
    Fixed,
    /// No load but the canary.
    Off,
}

impl Twin {
    /// The word on screen.
    pub fn word(self) -> &'static str {
        match self {
            Twin::Broken => "broken",
            Twin::Fixed => "fixed",
            Twin::Off => "off",
        }
    }
}

/// What the lab's client reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The target is no lab.
    Absent,
    /// How the lab does.
    Status(Box<Status>),
    /// A switch was refused, with the lab's reason.
    Refused(String),
    /// The lab does not answer, and why.
    Lost(String),
}

/// How the lab does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// The active scenario.
    pub scenario: String,
    /// Which twin of it runs; `None` where this version does not know the mode.
    pub twin: Option<Twin>,
    /// What it shows, one line.
    pub caption: String,
    /// What the source notes say; may be empty.
    pub notes: String,
    /// Which figure to watch.
    pub watch: String,
    /// Path to which the load goes; empty when off.
    pub endpoint: String,
    /// Flavour of the observed runtime.
    pub flavor: String,
    /// Workers of the observed runtime.
    pub workers: u32,
    /// Counts the switches.
    pub phase: u64,
    /// Since the last switch.
    pub now: Figures,
    /// From the switch before to the last; `None` before the first.
    pub before: Option<Before>,
    /// Code of the broken twin; empty where there is no mistake to make.
    pub broken_code: String,
    /// Code of the fixed twin.
    pub fixed_code: String,
    /// All scenarios, in the order of the stage.
    pub scenarios: Vec<Entry>,
    /// Address of the service.
    pub http: String,
}

impl Status {
    /// What ran before, where it was the same scenario.
    pub fn own_before(&self) -> Option<&Before> {
        self.before.as_ref().filter(|b| b.scenario == self.scenario)
    }

    /// Code of the twin that runs, or that would: the broken one where it is off.
    pub fn code(&self) -> &str {
        match self.twin {
            Some(Twin::Broken | Twin::Off) if !self.broken_code.is_empty() => &self.broken_code,
            _ => &self.fixed_code,
        }
    }
}

/// The time from one switch to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// How long it has lasted, or lasted.
    pub lasted: Duration,
    /// Requests answered each second, over the whole time.
    pub requests_per_s: Option<f64>,
    /// Requests refused, broken off or timed out.
    pub errors: u64,
    /// Latency of the requests.
    pub latency: Latency,
    /// Latency of the canary.
    pub canary: Latency,
    /// How long the canary has been waiting for its answer now.
    pub canary_waits: Option<Duration>,
    /// What the scenario shows beside latencies.
    pub readings: Vec<(String, f64)>,
}

/// Of answers; `None` without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Median.
    pub p50: Option<Duration>,
    /// The slowest hundredth is slower.
    pub p99: Option<Duration>,
    /// The slowest.
    pub max: Option<Duration>,
}

/// What ran before the last switch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Before {
    /// Its scenario.
    pub scenario: String,
    /// Which twin.
    pub twin: Option<Twin>,
    /// What came of it.
    pub figures: Figures,
}

/// A scenario in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What it shows, one line.
    pub caption: String,
    /// It has a mistake to make.
    pub has_broken_twin: bool,
}

/// A value that can be compared with another of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A time.
    Time(Duration),
    /// A number.
    Count(f64),
}

impl Value {
    /// As text.
    pub fn text(self) -> String {
        match self {
            Value::Time(time) => quantity::duration(time),
            Value::Count(n) => quantity::short(n),
        }
    }

    fn size(self) -> f64 {
        match self {
            Value::Time(time) => time.as_secs_f64(),
            Value::Count(n) => n,
        }
    }

    /// How many times as much as `before`: "×120", "÷9.1"; empty where it is
    /// about the same or cannot be said.
    pub fn change(self, before: Value) -> String {
        let ratio = self.size() / before.size();
        match ratio {
            r if !r.is_finite() || r <= 0.0 => String::new(),
            1.1.. => format!("×{}", quantity::short(ratio)),
            ..0.91 => format!("÷{}", quantity::short(1.0 / ratio)),
            _ => String::new(),
        }
    }
}

/// One line of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is measured.
    pub name: String,
    /// Before the switch.
    pub before: Option<Value>,
    /// Since the switch.
    pub now: Option<Value>,
}

/// Measures that every scenario has: name and how to read it.
/// How a figure is read off.
type Measure = fn(&Figures) -> Option<Value>;

const MEASURES: [(&str, Measure); 7] = [
    ("requests/s", |f| f.requests_per_s.map(Value::Count)),
    ("p50", |f| f.latency.p50.map(Value::Time)),
    ("p99", |f| f.latency.p99.map(Value::Time)),
    ("canary p50", |f| f.canary.p50.map(Value::Time)),
    ("canary p99", |f| f.canary.p99.map(Value::Time)),
    ("canary max", |f| f.canary.max.map(Value::Time)),
    ("errors", |f| Some(Value::Count(f.errors as f64))),
];

/// Before and after, side by side; the scenario's own readings come last. What
/// another scenario did before cannot be compared and is left out.
pub fn comparison(status: &Status) -> Vec<Row> {
    let before = status.own_before().map(|b| &b.figures);
    let measures = MEASURES.iter().map(|(name, read)| Row {
        name: (*name).to_owned(),
        before: before.and_then(read),
        now: read(&status.now),
    });
    let reading = |figures: &Figures, name: &str| {
        let found = figures.readings.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| Value::Count(*value))
    };
    let readings = status.now.readings.iter().map(|(name, value)| Row {
        name: name.clone(),
        before: before.and_then(|b| reading(b, name)),
        now: Some(Value::Count(*value)),
    });
    measures.chain(readings).collect()
}

/// The two lines that matter on a stage: other people's pain, and what the
/// scenario says to watch.
pub fn headline(status: &Status) -> [Row; 2] {
    let rows = comparison(status);
    let row = |name: &str| rows.iter().find(|r| r.name == name).cloned();
    let unknown = |name: &str| Row {
        name: name.to_owned(),
        before: None,
        now: None,
    };
    let mut canary = row("canary p99").unwrap_or_else(|| unknown("canary p99"));
    // While it waits there is no answer to measure.
    let p99 = status.now.canary.p99.unwrap_or_default();
    if let Some(waits) = status.now.canary_waits.filter(|waits| *waits > p99) {
        canary.name = "canary waits".to_owned();
        canary.now = Some(Value::Time(waits));
    }
    let watched = rows
        .iter()
        .filter(|r| !r.name.starts_with("canary"))
        .find(|r| status.watch.contains(r.name.as_str()));
    let second = watched.cloned().or_else(|| row("requests/s"));
    [canary, second.unwrap_or_else(|| unknown("requests/s"))]
}

/// What the screen knows of the lab.
#[derive(Debug, Clone, Default)]
pub struct LabState {
    /// Its last word; `None` where the target is no lab or has not answered.
    pub status: Option<Arc<Status>>,
    /// A switch that is not confirmed yet.
    pub asked: Option<(String, Twin)>,
    /// Why it does not answer now.
    pub problem: Option<String>,
    /// The target has said that it is no lab.
    pub absent: bool,
    /// The scenario under the cursor; the active one until it is moved.
    selected: Option<String>,
}

impl LabState {
    /// Takes in what the client reports; a sentence where the user should know.
    pub(super) fn take(&mut self, update: Update) -> Option<String> {
        match update {
            Update::Absent => {
                *self = Self {
                    absent: true,
                    ..Self::default()
                };
            }
            Update::Status(status) => {
                let confirmed = self.asked.as_ref().is_some_and(|(scenario, twin)| {
                    *scenario == status.scenario && status.twin == Some(*twin)
                });
                if confirmed {
                    // From here on the cursor follows what is active.
                    self.selected = None;
                    self.asked = None;
                }
                self.absent = false;
                self.problem = None;
                self.status = Some(Arc::new(*status));
            }
            Update::Refused(reason) => {
                self.asked = None;
                return Some(reason);
            }
            Update::Lost(problem) => {
                self.asked = None;
                self.problem = Some(problem);
            }
        }
        None
    }

    /// The scenarios, in the order of the stage.
    pub fn scenarios(&self) -> &[Entry] {
        self.status.as_ref().map_or(&[], |s| &s.scenarios)
    }

    /// The row of the scenario under the cursor.
    pub fn row(&self) -> usize {
        let Some(status) = &self.status else { return 0 };
        let of = |id: &str| status.scenarios.iter().position(|e| e.id == id);
        let chosen = self.selected.as_deref().and_then(of);
        chosen.or_else(|| of(&status.scenario)).unwrap_or(0)
    }

    /// The scenario under the cursor.
    pub fn entry(&self) -> Option<&Entry> {
        self.scenarios().get(self.row())
    }

    /// The cursor is on another scenario than the active one.
    pub fn is_elsewhere(&self) -> bool {
        let active = self.status.as_ref().map(|s| s.scenario.as_str());
        self.entry().is_some_and(|e| Some(e.id.as_str()) != active)
    }

    pub(super) fn put_cursor(&mut self, row: usize) {
        let last = self.scenarios().len().saturating_sub(1);
        self.selected = self.scenarios().get(row.min(last)).map(|e| e.id.clone());
    }

    /// The other twin of the scenario under the cursor; the mistake first.
    pub(super) fn other_twin(&self) -> Option<Twin> {
        let (status, entry) = (self.status.as_ref()?, self.entry()?);
        let active = status.scenario == entry.id;
        Some(match status.twin {
            _ if !entry.has_broken_twin => Twin::Fixed,
            Some(Twin::Broken) if active => Twin::Fixed,
            _ => Twin::Broken,
        })
    }

    /// Asks for a twin of the scenario under the cursor; why not, where it
    /// cannot be had.
    pub(super) fn ask(&mut self, twin: Twin) -> Result<(String, Twin), String> {
        let Some(entry) = self.entry() else {
            return Err(NO_LAB.to_owned());
        };
        if twin == Twin::Broken && !entry.has_broken_twin {
            let id = &entry.id;
            return Err(format!("{id} has no mistake to make: f runs it"));
        }
        let asked = (entry.id.clone(), twin);
        self.asked = Some(asked.clone());
        Ok(asked)
    }
}

/// What to do where there is no lab.
pub const NO_LAB: &str = "this target is not looptop's lab: start it with looptop demo";

/// The parts of the Lab view.
///
/// ```text
/// list of scenarios
/// figures, watch, notes   | code (on a wide screen)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The list, with its rule.
    pub list: Rect,
    /// The figures, with their rule.
    pub figures: Rect,
    /// The code, with its rule; without width on a narrow screen.
    pub code: Rect,
}

/// Lines of the comparison with its heading, what to watch and the notes.
const FIGURES: u16 = 12;

impl Layout {
    /// Divides the body.
    pub fn new(body: Rect) -> Self {
        let below = if body.height >= 30 {
            (body.height / 2).max(FIGURES)
        } else {
            FIGURES.min(body.height.saturating_sub(4))
        };
        let above = body.height - below.min(body.height);
        let code = if body.width >= 110 { body.width / 2 } else { 0 };
        let y = body.y + above;
        let left = body.width - code;
        Self {
            list: Rect::new(body.x, body.y, body.width, above),
            figures: Rect::new(body.x, y, left.saturating_sub(u16::from(code > 0)), below),
            code: Rect::new(body.x + left, y, code, below),
        }
    }

    /// Rows of the list that are visible, below its rule.
    pub fn rows(&self) -> Rect {
        let height = self.list.height.saturating_sub(1);
        Rect::new(self.list.x, self.list.y + 1, self.list.width, height)
    }

    /// The first scenario that is visible, for the one under the cursor.
    pub fn first(&self, row: usize, len: usize) -> usize {
        let page = usize::from(self.rows().height).max(1);
        row.saturating_sub(page / 2).min(len.saturating_sub(page))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_as_factors() {
        let ms = |n| Value::Time(Duration::from_millis(n));
        let table = [
            (ms(1000), ms(10), "×100"),
            (ms(10), ms(1000), "÷100"),
            (ms(100), ms(103), ""),
            (ms(10), ms(0), ""),
            (Value::Count(3_843.0), Value::Count(31.76), "×121"),
            (Value::Count(0.0), Value::Count(3.0), ""),
            (Value::Count(f64::NAN), Value::Count(3.0), ""),
        ];
        for (now, before, text) in table {
            assert_eq!(now.change(before), text, "{now:?} {before:?}");
        }
    }

    #[test]
    fn the_second_figure_is_the_one_to_watch() {
        let mut status = Status::default();
        status.now.readings = vec![("live tasks".into(), 7.0)];
        for (watch, second) in [
            ("requests/s", "requests/s"),
            ("p50", "p50"),
            ("p99", "p99"),
            ("live tasks", "live tasks"),
            ("canary max", "requests/s"),
            ("size of the task", "requests/s"),
        ] {
            status.watch = watch.to_owned();
            assert_eq!(headline(&status)[1].name, second, "{watch}");
        }
        status.now.canary.p99 = Some(Duration::from_millis(3));
        assert_eq!(headline(&status)[0].name, "canary p99");
        status.now.canary_waits = Some(Duration::from_secs(1));
        let waits = Some(Value::Time(Duration::from_secs(1)));
        assert_eq!(headline(&status)[0].now, waits);
    }

    #[test]
    fn all_of_the_body_is_divided_and_no_more() {
        for (width, height) in [(60, 9), (80, 18), (100, 24), (120, 35), (200, 60), (60, 0)] {
            let body = Rect::new(0, 5, width, height);
            let layout = Layout::new(body);
            for part in [layout.list, layout.figures, layout.code] {
                assert_eq!(part.intersection(body).area(), part.area(), "{body} {part}");
            }
            assert_eq!(layout.list.height + layout.figures.height, height);
        }
    }
}
