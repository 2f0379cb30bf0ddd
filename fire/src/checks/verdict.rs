//! The verdict is the scenario's.
//!
//! As in the test of all scenarios: the broken twin yields what the registry says and
//! nothing graver than a notice beside it, the fixed twin nothing. Where others take the
//! CPUs it is looked at again; where they still do it is not judged. Both are counted, and a
//! run in which that was so of more than half of all verdicts has not seen enough.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use fastrand::Rng;
use serde_json::Value;

use super::Counts;
use crate::{
    catalogue::{Expected, Scenario},
    lab::Insight,
    processes::{self, Cpu},
    scene::{PATIENCE, Scene},
};

/// Above this share of the CPUs for others, what is found may be the machine's.
const BUSY: f64 = 0.3;
/// So many looks at most, on a busy machine.
const ATTEMPTS: usize = 2;

/// `looptop check` takes as long as it observes, and 20 s each to attach and for names.
const TO_CHECK: Duration = Duration::from_mins(2);

/// Rules that take long to see: their scenarios take part in attacks alone.
const SLOW: &[&str] = &[
    "deadlock",
    "futurelock",
    "stuck-task",
    "unreaped-tasks",
    "too-many-workers",
    "host-starved",
];
/// The same from outside.
const SLOW_OUTSIDE: &[&str] = &["task-leak", "task-flood", "lock-convoy", "nested-runtime"];

/// Which twins are judged, and in which order: broken and fixed in turn, each once before
/// one comes again. The first ones are always the same, so that the shortest run sees a
/// stall by both ways.
#[derive(Debug)]
pub(crate) struct Deck {
    agent: Cards,
    outside: Cards,
}

#[derive(Debug)]
struct Cards {
    insight: Insight,
    broken: Vec<Scenario>,
    fixed: Vec<Scenario>,
    drawn: usize,
}

impl Deck {
    /// Of scenarios that show in a short time on a lab of the usual shape.
    pub(crate) fn new(scenarios: &[Scenario], rng: &mut Rng) -> Self {
        let of = |insight: Insight, first: &str, rng: &mut Rng| {
            let fits = |scenario: &&Scenario| {
                scenario.workers == 2
                    && scenario
                        .flavors
                        .iter()
                        .any(|flavor| flavor == "multi-thread")
                    && !scenario.shows(SLOW)
                    && !(insight == Insight::Outside && scenario.shows(SLOW_OUTSIDE))
            };
            let mut all: Vec<Scenario> = scenarios.iter().filter(fits).cloned().collect();
            rng.shuffle(&mut all);
            all.sort_by_key(|scenario| scenario.id != first);
            let shows = |scenario: &Scenario| expected(scenario, insight).next().is_some();
            let broken = all.iter().filter(|s| s.broken.is_some() && shows(s));
            let broken = broken.cloned().collect();
            rng.shuffle(&mut all);
            Cards {
                insight,
                broken,
                fixed: all,
                drawn: 0,
            }
        };
        Self {
            agent: of(Insight::Agent, "sleep-in-handler", rng),
            outside: of(Insight::Outside, "cpu-in-handler", rng),
        }
    }
}

impl Cards {
    fn next(&mut self) -> Option<(Scenario, &'static str)> {
        let (cards, mode) = match self.drawn % 2 {
            0 => (&self.broken, "broken"),
            _ => (&self.fixed, "fixed"),
        };
        let card = cards.get((self.drawn / 2) % cards.len().max(1)).cloned();
        self.drawn += 1;
        card.map(|card| (card, mode))
    }
}

/// What a lab of several workers must show: where these wait for one lock at once, that is
/// one finding about the lock, and none about a worker.
fn expected(scenario: &Scenario, insight: Insight) -> impl Iterator<Item = &Expected> {
    let found = move |e: &&Expected| insight == Insight::Agent || e.outside;
    let of_lock = |e: &Expected, rule: &str| e.rule == rule && e.causes == ["lock"];
    let convoy = scenario.expected.iter().any(|e| of_lock(e, "lock-convoy"));
    let said = move |e: &&Expected| !(convoy && of_lock(e, "blocked-worker"));
    scenario.expected.iter().filter(found).filter(said)
}

/// Judges one twin of each lab, the other lab doing nothing meanwhile; what was judged.
pub(super) fn check(
    scene: &mut Scene,
    deck: &mut Deck,
    counts: &mut Counts,
    _: &mut Rng,
) -> Vec<String> {
    let mut judged = Vec::new();
    for cards in [&mut deck.agent, &mut deck.outside] {
        let Some((scenario, mode)) = cards.next() else {
            continue;
        };
        counts.add("verdict");
        let insight = cards.insight;
        let mut what = format!("{} {mode} ({})", scenario.id, insight.name());
        match judge(scene, &scenario, mode, insight, counts) {
            Ok(Judged::Right) => {}
            Ok(Judged::Wrong(problems)) => {
                let text = |problem| format!("{what}: {problem}");
                scene.note("verdict", problems.into_iter().map(text));
            }
            Ok(Judged::Busy(problems)) => {
                counts.not_judged += 1;
                what = format!(
                    "{what}, not judged on a busy machine: {}",
                    problems.join("; ")
                );
            }
            Err(error) => {
                show_why(scene, insight);
                scene.note("verdict", [format!("{what}: {error:#}")]);
            }
        }
        judged.push(what);
    }
    judged
}

impl Insight {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => "by the agent",
            Self::Outside => "from outside",
        }
    }
}

/// What came of a verdict.
enum Judged {
    Right,
    Wrong(Vec<String>),
    /// It was wrong, and others took the CPUs each time: it may be the machine's.
    Busy(Vec<String>),
}

fn judge(
    scene: &mut Scene,
    scenario: &Scenario,
    mode: &str,
    insight: Insight,
    counts: &mut Counts,
) -> anyhow::Result<Judged> {
    let lab = scene.lab(insight);
    lab.switch(&scenario.id, mode, PATIENCE)?;
    let mut judged = Judged::Right;
    let lasting = scene.lasting();
    for attempt in 1..=ATTEMPTS {
        let before = Cpu::now(&lasting);
        let mut report = report(scene, &lab.target(), mode)?;
        let others = match (before, Cpu::now(&lasting)) {
            (Some(before), Some(now)) => now.others_since(before),
            _ => 0.0,
        };
        let is_starved = |finding: &Value| text(finding, "rule") == "host-starved";
        let findings = report["findings"].as_array_mut();
        let findings = findings.context("the report has no findings")?;
        // True of the machine, which the labs and the viewers share with others.
        let starved = findings.iter().any(is_starved);
        if starved && others > BUSY {
            findings.retain(|finding| !is_starved(finding));
        }
        let problems = match mode {
            "broken" => wrong(scenario, insight, findings),
            _ => findings
                .iter()
                .filter(|f| counts_at_all(f))
                .map(brief)
                .collect(),
        };
        judged = match (problems.is_empty(), others > BUSY || starved) {
            (true, _) => Judged::Right,
            (false, true) => Judged::Busy(problems),
            (false, false) => Judged::Wrong(problems),
        };
        if !matches!(judged, Judged::Busy(_)) {
            break;
        }
        counts.verdicts_again += u64::from(attempt < ATTEMPTS);
    }
    let first = scene.scenarios[0].id.clone();
    lab.switch(&first, "off", PATIENCE)?;
    Ok(judged)
}

/// Says what the lab does that could not be judged: it may hang, and is ended soon.
fn show_why(scene: &Scene, insight: Insight) {
    let pid = scene.lab(insight).pid();
    eprintln!("threads of {pid}:\n{}", processes::doings(pid));
    let place = &scene.place;
    let dump = place.command(&place.programs.looptop, "dump of what hangs");
    let dump = dump.and_then(|mut dump| {
        let dump = dump.args(["dump", &format!("pid:{pid}"), "--timeout", "20s"]);
        Ok(dump.stdin(Stdio::null()).output()?)
    });
    match dump {
        Ok(dump) => eprintln!("{}", String::from_utf8_lossy(&dump.stdout)),
        Err(error) => eprintln!("no dump: {error:#}"),
    }
}

/// What `looptop check` says of a target.
fn report(scene: &Scene, target: &str, mode: &str) -> anyhow::Result<Value> {
    let warmup = if mode == "broken" { "1s" } else { "3s" };
    let place = &scene.place;
    let mut command: Command = place.command(&place.programs.looptop, "check")?;
    command.args(["check", target, "--format", "json", "--for", "3s"]);
    command.args(["--warmup", warmup, "--timeout", "20s"]);
    // Into a file: it may be long, and nobody reads while it is waited for.
    let folder = place.temporary("check")?;
    let (report, said) = (folder.join("report"), folder.join("said"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&report)?)
        .stderr(File::create(&said)?)
        .spawn()
        .context("looptop check could not be started")?;
    if !processes::until(TO_CHECK, || !matches!(child.try_wait(), Ok(None))) {
        drop(child.kill());
        drop(child.wait());
        bail!("looptop check did not end within {} s", TO_CHECK.as_secs());
    }
    let status = child.wait()?;
    serde_json::from_slice(&fs::read(report)?).map_err(|_| {
        let said = fs::read_to_string(said).unwrap_or_default();
        anyhow!("looptop check has no report ({status}): {}", said.trim())
    })
}

fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_default()
}

/// A notice fails nothing: on a machine that is shared a poll is held up now and then.
fn counts_at_all(finding: &Value) -> bool {
    text(finding, "severity") != "notice"
}

fn brief(finding: &Value) -> String {
    format!(
        "{} {} ({}) in {} at {}, {} times, longest {} ms",
        text(finding, "severity"),
        text(finding, "rule"),
        text(finding, "cause"),
        text(finding, "function"),
        text(finding, "location"),
        finding["count"],
        finding["max_ms"],
    )
}

/// What is wrong with the findings of a broken twin.
fn wrong(scenario: &Scenario, insight: Insight, found: &[Value]) -> Vec<String> {
    let missing = expected(scenario, insight).filter_map(|expected| {
        let of_rule = found.iter().filter(|f| text(f, "rule") == expected.rule);
        let of_rule: Vec<&Value> = of_rule.collect();
        let is_there = of_rule.iter().any(|finding| fits(expected, finding));
        let among: Vec<String> = of_rule.iter().map(|finding| brief(finding)).collect();
        (!is_there).then(|| {
            let among = among.join("; ");
            format!("no {} as expected among [{among}]", expected.rule)
        })
    });
    let is_strange =
        |finding: &&Value| counts_at_all(finding) && !scenario.shows(&[text(finding, "rule")]);
    let strange = found.iter().filter(is_strange);
    let strange = strange.map(|finding| format!("unexpected {}", brief(finding)));
    missing.chain(strange).collect()
}

fn fits(expected: &Expected, finding: &Value) -> bool {
    let cause = text(finding, "cause");
    let right_cause = expected.causes.is_empty() || expected.causes.iter().any(|c| c == cause);
    let right_function = text(finding, "function").contains(&expected.function);
    let right_place = expected.place.as_ref().is_none_or(|place| {
        let location = text(finding, "location").rsplit_once(':');
        location.is_some_and(|(file, line)| {
            let line: u32 = line.parse().unwrap_or_default();
            (place.file.ends_with(file) || file.ends_with(&place.file))
                && (place.first..=place.last).contains(&line)
        })
    });
    right_cause && right_function && right_place
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scenario() -> Scenario {
        let card = json!({
            "id": "sleep", "broken": "/a", "fixed": "/b", "workers": 2,
            "flavors": ["multi-thread"],
            "expected": [
                {
                    "rule": "blocked-worker", "causes": ["sleeping"], "function": "handler",
                    "outside": true, "place": {"file": "demo/src/a.rs", "first": 3, "last": 5},
                },
                {
                    "rule": "slow-schedule", "causes": [], "function": "", "outside": false,
                    "place": null,
                },
            ],
        });
        serde_json::from_value(card).unwrap()
    }

    fn finding(rule: &str, cause: &str, location: &str, severity: &str) -> Value {
        json!({
            "rule": rule, "cause": cause, "location": location, "severity": severity,
            "function": "lab::handler", "count": 1, "max_ms": 50,
        })
    }

    #[test]
    fn a_verdict_is_right_only_with_rule_cause_and_place() {
        let right = finding("blocked-worker", "sleeping", "src/a.rs:4", "critical");
        let slow = finding("slow-schedule", "", "", "warning");
        let all = [right.clone(), slow.clone()];
        assert_eq!(wrong(&scenario(), Insight::Agent, &all), [""; 0]);
        assert_eq!(
            wrong(&scenario(), Insight::Outside, std::slice::from_ref(&right)),
            [""; 0]
        );
        let notice = finding("lock-convoy", "", "", "notice");
        let with_notice = [right.clone(), notice];
        assert_eq!(wrong(&scenario(), Insight::Outside, &with_notice), [""; 0]);
        for other in [
            finding("blocked-worker", "computing", "src/a.rs:4", "critical"),
            finding("blocked-worker", "sleeping", "src/a.rs:6", "critical"),
            finding("blocked-worker", "sleeping", "src/b.rs:4", "critical"),
        ] {
            let wrong = wrong(&scenario(), Insight::Outside, std::slice::from_ref(&other));
            assert_eq!(wrong.len(), 1, "{other}: {wrong:?}");
        }
        assert_eq!(
            wrong(&scenario(), Insight::Agent, std::slice::from_ref(&right)).len(),
            1
        );
        let strange = finding("deadlock", "", "", "warning");
        assert_eq!(
            wrong(&scenario(), Insight::Agent, &[right, slow, strange]).len(),
            1
        );
    }

    #[test]
    fn twins_alternate_and_the_first_is_known() {
        let with_id = |id: &str| Scenario {
            id: id.to_owned(),
            ..scenario()
        };
        let all = ["sleep-in-handler", "cpu-in-handler", "other"].map(with_id);
        for seed in 0..20 {
            let mut deck = Deck::new(&all, &mut Rng::with_seed(seed));
            let mut drawn = Vec::new();
            for _ in 0..6 {
                drawn.extend(deck.outside.next());
            }
            assert_eq!(drawn[0].0.id, "cpu-in-handler");
            let modes: Vec<&str> = drawn.iter().map(|(_, mode)| *mode).collect();
            assert_eq!(modes, ["broken", "fixed"].repeat(3));
            assert_eq!(deck.agent.next().unwrap().0.id, "sleep-in-handler");
        }
    }
}
