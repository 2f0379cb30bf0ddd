//! Findings that do not count.

use std::str::FromStr;

use crate::diagnose::Finding;

/// A rule, or a rule at one location, whose findings do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    rule: &'static str,
    location: Option<String>,
}

impl FromStr for Allow {
    type Err = String;

    /// `RULE` or `RULE=LOCATION`; a location is the end of a path, with or
    /// without a line.
    fn from_str(text: &str) -> Result<Self, String> {
        let (id, location) = match text.split_once('=') {
            Some((id, location)) => (id, Some(location.to_owned())),
            None => (text, None),
        };
        let rule = crate::diagnose::find(id).ok_or_else(|| {
            format!(
                "there is no rule '{id}'; did you mean '{}'?",
                crate::diagnose::nearest(id)
            )
        })?;
        Ok(Self {
            rule: rule.id,
            location,
        })
    }
}

impl Allow {
    pub(super) fn covers(&self, finding: &Finding) -> bool {
        let place = self.location.as_deref().is_none_or(|wanted| {
            let file = finding
                .location
                .rsplit_once(':')
                .map_or("", |(file, _)| file);
            finding.location.ends_with(wanted) || file.ends_with(wanted)
        });
        finding.rule == self.rule && place
    }
}
