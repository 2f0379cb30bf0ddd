//! Every scenario by name.

use std::fmt;

use crate::{scenario::Scenario, scenarios::ALL};

/// Every scenario, in the order of the stage.
pub fn scenarios() -> &'static [Scenario] {
    ALL
}

/// The scenario called `id`.
///
/// # Errors
///
/// [`Unknown`], with the nearest name, where there is none.
pub fn find(id: &str) -> Result<&'static Scenario, Unknown> {
    scenarios()
        .iter()
        .find(|scenario| scenario.id == id)
        .ok_or_else(|| Unknown::new("scenario", id, scenarios().iter().map(|known| known.id)))
}

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    kind: &'static str,
    name: String,
    nearest: Option<String>,
    known: String,
}

impl Unknown {
    pub(crate) fn new<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = known
            .iter()
            .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
            .filter(|(likeness, _)| *likeness > 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, candidate)| candidate.to_owned());
        Unknown {
            kind,
            name: name.to_owned(),
            nearest,
            known: known.join(", "),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} {:?}", self.kind, self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => write!(f, "; there are {}", self.known),
        }
    }
}

impl std::error::Error for Unknown {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let cases = [
            (
                "sleep-in-handlr",
                "there is no scenario \"sleep-in-handlr\"; did you mean \"sleep-in-handler\"?",
            ),
            (
                "bussy-yield",
                "there is no scenario \"bussy-yield\"; did you mean \"busy-yield\"?",
            ),
        ];
        for (name, sentence) in cases {
            assert_eq!(find(name).unwrap_err().to_string(), sentence);
        }
    }

    #[test]
    fn a_name_like_nothing_gets_the_list_and_is_shown_escaped() {
        let sentence = find("\u{1b}[2J").unwrap_err().to_string();
        assert!(sentence.starts_with("there is no scenario \"\\u{1b}[2J\"; there are sleep-in-"));
    }
}
