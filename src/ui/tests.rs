//! Screens as snapshots, styles apart from text, and sizes of all kinds.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, layout::Size, style::Modifier};

use crate::app::{
    Action, Event, Motion, State, ViewId,
    fixtures::{
        crowd, empty_state, hostile_state, hostile_waits_state, name_stall, poor_state,
        starving_state, type_text, unobserved_state, waits_state,
    },
    update,
};

use super::{Depth, Theme, render};

pub(super) fn draw(state: &mut State, width: u16, height: u16, theme: &Theme) -> Buffer {
    state.size = Size::new(width, height);
    state.prepare();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(state, theme, frame)).unwrap();
    terminal.backend().buffer().clone()
}

pub(super) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut text = String::new();
    for row in buffer.content.chunks(width.max(1)) {
        let mut skip = 0;
        for cell in row {
            if skip == 0 {
                text.push_str(cell.symbol());
                skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
            }
            skip -= 1;
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn plain() -> Theme {
    Theme::new(Depth::None, false)
}

pub(super) fn screen(state: &mut State, width: u16, height: u16) -> String {
    text(&draw(state, width, height, &plain()))
}

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (60, 15)];

#[test]
fn views() {
    for view in ViewId::ALL {
        let mut state = starving_state();
        state.options.lab = Some(crate::app::Lab {
            scenario: "cpu-in-handler".into(),
            mode: "broken".into(),
            caption: "20 to 100 ms of CPU in a handler".into(),
        });
        update(&mut state, Action::Show(*view));
        for (width, height) in SIZES {
            let name = format!("{}_{width}x{height}", view.view().title.to_lowercase());
            insta::assert_snapshot!(name, screen(&mut state, width, height));
        }
    }
}

#[test]
fn pages() {
    let table: [(&str, &str, u16, u16); 7] = [
        ("help", "2?", 80, 24),
        ("help_stalls", "4?", 120, 40),
        ("explain", "e", 80, 24),
        ("task_details", "2/report\n\n", 80, 40),
        ("stall_details", "4\n", 80, 24),
        ("stalls_one_by_one", "4t", 80, 24),
        ("filter_error", "2/state:running bussy>1s", 80, 24),
    ];
    for (name, keys, width, height) in table {
        let mut state = starving_state();
        type_text(&mut state, keys);
        insta::assert_snapshot!(name, screen(&mut state, width, height));
    }
}

#[test]
fn a_stack_is_shown_folded_and_whole() {
    let mut state = starving_state();
    name_stall(&mut state);
    type_text(&mut state, "4\n");
    insta::assert_snapshot!("stack_folded", screen(&mut state, 80, 30));
    type_text(&mut state, "a");
    insta::assert_snapshot!("stack_whole", screen(&mut state, 80, 44));
    type_text(&mut state, "\u{1b}1");
    insta::assert_snapshot!("overview_named", screen(&mut state, 80, 24));
    type_text(&mut state, "4");
    insta::assert_snapshot!("stalls_named", screen(&mut state, 80, 24));
}

#[test]
fn looks() {
    let mut state = starving_state();
    let ascii = Theme::new(Depth::None, true);
    let buffer = draw(&mut state, 80, 24, &ascii);
    let shown = text(&buffer);
    assert!(shown.is_ascii(), "{shown}");
    insta::assert_snapshot!("ascii", shown);

    type_text(&mut state, "2 ");
    state.now += Duration::from_secs(12);
    insta::assert_snapshot!("frozen", screen(&mut state, 80, 24));

    let moment = state.live_snapshot().clone();
    let oldest = moment.model.now.minus(Duration::from_mins(3));
    state.show_earlier(moment, oldest);
    let name = "x".repeat(22);
    let saved = format!("saved the last 03:00: looptop replay {name}-1795276862.looptop");
    state.apply(Event::Notice(saved), state.now);
    insta::assert_snapshot!("past", screen(&mut state, 80, 24));

    let mut state = empty_state();
    insta::assert_snapshot!("empty", screen(&mut state, 80, 24));
}

#[test]
fn a_small_terminal_shows_the_verdict_and_what_to_do() {
    let mut state = starving_state();
    name_stall(&mut state);
    let mut shown = String::new();
    for (width, height) in [
        (59, 15),
        (60, 14),
        (40, 10),
        (40, 4),
        (20, 5),
        (16, 2),
        (9, 1),
        (1, 1),
    ] {
        let lines = screen(&mut state, width, height);
        shown.extend([format!("{width}x{height}\n"), lines]);
    }
    insta::assert_snapshot!("small", shown);
    state.apply(Event::Notice("saved".into()), state.now);
    assert!(screen(&mut state, 30, 6).contains("saved"));
    let lost = Event::Lost {
        problem: "could not connect: connection refused".into(),
        retry_in: None,
    };
    state.apply(lost, state.now);
    let shown = screen(&mut state, 30, 6);
    assert!(
        shown.contains("NO CONNECTION") && shown.contains("refused"),
        "{shown}"
    );
}

#[test]
fn the_command_palette() {
    let mut state = starving_state();
    type_text(&mut state, ":");
    insta::assert_snapshot!("palette_80x24", screen(&mut state, 80, 24));
    insta::assert_snapshot!("palette_120x40", screen(&mut state, 120, 40));
    type_text(&mut state, "\u{1b}2:sort");
    insta::assert_snapshot!("palette_typed_60x15", screen(&mut state, 60, 15));
    update(&mut state, Action::Move(Motion::Bottom));
    type_text(&mut state, "zz");
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("nothing here is called so; Esc closes"),
        "{shown}"
    );
    type_text(&mut state, "\u{1b}p:theme");
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("theme-light"),
        "over the large letters: {shown}"
    );
}

#[test]
fn a_theme_with_a_background_fills_the_screen_with_it() {
    let mut state = starving_state();
    for id in crate::app::ThemeId::BUILT_IN {
        for depth in [Depth::Ansi16, Depth::Ansi256, Depth::True] {
            let theme = Theme::built_in(id, depth, false);
            let behind = theme.style(crate::app::Tone::Text).bg.unwrap_or_default();
            let buffer = draw(&mut state, 80, 24, &theme);
            let plain = buffer
                .content
                .iter()
                .filter(|cell| cell.bg == behind)
                .count();
            assert!(plain > 80 * 24 / 2, "{id} {depth:?}");
            let left = buffer
                .content
                .iter()
                .any(|cell| cell.bg == ratatui::style::Color::Reset);
            assert_eq!(
                left,
                behind == ratatui::style::Color::Reset,
                "{id} {depth:?}"
            );
        }
        // Without colours no theme turns the screen round.
        let buffer = draw(&mut state, 80, 24, &Theme::built_in(id, Depth::None, false));
        let turned = buffer
            .content
            .iter()
            .filter(|c| c.modifier.contains(Modifier::REVERSED));
        assert!(turned.count() < 80 * 4, "{id}");
    }
}

#[test]
fn connections() {
    let lost = Event::Lost {
        problem: "could not connect to 127.0.0.1:6669: connection refused; is the application running with looptop_agent::init()?".into(),
        retry_in: Some(Duration::from_millis(1_600)),
    };
    let mut state = starving_state();
    let now = state.now;
    state.apply(lost, now);
    insta::assert_snapshot!("lost", screen(&mut state, 80, 24));
    state.apply(Event::Connecting { attempt: 3 }, now);
    insta::assert_snapshot!("connecting", screen(&mut state, 60, 15));
    let silent = Event::Silent {
        since: now,
        problem: "nothing has come from 127.0.0.1:6669 for 3 s; is the process stopped?".into(),
    };
    state.apply(silent, now + Duration::from_secs(3));
    insta::assert_snapshot!("silent", screen(&mut state, 120, 15));
}

#[test]
fn a_program_that_registers_nothing_is_not_healthy() {
    let mut state = unobserved_state();
    insta::assert_snapshot!("not_observing", screen(&mut state, 80, 24));
    insta::assert_snapshot!("not_observing_60x15", screen(&mut state, 60, 15));
    type_text(&mut state, "p");
    insta::assert_snapshot!("not_observing_presenter", screen(&mut state, 80, 24));
}

#[test]
fn what_a_target_cannot_supply_says_why() {
    let mut state = poor_state();
    for view in [
        ViewId::Overview,
        ViewId::Tasks,
        ViewId::Workers,
        ViewId::Threads,
        ViewId::Resources,
        ViewId::Waits,
    ] {
        update(&mut state, Action::Show(view));
        let shown = screen(&mut state, 80, 24);
        assert!(
            shown.contains("no agent in the target"),
            "{view:?}\n{shown}"
        );
    }
    update(&mut state, Action::Show(ViewId::Overview));
    insta::assert_snapshot!("poor_overview", screen(&mut state, 80, 24));
}

#[test]
fn names_of_a_hostile_target_are_escaped_and_columns_stay_aligned() {
    let mut state = hostile_state();
    type_text(&mut state, "2");
    let buffer = draw(&mut state, 100, 24, &plain());
    let shown = text(&buffer);
    insta::assert_snapshot!("hostile", shown);
    assert!(
        !shown.chars().any(|c| c.is_control() && c != '\n'),
        "{shown}"
    );
}

#[test]
fn meanings_have_their_look_apart_from_text() {
    let theme = Theme::new(Depth::True, false);
    let mut state = starving_state();
    type_text(&mut state, "3j");
    let buffer = draw(&mut state, 80, 24, &theme);
    let style_of = |word: &str| {
        let shown = text(&buffer);
        let (y, line) = shown
            .lines()
            .enumerate()
            .find(|(_, l)| l.contains(word))
            .unwrap();
        let x = line[..line.find(word).unwrap()].chars().count();
        buffer[(x as u16, y as u16)].style()
    };
    assert_eq!(
        style_of("BLOCKED").fg,
        theme.style(crate::app::Tone::Critical).fg
    );
    assert_eq!(
        style_of("LIVE").fg,
        theme.style(crate::app::Tone::BadgeLive).fg
    );
    assert_eq!(style_of("▶").bg, theme.style(crate::app::Tone::Selected).bg);
    for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256] {
        let buffer = draw(&mut state, 80, 24, &Theme::new(depth, false));
        let selected = buffer.content.iter().find(|c| c.symbol() == "▶").unwrap();
        let marked = selected
            .modifier
            .intersects(Modifier::REVERSED | Modifier::BOLD);
        assert!(marked, "{depth:?}");
    }
}

#[test]
fn long_lists_page_and_scroll() {
    let mut state = crowd(500);
    type_text(&mut state, "2");
    let first = screen(&mut state, 80, 24);
    update(&mut state, Action::Move(Motion::PageDown));
    update(&mut state, Action::Move(Motion::PageDown));
    let later = screen(&mut state, 80, 24);
    assert_ne!(first, later);
    assert!(later.contains("row 33 of 500"), "{later}");
    type_text(&mut state, "G");
    assert!(screen(&mut state, 80, 24).contains("row 500 of 500"));
    type_text(&mut state, "g?");
    update(&mut state, Action::Move(Motion::Bottom));
    let end = screen(&mut state, 80, 24);
    assert!(!end.contains("more line"), "{end}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn nothing_panics_at_any_size_in_any_state(
        sizes in prop::collection::vec((1u16..200, 1u16..70), 1..4),
        keys in prop::collection::vec(0usize..110, 0..25),
        which in 0u8..6,
    ) {
        let mut state = match which {
            0 => empty_state(),
            1 => hostile_state(),
            2 => crowd(60),
            3 => waits_state(),
            4 => hostile_waits_state(),
            _ => starving_state(),
        };
        for (width, height) in sizes {
            for n in &keys {
                match crate::app::bindings::all().nth(*n) {
                    Some(binding) => { update(&mut state, binding.action.clone()); }
                    None => type_text(&mut state, "x>日"),
                }
                draw(&mut state, width, height, &plain());
            }
            draw(&mut state, width, height, &Theme::new(Depth::True, true));
        }
    }
}

#[test]
fn every_small_size_is_drawn() {
    let mut state = starving_state();
    for width in (1..64).step_by(3) {
        for height in 1..18 {
            let shown = screen(&mut state, width, height);
            assert_eq!(shown.lines().count(), usize::from(height));
        }
    }
}
