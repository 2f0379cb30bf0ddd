//! The screen of `looptop demo` in a real pseudo-terminal: what a person sees
//! and does, and how the terminal is given back.

use std::{mem, time::Instant};

use looptop_demo::{At, Place};

use crate::terminal::{ESC, Terminal, number_after, runs, signal, wait_for_end};

/// Wide enough for every column and for the verdict in one line.
const WIDE: (u16, u16) = (160, 40);

/// A line of the help.
const HELP: &str = "this help";

fn demo(args: &[&str]) -> Terminal {
    demo_with(args, &[])
}

fn demo_with(args: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let args: Vec<&str> = std::iter::once("demo")
        .chain(args.iter().copied())
        .collect();
    Terminal::start_with(&args, environment, WIDE.0, WIDE.1)
}

/// The process id of the lab, from the header.
fn lab_pid(terminal: &Terminal) -> u32 {
    let screen = terminal.wait_for("the lab's pid", |screen| pid_in(screen).is_some());
    pid_in(&screen).unwrap()
}

fn pid_in(screen: &str) -> Option<u32> {
    let rest = screen.lines().next()?.split_once(" pid ")?.1;
    rest.split(' ').next()?.parse().ok()
}

/// The verdict: the lines between header and tabs.
fn verdict(screen: &str) -> String {
    let lines = screen.lines().skip(1);
    let lines = lines.take_while(|line| !line.contains("1 Overview"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// What does not age: all but the header.
fn below_header(screen: &str) -> String {
    screen.lines().skip(1).collect::<Vec<_>>().join("\n")
}

/// Whether `text` names a line of `place`.
fn names(text: &str, place: &Place) -> bool {
    let file = place.file.rsplit('/').next().unwrap();
    (place.first..=place.last).any(|line| text.contains(&format!("{file}:{line}")))
}

fn is_live(screen: &str) -> bool {
    screen.contains("● LIVE") && screen.contains("STARVED")
}

#[test]
fn the_culprit_is_named_within_three_seconds() {
    let scenario = looptop_demo::find("sleep-in-handler").unwrap();
    let expected = scenario.expected[0];
    let place = scenario.place(At::Code).unwrap();
    let terminal = demo(&["sleep-in-handler"]);
    // The lab measures the machine before it is ready; the screen appears then.
    terminal.wait_for("the screen", |_| terminal.is_full_screen());
    let (shown, lab) = (Instant::now(), terminal.started.elapsed());
    // On an idle machine the rest takes less than 3 s; this one may be busy,
    // and `wait_for` has the last word.
    let screen = terminal.wait_for("the culprit", |screen| {
        let verdict = verdict(screen);
        verdict.contains(expected.function) && names(&verdict, &place)
    });
    let took = shown.elapsed();
    eprintln!("lab ready after {lab:.1?}, culprit on screen {took:.1?} later");
    let verdict = verdict(&screen);
    assert!(verdict.contains("sleeping"), "{verdict}");
    assert!(
        verdict.contains("tokio::time::sleep"),
        "the remedy: {verdict}"
    );
}

#[test]
fn space_freezes_and_goes_live_again() {
    let mut terminal = demo(&[]);
    terminal.wait_for("a live screen", is_live);
    terminal.send(" ");
    // The badge ages, names of functions that were still being looked up are filled in,
    // and nothing else moves: from one second to the next it is the same screen.
    let since = |screen: &str| number_after(screen, "FROZEN").unwrap_or_default();
    let mut frozen = terminal.wait_for("a second of it", |s| since(s) >= 1);
    terminal.wait_for("the same screen a second later", |screen| {
        if since(screen) == since(&frozen) {
            return false;
        }
        let before = mem::replace(&mut frozen, screen.to_owned());
        below_header(&before) == below_header(screen)
    });
    terminal.send(" ");
    let live = terminal.wait_for("a live screen", is_live);
    assert!(!live.contains("FROZEN"), "{live}");
    terminal.wait_for("change", |screen| {
        below_header(screen) != below_header(&frozen)
    });
}

#[test]
fn tasks_are_filtered_sorted_and_opened() {
    let mut terminal = demo(&[]);
    terminal.send("2");
    terminal.wait_for("tasks", |screen| screen.contains("GET /sync"));

    terminal.send("/");
    terminal.wait_for_text("Enter applies");
    terminal.send("!GET");
    terminal.wait_for("the filter's effect", |screen| {
        !screen.contains("GET /sync")
    });
    terminal.send("\r");
    let applied = terminal.wait_for("an applied filter", |screen| {
        !screen.contains("Enter applies")
    });
    assert!(
        applied.contains("filter !GET ("),
        "an active filter is visible:\n{applied}"
    );
    terminal.send(ESC);
    terminal.wait_for("all tasks", |screen| screen.contains("GET /sync"));

    let sorted_by = |screen: &str| {
        let head = screen.lines().find(|line| line.contains("STATE"))?;
        let word = head
            .split_whitespace()
            .find(|word| word.contains(['▼', '▲']))?;
        Some(word.to_owned())
    };
    let before = sorted_by(&terminal.text()).unwrap();
    terminal.send(">");
    terminal.wait_for("another order", |screen| {
        sorted_by(screen).is_some_and(|word| word != before)
    });
    terminal.send("<i");
    let column = before.trim_matches(['▼', '▲']).to_owned();
    terminal.wait_for("the order inverted", |screen| {
        sorted_by(screen).is_some_and(|word| word != before && word.contains(&column))
    });

    terminal.send("\r");
    terminal.wait_for("details", |screen| screen.contains("spawned at"));
    terminal.send(ESC);
    terminal.wait_for("the table", |screen| sorted_by(screen).is_some());
    terminal.send("?");
    terminal.wait_for_text(HELP);
    terminal.send(ESC);
    terminal.wait_for("no help", |screen| !screen.contains(HELP));
    // Esc goes back and never quits.
    terminal.send(ESC);
    terminal.send(ESC);
    terminal.send("3");
    terminal.wait_for_text("[3 Workers]");
}

#[test]
fn stalls_show_their_stack() {
    let scenario = looptop_demo::find("sleep-in-handler").unwrap();
    let place = scenario.place(At::Code).unwrap();
    let mut terminal = demo(&[]);
    terminal.send("4");
    terminal.wait_for("repeats as one row with its place", |screen| {
        screen.contains("COUNT")
            && screen.contains('×')
            && screen.contains("wait_for_the_printer")
            && names(screen, &place)
    });
    terminal.send("\r");
    terminal.wait_for("its stalls", |screen| {
        screen.contains("LENGTH") && screen.contains("wait_for_the_printer")
    });
    terminal.send(ESC);
    terminal.wait_for("the kinds again", |screen| screen.contains("COUNT"));
    terminal.send("t");
    terminal.wait_for("single stalls", |screen| screen.contains("LENGTH"));
    terminal.send("\r");
    terminal.wait_for("the stack", |screen| {
        screen.contains("wait_for_the_printer") && screen.contains("std::thread::sleep")
    });
    terminal.send("a");
    terminal.wait_for("every frame", |screen| screen.contains("poll"));
    terminal.send(ESC);
    terminal.send("e");
    terminal.wait_for_text("blocked-worker");
}

#[test]
fn every_view_can_be_reached() {
    let mut terminal = demo(&[]);
    terminal.wait_for("a live screen", is_live);
    for (key, view) in [
        ("1", "[1 Overview]"),
        ("2", "[2 Tasks]"),
        ("3", "[3 Workers]"),
        ("4", "[4 Stalls]"),
        ("5", "[5 Resources]"),
        ("6", "[6 Threads]"),
        ("7", "[7 Lab]"),
        ("8", "[8 Waits]"),
        ("\t", "[1 Overview]"),
    ] {
        terminal.send(key);
        terminal.wait_for_text(view);
    }
}

#[test]
fn any_size_is_survived() {
    let mut terminal = demo(&[]);
    terminal.wait_for("a live screen", is_live);
    terminal.resize(20, 5);
    terminal.wait_for("the verdict and its remedy alone", |screen| {
        screen.contains("STARVED") && screen.contains('→') && !screen.contains("Tasks")
    });
    terminal.send("2jj>");
    for (columns, rows) in [(1, 1), (300, 100), (60, 15), (80, 24)] {
        terminal.resize(columns, rows);
    }
    let screen = terminal.wait_for("a live screen", |screen| {
        is_live(screen) && screen.contains("[2 Tasks]")
    });
    assert!(screen.lines().count() <= 24);
    terminal.resize(WIDE.0, WIDE.1);
    terminal.wait_for("a wide screen", |screen| {
        is_live(screen) && screen.lines().count() == usize::from(WIDE.1)
    });
}

#[test]
fn quitting_gives_the_terminal_back_and_ends_the_lab() {
    for key in ["q", "\x03"] {
        let mut terminal = demo(&[]);
        let lab = lab_pid(&terminal);
        assert!(runs(lab) && !terminal.is_restored());
        terminal.send(key);
        assert_eq!(terminal.wait_for_exit(), 0);
        terminal.wait_until_restored();
        assert!(!runs(lab), "the lab outlives the screen");
    }
}

#[test]
fn signals_give_the_terminal_back_and_end_the_lab() {
    for name in ["TERM", "HUP", "INT"] {
        let mut terminal = demo(&[]);
        let lab = lab_pid(&terminal);
        terminal.signal(name);
        terminal.wait_for_exit();
        terminal.wait_until_restored();
        wait_for_end(lab);
    }
}

#[test]
fn a_killed_screen_leaves_no_lab_behind() {
    let mut terminal = demo(&[]);
    let lab = lab_pid(&terminal);
    terminal.signal("KILL");
    terminal.wait_for_exit();
    wait_for_end(lab);
}

#[test]
fn a_closed_terminal_ends_everything() {
    let mut terminal = demo(&[]);
    let (screen, lab) = (terminal.pid(), lab_pid(&terminal));
    terminal.hang_up();
    wait_for_end(screen);
    wait_for_end(lab);
}

#[test]
fn suspending_gives_the_terminal_back_for_a_while() {
    let mut terminal = demo(&[]);
    terminal.wait_for("a live screen", is_live);
    terminal.send("\x1a");
    terminal.wait_until_restored();
    terminal.signal("CONT");
    terminal.wait_for("a live screen", |screen| {
        terminal.is_full_screen() && is_live(screen)
    });
}

#[test]
fn a_killed_lab_is_said() {
    let mut terminal = demo(&[]);
    let lab = lab_pid(&terminal);
    signal(lab, "KILL");
    terminal.wait_for_text("LOST");
    terminal.send("?");
    terminal.wait_for_text(HELP);
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

/// Parameters of every SGR sequence in `bytes`.
fn colours(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let sequences = text.split("\x1b[").skip(1).filter_map(|sequence| {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic())?;
        (sequence[end..].starts_with('m') && !sequence.starts_with(['<', '>', '?']))
            .then(|| sequence[..end].to_owned())
    });
    let is_colour = |parameters: &String| {
        parameters.split([';', ':']).any(|parameter| {
            let number: u32 = parameter.parse().unwrap_or(0);
            matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107)
        })
    };
    sequences.filter(is_colour).collect()
}

#[test]
fn no_color_means_no_colour() {
    let seen = |terminal: &Terminal| {
        terminal.wait_for("a live screen", is_live);
        colours(&terminal.output())
    };
    assert!(!seen(&demo(&[])).is_empty());
    for terminal in [
        demo_with(&[], &[("NO_COLOR", "1")]),
        demo(&["--color", "never"]),
    ] {
        let colours = seen(&terminal);
        assert!(colours.is_empty(), "{colours:?}");
    }
}

#[test]
fn ascii_means_ascii() {
    let mut terminal = demo(&["--ascii"]);
    terminal.wait_for("a live screen", |screen| {
        screen.contains("LIVE") && screen.contains("STARVED")
    });
    for key in [
        "2", "\r", ESC, "3", "4", "\r", ESC, "5", "6", "7", "8", "?", ESC, "e",
    ] {
        terminal.send(key);
        terminal.wait_for("an answer", |screen| screen.contains("LIVE"));
    }
    terminal.send(" ");
    terminal.wait_for_text("FROZEN");
    let output = String::from_utf8(terminal.output()).unwrap();
    let strange: String = output.chars().filter(|c| !c.is_ascii()).collect();
    assert_eq!(strange, "");
}
