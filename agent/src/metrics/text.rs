//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::Write;

use super::families::{Head, Histogram, Kind, Label, Sink};

/// What the format is called in a header.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Characters of the value of a label; the rest is cut off.
const MAX_LABEL: usize = 200;

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// A page that is being written, one family after the other.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn write(
        &mut self,
        of: &Head<'_>,
        suffix: &str,
        labels: &[Label<'_>],
        bound: Option<f64>,
        value: f64,
    ) {
        let _ = write!(self.0, "{}{suffix}", of.name);
        let bound = bound.map(number);
        let bound = bound.as_deref().map(|bound| ("le", bound));
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let mut separator = '{';
        for (label, value) in labels.copied().chain(bound) {
            let _ = write!(self.0, "{separator}{label}=\"{}\"", escaped(value, true));
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", number(value));
    }

    fn begin(&mut self, of: &Head<'_>) {
        if of.begins {
            let help = escaped(of.help, false);
            let (name, kind) = (of.name, word(of.kind));
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }
}

impl Sink for Text {
    fn value(&mut self, of: &Head<'_>, labels: &[Label<'_>], value: f64) {
        self.begin(of);
        self.write(of, "", labels, None, value);
    }

    fn histogram(&mut self, of: &Head<'_>, labels: &[Label<'_>], histogram: &Histogram<'_>) {
        self.begin(of);
        let mut total = 0;
        for (at, count) in histogram.counts.iter().enumerate() {
            total += count;
            let bound = histogram.bounds.get(at).copied().unwrap_or(f64::INFINITY);
            self.write(of, "_bucket", labels, Some(bound), total as f64);
        }
        self.write(of, "_sum", labels, None, histogram.sum);
        self.write(of, "_count", labels, None, total as f64);
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
    use super::super::families::Page;
    use super::*;

    #[test]
    fn a_page_is_written_as_the_format_wants_it() {
        let mut text = Text::default();
        let mut page = Page::new(&mut text);
        let mut family = page.family(Kind::Counter, "polls_total", "Polls,\nwith \\ and \".");
        family.sample(&[("runtime", "main"), ("worker", "")], 3.0);
        family.sample(&[("runtime", "a\"b\\c\nd\u{1b}[m")], 0.25);
        family.known(&[], None);
        family.known(&[], Some(1e18));
        page.family(Kind::Gauge, "nothing", "Has no sample.");
        let mut family = page.family(Kind::Histogram, "lag_seconds", "Lag.");
        let histogram = Histogram {
            bounds: &[0.001, 1.0],
            counts: &[4, 2, 1],
            sum: 7.5,
        };
        family.histogram(&[("runtime", "main")], &histogram);
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
        assert_eq!(text.into_string(), expected);
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
