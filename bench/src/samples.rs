//! Measured values, by metric, configuration and round.

use std::collections::BTreeMap;

use crate::{configuration::Configuration, metric::Metric};

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Samples {
    cells: BTreeMap<(Metric, Configuration), Cell>,
}

/// The values of one metric in one configuration.
#[derive(Default)]
pub(crate) struct Cell {
    /// By round; a round may lack a value.
    values: BTreeMap<usize, f64>,
    /// What a reader must know about the values, or why there is none.
    pub(crate) note: Option<String>,
}

impl Samples {
    pub(crate) fn push(
        &mut self,
        metric: Metric,
        configuration: Configuration,
        round: usize,
        value: f64,
    ) {
        let cell = self.cells.entry((metric, configuration)).or_default();
        cell.values.insert(round, value);
    }

    pub(crate) fn note(&mut self, metric: Metric, configuration: Configuration, note: String) {
        self.cells.entry((metric, configuration)).or_default().note = Some(note);
    }

    pub(crate) fn cell(&self, metric: Metric, configuration: Configuration) -> Option<&Cell> {
        self.cells.get(&(metric, configuration))
    }

    pub(crate) fn spread(&self, metric: Metric, configuration: Configuration) -> Option<Spread> {
        self.cell(metric, configuration)?.spread()
    }

    pub(crate) fn has(&self, metric: Metric) -> bool {
        self.cells.keys().any(|(m, _)| *m == metric)
    }

    /// `compare(value, value of other)` of every round that has both: what the
    /// machine did to both in that round cancels out.
    pub(crate) fn pairs(
        &self,
        metric: Metric,
        configuration: Configuration,
        other: (Metric, Configuration),
        compare: fn(f64, f64) -> f64,
    ) -> Option<Spread> {
        let ours = &self.cell(metric, configuration)?.values;
        let theirs = &self.cell(other.0, other.1)?.values;
        let both =
            |(round, &value): (&usize, &f64)| theirs.get(round).map(|&other| compare(value, other));
        Spread::of(ours.iter().filter_map(both).collect())
    }
}

impl Cell {
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.values.values().copied()
    }

    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(self.values().collect())
    }
}

/// A median and how far the values lie around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Quartiles: half of the values lie between them.
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self {
            median: quantile(&values, 0.5),
            min,
            max,
            lower: quantile(&values, 0.25),
            upper: quantile(&values, 0.75),
        })
    }
}

/// Of sorted values, at least one, between neighbours where need be.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::{Samples, Spread};
    use crate::{configuration::Configuration, metric::Metric};

    #[test]
    fn medians_and_quartiles() {
        assert_eq!(Spread::of(Vec::new()), None);
        for (values, median, lower, upper) in [
            (vec![7.0], 7.0, 7.0, 7.0),
            (vec![3.0, 1.0], 2.0, 1.5, 2.5),
            (vec![5.0, 1.0, 4.0, 2.0, 3.0], 3.0, 2.0, 4.0),
            (vec![1.0, f64::NAN, 3.0], 2.0, 1.5, 2.5),
        ] {
            let spread = Spread::of(values).unwrap();
            assert_eq!(
                (spread.median, spread.lower, spread.upper),
                (median, lower, upper)
            );
        }
    }

    #[test]
    fn pairs_compare_within_a_round_only() {
        let mut samples = Samples::default();
        let metric = Metric::Spawn1000;
        for (round, bare, level2) in [(0, 100.0, 110.0), (1, 300.0, 312.0)] {
            samples.push(metric, Configuration::Bare, round, bare);
            samples.push(metric, Configuration::Level2, round, level2);
        }
        samples.push(metric, Configuration::Level2, 2, 1.0);
        let pairs = samples.pairs(
            metric,
            Configuration::Level2,
            (metric, Configuration::Bare),
            |a, b| a - b,
        );
        assert_eq!(
            pairs.map(|p| (p.min, p.median, p.max)),
            Some((10.0, 11.0, 12.0))
        );
    }
}
