//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::Write;

/// What the format is called in a header.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Characters of the value of a label; the rest is cut off.
const MAX_LABEL: usize = 200;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They only rise while the process lives.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label with its value. One without a value is left out, which means the same.
pub(super) type Label<'a> = (&'a str, &'a str);

/// A page that is being written, one family after the other.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a family, to which its samples are given. One without samples leaves no
    /// trace.
    pub(super) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &'a str) -> Family<'a> {
        Family {
            text: &mut self.0,
            kind,
            name,
            help,
            has_begun: false,
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Values under one name.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    kind: Kind,
    name: &'a str,
    help: &'a str,
    has_begun: bool,
}

impl Family<'_> {
    /// One value.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.write("", labels, None, value);
    }

    /// One value where it is known.
    pub(super) fn known(&mut self, labels: &[Label<'_>], value: Option<f64>) {
        if let Some(value) = value {
            self.sample(labels, value);
        }
    }

    /// How often there was what: `counts` of each bound and, last, of what is over all of
    /// them; each value is counted once.
    pub(super) fn histogram(
        &mut self,
        labels: &[Label<'_>],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let mut total = 0;
        for (at, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(at).copied().unwrap_or(f64::INFINITY);
            self.write("_bucket", labels, Some(bound), total as f64);
        }
        self.write("_sum", labels, None, sum);
        self.write("_count", labels, None, total as f64);
    }

    fn write(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<f64>, value: f64) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let help = escaped(self.help, false);
            let (name, kind) = (self.name, self.kind.word());
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        let _ = write!(self.text, "{}{suffix}", self.name);
        let bound = bound.map(number);
        let bound = bound.as_deref().map(|bound| ("le", bound));
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let mut separator = '{';
        for (label, value) in labels.copied().chain(bound) {
            let _ = write!(self.text, "{separator}{label}=\"{}\"", escaped(value, true));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", number(value));
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// A text as it may stand in a help line, or between the quotes of a label. Names are the
/// application's and may hold anything.
fn escaped(text: &str, in_quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        if in_quotes && at == MAX_LABEL {
            escaped.push('…');
            break;
        }
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if in_quotes => escaped.push_str("\\\""),
            character if character.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_the_format_wants_it() {
        let mut page = Page::default();
        let mut family = page.family(Kind::Counter, "polls_total", "Polls,\nwith \\ and \".");
        family.sample(&[("runtime", "main"), ("worker", "")], 3.0);
        family.sample(&[("runtime", "a\"b\\c\nd\u{1b}[m")], 0.25);
        family.known(&[], None);
        family.known(&[], Some(1e18));
        page.family(Kind::Gauge, "nothing", "Has no sample.");
        let mut family = page.family(Kind::Histogram, "lag_seconds", "Lag.");
        family.histogram(&[("runtime", "main")], &[0.001, 1.0], &[4, 2, 1], 7.5);
        let expected = "\
# HELP polls_total Polls,\\nwith \\\\ and \".
# TYPE polls_total counter
polls_total{runtime=\"main\"} 3
polls_total{runtime=\"a\\\"b\\\\c\\nd\u{fffd}[m\"} 0.25
polls_total 1000000000000000000
# HELP lag_seconds Lag.
# TYPE lag_seconds histogram
lag_seconds_bucket{runtime=\"main\",le=\"0.001\"} 4
lag_seconds_bucket{runtime=\"main\",le=\"1\"} 6
lag_seconds_bucket{runtime=\"main\",le=\"+Inf\"} 7
lag_seconds_sum{runtime=\"main\"} 7.5
lag_seconds_count{runtime=\"main\"} 7
";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn a_long_label_is_cut() {
        let cut = escaped(&"é".repeat(1_000), true);
        assert_eq!(cut.chars().count(), MAX_LABEL + 1);
        assert!(cut.ends_with('…'));
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
    }
}
