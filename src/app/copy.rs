//! A finding as plain text, for a ticket or a chat.

use std::fmt::Write as _;

use crate::diagnose::Finding;

use super::quantity;
use crate::escape;

/// The finding with its evidence; escaped line by line.
pub(super) fn finding(f: &Finding) -> String {
    let mut text = format!("[{}] {}: {}\n", f.severity, f.rule, f.title);
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<9} {}", escape::escaped(value));
        }
    };
    add("cause", &f.cause_text);
    add("task", &f.task_name);
    add("function", f.function.as_deref().unwrap_or_default());
    add("location", &f.location);
    if f.stall.is_some() {
        let (max, total) = (quantity::duration(f.max), quantity::duration(f.total));
        add(
            "seen",
            &format!(
                "{}, longest {max}, {total} in all",
                quantity::plural(f.count, "time")
            ),
        );
    }
    add("remedy", &f.remedy);
    for frame in f
        .stack
        .iter()
        .flat_map(|s| &s.frames)
        .filter(|frame| !frame.plumbing)
    {
        add(
            "at",
            &format!("{} ({}:{})", frame.function, frame.file, frame.line),
        );
    }
    escape::lines(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use crate::{app::fixtures::starving_state, diagnose::Severity};

    #[test]
    fn what_is_copied_holds_no_control_characters() {
        let state = starving_state();
        let mut found = state.finding().unwrap().clone();
        found.title = "evil\x1b]52;c;AAAA\x07 name".into();
        found.location = "a\nb".into();
        let text = super::finding(&found);
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert!(
            text.starts_with(&format!("[{}] ", found.severity))
                && found.severity >= Severity::Notice
        );
        assert!(text.contains("location  a\\nb\n"), "{text}");
    }
}
