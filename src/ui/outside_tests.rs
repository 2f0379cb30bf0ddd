//! Screens of a process that is seen from outside.

use crate::app::fixtures::{outside_state, type_text};

use super::tests::screen;

#[test]
fn a_process_seen_from_outside() {
    for (name, keys) in [
        ("overview", "1"),
        ("tasks", "2"),
        ("tasks_by_future", "2tt"),
        ("threads", "6"),
        ("stall", "4\n"),
        ("task", "2/render\n\n"),
        ("task_guessed", "2/sweep\n\n"),
        ("task_whole_name", "2/Upgradeable\n\na"),
    ] {
        for (width, height) in [(80, 24), (120, 40)] {
            let mut state = outside_state();
            type_text(&mut state, keys);
            let name = format!("outside_{name}_{width}x{height}");
            insta::assert_snapshot!(name, screen(&mut state, width, height));
        }
    }
}
