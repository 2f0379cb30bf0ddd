//! The program as it is called. That it is called also has it built with the tests, for
//! the two minutes of `.ci/run`.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn fire(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_looptop-fire");
    Command::new(program).args(arguments).output().unwrap()
}

#[test]
fn the_acts_are_listed() {
    let listed = fire(&["acts"]);
    assert!(listed.status.success());
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.lines().count() > 25, "{text}");
    assert!(
        text.contains("  the viewers' connections are cut\n"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_run_is_said() {
    for (arguments, why) in [
        (&["--only", "cuts"][..], "there is no act `cuts`"),
        (
            &["--programs", "/nowhere"],
            "does not have both `looptop` and",
        ),
        (&["planted", "--only", "leak"], "there is no defect `leak`"),
    ] {
        let refused = fire(arguments);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(why), "{arguments:?}: {text}");
    }
}
