//! Recordings of console-subscriber (`TOKIO_CONSOLE_RECORD_PATH`): a line of
//! JSON for each event of a task, translated into the frames that an agent would
//! have sent.
//!
//! They hold spawns, polls, wakes and ends with their instants, but no workers,
//! threads, resources or causes.

mod event;
mod translation;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
};

use super::{
    recording::{OpenError, Recording},
    store::Store,
    writer::Sink,
};
use event::Header;
use translation::Translation;

/// The version of the format that is understood.
const VERSION: u64 = 1;
/// A line is cut at this many bytes, and is then no event.
const MAX_LINE: u64 = 1 << 20;

/// Opens such a recording, by way of a temporary file that is gone at once.
pub(super) fn open(store: &Store) -> Result<Recording, OpenError> {
    let input = BufReader::new(store.section(0, u64::MAX));
    let (file, remark) = convert(input, temporary()?)?;
    let len = file.metadata()?.len();
    Ok(Recording::from_store(Store::file(file, len))?.with_remark(remark))
}

/// A file without a name.
fn temporary() -> io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("looptop-{}-{n}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Translates the lines of `input` into a recording; with it a sentence about
/// what is missing.
pub(super) fn convert<W: Sink>(
    mut input: impl BufRead,
    sink: W,
) -> Result<(W, Option<String>), OpenError> {
    let mut line = Vec::new();
    next_line(&mut input, &mut line)?;
    match serde_json::from_slice::<Header>(&line) {
        Ok(Header { v: VERSION }) => {}
        Ok(Header { v }) => {
            return Err(OpenError::Console(format!(
                "it is a recording of console-subscriber in version {v} of its format, and this \
                 looptop reads version {VERSION}"
            )));
        }
        Err(_) => {
            return Err(OpenError::Foreign(super::scan::quote(
                &line[..line.len().min(40)],
            )));
        }
    }
    let mut translation = Translation::new(sink)?;
    let mut number = 1;
    let mut bad: Option<u64> = None;
    while next_line(&mut input, &mut line)? {
        number += 1;
        if let Some(bad) = bad {
            return Err(OpenError::Console(format!(
                "line {bad} of this recording of console-subscriber is no event"
            )));
        }
        match serde_json::from_slice(&line) {
            Ok(event) => translation.event(event)?,
            // A newer kind of event is left out; the last line may be cut.
            Err(_) if is_object(&line) => translation.skipped += 1,
            Err(_) => bad = Some(number),
        }
    }
    let skipped = translation.skipped;
    let sink = translation.finish()?;
    let mut remarks = Vec::new();
    if bad.is_some() {
        remarks.push("the file was cut: its last line is no whole event".to_owned());
    }
    if skipped > 0 {
        remarks.push(format!("{skipped} events of unknown kinds were left out"));
    }
    Ok((sink, (!remarks.is_empty()).then(|| remarks.join("; "))))
}

fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    Ok(read > 0)
}

fn is_object(line: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<_, _>>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::TaskState;

    fn at(ms: u64) -> String {
        let ns = ms * 1_000_000;
        let (secs, nanos) = (1_700_000_000 + ns / 1_000_000_000, ns % 1_000_000_000);
        format!(r#"{{"secs_since_epoch":{secs},"nanos_since_epoch":{nanos}}}"#)
    }

    fn event(kind: &str, id: u64, ms: u64, rest: &str) -> String {
        format!(r#"{{"{kind}":{{"id":{id},"at":{}{rest}}}}}"#, at(ms))
    }

    fn lines() -> Vec<String> {
        let fields = r#","fields":[{"name":"kind","value":"task"},{"name":"task.name","value":"worker"},{"name":"task.id","value":17},{"name":"url","value":"/x"}]"#;
        vec![
            r#"{"v":1}"#.to_owned(),
            event("Spawn", 4, 0, fields),
            event("Enter", 4, 2, ""),
            event("Waker", 4, 3, r#","op":"Clone""#),
            event("Exit", 4, 5, ""),
            event(
                "Waker",
                4,
                400,
                r#","op":{"WakeByRef":{"self_wake":false}}"#,
            ),
            event("Enter", 99, 401, ""),
            event("Enter", 4, 410, ""),
            event("Exit", 4, 910, ""),
            event("Close", 4, 1_000, ""),
            event("Spawn", 4, 1_500, fields),
            event("Enter", 4, 1_600, ""),
        ]
    }

    fn open(text: &str) -> Result<Recording, OpenError> {
        Recording::from_bytes(text.as_bytes())
    }

    #[test]
    fn events_become_tasks_and_stalls() {
        let recording = open(&lines().join("\n")).unwrap();
        assert_eq!(recording.remark(), None);
        let during = recording.model_at(Duration::from_millis(700)).unwrap();
        let live: Vec<_> = during.stalls.live().collect();
        assert_eq!(live.len(), 1);
        assert_eq!(live[0].started.0, 410_000_000);
        let end = recording.model_at(Duration::from_secs(10)).unwrap();
        let stall = end.stalls.ended().next().unwrap();
        assert_eq!((stall.duration.as_millis(), end.stalls.len()), (500, 1));
        assert_eq!(end.text(stall.name), "worker");
        let tasks: Vec<_> = end.tasks.iter().collect();
        assert_eq!(tasks.len(), 2, "a span id is used again: another task");
        let first = tasks.iter().find(|t| !t.is_live()).unwrap();
        assert_eq!(
            (first.polls(), first.wakes(), first.tokio_id()),
            (Some(2), Some(1), Some(17))
        );
        assert_eq!(first.finished_busy(), Some(Duration::from_millis(503)));
        assert_eq!(first.finished_scheduled(), Some(Duration::from_millis(12)));
        assert_eq!(end.text(first.fields), "url=/x");
        let second = tasks.iter().find(|t| t.is_live()).unwrap();
        assert_eq!(second.state, TaskState::Running);
    }

    #[test]
    fn bad_lines() {
        let whole = lines().join("\n");
        let cut = open(&whole[..whole.len() - 9]).unwrap();
        assert!(cut.remark().unwrap().starts_with("the file was cut"));
        let unknown = whole.replace(r#"{"Enter":{"id":99"#, r#"{"Leap":{"id":99"#);
        let remark = open(&unknown).unwrap().remark().unwrap().to_owned();
        assert_eq!(remark, "1 events of unknown kinds were left out");
        for (text, expected) in [
            (
                whole.replace(r#"{"v":1}"#, r#"{"v":2}"#),
                "version 2 of its format",
            ),
            (
                whole.replace(r#"{"Enter":{"id":99"#, "oops"),
                "line 7 of this recording",
            ),
            (r#"{"v":1}"#.to_owned(), "cut before its first whole chunk"),
            (
                r#"{"name":"something else"}"#.to_owned(),
                "it is not a recording",
            ),
        ] {
            let error = open(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn leaps_of_the_clock_cost_nothing() {
        let mut lines = lines();
        lines.push(r#"{"Exit":{"id":4,"at":{"secs_since_epoch":18446744073709551615,"nanos_since_epoch":4294967295}}}"#.into());
        lines.push(event("Enter", 4, 1_700, ""));
        let recording = open(&lines.join("\n")).unwrap();
        assert!(recording.frames().count() < 100);
    }
}
