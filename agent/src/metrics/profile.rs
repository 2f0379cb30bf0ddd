//! What has blocked the event loop as a profile in pprof's format: stalls and the time in
//! them by stack, since somebody asked for the first time or within the last seconds.
//!
//! It grows by what [`super::counts`] has counted at each look, so that profiles of spans of
//! time that follow each other hold each stall once, however late its stack was named.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use looptop_diagnosis::diagnose::cause_word;
use looptop_diagnosis::model::{Model, Resolved, Stall, StallId, TextId};
use looptop_wire::pprof::{Builder, Frame, Label, Measure};
use looptop_wire::proto::HelloResponse;

use super::counts::Grown;
use super::culprit::task_name;

/// Distinct stacks; those that come after share one place.
const MOST: usize = 500;
/// What was counted within the last seconds, in steps.
const MAX_STEPS: usize = 8_192;
/// The function of all that found no place of their own.
const OTHER: &str = "other";

/// All that has blocked.
#[derive(Debug, Default)]
pub(super) struct Profile {
    began: Option<Began>,
    places: Vec<Blocked>,
    index: HashMap<Stack, usize>,
    /// Where stalls have their place, as long as the agent remembers them.
    of_stalls: BTreeMap<StallId, usize>,
    recent: VecDeque<Step>,
    /// Path and build id of modules.
    modules: HashMap<u32, (String, Vec<u8>)>,
    /// Stalls that found no place of their own.
    over: u64,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: Instant,
    unix_ns: u64,
}

/// What makes a sample one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stack {
    cause: &'static str,
    task: String,
    names: Option<Arc<[Named]>>,
    /// Module and offset of each frame, where there are no names.
    addresses: Vec<(u32, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Named {
    function: String,
    file: String,
    line: u32,
}

#[derive(Debug)]
struct Blocked {
    stack: Stack,
    total: Sum,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    seconds: f64,
}

#[derive(Debug)]
struct Step {
    at: Instant,
    place: usize,
    sum: Sum,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.seconds += other.seconds;
    }
}

impl Profile {
    /// Takes in what was counted since the last look.
    pub(super) fn add(&mut self, model: &Model, grown: &[Grown], now: Instant) {
        self.began.get_or_insert_with(|| Began {
            at: now,
            unix_ns: unix_ns(),
        });
        for step in grown {
            let Some(stall) = model.stalls.get(step.stall) else {
                continue;
            };
            let known = self.of_stalls.get(&step.stall).copied();
            let place = known.unwrap_or_else(|| self.place(stall, model));
            self.of_stalls.insert(step.stall, place);
            let sum = Sum {
                count: u64::from(step.is_new),
                seconds: step.seconds,
            };
            self.places[place].total.add(sum);
            if self.recent.len() >= MAX_STEPS {
                self.recent.pop_front();
            }
            let at = now;
            self.recent.push_back(Step { at, place, sum });
        }
        if model.complete {
            let held: BTreeSet<StallId> = model.stalls.iter().map(|stall| stall.id).collect();
            self.of_stalls.retain(|id, _| held.contains(id));
        }
    }

    /// The place of a stall: of its stack, or that of all others.
    fn place(&mut self, stall: &Stall, model: &Model) -> usize {
        let mut stack = Stack::of(stall, model);
        if let Some(place) = self.index.get(&stack) {
            return *place;
        }
        if self.places.len() >= MOST {
            self.over += 1;
            stack = Stack::other(stack.cause);
            if let Some(place) = self.index.get(&stack) {
                return *place;
            }
        }
        for (module, _) in &stack.addresses {
            if let Some(known) = model.module(*module) {
                let path = model.texts.get(TextId(known.path)).to_owned();
                self.modules
                    .entry(*module)
                    .or_insert_with(|| (path, known.build_id.clone()));
            }
        }
        let place = self.places.len();
        self.index.insert(stack.clone(), place);
        let total = Sum::default();
        self.places.push(Blocked { stack, total });
        place
    }

    /// The profile's file; of the last `seconds`, or of all there was. `None` before the
    /// first look.
    pub(super) fn file(&self, seconds: Option<u64>, of: &HelloResponse) -> Option<Vec<u8>> {
        let began = self.began?;
        let now = Instant::now();
        let whole = now - began.at;
        let length = seconds.map_or(whole, |seconds| Duration::from_secs(seconds).min(whole));
        let mut builder = Builder::new(&[
            Measure::new("stalls", "count"),
            Measure::new("blocked", "nanoseconds"),
        ]);
        let start = began.unix_ns + nanos(whole.saturating_sub(length));
        builder.time(start.cast_signed(), nanos(length).cast_signed());
        if self.over > 0 {
            let over = self.over;
            builder.comment(&format!(
                "looptop: {over} stalls are under \"{OTHER}\", because there were too many stacks"
            ));
        }
        let program = builder.module(&of.exe, &of.build_id);
        for (place, sum) in self.within(seconds.map(|_| length), now) {
            let stack = &self.places[place].stack;
            let mut frames = Vec::new();
            for named in stack.names.iter().flat_map(|names| names.iter()) {
                let frame = Frame::named(&named.function, &named.file, named.line);
                frames.push(frame.within(program));
            }
            for (module, offset) in &stack.addresses {
                let module = self.modules.get(module);
                let module = module.and_then(|(path, id)| builder.module(path, id));
                frames.push(Frame::address(*offset).within(module));
            }
            // A profile is of stacks: one that was not seen has its cause in its place.
            let cause = format!("[{}]", stack.cause);
            if frames.is_empty() {
                frames.push(Frame::named(&cause, "", 0).within(program));
            }
            let labels = [
                Label::new("cause", stack.cause),
                Label::new("task", &stack.task),
            ];
            let values = [sum.count.cast_signed(), (sum.seconds * 1e9) as i64];
            builder.sample(&frames, &values, &labels);
        }
        Some(builder.finish())
    }

    /// Places with what there was at them, within the last `length` or at all.
    fn within(&self, length: Option<Duration>, now: Instant) -> BTreeMap<usize, Sum> {
        let Some(length) = length else {
            let places = self.places.iter().enumerate();
            return places.map(|(place, of)| (place, of.total)).collect();
        };
        let mut sums: BTreeMap<usize, Sum> = BTreeMap::new();
        for step in self.recent.iter().rev() {
            if now.saturating_duration_since(step.at) > length {
                break;
            }
            sums.entry(step.place).or_default().add(step.sum);
        }
        sums
    }
}

impl Stack {
    fn of(stall: &Stall, model: &Model) -> Self {
        let names = stall.resolved.as_deref().map(named);
        let names = names.filter(|names| !names.is_empty());
        let telling = stall.telling_stack().filter(|_| names.is_none());
        let frames = telling.iter().flat_map(|stack| &stack.frames);
        let mut task = task_name(stall, model);
        if task.is_empty() {
            let spawned = model.location(stall.location);
            task = spawned.map(|at| at.to_string()).unwrap_or_default();
        }
        Self {
            cause: cause_word(stall.cause),
            task,
            addresses: frames.map(|frame| (frame.module, frame.offset)).collect(),
            names,
        }
    }

    fn other(cause: &'static str) -> Self {
        let other = Named {
            function: OTHER.to_owned(),
            file: String::new(),
            line: 0,
        };
        Self {
            cause,
            task: String::new(),
            names: Some([other].into()),
            addresses: Vec::new(),
        }
    }
}

fn named(resolved: &Resolved) -> Arc<[Named]> {
    let frames = resolved.frames.iter();
    let named = frames.map(|frame| Named {
        function: frame.function.clone(),
        file: frame.file.clone(),
        line: frame.line,
    });
    named.collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, nanos)
}

#[cfg(test)]
mod tests {
    use looptop_diagnosis::model::StackFrame;
    use looptop_wire::proto::{self, Frame as Wire};

    use super::*;

    /// A model with this many stalls, each in a function of its own.
    fn model(stalls: u64) -> Model {
        let mut model = Model::default();
        let stall = |id| proto::Stall {
            id,
            state: proto::StallState::Ended.into(),
            cause: proto::Cause::Sleeping.into(),
            ..proto::Stall::default()
        };
        let frame = Wire {
            snapshot_complete: true,
            stalls: (1..=stalls).map(stall).collect(),
            ..Wire::default()
        };
        model.apply(&frame).expect("a frame");
        for id in 1..=stalls {
            let resolved = Resolved {
                frames: vec![StackFrame {
                    function: format!("f{id}"),
                    ..StackFrame::default()
                }],
                ..Resolved::default()
            };
            model.stalls.resolve(StallId(id), Arc::new(resolved));
        }
        model
    }

    fn grown(stall: u64, is_new: bool, seconds: f64) -> Grown {
        Grown {
            stall: StallId(stall),
            is_new,
            seconds,
        }
    }

    fn sums(profile: &Profile, length: Option<Duration>, now: Instant) -> Vec<(u64, f64)> {
        let places = profile.within(length, now);
        places
            .values()
            .map(|sum| (sum.count, sum.seconds))
            .collect()
    }

    #[test]
    fn spans_of_time_that_follow_each_other_hold_each_stall_once() {
        let (model, mut profile) = (model(2), Profile::default());
        assert!(profile.file(None, &HelloResponse::default()).is_none());
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let minute = Some(Duration::from_mins(1));
        profile.add(&model, &[grown(1, true, 2.0)], at(1));
        assert_eq!(sums(&profile, minute, at(60)), [(1, 2.0)]);
        profile.add(&model, &[grown(1, false, 1.0), grown(2, true, 0.5)], at(62));
        assert_eq!(sums(&profile, minute, at(120)), [(0, 1.0), (1, 0.5)]);
        assert_eq!(sums(&profile, minute, at(200)), []);
        assert_eq!(sums(&profile, None, at(200)), [(1, 3.0), (1, 0.5)]);
    }

    #[test]
    fn stacks_over_the_limit_share_a_place_and_are_counted() {
        let stalls = MOST as u64 + 7;
        let (model, mut profile) = (model(stalls), Profile::default());
        let all: Vec<Grown> = (1..=stalls).map(|id| grown(id, true, 1.0)).collect();
        profile.add(&model, &all, Instant::now());
        assert_eq!((profile.places.len(), profile.over), (MOST + 1, 7));
        assert_eq!(profile.places[MOST].total.count, 7);
        // What was counted elsewhere stays there.
        profile.add(&model, &[grown(stalls, false, 2.0)], Instant::now());
        assert_eq!(profile.places[MOST].total.count, 7);
        assert!((profile.places[MOST].total.seconds - 9.0).abs() < 1e-9);
        assert!(profile.file(Some(60), &HelloResponse::default()).is_some());
    }
}
