//! The page of several processes, with labs of which one is sick, one is well and one dies.

use std::{fs, process::Command, time::Duration};

use crate::{
    lab::{LOOPTOP, Lab},
    terminal::{ESC, Terminal, number_after},
};

/// The row of the page that names `target`.
fn row(screen: &str, target: &str) -> String {
    let rows = screen.lines().skip(2);
    let row = rows
        .take_while(|line| !line.starts_with('─'))
        .find(|line| line.contains(target));
    row.unwrap_or_default().to_owned()
}

fn labs() -> [Lab; 3] {
    [
        Lab::start("sleep-in-handler", "fixed", "multi-thread"),
        Lab::start("sleep-in-handler", "broken", "multi-thread"),
        Lab::start("sleep-in-handler", "fixed", "multi-thread"),
    ]
}

#[test]
fn the_sick_one_is_first_enter_goes_in_esc_comes_back_and_the_dead_one_is_said() {
    let [well, sick, dies] = labs();
    let labs = [&well, &sick, &dies].map(|lab| lab.agent().to_string());
    let [well_name, sick_name, dies_name] = &labs;
    let mut terminal = Terminal::start(&[well_name, sick_name, dies_name], 200, 50);
    // The symbols of three programs are read for it, beside other tests.
    let names = Duration::from_mins(1);
    let screen = terminal.wait_within(names, "the sick one with its line, first", |screen| {
        let first = screen.lines().nth(2).unwrap_or_default();
        first.contains(sick_name.as_str())
            && first.contains("wait_for_the_printer")
            && first.contains(".rs:")
    });
    let first = row(&screen, sick_name);
    assert!(
        first.contains("STARVED") || first.contains("SLOW"),
        "{screen}"
    );
    assert!(screen.starts_with(" looptop  3 processes"), "{screen}");
    terminal.wait_for("the well one", |screen| {
        let row = row(screen, well_name);
        !row.is_empty() && !row.contains("CONNECTING")
    });

    // In, and back by either key; within, Esc first does what it does.
    terminal.send("\r");
    let pid = format!("pid {} ", sick.pid());
    terminal.wait_for("its own screen", |screen| {
        screen.contains("1 Overview") && screen.contains(&pid) && screen.contains("● LIVE")
    });
    terminal.send("?");
    terminal.wait_for_text("this help");
    terminal.send(ESC);
    terminal.wait_for("its screen again", |screen| !screen.contains("this help"));
    assert!(terminal.text().contains("1 Overview"));
    terminal.send(ESC);
    terminal.wait_for("the page", |screen| {
        screen.contains("3 processes") && row(screen, sick_name).contains("wait_for_the_printer")
    });
    terminal.send("\r");
    terminal.wait_for_text("1 Overview");
    // One of the others dies meanwhile.
    dies.kill();
    terminal.send("\x7f");
    terminal.wait_for("the dead one, before the well one", |screen| {
        let at = |name: &str| screen.find(name);
        row(screen, dies_name).contains("✖ NO CONNECTION")
            && row(screen, dies_name).contains("connection refused")
            && at(dies_name) < at(well_name)
    });
    terminal.wait_for("the counts", |screen| {
        let header = screen.lines().next().unwrap_or_default();
        header.contains("✖ 1 NO CONNECTION")
    });

    // A filter, the help, and a theme that holds on both screens.
    terminal.send(&format!("/{well_name}\r"));
    terminal.wait_for("one row", |screen| {
        row(screen, sick_name).is_empty() && !row(screen, well_name).is_empty()
    });
    terminal.send(ESC);
    terminal.wait_for("all rows", |screen| !row(screen, sick_name).is_empty());
    terminal.send("?");
    terminal.wait_for_text("go into the process under the cursor");
    terminal.send(ESC);
    terminal.wait_for("no help", |screen| {
        !screen.contains("go into the process under the cursor")
    });
    terminal.send("y");
    terminal.wait_for_text("copied to the terminal's clipboard");
    assert!(
        terminal
            .output()
            .windows(7)
            .any(|bytes| bytes == b"\x1b]52;c;")
    );
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[test]
#[ignore = "takes a minute"]
fn a_deadlock_shows_on_the_page_beside_well_ones_and_goes_with_its_process_at_length() {
    let well = ["fixed", "fixed", "off"].map(|mode| Lab::start("lock-order", mode, "multi-thread"));
    let stuck = Lab::start("lock-order", "broken", "multi-thread");
    let outside = Lab::start_without_agent("lock-order", "broken", "current-thread");
    let outside_name = format!("pid:{}", outside.pid());
    let mut names: Vec<String> = well.iter().map(|lab| lab.agent().to_string()).collect();
    names.extend([stuck.agent().to_string(), outside_name.clone()]);
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut terminal = Terminal::start(&words, 240, 30);
    let stuck_name = &names[3];
    // Its program is read, by a thread that gives way to all that other tests do, and a ring
    // must stand for some seconds.
    let deadline = Duration::from_mins(4);
    terminal.wait_within(deadline, "both, with all who are in it", |screen| {
        [stuck_name, &outside_name].iter().all(|name| {
            let row = row(screen, name);
            let parts = [
                "STARVED",
                "DEADLOCK of",
                "lock_order",
                "to_savings",
                "to_checking",
            ];
            parts.iter().all(|part| row.contains(part)) && row.matches(".rs:").count() >= 2
        })
    });
    terminal.wait_for("that the others are well, and were read", |screen| {
        names[..3].iter().all(|name| {
            let row = row(screen, name);
            !row.is_empty() && !row.contains("DEADLOCK") && !row.contains("STARVED")
        })
    });
    stuck.kill();
    terminal.wait_for("that nothing is said of it any more", |screen| {
        let row = row(screen, stuck_name);
        row.contains("NO CONNECTION") && !row.contains("DEADLOCK")
    });
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
}

#[test]
#[ignore = "takes 15 s"]
fn check_of_several_finds_a_deadlock_beside_well_ones_at_length() {
    let well = Lab::start("lock-order", "fixed", "multi-thread");
    let stuck = Lab::start("lock-order", "broken", "multi-thread");
    let names = [&well, &stuck].map(|lab| lab.agent().to_string());
    // Beside other tests the programs are read for longer than the usual ten seconds.
    let mut windows = ["10s", "20s", "40s"].into_iter();
    let (ring, code) = loop {
        let window = windows.next().expect("no deadlock was found");
        let (report, code) = check(&[&names[0], &names[1]], &["--for", window]);
        let findings = report["findings"].as_array().unwrap();
        if let Some(ring) = findings.iter().find(|f| f["rule"] == "deadlock") {
            break (ring.clone(), code);
        }
    };
    assert_eq!(code, 1, "{ring:#}");
    assert_eq!(ring["targets"], serde_json::json!([names[1]]), "{ring:#}");
}

#[test]
fn it_quits_from_within_and_by_a_signal_and_the_terminal_is_restored() {
    let [well, sick, _] = labs();
    let names = [&well, &sick].map(|lab| lab.agent().to_string());
    for (enters, ends) in [(true, "q"), (true, "\x03"), (false, "\x03")] {
        let mut terminal = Terminal::start(&[&names[0], &names[1]], 80, 24);
        terminal.wait_for_text("2 processes");
        if enters {
            terminal.wait_for("a row", |screen| !row(screen, &names[0]).is_empty());
            terminal.send("\r");
            terminal.wait_for_text("1 Overview");
        }
        terminal.send(ends);
        assert_eq!(terminal.wait_for_exit(), 0, "{enters} {ends:?}");
        terminal.wait_until_restored();
    }
    let mut terminal = Terminal::start(&[&names[0], &names[1]], 80, 24);
    terminal.wait_for_text("2 processes");
    terminal.resize(30, 6);
    terminal.wait_for("a small page", |screen| {
        screen.lines().count() <= 6 && screen.contains("2 processes")
    });
    terminal.signal("TERM");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[test]
fn a_file_a_name_and_what_runs_here_are_pages_too() {
    let [well, sick, _] = labs();
    let names = [&well, &sick].map(|lab| lab.agent().to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets");
    fs::write(
        &file,
        format!("# labs\n{}\n\n{} # sick\n", names[0], names[1]),
    )
    .unwrap();
    let port = well.agent().port();
    for (args, rows) in [
        (vec![format!("@{}", file.display())], &names[..]),
        (vec![format!("dns:127.0.0.1:{port}")], &names[..1]),
        // Which of them are on the screen is not known: other programs run here as well.
        (vec!["--all".to_owned()], &[]),
    ] {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut terminal = Terminal::start(&words, 160, 50);
        terminal.wait_for("the rows", |screen| {
            let several = number_after(screen, "looptop ").is_some_and(|n| n >= rows.len() as u64);
            several && rows.iter().all(|name| !row(screen, name).is_empty())
        });
        if rows.is_empty() {
            terminal.wait_for("the labs among others", |screen| {
                number_after(screen, "looptop ").is_some_and(|n| n >= 2)
            });
        }
        terminal.send("q");
        assert_eq!(terminal.wait_for_exit(), 0, "{args:?}");
        terminal.wait_until_restored();
    }
}

/// What looptop prints without a terminal, and its exit code.
fn said(args: &[&str]) -> (i32, String) {
    let output = Command::new(LOOPTOP).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), stderr)
}

#[test]
fn what_names_no_targets_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "# nothing\n").unwrap();
    let empty = format!("@{}", empty.display());
    for before in [&[][..], &["check"]] {
        for (args, code, expected) in [
            (
                &["7000", "127.0.0.1:7000"][..],
                2,
                "are the same target; name it once",
            ),
            (
                &["7000", "7001", "7000"],
                2,
                "`7000` was given twice; name it once",
            ),
            (
                &[empty.as_str()],
                2,
                "names no target; write one on each line",
            ),
            (&["@/nowhere"], 2, "could not read the targets in /nowhere"),
            (&["7000", "pid:x"], 2, "is not the id of a process"),
        ] {
            let (ended, stderr) = said(&[before, args].concat());
            assert!(
                ended == code && stderr.contains(expected),
                "{before:?} {args:?}: {stderr}"
            );
        }
    }
    let (code, stderr) = said(&["check", "dns:no-such-name.invalid:7000"]);
    assert_eq!(code, 3, "{stderr}");
    let begins = "looptop: `dns:no-such-name.invalid:7000` ";
    assert!(stderr.starts_with(begins), "{stderr}");
    let (code, stderr) = said(&["record", "dns:shop", "-o", "x"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("names several targets"), "{stderr}");
}

/// `looptop check` of several in JSON, and its exit code.
fn check(targets: &[&str], options: &[&str]) -> (serde_json::Value, i32) {
    let window: &[&str] = if options.contains(&"--for") {
        &[]
    } else {
        &["--for", "1500ms"]
    };
    let output = Command::new(LOOPTOP)
        .arg("check")
        .args(targets)
        .args(window)
        .args(["--format", "json", "--timeout", "20s"])
        // Other work on this machine is not what is tested here.
        .args(["--allow", "host-starved"])
        .args(options)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&stdout)
        .unwrap_or_else(|e| panic!("{e}: {stdout}{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().unwrap())
}

#[test]
#[ignore = "takes 25 s"]
fn check_of_several_merges_by_culprit_and_no_target_is_passed_over_at_length() {
    let well = Lab::start("sleep-in-handler", "fixed", "multi-thread");
    let sick = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let as_sick = Lab::start("sleep-in-handler", "broken", "multi-thread");
    let names = [&sick, &well, &as_sick].map(|lab| lab.agent().to_string());
    let [sick_name, well_name, as_sick_name] = &names;
    let (report, code) = check(&[sick_name, well_name, as_sick_name], &[]);
    assert_eq!(code, 1, "{report:#}");
    let first = &report["findings"][0];
    assert_eq!(first["rule"], "blocked-worker", "{report:#}");
    let both = serde_json::json!([sick_name, as_sick_name]);
    assert_eq!(first["targets"], both, "{report:#}");
    let looked = report["targets"].as_array().unwrap();
    assert_eq!(looked.len(), 3, "{report:#}");
    for (looked, name) in looked.iter().zip([sick_name, well_name, as_sick_name]) {
        assert_eq!(looked["target"], name.as_str(), "{report:#}");
        assert!(looked["error"].is_null(), "{report:#}");
    }
    assert_ne!(looked[0]["report"]["level"], "healthy", "{report:#}");

    // What is known of one is known of all; what is not reached is not.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baseline.json");
    let file = file.to_str().unwrap();
    let (_, code) = check(&[sick_name, as_sick_name], &["--write-baseline", file]);
    assert_eq!(code, 0);
    let known = &["--baseline", file, "--fail-on", "critical"];
    let (report, code) = check(&[sick_name, well_name], known);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["known"][0]["rule"], "blocked-worker", "{report:#}");

    let gone = as_sick.agent().to_string();
    as_sick.kill();
    let options = &["--timeout", "1s"];
    let output = Command::new(LOOPTOP)
        .args(["check", well_name, &gone, "--format", "text", "--for", "1s"])
        .args(options)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains(&format!("NOT LOOKED AT  {gone}: connection refused")),
        "{text}"
    );
    assert!(
        text.contains("NOT OBSERVING: 2 targets: 1 healthy, 1 not looked at"),
        "{text}"
    );
    let was_not = format!("{gone} was not looked at: connection refused");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&was_not));
    // Neither hides the other.
    let output = Command::new(LOOPTOP)
        .args([
            "check", &gone, sick_name, "--format", "json", "--for", "1500ms",
        ])
        .args(options)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "what was found counts");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&was_not));
}
