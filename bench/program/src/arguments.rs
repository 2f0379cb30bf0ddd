//! `WORKLOAD --name value ...`, without a dependency that a configuration would
//! then share with its observer.

use std::{collections::BTreeMap, env};

/// The options of one run.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// The workload and its options.
    pub(crate) fn of_process() -> Result<(String, Self), String> {
        let mut words = env::args().skip(1);
        let workload = words.next().ok_or("which workload?")?;
        let mut options = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("expected --name, found {word:?}"))?;
            let value = words
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?;
            options.insert(name.to_owned(), value);
        }
        Ok((workload, Self(options)))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parsed = self.text(name).map(|text| {
            text.parse()
                .map_err(|_| format!("--{name}: {text:?} is no number"))
        });
        parsed.transpose()
    }

    /// A number that this workload cannot do without.
    pub(crate) fn required(&self, name: &str) -> Result<u64, String> {
        self.number(name)?
            .ok_or_else(|| format!("--{name} is missing"))
    }
}
