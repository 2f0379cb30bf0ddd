//! Findings that are known: a file in the repository, against which only what is new fails.
//!
//! A finding is known by its rule, the culprit's function and the source file, and not by
//! what changes from one commit or run to the next: lines, numbers, names of tasks and
//! threads. A run that has no name for a culprit, because no stack was had in time, knows it by
//! the file alone. `docs/baseline.schema.json` describes the file.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Entry;

/// Version of the file; it grows when a reader of the older one would misread.
pub const BASELINE_SCHEMA: u32 = 1;

/// By what a finding is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Id of the rule.
    pub rule: String,
    /// The culprit's function; `null` where no stack names it.
    pub function: Option<String>,
    /// Source file of the culprit or the spawn, without the line; `null` where unknown.
    pub file: Option<String>,
}

/// The known findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline(BTreeSet<Key>);

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    findings: Vec<Key>,
}

/// Why a file is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It is no JSON, or has other fields.
    #[error("is no baseline: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error(
        "is a baseline of version {found}, and this looptop reads {BASELINE_SCHEMA}; write it anew with --write-baseline"
    )]
    Version {
        /// What the file says.
        found: u64,
    },
}

impl Key {
    /// Of a finding.
    pub fn of(entry: &Entry) -> Self {
        Self {
            rule: entry.rule.to_owned(),
            function: entry.function.clone(),
            file: entry.location.as_deref().map(|l| file(l).to_owned()),
        }
    }
}

impl Key {
    /// Whether both are one finding, as far as both say what it is.
    fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| {
            one.as_ref()
                .zip(other.as_ref())
                .map(|(one, other)| one == other)
        };
        let function = same(&self.function, &other.function);
        let file = same(&self.file, &other.file);
        self.rule == other.rule
            && match (function, file) {
                // What nothing is known of is the same as nothing else.
                (None, None) => (&self.function, &self.file) == (&other.function, &other.file),
                _ => function.unwrap_or(true) && file.unwrap_or(true),
            }
    }
}

/// The file of `file:line`.
fn file(location: &str) -> &str {
    match location.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|b| b.is_ascii_digit()) => file,
        _ => location,
    }
}

impl Baseline {
    /// Of a file's text.
    ///
    /// # Errors
    ///
    /// It is no baseline, or one of another version.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        if let Some(found) = value["schema"].as_u64()
            && found != u64::from(BASELINE_SCHEMA)
        {
            return Err(BaselineError::Version { found });
        }
        let file: File = serde_json::from_value(value)?;
        Ok(Self(file.findings.into_iter().collect()))
    }

    /// Of what was found.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        Self(entries.into_iter().map(Key::of).collect())
    }

    /// The file's text: each finding on a line of its own, in order, so that it can be
    /// compared and merged.
    pub fn render(&self) -> String {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|key| serde_json::to_string(key).unwrap_or_default())
            .map(|key| format!("    {key}"))
            .collect();
        let findings = if lines.is_empty() {
            "[]".to_owned()
        } else {
            format!("[\n{}\n  ]", lines.join(",\n"))
        };
        format!("{{\n  \"schema\": {BASELINE_SCHEMA},\n  \"findings\": {findings}\n}}\n")
    }

    pub(super) fn knows(&self, entry: &Entry) -> bool {
        let found = Key::of(entry);
        self.0.iter().any(|known| known.is_same(&found))
    }

    /// Those that are known and are not among `found`.
    pub(super) fn without<'a>(&self, found: impl IntoIterator<Item = &'a Entry>) -> Vec<Key> {
        let found: Vec<Key> = found.into_iter().map(Key::of).collect();
        let is_found = |known: &&Key| found.iter().any(|key| known.is_same(key));
        self.0
            .iter()
            .filter(|known| !is_found(known))
            .cloned()
            .collect()
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.rule)?;
        if let Some(function) = &self.function {
            write!(f, " in {function}")?;
        }
        if let Some(file) = &self.file {
            write!(f, " ({file})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rule: &str, function: Option<&str>, file: Option<&str>) -> Key {
        Key {
            rule: rule.into(),
            function: function.map(Into::into),
            file: file.map(Into::into),
        }
    }

    #[test]
    fn a_file_reads_as_it_was_written() {
        for keys in [
            vec![],
            vec![key("host-starved", None, None)],
            vec![
                key("task-leak", None, Some("src/\"odd\".rs")),
                key("blocked-worker", Some("shop::price"), Some("src/shop.rs")),
            ],
        ] {
            let baseline = Baseline(keys.into_iter().collect());
            let text = baseline.render();
            assert_eq!(Baseline::parse(&text).expect("it was written"), baseline);
        }
    }

    #[test]
    fn a_finding_has_a_line_of_its_own_and_the_order_is_fixed() {
        let baseline = Baseline(BTreeSet::from([
            key("task-leak", None, Some("src/a.rs")),
            key("blocked-worker", Some("shop::price"), Some("src/shop.rs")),
        ]));
        insta::assert_snapshot!(baseline.render(), @r#"
        {
          "schema": 1,
          "findings": [
            {"rule":"blocked-worker","function":"shop::price","file":"src/shop.rs"},
            {"rule":"task-leak","function":null,"file":"src/a.rs"}
          ]
        }
        "#);
    }

    #[test]
    fn what_is_no_baseline_is_said() {
        for (text, part) in [
            ("", "is no baseline"),
            ("{}", "missing field `schema`"),
            (r#"{"schema": 2, "findings": [{"new": 1}]}"#, "version 2"),
            (
                r#"{"schema": 1, "findings": [{"rule": 7}]}"#,
                "is no baseline",
            ),
            (
                r#"{"schema": 1, "findings": [], "x": 1}"#,
                "unknown field `x`",
            ),
        ] {
            let error = Baseline::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_one_of_two_does_not_say_does_not_distinguish_them() {
        let (f, other, a, b) = (Some("f"), Some("g"), Some("a.rs"), Some("b.rs"));
        for (one, two, is) in [
            ((f, a), (f, a), true),
            ((f, a), (None, a), true),
            ((None, a), (f, a), true),
            ((f, None), (f, a), true),
            ((None, None), (None, None), true),
            ((f, a), (other, a), false),
            ((f, a), (f, b), false),
            ((None, a), (f, b), false),
            ((None, None), (f, a), false),
            ((f, None), (None, a), false),
        ] {
            let of = |(function, file)| key("blocked-worker", function, file);
            assert_eq!(of(one).is_same(&of(two)), is, "{one:?} {two:?}");
            let another = key("task-leak", two.0, two.1);
            assert!(!of(one).is_same(&another), "another rule");
        }
    }

    #[test]
    fn the_file_of_a_place() {
        for (location, expected) in [
            ("src/a.rs:12", "src/a.rs"),
            ("src/a.rs", "src/a.rs"),
            ("C:/a.rs:3", "C:/a.rs"),
            ("app:serve", "app:serve"),
        ] {
            assert_eq!(file(location), expected);
        }
    }

    #[test]
    fn the_published_schema_describes_it() {
        let schema = include_str!("../../docs/baseline.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["properties"]["schema"]["const"], BASELINE_SCHEMA);
        let baseline = Baseline(BTreeSet::from([key("a", None, None)]));
        let written: serde_json::Value = serde_json::from_str(&baseline.render()).unwrap();
        let names = |value: &serde_json::Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        let item = &schema["properties"]["findings"]["items"];
        assert_eq!(names(&schema["properties"]), names(&written));
        assert_eq!(names(&item["properties"]), names(&written["findings"][0]));
    }
}
