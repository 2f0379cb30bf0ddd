//! Who is to blame, as labels, of which there are only so many.

use std::collections::BTreeMap;

use looptop_diagnosis::diagnose::{Finding, cause_word};
use looptop_diagnosis::model::{Culprit as Code, Model, Stall};

use super::families::Label;

/// Distinct culprits of one family; those that come after share one place.
pub(super) const MOST: usize = 100;

/// The function of all that found no place of their own.
const OTHER: &str = "other";

/// Who is to blame, and why it takes so long; as much of it as is known, otherwise empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Culprit {
    pub(super) cause: &'static str,
    /// The application's function nearest to the call.
    function: String,
    /// Its line, or where the task was spawned.
    location: String,
    /// The task's name, where no function is known.
    task: String,
}

impl Culprit {
    pub(super) fn of_stall(stall: &Stall, model: &Model) -> Self {
        let code = stall.culprit();
        let spawned = || model.location(stall.location).map(|at| at.to_string());
        let location = code.and_then(Code::location).or_else(spawned);
        let function = code.map(|code| code.function.clone());
        Self {
            cause: cause_word(stall.cause),
            location: location.unwrap_or_default(),
            task: if function.is_none() {
                task_name(stall, model)
            } else {
                String::new()
            },
            function: function.unwrap_or_default(),
        }
    }

    pub(super) fn of_finding(finding: &Finding) -> Self {
        let function = finding.function.clone().unwrap_or_default();
        Self {
            cause: finding.cause.map(cause_word).unwrap_or_default(),
            location: finding.location.clone(),
            task: if function.is_empty() {
                finding.task_name.clone()
            } else {
                String::new()
            },
            function,
        }
    }

    /// Whether it is more than a cause.
    pub(super) fn is_named(&self) -> bool {
        !self.function.is_empty()
    }

    /// What of it those see who may see numbers alone.
    pub(super) fn without_names(&self) -> Self {
        Self {
            cause: self.cause,
            ..Self::default()
        }
    }

    pub(super) fn labels(&self) -> [Label<'_>; 4] {
        [
            ("cause", self.cause),
            ("function", &self.function),
            ("location", &self.location),
            ("task", &self.task),
        ]
    }

    fn other(&self) -> Self {
        Self {
            function: OTHER.to_owned(),
            ..self.without_names()
        }
    }
}

/// The name of a stalled task, or of its future; empty where neither is known.
pub(crate) fn task_name(stall: &Stall, model: &Model) -> String {
    let task = stall.task.and_then(|id| model.tasks.get(id));
    let name = model.text(stall.name);
    let named = Some(name).filter(|name| !name.is_empty());
    let named = named.or_else(|| model.task_name(task?)).or(stall.future());
    named.unwrap_or_default().to_owned()
}

/// What is counted by culprit, and by something else of which there are few.
#[derive(Debug)]
pub(super) struct ByCulprit<K, V> {
    values: BTreeMap<(K, Culprit), V>,
    /// Those that found no place of their own.
    pub(super) over: u64,
}

impl<K: Ord, V> Default for ByCulprit<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            over: 0,
        }
    }
}

impl<K: Ord + Clone, V: Default> ByCulprit<K, V> {
    /// The place of a culprit's values: its own, or that of all others.
    pub(super) fn place(&mut self, key: K, culprit: Culprit) -> (K, Culprit) {
        let own = (key, culprit);
        if self.values.contains_key(&own) {
            return own;
        }
        if self.values.len() < MOST {
            self.values.insert(own.clone(), V::default());
            return own;
        }
        self.over += 1;
        let (key, culprit) = own;
        let shared = (key, culprit.other());
        self.values.entry(shared.clone()).or_default();
        shared
    }

    /// What stands at a place.
    pub(super) fn at(&mut self, place: (K, Culprit)) -> &mut V {
        self.values.entry(place).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Culprit, &V)> {
        let values = self.values.iter();
        values.map(|((key, culprit), value)| (key, culprit, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn culprit(function: &str) -> Culprit {
        Culprit {
            cause: "sleeping",
            function: function.to_owned(),
            location: format!("{function}.rs:1"),
            task: String::new(),
        }
    }

    #[test]
    fn those_over_the_limit_share_a_place_and_are_counted() {
        let mut by: ByCulprit<(), u64> = ByCulprit::default();
        for round in 0..2 {
            for n in 0..MOST + 7 {
                let place = by.place((), culprit(&format!("f{n}")));
                *by.at(place) += 1;
            }
            assert_eq!(by.over, 7 * (round + 1));
        }
        assert_eq!(by.iter().count(), MOST + 1);
        let shared = by.iter().find(|((), culprit, _)| culprit.function == OTHER);
        let ((), culprit, count) = shared.expect("one for all others");
        assert_eq!((culprit.cause, culprit.location.as_str()), ("sleeping", ""));
        assert_eq!(*count, 14);
    }

    #[test]
    fn without_names_the_cause_alone_is_left() {
        let bare = culprit("secret").without_names();
        assert!(!format!("{bare:?}").contains("secret"));
        assert_eq!(bare.labels()[0], ("cause", "sleeping"));
        assert!(!bare.is_named());
    }
}
