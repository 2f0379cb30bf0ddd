//! Numbers in sentences.

use std::time::Duration;

/// "1 task", "57 tasks".
pub(super) fn count(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// "1 task waits", "57 tasks wait".
pub(super) fn counted(n: u64, noun: &str, verb: &str) -> String {
    format!("{} {}", count(n, noun), conjugated(n, verb))
}

/// "waits" for one, "wait" for several.
pub(super) fn conjugated(n: u64, verb: &str) -> String {
    let s = if n == 1 { "s" } else { "" };
    format!("{verb}{s}")
}

/// A duration for a sentence: "843 ms", "2100 ms", "12.1 s", "7.5 min".
pub(super) fn human(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 9_999.5 {
        format!("{ms:.0} ms")
    } else if ms < 300_000.0 {
        format!("{:.1} s", ms / 1e3)
    } else {
        format!("{:.1} min", ms / 60e3)
    }
}

/// How long something has lasted, as a person says it: "843 ms", "2.1 s", "41 s", "12 min",
/// "3.5 h".
pub fn spoken(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 0.009_95 => format!("{:.1} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 299.5 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

/// A rate for a sentence: "14 more every second", "6 more every minute".
pub(super) fn more(per_second: f64) -> String {
    if per_second >= 0.95 {
        format!("{per_second:.0} more every second")
    } else if per_second * 60.0 >= 0.95 {
        format!("{:.0} more every minute", per_second * 60.0)
    } else {
        format!("{:.0} more every hour", per_second * 3_600.0)
    }
}

/// An amount of memory for a sentence: "340 MiB".
pub(super) fn bytes(bytes: f64) -> String {
    let kib = bytes / 1024.0;
    if kib < 999.5 {
        format!("{kib:.0} KiB")
    } else if kib < 1_023_488.0 {
        format!("{:.0} MiB", kib / 1024.0)
    } else {
        format!("{:.1} GiB", kib / 1_048_576.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_as_a_person_says_it() {
        for (ms, expected) in [
            (4, "4.0 ms"),
            (843, "843 ms"),
            (2_100, "2.1 s"),
            (67_000, "67 s"),
            (185_796, "186 s"),
            (371_591, "6 min"),
            (12_600_000, "3.5 h"),
        ] {
            assert_eq!(spoken(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn numbers_speak_grammar() {
        for (n, expected) in [
            (0, "0 tasks wait"),
            (1, "1 task waits"),
            (2, "2 tasks wait"),
        ] {
            assert_eq!(counted(n, "task", "wait"), expected);
        }
        for (ms, expected) in [
            (4, "4.0 ms"),
            (843, "843 ms"),
            (2_100, "2100 ms"),
            (41_000, "41.0 s"),
            (3_600_000, "60.0 min"),
        ] {
            assert_eq!(human(Duration::from_millis(ms)), expected);
        }
        for (rate, expected) in [
            (14.2, "14 more every second"),
            (0.1, "6 more every minute"),
            (0.001, "4 more every hour"),
        ] {
            assert_eq!(more(rate), expected);
        }
        for (n, expected) in [(2048.0, "2 KiB"), (3e8, "286 MiB"), (3e9, "2.8 GiB")] {
            assert_eq!(bytes(n), expected);
        }
    }
}
