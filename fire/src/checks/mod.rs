//! What must be true after each calm.
//!
//! | check | what must be true |
//! |---|---|
//! | `verdict` | `looptop check` finds what the scenario's registry says, and nothing else |
//! | `crash` | no program has written of a panic or another crash |
//! | `terminal`, `end` | a viewer that was asked to end does, and gives its terminal back |
//! | `process`, `file` | ended viewers leave no process and no temporary file |
//! | `stopped`, `traced` | no thread of a target stands still or is traced |
//! | `answer` | the labs answer, and the viewers draw |
//! | `memory`, `descriptors` | both of labs and viewers do not grow over the run |
//! | `loss` | frames that a viewer did not get were counted as lost |

mod leftovers;
mod slope;
mod verdict;

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

pub(crate) use self::{slope::Slopes, verdict::Deck};
use crate::{processes, scene::Scene};

/// How often each check was made, and what it has seen.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) checks: BTreeMap<&'static str, u64>,
    /// Verdicts that were looked at again, because others used the CPUs.
    pub(crate) verdicts_again: u64,
    /// Verdicts that were wrong while others used the CPUs each time.
    pub(crate) not_judged: u64,
    /// Frames that the witness has missed.
    pub(crate) frames_missed: u64,
}

impl Counts {
    /// More verdicts than this share may not be left open.
    pub(crate) fn too_few_judged(&self) -> Option<String> {
        let all = self.checks.get("verdict").copied().unwrap_or_default();
        (self.not_judged * 2 > all).then(|| {
            let n = self.not_judged;
            format!("{n} of {all} verdicts were not judged: others use this machine's CPUs")
        })
    }

    fn add(&mut self, check: &'static str) {
        *self.checks.entry(check).or_default() += 1;
    }
}

/// The agent's counts come with its next frames.
const TO_COUNT: Duration = Duration::from_secs(5);

/// Checks what is left of the attack.
pub(crate) fn after_calm(scene: &mut Scene, slopes: &mut Slopes, counts: &mut Counts) {
    leftovers(scene, counts);
    counts.add("draw");
    let deaf = scene.cast.iter_mut().filter_map(|viewer| {
        let is_deaf = viewer.runs() && !viewer.draws();
        let (name, pid, end) = (&viewer.name, viewer.pid(), viewer.output.end(300));
        is_deaf.then(|| format!("{name} (pid {pid}) draws nothing: {end}"))
    });
    let deaf: Vec<String> = deaf.collect();
    scene.note("answer", deaf);
    counts.add("loss");
    loss(scene, counts);
    counts.add("slope");
    slopes.sample(scene);
    scene.problems.extend(slopes.problems());
}

/// Checks that nothing is left which must not be.
pub(crate) fn leftovers(scene: &mut Scene, counts: &mut Counts) {
    counts.add("leftovers");
    let found = leftovers::find(scene);
    scene.problems.extend(found);
    let outputs: Vec<_> = {
        let labs = [&scene.agented, &scene.bare];
        let labs = labs.map(|lab| (lab.name.clone(), lab.output.clone()));
        let cast = scene.cast.iter();
        let cast = cast.map(|viewer| (viewer.name.clone(), viewer.output.clone()));
        labs.into_iter().chain(cast).collect()
    };
    counts.add("crash");
    for (name, output) in outputs {
        scene.note_crashes(&name, &output);
    }
}

/// Checks the labs' verdicts.
pub(crate) fn verdicts(
    scene: &mut Scene,
    deck: &mut Deck,
    counts: &mut Counts,
    rng: &mut Rng,
) -> Vec<String> {
    verdict::check(scene, deck, counts, rng)
}

/// What the witness misses must be counted.
fn loss(scene: &mut Scene, counts: &mut Counts) {
    let connection = scene.witness.seen().connection;
    processes::until(TO_COUNT, || {
        let seen = scene.witness.seen();
        seen.connection != connection || seen.counted >= seen.missing
    });
    let seen = scene.witness.seen();
    if seen.connection != connection {
        return;
    }
    counts.frames_missed = counts.frames_missed.max(seen.missing);
    if seen.counted < seen.missing {
        let text = format!(
            "of {} frames {} did not come, and the agent has counted {} as lost",
            seen.frames + seen.missing,
            seen.missing,
            seen.counted
        );
        scene.note("loss", [text]);
    }
}
