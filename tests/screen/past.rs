//! Going back in time on the screen, recording from it, and playing that again.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use looptop::record::Recording;

use crate::{
    lab::{LOOPTOP, check},
    terminal::{ESC, Terminal, number_after},
};

/// The screen beside a lab whose handlers sleep, with a stall behind it.
fn beside_a_lab(directory: &Path) -> Terminal {
    let terminal = Terminal::start_in(directory, &["demo", "sleep-in-handler"], 120, 40);
    terminal.wait_for("a culprit", |screen| {
        screen.contains("● LIVE") && screen.contains("sleep_in_handler::wait_for_the_printer")
    });
    terminal
}

/// How far behind the screen is, from the badge, in seconds.
fn behind(screen: &str) -> Option<f64> {
    let (_, rest) = screen.lines().next()?.split_once("‖ PAST ")?;
    rest.split_once(" s ago")?.0.parse().ok()
}

/// How long the target has been up, from the header, in seconds.
fn uptime(screen: &str) -> Option<u64> {
    let (_, rest) = screen.lines().next()?.split_once(" up ")?;
    let (minutes, seconds) = rest.split_whitespace().next()?.split_once(':')?;
    Some(minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?)
}

#[test]
fn one_steps_into_the_past_and_back_to_the_present() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = beside_a_lab(directory.path());
    // Some past to go to.
    terminal.wait_for("some seconds", |screen| {
        uptime(screen).is_some_and(|s| s >= 4)
    });
    terminal.send("[");
    let screen = terminal.wait_for("the past", |screen| behind(screen).is_some());
    assert!(screen.contains("Space live"), "{screen}");
    let first = behind(&screen).unwrap();
    terminal.send("[[[[[[[[[[");
    // A second further back, whatever has passed meanwhile.
    let screen = terminal.wait_for("a second before", |screen| {
        behind(screen).is_some_and(|s| s > first + 0.9)
    });
    // All of the screen follows: the uptime is that of the moment.
    assert!(!screen.lines().next().unwrap().contains("● LIVE"));
    terminal.send("4");
    terminal.wait_for_text("[4 Stalls]");
    terminal.send("1(");
    terminal.wait_for("a finding's beginning", |screen| behind(screen).is_some());
    terminal.send(" ");
    terminal.wait_for_text("● LIVE");
    // Beyond the newest moment it is live again, too.
    terminal.send("[");
    terminal.wait_for("the past", |screen| behind(screen).is_some());
    terminal.send("}");
    terminal.wait_for_text("● LIVE");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[test]
fn details_of_a_task_tell_what_it_did_before_one_looked() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = beside_a_lab(directory.path());
    terminal.wait_for("some seconds", |screen| {
        uptime(screen).is_some_and(|s| s >= 4)
    });
    // Nothing is added while the screen stands still: what shows is the past.
    terminal.send(" ");
    terminal.wait_for_text("FROZEN");
    terminal.send("2");
    terminal.wait_for_text("[2 Tasks]");
    terminal.send("/connection\r");
    terminal.send("\r");
    terminal.wait_for("its past", |screen| {
        let mut lines = screen.lines().map(str::trim_start);
        screen.contains("Last minute")
            && lines.any(|line| line.starts_with("busy") && line.contains('▁'))
    });
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
}

/// The recordings in the directory, oldest first.
fn recordings(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    files
}

/// That a stall of the lab is in a recording with its names, and that it opens
/// for a report and for an export.
#[track_caller]
fn tells_the_culprit(file: &Path) {
    const CULPRIT: &str = "sleep_in_handler::wait_for_the_printer";
    // Whoever checks looks names up in the binary as well; these are the file's.
    let recording = Recording::open(file).unwrap();
    assert_eq!(recording.remark(), None);
    let model = recording.model_at(recording.length()).unwrap();
    let mut culprits = model
        .stalls
        .iter()
        .filter_map(|stall| stall.resolved.as_ref()?.culprit.as_ref());
    assert!(culprits.any(|culprit| culprit.function.ends_with(CULPRIT)));

    let file = file.to_str().unwrap();
    let (report, code) = check(file, &[]);
    assert_eq!(code, 1, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let of = |rule: &str| findings.iter().find(|f| f["rule"] == rule);
    // On a machine that starves, that is what is found.
    if of("host-starved").is_none() {
        let function = of("blocked-worker").unwrap()["function"].as_str();
        assert!(function.unwrap().ends_with(CULPRIT), "{report}");
    }
    let output = Command::new(LOOPTOP)
        .args(["export", file, "--format", "folded"])
        .output()
        .unwrap();
    let stacks = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stacks.contains(CULPRIT),
        "{stacks}"
    );
}

#[test]
#[ignore = "takes 25 s"]
fn what_is_over_is_saved_from_the_past_at_length() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = beside_a_lab(directory.path());
    terminal.wait_for("some seconds", |screen| {
        uptime(screen).is_some_and(|s| s >= 4)
    });
    terminal.send("[[[");
    terminal.wait_for("the past", |screen| behind(screen).is_some());
    terminal.send("R");
    terminal.wait_for("the file", |screen| {
        screen.contains("saved the last ") && screen.contains(": looptop replay lab-")
    });
    // It is still the past; and who saves and leaves at once has a whole file.
    terminal.wait_for("the past", |screen| behind(screen).is_some());
    terminal.send("Rq");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();

    let files = recordings(directory.path());
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        tells_the_culprit(file);
    }

    let terminal = Terminal::start(&["replay", files[0].to_str().unwrap()], 120, 40);
    terminal.wait_for_text("sleep_in_handler::wait_for_the_printer");
    let screen = terminal.wait_for_text("REPLAY, at its end");
    assert!(uptime(&screen).is_some_and(|s| s >= 4), "{screen}");
}

#[test]
fn what_the_screen_records_is_played_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = beside_a_lab(directory.path());
    terminal.send("R");
    terminal.wait_for("three seconds", |screen| {
        number_after(screen, "● REC").is_some_and(|n| n >= 3)
    });
    terminal.send("R");
    terminal.wait_for_text("looptop replay lab-");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    let files = recordings(directory.path());
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].to_str().unwrap();
    // The lab is gone; its stalls are not.
    tells_the_culprit(&files[0]);

    let mut terminal = Terminal::start(&["replay", name], 120, 40);
    terminal.wait_for_text("REPLAY");
    terminal.wait_for_text("sleep_in_handler::wait_for_the_printer");
    terminal.wait_for_text("REPLAY, at its end");
    terminal.send("(");
    terminal.wait_for_text("REPLAY, held");
    terminal.send("(");
    terminal.send(" ");
    terminal.wait_for_text("▶ REPLAY");
    terminal.send(" ");
    terminal.wait_for_text("REPLAY, held");
    terminal.send("[");
    terminal.send("4t");
    terminal.wait_for_text("[4 Stalls]");
    terminal.wait_for_text("sync");
    terminal.send("\r");
    terminal.wait_for_text("sleep_in_handler.rs");
    terminal.send(ESC);
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}
