//! `tests/field/table.toml`: what must be found in each program, at each level and in
//! each build, and the comparison of a report with it.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Level, Outcome, brief, guard, text};

/// All cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// A program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub program: String,
    pub kind: String,
    pub told: String,
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
    /// What a test with `#[looptop_agent::test]` says of it.
    #[serde(default, rename = "test")]
    pub tests: Vec<guard::Row>,
    /// Why no test turns red.
    pub never_red: Option<String>,
}

/// What must be said of a program, in some builds at some levels. The fields are
/// described in the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    #[serde(default = "all_levels")]
    pub levels: Vec<u8>,
    #[serde(default = "both_builds")]
    pub builds: Vec<String>,
    #[serde(default)]
    pub twin: Twin,
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    #[serde(default = "five_seconds")]
    pub window: String,
    #[serde(default = "one_second")]
    pub warmup: String,
    pub after: Option<String>,
    #[serde(default)]
    pub computes: bool,
    #[serde(default)]
    pub find: Vec<Find>,
    #[serde(default)]
    pub also: Vec<String>,
    #[serde(default)]
    pub headline: bool,
    #[serde(default)]
    pub say: Vec<String>,
    #[serde(default)]
    pub either: bool,
    pub verdict: Option<String>,
    #[serde(default)]
    pub exit: Vec<i32>,
    #[serde(default)]
    pub always: Vec<u8>,
    pub reason: Option<String>,
}

fn all_levels() -> Vec<u8> {
    Level::ALL.map(Level::number).into()
}

fn both_builds() -> Vec<String> {
    vec!["release".into(), LINES.into()]
}

fn five_seconds() -> String {
    "5s".into()
}

fn one_second() -> String {
    "1s".into()
}

/// The build with line tables.
const LINES: &str = "lines";
/// What the report says where a program has none.
const NO_LINES: &str = "line tables | stripped";

/// With the mistake, or without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Twin {
    #[default]
    Mistake,
    Cured,
}

/// A finding that must be there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    pub rule: String,
    pub severity: Option<String>,
    pub cause: Option<String>,
    pub function: Option<String>,
    pub spawned: Option<String>,
    pub line: Option<String>,
    pub title: Option<String>,
    pub remedy: Option<String>,
}

impl Table {
    /// The committed one.
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/table.toml");
        let table = std::fs::read_to_string(path).unwrap();
        toml::from_str(&table).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Every row at every level and in every build that it names.
    pub fn trials(&self) -> Vec<Trial<'_>> {
        let mut trials = Vec::new();
        for case in &self.cases {
            for row in &case.rows {
                for build in &row.builds {
                    trials.extend(row.levels.iter().map(|&level| Trial {
                        case,
                        row,
                        level: Level::ALL[usize::from(level)],
                        build,
                    }));
                }
            }
        }
        trials
    }
}

/// One run of a program, and its row.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    pub case: &'a Case,
    pub row: &'a Row,
    pub level: Level,
    pub build: &'a str,
}

impl Trial<'_> {
    /// Part of every test run.
    pub fn is_always(&self) -> bool {
        self.row.always.contains(&self.level.number()) && *self.build == self.row.builds[0]
    }

    /// Its name in a line.
    pub fn name(&self) -> String {
        let mut name = format!(
            "{} level {} {}",
            self.case.program,
            self.level.name(),
            self.build
        );
        if self.row.twin == Twin::Cured {
            name += " cured";
        }
        for (key, value) in &self.row.set {
            let _ = write!(name, " {key}={value}");
        }
        name
    }

    /// Panics where a row names what is not in its program, or asks for nothing.
    pub fn assert_sense(&self) {
        let row = self.row;
        for find in &row.find {
            for place in find.line.iter().filter(|l| *l != "*").chain(&find.spawned) {
                self.lines(place);
            }
        }
        let asks = !row.find.is_empty() || !row.say.is_empty() || row.verdict.is_some();
        let name = self.name();
        assert!(!(asks && row.twin == Twin::Cured), "{name} has no mistake");
        assert!(!row.either || asks, "{name}: either of what?");
    }

    /// What is wrong with a report; empty if it is right. On a machine that is busy
    /// with something else it is true that the host starves the workers.
    pub fn problems(&self, outcome: &Outcome, busy_host: bool) -> Vec<String> {
        if !outcome.report.is_object() {
            let said = outcome.stderr.trim();
            return vec![format!("no report, exit {:?}: {said}", outcome.code)];
        }
        let mut found = outcome.findings();
        found.retain(|f| !busy_host || text(f, "rule") != "host-starved");
        let mut missing: Vec<String> = self
            .row
            .find
            .iter()
            .filter_map(|find| self.miss(find, &found))
            .collect();
        let words = outcome.words();
        let unsaid: Vec<String> = self
            .row
            .say
            .iter()
            .filter(|sentence| !has(&words, sentence))
            .map(|sentence| format!("it does not say '{sentence}'"))
            .collect();
        let lineless = self.row.find.iter().any(|find| find.line.is_some());
        if lineless && self.build != LINES && !has(&words, NO_LINES) {
            missing.push(format!("no line, and it does not say '{NO_LINES}'"));
        }
        let one_will_do = self.row.either && (unsaid.is_empty() || missing.is_empty());
        if one_will_do {
            missing.clear();
        } else {
            missing.extend(unsaid);
        }
        let missed = |find: &&Find| !one_will_do && self.miss(find, &found).is_some();
        let shown: Vec<&Find> = self.row.find.iter().filter(missed).collect();
        let strange = self.strange(&found).into_iter().filter(|(finding, _)| {
            // What a missed one was compared with is said there.
            let rule = text(finding, "rule");
            !shown.iter().any(|find| has(rule, &find.rule))
        });
        let strange: Vec<String> = strange
            .map(|(finding, what)| format!("{what}: {}", brief(finding)))
            .collect();
        missing.extend(strange);
        if self.row.headline
            && let (Some(find), Some(first)) = (self.row.find.first(), found.first())
            && self.miss(find, &[*first]).is_some()
        {
            missing.push(format!("the gravest is another: {}", brief(first)));
        }
        let verdict = text(&outcome.report, "verdict");
        if let Some(wanted) = &self.row.verdict
            && !has(verdict, wanted)
        {
            missing.push(format!("the verdict lacks '{wanted}': {verdict}"));
        }
        if !self.row.exit.is_empty()
            && !outcome
                .code
                .is_some_and(|code| self.row.exit.contains(&code))
        {
            missing.push(format!("exit {:?}, not {:?}", outcome.code, self.row.exit));
        }
        if !missing.is_empty() && missing.iter().all(|p| !p.contains(verdict)) {
            missing.push(format!("the verdict: {verdict}"));
        }
        missing
    }

    /// Findings from a warning on that the mistake does not explain.
    fn strange<'a>(&self, found: &[&'a Value]) -> Vec<(&'a Value, &'static str)> {
        let row = self.row;
        let mut taken = vec![false; row.find.len()];
        let mut strange = Vec::new();
        for finding in found.iter().filter(|f| text(f, "severity") != "notice") {
            let rule = text(finding, "rule");
            let fits = row
                .find
                .iter()
                .position(|find| self.fits(find, finding).is_empty());
            let again = match fits {
                Some(index) => std::mem::replace(&mut taken[index], true),
                None if row.also.iter().any(|also| also == rule) => continue,
                None => {
                    strange.push((*finding, "unexpected"));
                    continue;
                }
            };
            if again && row.also.iter().all(|also| also != rule) {
                strange.push((*finding, "the same once more"));
            }
        }
        strange
    }

    /// What is expected and not found, with what was found instead.
    fn miss(&self, find: &Find, found: &[&Value]) -> Option<String> {
        if found.iter().any(|f| self.fits(find, f).is_empty()) {
            return None;
        }
        let of_rule = found
            .iter()
            .filter(|f| has(text(f, "rule"), &find.rule))
            .map(|f| format!("\n      {} [{}]", brief(f), self.fits(find, f).join(", ")));
        let instead: String = of_rule.collect();
        Some(if instead.is_empty() {
            let rules: Vec<_> = found.iter().map(|f| text(f, "rule")).collect();
            format!("no {}, but [{}]", find.rule, rules.join(", "))
        } else {
            format!("no {} as expected, but{instead}", find.rule)
        })
    }

    /// In what a finding differs from an expected one.
    fn fits(&self, find: &Find, finding: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |what: &str, actual: &str, wanted: &Option<String>| {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| !has(actual, wanted)) {
                wrong.push(format!("{what} without '{wanted}'"));
            }
        };
        compare("rule", text(finding, "rule"), &Some(find.rule.clone()));
        compare("cause", text(finding, "cause"), &find.cause);
        compare("title", text(finding, "title"), &find.title);
        compare("remedy", text(finding, "remedy"), &find.remedy);
        let location = text(finding, "location");
        let function = text(finding, "function");
        if self.build != "tiny" {
            let named = find.function.as_ref().is_none_or(|f| has(function, f));
            if !named && !self.is_spawned(find, finding) {
                compare("function", function, &find.function);
            }
            if find.function.is_none() && !self.is_spawned(find, finding) {
                compare("place", location, &find.spawned);
            }
        }
        if let Some(line) = &find.line {
            if self.build == LINES {
                if !self.is_at(location, line) {
                    wrong.push(format!("place '{location}' not at '{line}'"));
                }
            } else if !location.is_empty() && !self.is_spawned(find, finding) {
                wrong.push(format!("a line from nowhere: {location}"));
            }
        }
        let rank = |severity: &str| ["notice", "warning", "critical"].map(|s| s == severity);
        let least = find.severity.as_deref().unwrap_or("notice");
        let index = |severity| rank(severity).iter().position(|is| *is);
        if index(text(finding, "severity")) < index(least) {
            wrong.push(format!("no {least}"));
        }
        wrong
    }

    /// It says where the task was spawned, and a row without a function is about that
    /// place; otherwise the place may stand for the function where there is none.
    fn is_spawned(&self, find: &Find, finding: &Value) -> bool {
        let may = find.function.is_none()
            || self.build != LINES && matches!(self.level, Level::One | Level::Two);
        let Some(spawned) = find.spawned.as_ref().filter(|_| may) else {
            return find.spawned.is_none() && find.function.is_none();
        };
        let all = finding.to_string();
        let file = format!("{}.rs", self.case.program);
        self.lines(spawned)
            .iter()
            .any(|line| all.contains(&format!("{file}:{line}")))
    }

    fn is_at(&self, location: &str, line: &str) -> bool {
        let Some((file, number)) = location.rsplit_once(':') else {
            return false;
        };
        let own = format!("src/bin/{}.rs", self.case.program);
        if line == "*" {
            return own.ends_with(file) || file.ends_with(&own) || file.ends_with("src/quiet.rs");
        }
        let number: usize = number.parse().unwrap_or_default();
        (own.ends_with(file) || file.ends_with(&own)) && self.lines(line).contains(&number)
    }

    /// Lines of the program with a text, from 1.
    fn lines(&self, wanted: &str) -> Vec<usize> {
        let lines: Vec<usize> = lines_with(&self.case.program, wanted).collect();
        assert!(!lines.is_empty(), "no '{wanted}' in {}", self.case.program);
        lines
    }
}

/// A program's text.
pub fn source(program: &str) -> String {
    let path = format!("tests/field/src/bin/{program}.rs");
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Lines of a program with a text, from 1.
pub fn lines_with(program: &str, wanted: &str) -> impl Iterator<Item = usize> {
    let lines = source(program);
    let has = |line: &str| line.contains(wanted);
    let lines: Vec<bool> = lines.lines().map(has).collect();
    let lines = lines.into_iter().enumerate();
    lines.filter_map(|(index, has)| has.then_some(index + 1))
}

/// One of the words between bars is in the text.
pub fn has(text: &str, words: &str) -> bool {
    words.split(" | ").any(|word| text.contains(word))
}

/// The table for readers: `docs/field-cases.md`.
pub fn document(table: &Table) -> String {
    let mut text = String::from(
        "# Field cases\n\n\
         Generated from `tests/field/table.toml`; a test keeps it current.\n\n\
         Programs written after public bug reports of tokio applications that starved, \
         hung or leaked (`tests/field/src/bin`; the first line of each names the report), \
         and variants of them. Each is built as people build: `release`, without debug \
         information, and `lines`, with line tables; some also in one unit of code \
         (`fatlto`, `thin`, `cgu1`) or stripped (`tiny`). At level 0 tokio is built without \
         `--cfg tokio_unstable`; level 1 sees tasks by tokio's tracing, level 2 by the \
         agent's hooks; `outside` is the build of level 0 with the agent switched off, looked \
         at from outside. `cargo test` runs a case of each kind; all of them:\n\n\
         ```text\n\
         cargo test --test field -- --ignored --nocapture\n\
         ```\n\n\
         Without line tables there is no line, and the report says so; at levels 1 and 2 the \
         place where the task is spawned then stands for a function that tokio's tracing \
         hides.\n\n\
         What stands under \u{201c}In a test\u{201d} is what `#[looptop_agent::test]` says when \
         the program's main future runs as a test (`tests/field/examples/guard.rs`), with \
         `max_poll = \"40ms\"`, in `cargo test` and `cargo test --release` on tokio without \
         flags. `cargo test` runs some of these; all of them:\n\n\
         ```text\n\
         cargo test --test field under_the_attribute -- --ignored --nocapture\n\
         ```\n",
    );
    for case in &table.cases {
        let _ = write!(
            text,
            "\n## `{}`: {}\n\nA person needs to be told: {}.\n\n\
             | levels | builds | what must be found | what must be said |\n|---|---|---|---|\n",
            case.program, case.kind, case.told
        );
        for row in &case.rows {
            row.write(&mut text);
        }
        text.push_str("\nIn a test:\n\n");
        for row in &case.tests {
            let _ = writeln!(text, "- {}", row.words());
        }
        if let Some(why) = &case.never_red {
            let _ = writeln!(text, "- never red: {why}");
        }
    }
    text
}

fn row_levels(levels: &[u8]) -> Vec<String> {
    let levels = levels.iter().map(|&level| Level::ALL[usize::from(level)]);
    levels.map(Level::name).collect()
}

impl Row {
    fn write(&self, text: &mut String) {
        let levels: Vec<_> = row_levels(&self.levels);
        let set = self
            .set
            .iter()
            .fold(String::new(), |mut set, (key, value)| {
                let _ = write!(set, ", {key}={value}");
                set
            });
        let cured = match self.twin {
            Twin::Mistake => "",
            Twin::Cured => ", cured",
        };
        let (levels, builds) = (levels.join(", "), self.builds.join(", "));
        let mut found: Vec<String> = self.find.iter().map(Find::words).collect();
        if found.is_empty() {
            found.push("nothing at or above a warning".into());
        }
        if !self.also.is_empty() {
            found.push(format!("perhaps also {}", self.also.join(", ")));
        }
        let mut said: Vec<String> = self
            .say
            .iter()
            .map(|s| format!("\u{201c}{s}\u{201d}"))
            .collect();
        said.extend(
            self.verdict
                .iter()
                .map(|v| format!("verdict: \u{201c}{v}\u{201d}")),
        );
        if !self.exit.is_empty() {
            said.push(format!("exit {:?}", self.exit));
        }
        said.extend(self.reason.iter().map(|reason| format!("({reason})")));
        let or = if self.either { "one of both: " } else { "" };
        let cells = [
            levels,
            format!("{builds}{set}{cured}"),
            format!("{or}{}", found.join("; ")),
            said.join("; "),
        ];
        let cells = cells.map(|cell| cell.replace(" | ", " or ").replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
}

impl Find {
    fn words(&self) -> String {
        let mut words = format!("`{}`", self.rule.replace(" | ", "` or `"));
        let parts = [
            (" ", &self.severity),
            (", cause ", &self.cause),
            (", in ", &self.function),
            (", at ", &self.line),
            (", spawned at ", &self.spawned),
            (", title: ", &self.title),
            (", remedy: ", &self.remedy),
        ];
        for (before, part) in parts {
            if let Some(part) = part.as_ref().filter(|part| *part != "*") {
                let part = part.trim_start_matches("// ").replace(" | ", "` or `");
                let _ = write!(words, "{before}`{part}`");
            }
        }
        words
    }
}
