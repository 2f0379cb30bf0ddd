//! Memory and descriptors must not grow over a run.
//!
//! They are sampled once a round, in the calm. The samples of one process are cut into
//! thirds, and the median of the last third is compared with that of the first: one peak
//! changes no median. A process may grow by a share and by a step; more is a slope.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    processes::{self, ProcessId},
    scene::{Problem, Scene},
};

/// Fewer samples say nothing.
const LEAST: usize = 4;
/// Of the first thirds a median is taken, but the very first sample is of a process that
/// has hardly begun.
const BEGINNING: usize = 1;
/// What closes takes a moment: the least of some looks counts.
const LOOKS: usize = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is measured, and how much more of it a process may have at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    /// Open descriptors: as many as come and go with connections of the labs' own load.
    Descriptors,
    /// Memory of a viewer: its history is bounded at 64 MiB, and what it knows of the
    /// lab's tasks beside it.
    ViewersMemory,
    /// Memory of a lab, whose scenarios hold up to some hundred MiB at once, of which the
    /// allocator keeps a part; it has done so before the first sample.
    LabsMemory,
}

impl Measure {
    fn check(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::ViewersMemory | Self::LabsMemory => "memory",
        }
    }

    /// The most that is no slope, from the first median.
    fn most(self, first: u64) -> u64 {
        match self {
            Self::Descriptors => first + 8,
            Self::ViewersMemory => first + first / 4 + (96 << 20),
            Self::LabsMemory => first + first / 4 + (128 << 20),
        }
    }
}

/// A process by its name and id.
type Subject = (String, ProcessId, Measure);

/// All samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Slopes {
    samples: BTreeMap<Subject, Vec<u64>>,
    reported: Vec<Subject>,
}

impl Slopes {
    /// Adds the samples of a round.
    pub(super) fn sample(&mut self, scene: &Scene) {
        let labs = [&scene.agented, &scene.bare];
        let labs = labs.map(|lab| (lab.name.clone(), lab.pid(), Measure::LabsMemory));
        let cast = scene.cast.iter();
        let cast = cast.map(|of| (of.name.clone(), of.pid(), Measure::ViewersMemory));
        for (name, pid, memory) in labs.into_iter().chain(cast) {
            let looks = (0..LOOKS).filter_map(|_| {
                std::thread::sleep(BETWEEN_LOOKS);
                processes::descriptors(pid)
            });
            let open = looks.min();
            let mut add = |measure, value: Option<u64>| {
                let of = self
                    .samples
                    .entry((name.clone(), pid, measure))
                    .or_default();
                of.extend(value);
            };
            add(Measure::Descriptors, open);
            add(memory, processes::memory(pid));
        }
    }

    /// What has grown, each process once.
    pub(super) fn problems(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (subject, samples) in &self.samples {
            if self.reported.contains(subject) {
                continue;
            }
            let (name, pid, measure) = subject;
            if let Some((first, last)) = grown(*measure, samples) {
                let kinds = match measure {
                    Measure::Descriptors => format!("; now {}", processes::descriptor_kinds(*pid)),
                    _ => String::new(),
                };
                let text = format!(
                    "{name} (pid {pid}) grows from {first} to {last} (medians of the first and \
                     last third of {samples:?}{kinds})"
                );
                problems.push(Problem::new(measure.check(), text));
                self.reported.push(subject.clone());
            }
        }
        problems
    }

    /// The last sample of each, for people.
    pub(crate) fn last(&self) -> String {
        let text = |((name, _, measure), samples): (&Subject, &Vec<u64>)| {
            let last = samples.last()?;
            Some(match measure {
                Measure::Descriptors => format!("{name} {last} descriptors"),
                _ => format!("{name} {} MiB", last >> 20),
            })
        };
        let texts: Vec<String> = self.samples.iter().filter_map(text).collect();
        texts.join(", ")
    }
}

/// The first and the last median where there is a slope between them.
fn grown(measure: Measure, samples: &[u64]) -> Option<(u64, u64)> {
    if samples.len() < LEAST {
        return None;
    }
    let samples = &samples[BEGINNING..];
    let third = samples.len().div_ceil(3);
    let first = median(&samples[..third]);
    let last = median(&samples[samples.len() - third..]);
    (last > measure.most(first)).then_some((first, last))
}

/// The lower one of the middle.
fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted
        .get((sorted.len() - 1) / 2)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_on_growing_is_a_slope() {
        for (samples, expected) in [
            (&[20, 30, 40][..], None),
            (&[9, 20, 27, 34], Some((20, 34))),
            (&[9, 20, 21, 300, 22, 21], None),
            (&[20, 20, 300, 300, 300, 21, 22, 20], None),
            (&[1, 20, 24, 26, 28, 29, 28], None),
            (&[9, 20, 25, 30, 35, 40, 45, 50, 55, 60], Some((25, 55))),
        ] {
            assert_eq!(
                grown(Measure::Descriptors, samples),
                expected,
                "{samples:?}"
            );
        }
        let mib = |samples: &[u64]| samples.iter().map(|n| n << 20).collect::<Vec<_>>();
        let grows = mib(&[50, 100, 150, 200, 250, 300, 350]);
        assert!(grown(Measure::ViewersMemory, &grows).is_some());
        let bounded = mib(&[50, 60, 90, 120, 130, 131, 130]);
        assert!(grown(Measure::ViewersMemory, &bounded).is_none());
    }
}
