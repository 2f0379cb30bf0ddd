//! What actions and keys do to the state.

use std::{sync::Arc, time::Duration};

use looptop_wire::proto;

use crate::model::fixtures;

use super::{fixtures::*, *};

fn act(state: &mut State, actions: impl IntoIterator<Item = Action>) -> Vec<Effect> {
    actions
        .into_iter()
        .flat_map(|action| update(state, action))
        .collect()
}

fn names(state: &State) -> Vec<String> {
    let name = heads_index(state, "name");
    let placed = column::Placed {
        index: name,
        x: 0,
        width: 20,
    };
    let context = state.context();
    (0..state.rows.len())
        .filter_map(|i| state.rows.cells(&context, i, &[placed]))
        .map(|cells| cells[0].plain())
        .collect()
}

fn heads_index(state: &State, id: &str) -> usize {
    let heads = tables::heads(state.table().unwrap());
    heads.iter().position(|h| h.id == id).unwrap()
}

#[test]
fn details_of_a_task_without_a_finding_are_copied() {
    let mut state = starving_state();
    type_text(&mut state, "2/ticker\n\n");
    assert!(state.watched().is_some());
    let effects = act(&mut state, [Action::Copy]);
    let copied = |text: &str| text.contains("demo/src/service.rs:42") && text.contains("ticker");
    assert!(
        matches!(&effects[..], [Effect::Copy(text)] if copied(text)),
        "{effects:?}"
    );
}

#[test]
fn the_configuration_hides_and_orders_columns() {
    let mut state = starving_state();
    let columns = "tasks = ['polls', 'name', 'busy', 'kind']";
    state.options.columns = toml::from_str(columns).unwrap();
    state.size = ratatui::layout::Size::new(120, 40);
    type_text(&mut state, "2");
    let ids = |state: &State| -> Vec<&str> {
        let heads = tables::heads(tables::TableId::Tasks);
        let placed = state.placed_columns(tables::TableId::Tasks);
        placed.iter().map(|p| heads[p.index].id).collect()
    };
    assert_eq!(ids(&state), ["polls", "name", "busy", "kind"]);
    // It sorts by what is shown, in the order shown.
    type_text(&mut state, ">");
    let sort = |state: &State| state.table_state(tables::TableId::Tasks).sort.column;
    assert_eq!(sort(&state), heads_index(&state, "polls"));
    type_text(&mut state, ">");
    assert_eq!(sort(&state), heads_index(&state, "name"));
    // A narrow screen drops those of the least priority.
    state.size.width = 26;
    assert_eq!(ids(&state), ["polls", "name"]);
    // Other tables have all of theirs.
    let workers = tables::TableId::Workers;
    let all = tables::heads(workers).len();
    assert_eq!(
        state.options.columns.of(workers),
        (0..all).collect::<Vec<_>>()
    );
}

#[test]
fn keys_lead_where_the_table_says() {
    use Key::{Char, Enter, Esc, Tab};
    type Check = fn(&State) -> bool;
    let table: [(&[Key], Check); 17] = [
        (&[Char('2')], |s| s.view == ViewId::Tasks),
        (&[Tab], |s| s.view == ViewId::Tasks),
        (&[Tab, Tab, Key::BackTab], |s| s.view == ViewId::Tasks),
        (&[Key::BackTab], |s| s.view == ViewId::Waits),
        (&[Char('8')], |s| s.view == ViewId::Waits),
        (&[Char('7')], |s| {
            s.view == ViewId::Overview && s.notice().is_some()
        }),
        (&[Char('?')], |s| s.overlay == Some(Overlay::Help)),
        (&[Char('?'), Esc], |s| s.overlay.is_none()),
        (&[Char('e')], |s| {
            matches!(s.overlay, Some(Overlay::Explain("blocked-worker", _)))
        }),
        (&[Char('4'), Enter], State::shows_stall_details),
        (&[Char('4'), Enter, Char('a')], |s| s.all_frames),
        (&[Char('4'), Char('t'), Enter], State::shows_stall_details),
        (&[Enter], State::shows_stall_details),
        (&[Enter, Esc, Esc, Esc], |s| s.details.is_none()),
        (&[Char('+'), Char('+')], |s| {
            s.span == crate::model::Span::HalfHour
        }),
        (&[Char('2'), Char('/'), Char('q'), Char('1')], |s| {
            s.editing && s.table_state(tables::TableId::Tasks).filter_text == "q1"
        }),
        (&[Char('2'), Char('/'), Char('x'), Esc], |s| {
            !s.editing && s.rows.filtered_out == 0
        }),
    ];
    for (keys, holds) in table {
        let mut state = starving_state();
        for pressed in keys {
            let effects = key(&mut state, *pressed);
            assert!(!effects.contains(&Effect::Quit), "{keys:?}");
        }
        assert!(holds(&state), "{keys:?}");
    }
}

#[test]
fn only_q_and_ctrl_c_quit_and_ctrl_c_does_so_anywhere() {
    let mut state = starving_state();
    assert_eq!(key(&mut state, Key::Char('q')), [Effect::Quit]);
    type_text(&mut state, "2/");
    assert_eq!(key(&mut state, Key::Char('q')), []);
    assert_eq!(key(&mut state, Key::Ctrl('c')), [Effect::Quit]);
}

#[test]
fn the_cursor_follows_its_task_through_sorting_and_filtering() {
    let mut state = starving_state();
    type_text(&mut state, "2");
    let id = heads_index(&state, "id");
    act(
        &mut state,
        [Action::SortBy(id), Action::SortBy(id), Action::Select(3)],
    );
    let followed = state.row_under_cursor().cloned();
    assert_eq!(state.cursor().row, 3);
    act(&mut state, [Action::Invert]);
    assert_eq!(
        (state.row_under_cursor().cloned(), state.cursor().row),
        (followed.clone(), 7)
    );
    type_text(&mut state, "/report");
    assert_eq!(
        state.row_under_cursor().cloned(),
        followed,
        "task 4 is called report"
    );
    type_text(&mut state, "x");
    assert!(state.rows.is_empty());
    key(&mut state, Key::Esc);
    assert_eq!(
        state.row_under_cursor().cloned(),
        followed,
        "and is found again"
    );
}

#[test]
fn filters_match_columns_and_a_wrong_one_keeps_the_last() {
    let mut state = starving_state();
    type_text(&mut state, "2/state:running");
    assert_eq!(names(&state), ["report"]);
    type_text(&mut state, " polls>x");
    let look = state.table_state(tables::TableId::Tasks);
    assert_eq!(
        look.filter_error.as_ref().map(|e| e.at.clone()),
        Some(20..21)
    );
    assert_eq!(names(&state), ["report"]);
    key(&mut state, Key::Enter);
    assert!(state.editing, "an error keeps the line open");
    key(&mut state, Key::Ctrl('w'));
    key(&mut state, Key::Enter);
    assert!(!state.editing);
    assert_eq!(names(&state), ["report"]);
    key(&mut state, Key::Esc);
    assert_eq!(names(&state).len(), 11);
    type_text(&mut state, "f");
    assert_eq!(names(&state).len(), 12, "with the finished one");
}

#[test]
fn freezing_keeps_the_moment_while_the_target_runs_on() {
    let mut state = starving_state();
    let frozen_at = state.model().now;
    act(&mut state, [Action::Freeze]);
    let later = fixtures::frame(frozen_at.plus(Duration::from_secs(5)));
    let now = state.now + Duration::from_secs(5);
    state.apply(Event::Frame(Arc::new(later)), now);
    assert_eq!(state.model().now, frozen_at);
    act(&mut state, [Action::Freeze]);
    assert_eq!(state.model().now, frozen_at.plus(Duration::from_secs(5)));
}

#[test]
fn one_records_what_is_live_and_saves_what_is_past() {
    let labels = |state: &State| -> Vec<&str> {
        let footer = bindings::footer(state);
        footer.iter().map(|binding| binding.label).collect()
    };
    let mut state = starving_state();
    assert_eq!(key(&mut state, Key::Char('R')), [Effect::Record]);
    assert!(labels(&state).contains(&"record") && !labels(&state).contains(&"save"));
    // Frozen is not earlier: what comes in meanwhile can be recorded.
    key(&mut state, Key::Char(' '));
    assert_eq!(key(&mut state, Key::Char('R')), [Effect::Record]);
    let moment = state.live_snapshot().clone();
    state.show_earlier(moment, crate::model::Moment(0));
    assert_eq!(key(&mut state, Key::Char('R')), [Effect::SavePast]);
    assert!(labels(&state).contains(&"save") && !labels(&state).contains(&"record"));
    state.apply(Event::Notice("saved".into()), state.now);
    assert_eq!(state.notice(), Some("saved"));
    state.go_live();
    assert_eq!(key(&mut state, Key::Char('R')), [Effect::Record]);
}

#[test]
fn another_process_leaves_no_ghosts_and_the_same_one_keeps_its_past() {
    let mut state = starving_state();
    let now = state.now;
    let lag = state.model().lag.len();
    let hello = Box::new(fixtures::hello());
    state.apply(
        Event::Connected {
            hello,
            kind: crate::model::SourceKind::Agent,
        },
        now,
    );
    assert_eq!(
        (state.model().tasks.len(), state.model().lag.len()),
        (0, lag)
    );
    assert_eq!(state.notice(), None);
    let hello = Box::new(proto::HelloResponse {
        session: "other".into(),
        ..fixtures::hello()
    });
    state.apply(
        Event::Connected {
            hello,
            kind: crate::model::SourceKind::Agent,
        },
        now,
    );
    assert!(state.model().lag.is_empty() && state.model().workers.is_empty());
    assert!(state.notice().unwrap().starts_with("new process"));
}

#[test]
fn a_process_whose_agent_begins_to_answer_is_no_new_one() {
    use crate::model::{Moment, SourceKind};
    for (exe, kind, expected) in [
        ("/srv/shop", SourceKind::Agent, "the agent answers now"),
        ("", SourceKind::Console, "the agent answers now"),
        ("/srv/other", SourceKind::Agent, "new process"),
        ("/srv/shop", SourceKind::Outside, "new process"),
    ] {
        let mut state = starving_state();
        let now = state.now;
        let connected = |session: &str, exe: &str, kind| Event::Connected {
            hello: Box::new(proto::HelloResponse {
                session: session.into(),
                exe: exe.into(),
                ..fixtures::hello()
            }),
            kind,
        };
        let outside = connected("outside", "/srv/shop", SourceKind::Outside);
        state.apply(outside, now);
        let frame = Event::Frame(Arc::new(fixtures::starving_frame(Moment(5_000_000_000))));
        state.apply(frame, now);
        state.apply(connected("within", exe, kind), now);
        let notice = state.notice().unwrap();
        assert!(notice.starts_with(expected), "{exe} {kind:?}: {notice}");
    }
}

#[test]
fn names_are_asked_for_after_a_whole_frame_with_stacks() {
    let mut state = starving_state();
    let mut frame = fixtures::starving_frame(state.model().now);
    frame.stalls[0].stacks = vec![proto::StackSample::default()];
    let now = state.now;
    let effects = state.apply(Event::Frame(Arc::new(frame.clone())), now);
    assert_eq!(effects, [Effect::NameStacks]);
    frame.more = true;
    assert_eq!(
        state.apply(Event::Frame(Arc::new(frame)), now),
        [],
        "not a whole frame"
    );
}

#[test]
fn copying_tells_the_finding() {
    let mut state = starving_state();
    let effects = act(&mut state, [Action::Copy]);
    assert!(matches!(&effects[..], [Effect::Copy(text)] if text.contains("blocked-worker")));
    let mut empty = empty_state();
    assert_eq!(act(&mut empty, [Action::Copy]), []);
}

#[test]
fn the_mouse_selects_sorts_and_opens_tabs() {
    use mouse::{Mouse, action};
    let mut state = starving_state();
    let tabs = mouse::tabs(&state, Screen::new(state.size).unwrap().tabs);
    let place = tabs[1].place;
    let clicked = action(&state, Mouse::Click, place.x + 2, place.y);
    assert_eq!(clicked, Some(Action::Show(ViewId::Tasks)));
    update(&mut state, clicked.unwrap());
    let area = state.table_area().unwrap();
    let clicked = action(&state, Mouse::Click, 5, area.rows.y + 2);
    assert_eq!(clicked, Some(Action::Select(2)));
    update(&mut state, clicked.unwrap());
    assert_eq!(
        action(&state, Mouse::Click, 5, area.rows.y + 2),
        Some(Action::Open)
    );
    assert!(matches!(
        action(&state, Mouse::Click, 5, area.head.y),
        Some(Action::SortBy(_))
    ));
    assert_eq!(
        action(&state, Mouse::Click, 5, area.rows.y + 14),
        None,
        "no row is there"
    );
    assert_eq!(
        action(&state, Mouse::WheelDown, 0, 0),
        Some(Action::Move(Motion::By(3)))
    );
}

#[test]
fn a_key_has_one_meaning_at_a_time() {
    let views = ViewId::ALL.iter().map(|id| id.digit().to_string());
    let mut states: Vec<State> = views.map(|digit| pressed(&digit)).collect();
    for keys in [
        "2/x", "4\n", "2\n", "?", "e", "p", "4t\n", "5t", "2t", " ", ":", "2:x", "?:",
    ] {
        states.push(pressed(keys));
    }
    let mut past = starving_state();
    let moment = past.live_snapshot().clone();
    past.show_earlier(moment, crate::model::Moment(0));
    states.push(past);
    states.push(lab_tests::lab_state());
    let bound: Vec<Key> = bindings::all().flat_map(|b| b.keys).copied().collect();
    assert!(bindings::all().all(|b| !b.name.is_empty() && !b.help.is_empty()));
    for state in states {
        for key in &bound {
            let meanings = bindings::meanings(&state, *key);
            assert!(
                meanings.len() <= 1,
                "{key} in {:?}: {meanings:?}",
                state.view
            );
        }
        // What holds together here is known to meet: the configuration is checked by that.
        let held: Vec<_> = bindings::all()
            .filter(|b| bindings::holds(b.at, &state))
            .collect();
        for one in &held {
            for other in &held {
                assert!(one.at.meets(other.at), "{one:?} {other:?}");
            }
        }
    }
}

#[test]
fn keys_of_the_configuration_are_those_of_the_screen() {
    let mut state = starving_state();
    state.options.keys = toml::from_str("help = 'H'\nback = ['F4', 'q']\nquit = 'Ctrl-Q'").unwrap();
    assert_eq!(key(&mut state, Key::Char('?')), []);
    assert_eq!(state.overlay, None);
    key(&mut state, Key::Char('H'));
    assert_eq!(state.overlay, Some(Overlay::Help));
    let shown = |state: &State| -> Vec<String> {
        let lines = page::lines(state).unwrap();
        lines.iter().map(page::Line::plain).collect()
    };
    let help = shown(&state);
    assert!(
        help.iter()
            .any(|l| l.contains('H') && l.contains("this help"))
    );
    assert!(
        help.iter()
            .any(|l| l.contains("F4 q") && l.contains("never quits"))
    );
    assert_eq!(key(&mut state, Key::Char('q')), [], "it goes back");
    assert_eq!(state.overlay, None);
    assert_eq!(key(&mut state, Key::Ctrl('q')), [Effect::Quit]);
}

#[test]
fn the_palette_does_what_the_key_of_a_command_does() {
    let mut state = starving_state();
    type_text(&mut state, ":sortnext");
    assert!(
        palette::entries(&state).is_empty(),
        "the overview sorts nothing"
    );
    type_text(&mut state, "\u{1b}2:");
    let all = palette::entries(&state).len();
    type_text(&mut state, "sort next");
    assert!((1..all).contains(&palette::entries(&state).len()));
    let sort = |state: &State| state.table_state(tables::TableId::Tasks).sort.column;
    let before = sort(&state);
    type_text(&mut state, "\n");
    assert_ne!(sort(&state), before);
    assert_eq!(state.palette, None);
    // Each name once, the cursor within the list, and what it does comes out.
    type_text(&mut state, ":");
    let names: Vec<&str> = palette::entries(&state).iter().map(|b| b.name).collect();
    let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "{names:?}");
    assert!(!names.contains(&"palette-run") && !names.contains(&"filter-apply"));
    for _ in 0..200 {
        key(&mut state, Key::Down);
    }
    assert_eq!(state.palette.as_ref().unwrap().row, names.len() - 1);
    type_text(&mut state, "quitx");
    key(&mut state, Key::Backspace);
    assert_eq!(key(&mut state, Key::Enter), [Effect::Quit]);
    // What is not found does nothing.
    type_text(&mut state, ":qqqq");
    assert_eq!(key(&mut state, Key::Enter), []);
    assert_eq!(state.palette, None);
    // Over details it has what holds there.
    type_text(&mut state, "4\n:all frames\n");
    assert!(state.all_frames && state.shows_stall_details());
}

#[test]
fn themes_go_round_and_are_kept() {
    let mut state = starving_state();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let effects = key(&mut state, Key::Char('T'));
        assert_eq!(effects, [Effect::KeepTheme(state.theme)]);
        seen.push(state.theme.name());
    }
    assert_eq!(seen, ["dark", "light", "high-contrast", "colour-blind"]);
    type_text(&mut state, ":themelight\n");
    assert_eq!(state.theme, ThemeId::Light);
    state.theme = ThemeId::HighContrast;
    state.options.own_theme = "mine.toml".into();
    key(&mut state, Key::Char('T'));
    assert_eq!(state.theme, ThemeId::Own);
    for (text, id) in [
        ("color-blind", Ok(ThemeId::ColourBlind)),
        ("mine.toml", Err(())),
    ] {
        assert_eq!(text.parse(), id);
    }
}

/// [`starving_state`] after these keys.
fn pressed(keys: &str) -> State {
    let mut state = starving_state();
    type_text(&mut state, keys);
    state
}

/// Set to write the document instead of comparing it.
const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

#[test]
fn the_document_of_keys_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keys.md");
    let text = bindings::markdown();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == text,
        "docs/keys.md differs from the tables; run this test with {UPDATE}=1"
    );
}

#[test]
fn tasks_are_shown_before_the_last_of_them_has_come() {
    let mut state = empty_state();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(fixtures::hello()),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    type_text(&mut state, "2");
    for (id, more, judged) in [(1, true, false), (2, true, false), (3, false, true)] {
        let mut tasks = proto::Tasks::default();
        let record = looptop_wire::columns::Record {
            id,
            state: proto::TaskState::Idle,
            ended_at_ns: Some(None),
            ..looptop_wire::columns::Record::default()
        };
        looptop_wire::columns::push(&mut tasks, &record);
        let frame = proto::Frame {
            tasks: Some(tasks),
            more,
            snapshot_complete: !more,
            ..fixtures::frame(crate::model::Moment(1_000_000_000))
        };
        state.apply(Event::Frame(Arc::new(frame)), now);
        state.prepare();
        assert_eq!(state.rows.len(), id as usize);
        let level = state.live_snapshot().verdict.level;
        let is_judged = level != crate::diagnose::Level::Unknown;
        assert_eq!(is_judged, judged, "{level:?}");
    }
}
