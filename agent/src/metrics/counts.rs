//! What is counted beyond what frames say: they hold state, and a counter must outlive
//! threads, stalls and the model itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use looptop_diagnosis::diagnose::Finding;
use looptop_diagnosis::model::{Model, Moment, Stall, StallId, ThreadRole, Tid};
use looptop_wire::proto::Frame;

use super::culprit::{ByCulprit, Culprit};

/// Bounds of the lag's histogram, in seconds.
pub(super) const LAG_BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// A stall waits so long for its culprit's name; then it is counted without. Reading the
/// symbols of a large program takes seconds; without them nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "symbols") { 15 } else { 0 });
/// Time between two frames that counts at most: the agent may have been held up.
const MAX_STEP: Duration = Duration::from_secs(5);

/// Everything, since somebody scraped for the first time.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) stalls: ByCulprit<(), Total>,
    /// Seconds in which there was a finding, by rule and severity.
    pub(super) findings: ByCulprit<(&'static str, &'static str), f64>,
    /// Findings that there are, of all rules that have found something.
    pub(super) present: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) threads: BTreeMap<ThreadRole, ThreadTime>,
    pub(super) lag: BTreeMap<u32, Lag>,
    /// Stalls that are counted, as long as the agent remembers them.
    counted: BTreeMap<StallId, Counted>,
    /// What threads had used at the frame before.
    used: BTreeMap<Tid, ThreadTime>,
    judged_at: Option<Moment>,
    /// What stalls have grown by at the last look.
    pub(super) grown: Vec<Grown>,
}

/// A stall that was counted, or that went on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(not(feature = "pprof"), allow(dead_code))]
pub(super) struct Grown {
    pub(super) stall: StallId,
    /// It was not counted before.
    pub(super) is_new: bool,
    pub(super) seconds: f64,
}

/// Stalls of one culprit.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Total {
    pub(super) count: u64,
    pub(super) seconds: f64,
}

#[derive(Debug)]
struct Counted {
    place: ((), Culprit),
    seconds: f64,
}

/// What threads of one role have used.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ThreadTime {
    pub(super) cpu: Duration,
    /// Ready to run, without a CPU; `None` where the system does not say.
    pub(super) run_queue: Option<Duration>,
}

/// Lag of one runtime.
#[derive(Debug, Default, Clone)]
pub(super) struct Lag {
    pub(super) counts: [u64; LAG_BOUNDS.len() + 1],
    pub(super) sum: f64,
    newest_ns: Option<u64>,
}

impl Counts {
    /// Takes in what only frames say.
    pub(super) fn add_frame(&mut self, frame: &Frame) {
        for samples in &frame.lag {
            let lag = self.lag.entry(samples.runtime).or_default();
            for (at_ns, lag_ns) in samples.at_ns.iter().zip(&samples.lag_ns) {
                // The first frame says again what the last one before a pause has said.
                if lag.newest_ns.is_none_or(|newest| *at_ns > newest) {
                    lag.newest_ns = Some(*at_ns);
                    lag.add(*lag_ns as f64 / 1e9);
                }
            }
        }
    }

    /// Takes in the model as it is now, and what was found in it.
    pub(super) fn add(&mut self, model: &Model, findings: &[Finding]) {
        self.add_stalls(model);
        self.add_threads(model);
        self.add_findings(model.now, findings);
    }

    /// The observation ended: threads may come and go unseen, time is not counted.
    pub(super) fn pause(&mut self) {
        self.used.clear();
        self.judged_at = None;
        self.forget_present();
    }

    fn forget_present(&mut self) {
        for count in self.present.values_mut() {
            *count = 0;
        }
    }

    /// Whether a stall was counted: its culprit is known as well as it will be.
    #[cfg(feature = "otlp")]
    pub(super) fn has(&self, stall: StallId) -> bool {
        self.counted.contains_key(&stall)
    }

    fn add_stalls(&mut self, model: &Model) {
        self.grown.clear();
        let mut held = BTreeSet::new();
        for stall in model.stalls.iter() {
            held.insert(stall.id);
            self.add_stall(stall, model);
        }
        if model.complete {
            self.counted.retain(|id, _| held.contains(id));
        }
    }

    /// Counts a stall once its culprit has a name, and then what it goes on to take. Its
    /// labels stay as they are: a counter must not fall.
    fn add_stall(&mut self, stall: &Stall, model: &Model) {
        let seconds = stall.age(model.now).as_secs_f64();
        if let Some(counted) = self.counted.get_mut(&stall.id) {
            let more = (seconds - counted.seconds).max(0.0);
            counted.seconds += more;
            self.stalls.at(counted.place.clone()).seconds += more;
            if more > 0.0 {
                self.grown.push(Grown {
                    stall: stall.id,
                    is_new: false,
                    seconds: more,
                });
            }
            return;
        }
        if stall.is_in_place() {
            return;
        }
        let culprit = Culprit::of_stall(stall, model);
        // One that goes on may be seen with another stack.
        let may_be_named = stall.live || (!stall.stacks.is_empty() && stall.resolved.is_none());
        let lasted = if stall.live {
            Duration::ZERO
        } else {
            stall.duration
        };
        let is_due = model.now.since(stall.started) >= lasted + PATIENCE;
        if may_be_named && !culprit.is_named() && !is_due {
            return;
        }
        let place = self.stalls.place((), culprit);
        let total = self.stalls.at(place.clone());
        total.count += 1;
        total.seconds += seconds;
        self.counted.insert(stall.id, Counted { place, seconds });
        self.grown.push(Grown {
            stall: stall.id,
            is_new: true,
            seconds,
        });
    }

    fn add_threads(&mut self, model: &Model) {
        let before = std::mem::take(&mut self.used);
        for thread in model.threads.values() {
            let now = ThreadTime {
                cpu: thread.cpu(),
                run_queue: thread.run_queue,
            };
            let earlier = before.get(&thread.tid).copied().unwrap_or(now);
            let of_role = self.threads.entry(thread.role).or_default();
            of_role.cpu += now.cpu.saturating_sub(earlier.cpu);
            if let (Some(now), Some(earlier)) = (now.run_queue, earlier.run_queue) {
                *of_role.run_queue.get_or_insert_default() += now.saturating_sub(earlier);
            }
            self.used.insert(thread.tid, now);
        }
    }

    fn add_findings(&mut self, now: Moment, findings: &[Finding]) {
        let step = self.judged_at.map_or(Duration::ZERO, |at| now.since(at));
        self.judged_at = Some(now);
        let seconds = step.min(MAX_STEP).as_secs_f64();
        self.forget_present();
        for finding in findings {
            let key = (finding.rule, finding.severity.name());
            *self.present.entry(key).or_default() += 1;
            let place = self.findings.place(key, Culprit::of_finding(finding));
            *self.findings.at(place) += seconds;
        }
    }
}

impl Lag {
    fn add(&mut self, seconds: f64) {
        let at = LAG_BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[at.unwrap_or(LAG_BOUNDS.len())] += 1;
        self.sum += seconds;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use looptop_diagnosis::model::{Culprit as Code, Resolved};
    use looptop_wire::proto;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn frame(now_ns: u64) -> Frame {
        Frame {
            now_ns,
            snapshot_complete: true,
            ..Frame::default()
        }
    }

    fn stall(id: u64, state: proto::StallState, duration_ns: u64) -> proto::Stall {
        proto::Stall {
            id,
            state: state.into(),
            started_at_ns: 10 * S,
            duration_ns,
            cause: proto::Cause::Sleeping.into(),
            stacks: vec![proto::StackSample {
                count: 1,
                frames: vec![proto::CodeAddress::default()],
                ..proto::StackSample::default()
            }],
            ..proto::Stall::default()
        }
    }

    fn named(function: &str) -> Arc<Resolved> {
        Arc::new(Resolved {
            culprit: Some(Code {
                function: function.into(),
                file: "src/a.rs".into(),
                line: 7,
                ..Code::default()
            }),
            ..Resolved::default()
        })
    }

    fn totals(counts: &Counts) -> Vec<(String, u64, f64)> {
        let stalls = counts.stalls.iter();
        stalls
            .map(|((), culprit, total)| {
                let labels = culprit.labels();
                let text = format!("{} {} {}", labels[0].1, labels[1].1, labels[2].1);
                (text, total.count, total.seconds)
            })
            .collect()
    }

    #[test]
    fn a_stall_is_counted_once_it_is_named_and_its_labels_stay() {
        let mut model = Model::default();
        let mut counts = Counts::default();
        let live = |duration| Frame {
            stalls: vec![stall(1, proto::StallState::Live, duration)],
            ..frame(10 * S + duration)
        };
        if !PATIENCE.is_zero() {
            model.apply(&live(S)).unwrap();
            counts.add(&model, &[]);
            assert_eq!(totals(&counts), []);
        }
        model.apply(&live(S)).unwrap();
        model.stalls.resolve(StallId(1), named("app::blocks"));
        model.apply(&live(2 * S)).unwrap();
        counts.add(&model, &[]);
        let text = "sleeping app::blocks src/a.rs:7".to_owned();
        assert_eq!(totals(&counts), [(text.clone(), 1, 2.0)]);
        // It goes on, and is called otherwise: it stays where it was counted.
        model.stalls.resolve(StallId(1), named("app::other"));
        model
            .apply(&Frame {
                stalls: vec![stall(1, proto::StallState::Ended, 5 * S)],
                ..frame(16 * S)
            })
            .unwrap();
        counts.add(&model, &[]);
        counts.add(&model, &[]);
        assert_eq!(totals(&counts), [(text.clone(), 1, 5.0)]);
        // After a pause another model has the same stall.
        counts.pause();
        let mut again = Model::default();
        again
            .apply(&Frame {
                stalls: vec![stall(1, proto::StallState::Ended, 5 * S)],
                ..frame(100 * S)
            })
            .unwrap();
        counts.add(&again, &[]);
        assert_eq!(totals(&counts), [(text, 1, 5.0)]);
    }

    #[test]
    fn a_stall_that_gets_no_name_is_counted_without() {
        let mut model = Model::default();
        let mut counts = Counts::default();
        let ended = stall(1, proto::StallState::Ended, S);
        let at = |now_ns| Frame {
            stalls: vec![ended.clone()],
            ..frame(now_ns)
        };
        model.apply(&at(11 * S)).unwrap();
        counts.add(&model, &[]);
        if !PATIENCE.is_zero() {
            assert_eq!(totals(&counts), []);
        }
        // They were looked for in vain.
        model.stalls.resolve(StallId(1), Arc::default());
        counts.add(&model, &[]);
        assert_eq!(totals(&counts), [("sleeping  ".to_owned(), 1, 1.0)]);
        // Nobody answers.
        model
            .apply(&Frame {
                stalls: vec![stall(2, proto::StallState::Ended, S)],
                ..frame(12 * S)
            })
            .unwrap();
        counts.add(&model, &[]);
        if !PATIENCE.is_zero() {
            assert_eq!(totals(&counts)[0].1, 1);
        }
        model
            .apply(&frame(11 * S + PATIENCE.as_nanos() as u64))
            .unwrap();
        counts.add(&model, &[]);
        assert_eq!(totals(&counts), [("sleeping  ".to_owned(), 2, 2.0)]);
    }

    #[test]
    fn time_of_threads_that_ended_stays_counted() {
        let mut model = Model::default();
        let mut counts = Counts::default();
        let thread = |tid, user_ns, gone| proto::Thread {
            tid,
            role: proto::ThreadRole::Worker.into(),
            user_ns,
            run_queue_ns: Some(user_ns / 2),
            gone,
            ..proto::Thread::default()
        };
        let steps = [
            (vec![thread(1, 10 * S, false), thread(2, S, false)], 0),
            (vec![thread(1, 12 * S, false), thread(2, 2 * S, false)], 3),
            (vec![thread(1, 12 * S, true)], 3),
            (vec![thread(2, 4 * S, false)], 5),
        ];
        for (now, (threads, expected)) in steps.into_iter().enumerate() {
            let frame = Frame {
                threads,
                ..frame((now as u64 + 1) * S)
            };
            model.apply(&frame).unwrap();
            counts.add(&model, &[]);
            let time = counts.threads[&ThreadRole::Worker];
            assert_eq!(time.cpu, Duration::from_secs(expected), "step {now}");
            assert_eq!(time.run_queue.unwrap_or_default(), time.cpu / 2);
        }
    }

    #[test]
    fn each_sample_of_lag_is_counted_once() {
        let mut counts = Counts::default();
        let samples = |at_ns: &[u64]| Frame {
            lag: vec![proto::LagSamples {
                runtime: 0,
                at_ns: at_ns.to_vec(),
                lag_ns: at_ns.iter().map(|at| at * 1_000_000).collect(),
                ..proto::LagSamples::default()
            }],
            ..Frame::default()
        };
        counts.add_frame(&samples(&[1, 2, 30]));
        counts.add_frame(&samples(&[2, 30, 400, 90_000]));
        let lag = &counts.lag[&0];
        assert_eq!(lag.counts.iter().sum::<u64>(), 5);
        assert_eq!(lag.counts[0], 1);
        assert_eq!(lag.counts[LAG_BOUNDS.len()], 1);
        assert!((lag.sum - 90.433).abs() < 1e-9, "{}", lag.sum);
    }
}
