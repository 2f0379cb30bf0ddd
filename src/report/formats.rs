//! The report for programs.

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use crate::{
    diagnose::{Severity, rules},
    escape::escaped,
};

use super::{Commit, Entry, Report};

/// What cannot fail: the report holds nothing that JSON cannot express.
pub(super) fn json(report: &impl Serialize) -> String {
    let value = serde_json::to_value(report).unwrap_or_default();
    format!("{value:#}\n")
}

pub(super) fn ndjson(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        line(&mut text, "finding", finding, &[]);
    }
    line(&mut text, "report", report, &["findings"]);
    text
}

/// A line with what it is, without some of its fields.
pub(super) fn line(text: &mut String, kind: &str, of: &impl Serialize, without: &[&str]) {
    let mut value = serde_json::to_value(of).unwrap_or_default();
    value["type"] = json!(kind);
    if let Some(fields) = value.as_object_mut() {
        for field in without {
            fields.remove(*field);
        }
    }
    let _ = writeln!(text, "{value}");
}

/// The first line of a file of `JUnit`.
pub(super) const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A test case for each rule; a finding from warning on is a failure.
pub(super) fn junit(report: &Report) -> String {
    let mut text = String::from(XML);
    suite(&mut text, "looptop", report);
    text
}

/// The same as one suite of this name.
pub(super) fn suite(text: &mut String, name: &str, report: &Report) {
    let failing = |f: &&Entry| f.severity >= Severity::Warning;
    let failed = rules::ALL.iter().filter(|r| {
        report
            .findings
            .iter()
            .filter(failing)
            .any(|f| f.rule == r.id)
    });
    let _ = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{}\">",
        xml(name),
        rules::ALL.len() + 1,
        failed.count(),
        u8::from(!report.is_observed()),
        report.window_s
    );
    let _ = if report.is_observed() {
        writeln!(
            text,
            "  <testcase classname=\"looptop\" name=\"observed\"/>"
        )
    } else {
        let _ = writeln!(text, "  <testcase classname=\"looptop\" name=\"observed\">");
        for gap in &report.not_observed {
            let (cause, remedy) = (xml(&gap.cause), xml(&gap.remedy));
            let _ = writeln!(text, "    <error message=\"{cause}\">{remedy}</error>");
        }
        writeln!(text, "  </testcase>")
    };
    for rule in rules::ALL {
        let findings: Vec<_> = report
            .findings
            .iter()
            .filter(|f| f.rule == rule.id)
            .collect();
        if findings.is_empty() {
            let _ = writeln!(
                text,
                "  <testcase classname=\"looptop\" name=\"{}\"/>",
                rule.id
            );
            continue;
        }
        let _ = writeln!(
            text,
            "  <testcase classname=\"looptop\" name=\"{}\">",
            rule.id
        );
        for finding in findings {
            let title = xml(&finding.title);
            let remedy = xml(&finding.remedy);
            let _ = if finding.severity >= Severity::Warning {
                writeln!(text, "    <failure message=\"{title}\">{remedy}</failure>")
            } else {
                writeln!(text, "    <system-out>{title}; {remedy}</system-out>")
            };
        }
        text.push_str("  </testcase>\n");
    }
    text.push_str("</testsuite>\n");
}

pub(super) fn xml(text: &str) -> String {
    escaped(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// An annotation for each finding, with the address of its line where the commit is known.
pub(super) fn github(report: &Report, commit: Option<&Commit>) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        annotation(&mut text, finding, "", commit);
    }
    let known = |f: &&Entry| f.severity >= Severity::Warning;
    for finding in report.known.iter().filter(known) {
        let (rule, title) = (finding.rule, escaped(&finding.title));
        let _ = writeln!(text, "looptop: known: {rule}: {title}");
    }
    for key in &report.resolved {
        let _ = writeln!(text, "looptop: resolved: {}", escaped(&key.to_string()));
    }
    for gap in &report.not_observed {
        unobserved(&mut text, &format!("{}. {}", gap.cause, gap.remedy));
    }
    let level = report.level.to_uppercase();
    let _ = writeln!(text, "looptop: {level}: {}", escaped(&report.verdict));
    text
}

/// An annotation of what could not be looked at.
pub(super) fn unobserved(text: &mut String, why: &str) {
    let _ = writeln!(text, "::error title=looptop not observing::{}", data(why));
}

/// An annotation; `on` is said behind its title.
pub(super) fn annotation(text: &mut String, finding: &Entry, on: &str, commit: Option<&Commit>) {
    let level = match finding.severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Critical => "error",
    };
    let place = finding.location.as_deref().and_then(|l| l.rsplit_once(':'));
    let place = place.map_or(String::new(), |(file, line)| {
        format!("file={},line={},", property(file), property(line))
    });
    let _ = writeln!(
        text,
        "::{level} {place}title=looptop {}::{}",
        finding.rule,
        data(&format!("{}{on}. {}", finding.title, finding.remedy))
    );
    // An annotation shows no link; the log makes one of an address.
    let link = finding.location.as_deref();
    if let Some(link) = link.and_then(|location| commit?.link(location)) {
        let _ = writeln!(text, "looptop: {} at {link}", finding.rule);
    }
}

fn data(text: &str) -> String {
    escaped(text).replace('%', "%25")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
