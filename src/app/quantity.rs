//! Durations, counts and shares as short text of few different widths.

use std::time::Duration;

/// What stands where nothing is known: unknown is never 0.
pub const UNKNOWN: &str = "–";

/// A duration in at most 7 columns: "843 ms", "1.24 s", "2m13s", "3h07m".
pub fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0 => "0".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns as f64 / 1e3, "µs"),
        1_000_000..999_500_000 => scaled(ns as f64 / 1e6, "ms"),
        _ => long(duration),
    }
}

fn long(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 59.95 {
        return scaled(seconds, "s");
    }
    let whole = duration.as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match whole {
        0..3_600 => format!("{minutes}m{:02}s", whole % 60),
        3_600..86_400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

fn scaled(value: f64, unit: &str) -> String {
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// A span of time in whole seconds, as a clock shows it: "02:13", "3:07:09".
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match hours {
        0 => format!("{minutes:02}:{:02}", seconds % 60),
        1..100 => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

/// A count in at most 5 columns: "9999", "12.3k", "4.0M".
pub fn count(n: u64) -> String {
    short(n as f64)
}

/// A rate or mean in at most 5 columns.
pub fn short(n: f64) -> String {
    match n {
        _ if !n.is_finite() => UNKNOWN.to_owned(),
        _ if n < 0.05 => "0".to_owned(),
        _ if n < 9.95 && n.fract() != 0.0 => format!("{n:.1}"),
        _ if n < 9_999.5 => format!("{n:.0}"),
        _ => {
            let (value, unit) = steps(n, 1_000.0, &["k", "M", "G", "T", "P", "E"]);
            format!("{}{unit}", three_digits(value))
        }
    }
}

/// Bytes in at most 8 columns, in powers of 1024: "640 B", "48.0 MiB".
pub fn bytes(n: u64) -> String {
    if n < 1_024 {
        return format!("{n} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (value, unit) = steps(n as f64, 1_024.0, &units);
    format!("{} {unit}", three_digits(value))
}

fn steps<'a>(n: f64, base: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut value = n / base;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    (value, units.get(unit).copied().unwrap_or_default())
}

fn three_digits(value: f64) -> String {
    if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A share of 1 as a percentage: "12%".
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        n if !n.is_finite() => UNKNOWN.to_owned(),
        n if n > 0.0 && n < 0.5 => "<1%".to_owned(),
        n => format!("{n:.0}%"),
    }
}

/// "1 task", "57 tasks".
pub fn plural(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(n))
}

/// `show` of what is known, otherwise the dash.
pub fn or_unknown<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

/// What the view from outside has done: "31 stacks read, 4 sampled, 2 stopped (held
/// for 27 µs, at most 91 µs)".
pub fn outside(outside: &crate::model::Outside) -> String {
    if outside.looks == 0 && outside.listings > 0 {
        // Beside an agent, which has all else.
        let took = outside
            .listing
            .map(|took| format!(" in {}", duration(took)));
        return format!("tasks listed{}", took.unwrap_or_default());
    }
    let mut text = format!(
        "{} read, {} sampled, {} stopped",
        plural(outside.read, "stack"),
        count(outside.sampled),
        count(outside.stopped)
    );
    let mut about = Vec::new();
    if let (Some(half), Some(most)) = (outside.held_p50, outside.held_max) {
        about.push(format!(
            "held for {}, at most {}",
            duration(half),
            duration(most)
        ));
    }
    if outside.stopped_in_call > 0 {
        about.push(format!("{} in a call", count(outside.stopped_in_call)));
    }
    if outside.stopped > 0 && !about.is_empty() {
        text = format!("{text} ({})", about.join("; "));
    }
    if outside.no_stop.is_some() {
        text.push_str(", no stop permitted");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            (0, "0"),
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (999_400, "999 µs"),
            (9_900_000, "9.9 ms"),
            (843_000_000, "843 ms"),
            (999_600_000, "1.0 s"),
            (59_940_000_000, "60 s"),
            (133_000_000_000, "2m13s"),
            (11_220_000_000_000, "3h07m"),
            (100_000_000_000_000, "1d03h"),
        ];
        for (ns, text) in table {
            assert_eq!(duration(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn counts_shares_and_bytes() {
        let counts = [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (123_456, "123k"),
            (999_600, "1.0M"),
            (u64::MAX, "18.4E"),
        ];
        for (n, text) in counts {
            assert_eq!(count(n), text);
        }
        for (n, text) in [
            (640, "640 B"),
            (50_331_648, "48.0 MiB"),
            (1_023_000, "999 KiB"),
            (1_047_000, "1.0 MiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (share, text) in [(0.0, "0%"), (0.001, "<1%"), (0.123, "12%"), (f64::NAN, "–")] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(
            (plural(1, "task"), plural(57, "task")),
            ("1 task".into(), "57 tasks".into())
        );
        assert_eq!(short(0.25), "0.2");
        assert_eq!(clock(Duration::from_secs(133)), "02:13");
        assert_eq!(clock(Duration::from_secs(11_229)), "3:07:09");
    }
}
