//! The Lab view in a real terminal, with a real lab: one key makes the mistake,
//! one key cures it, and the verdict says so.

use crate::{
    lab::Lab,
    terminal::{Terminal, number_after},
};

/// The verdict of a loop in trouble, whatever its degree.
fn suffers(screen: &str) -> bool {
    ["SLOW", "STARVED", "NOTICE"]
        .iter()
        .any(|w| screen.contains(w))
        && screen.contains("wait_for_the_printer")
}

fn open_lab(args: &[&str], columns: u16, rows: u16) -> Terminal {
    let mut screen = Terminal::start(args, columns, rows);
    screen.wait_for_text("7 Lab");
    screen.send("7");
    screen.wait_for_text("sleep-in-handler");
    screen
}

#[test]
fn one_key_cures_the_loop_and_one_makes_it_ill_again() {
    let mut screen = open_lab(&["demo", "sleep-in-handler"], 120, 40);
    screen.wait_for("a verdict on the mistake", suffers);
    screen.wait_for_text("■ broken");
    // Some requests to compare with.
    screen.wait_for("three seconds of it", |s| {
        number_after(s, "broken for").is_some_and(|n| n >= 3)
    });

    screen.send("f");
    screen.wait_for_text("✓ fixed");
    let shown = screen.wait_for_text("✓ HEALTHY");
    assert!(shown.contains("tokio::time::sleep(WORK).await"), "{shown}");
    // Before and after stand side by side.
    let shown = screen.wait_for("the change in requests/s", |s| {
        s.lines()
            .any(|l| l.contains("requests/s") && l.contains('×'))
    });
    assert!(
        shown.contains("broken ") && shown.contains("canary p99"),
        "{shown}"
    );

    screen.send("b");
    screen.wait_for_text("■ broken");
    screen.wait_for("the verdict on the mistake again", suffers);
    screen.send("o");
    screen.wait_for_text("○ off");
    screen.wait_for_text("✓ HEALTHY");

    screen.send("q");
    assert_eq!(screen.wait_for_exit(), 0);
}

#[test]
fn whoever_attaches_to_a_running_lab_has_the_view_and_the_stage() {
    let lab = Lab::start("sleep-in-handler", "fixed", "multi-thread");
    let mut screen = open_lab(&[&lab.agent().to_string()], 100, 30);
    screen.wait_for_text("✓ fixed");

    // What others switch shows.
    lab.switch("cpu-in-handler", "fixed");
    screen.wait_for("the other scenario", |s| {
        s.lines()
            .any(|l| l.contains("✓ fixed") && l.contains("cpu-in-handler"))
    });
    lab.switch("sleep-in-handler", "fixed");
    screen.wait_for_text("/async");

    screen.send("p");
    screen.wait_for("large letters", |s| {
        s.contains("██████") && s.contains("FIXED for")
    });
    screen.wait_for_text("nothing starves the loop");
    screen.send("b");
    screen.wait_for_text("[ b ]");
    screen.wait_for("the mistake in large letters", |s| {
        s.contains("BROKEN for") && s.contains("wait_for_the_printer")
    });
    screen.wait_for_text("// <- culprit");
    screen.send("\x1b");
    screen.wait_for_text("[7 Lab]");
}

#[test]
fn a_program_that_is_no_lab_has_no_such_view() {
    let address = "127.0.0.1:1";
    let mut screen = Terminal::start(&[address], 80, 24);
    screen.wait_for_text("1 Overview");
    screen.send("7");
    screen.wait_for_text("looptop demo");
}
