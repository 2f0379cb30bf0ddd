//! A lab for tests, and what keys do in its view and in presenter mode.

use std::time::Duration;

use super::{
    fixtures::{starving_state, type_text},
    lab::{Before, Entry, Figures, Latency, Status, Update},
    *,
};

/// A lab that runs the broken twin of its first scenario; the fixed one ran
/// before.
pub(crate) fn status() -> Status {
    let ms = |n| Some(Duration::from_micros((n * 1e3) as u64));
    let latency = |p50, p99, max| Latency {
        p50: ms(p50),
        p99: ms(p99),
        max: ms(max),
    };
    let entry = |id: &str, caption: &str, has_broken_twin| Entry {
        id: id.into(),
        caption: caption.into(),
        has_broken_twin,
    };
    Status {
        scenario: "sleep-in-handler".into(),
        twin: Some(Twin::Broken),
        caption: "thread::sleep in a handler puts the whole worker to sleep".into(),
        notes: "4 workers, /sync against /async: 31.76 -> 3,843.17 requests/s".into(),
        watch: "requests/s".into(),
        endpoint: "/sync".into(),
        flavor: "multi-thread".into(),
        workers: 2,
        phase: 2,
        now: Figures {
            lasted: Duration::from_millis(12_300),
            requests_per_s: Some(18.7),
            errors: 0,
            latency: latency(1_200.0, 2_000.0, 2_100.0),
            canary: latency(707.0, 1_400.0, 1_445.0),
            canary_waits: ms(320.0),
            readings: vec![("live tasks".into(), 28.0)],
        },
        before: Some(Before {
            scenario: "sleep-in-handler".into(),
            twin: Some(Twin::Fixed),
            figures: Figures {
                lasted: Duration::from_secs(8),
                requests_per_s: Some(223.0),
                errors: 0,
                latency: latency(104.0, 136.0, 140.0),
                canary: latency(0.455, 12.0, 12.0),
                canary_waits: None,
                readings: vec![("live tasks".into(), 41.0)],
            },
        }),
        broken_code: "async fn sync_handler() -> &'static str {\n    std::thread::sleep(WORK); // <- culprit\n    \"printed\\n\"\n}".into(),
        fixed_code: "async fn async_handler() -> &'static str {\n    tokio::time::sleep(WORK).await;\n    \"printed\\n\"\n}".into(),
        scenarios: vec![
            entry("sleep-in-handler", "thread::sleep in a handler puts the whole worker to sleep", true),
            entry("cpu-in-handler", "formatting a long conversation inline: 50 ms of CPU", true),
            entry("healthy-busy", "busy is not starved", false),
        ],
        http: "127.0.0.1:8080".into(),
    }
}

/// What the lab reports of a scenario and twin that became active.
pub(crate) fn report(state: &mut State, change: impl FnOnce(&mut Status)) {
    let mut status = status();
    change(&mut status);
    let now = state.now;
    state.apply(Event::Lab(Update::Status(Box::new(status))), now);
    state.prepare();
}

/// Attached to a starving lab.
pub(crate) fn lab_state() -> State {
    let mut state = starving_state();
    report(&mut state, |_| {});
    state
}

fn press(state: &mut State, text: &str) -> Vec<Effect> {
    let (last, first) = text
        .char_indices()
        .next_back()
        .map_or(("", ""), |(at, _)| (&text[at..], &text[..at]));
    type_text(state, first);
    let key = match last {
        "\n" => Key::Enter,
        "\u{1b}" => Key::Esc,
        c => Key::Char(c.chars().next().unwrap_or(' ')),
    };
    bindings::dispatch(state, key).map_or_else(Vec::new, |action| update(state, action))
}

#[test]
fn one_key_switches_the_scenario_under_the_cursor() {
    let table = [
        ("7f", Some(("sleep-in-handler", Twin::Fixed))),
        ("7b", Some(("sleep-in-handler", Twin::Broken))),
        ("7o", Some(("sleep-in-handler", Twin::Off))),
        ("7\n", Some(("sleep-in-handler", Twin::Fixed))),
        ("7j\n", Some(("cpu-in-handler", Twin::Broken))),
        ("7jjf", Some(("healthy-busy", Twin::Fixed))),
        ("7jj\n", Some(("healthy-busy", Twin::Fixed))),
        ("7jjb", None),
        ("pf", Some(("sleep-in-handler", Twin::Fixed))),
        ("pj\n", Some(("cpu-in-handler", Twin::Broken))),
        ("pGkgf", Some(("sleep-in-handler", Twin::Fixed))),
        ("7ppb", Some(("sleep-in-handler", Twin::Broken))),
        // Where other things are on screen these keys are not the lab's.
        ("1f", None),
        ("2f", None),
        ("7?f", None),
        ("pef", None),
    ];
    for (keys, expected) in table {
        let mut state = lab_state();
        let effects = press(&mut state, keys);
        let wanted: Vec<Effect> = expected
            .into_iter()
            .map(|(id, twin)| Effect::RunTwin(id.into(), twin))
            .collect();
        assert_eq!(effects, wanted, "{keys:?}");
        let asked = state.lab.asked.is_some();
        assert_eq!(asked, expected.is_some(), "{keys:?}");
    }
}

#[test]
fn a_switch_is_pending_until_the_lab_confirms_it() {
    let mut state = lab_state();
    press(&mut state, "7jb");
    assert_eq!(
        state.lab.asked,
        Some(("cpu-in-handler".into(), Twin::Broken))
    );
    // An answer from before the switch does not confirm it.
    report(&mut state, |_| {});
    assert!(state.lab.asked.is_some());
    assert_eq!(state.lab.row(), 1);
    report(&mut state, |s| s.scenario = "cpu-in-handler".into());
    assert_eq!((state.lab.asked.clone(), state.lab.row()), (None, 1));
    // Now the cursor follows what others switch.
    report(&mut state, |s| s.scenario = "healthy-busy".into());
    assert_eq!(state.lab.row(), 2);

    press(&mut state, "f");
    let refused = Update::Refused("not switched: no such scenario".into());
    let now = state.now;
    state.apply(Event::Lab(refused), now);
    assert_eq!(state.lab.asked, None);
    assert_eq!(state.notice(), Some("not switched: no such scenario"));
}

#[test]
fn the_tab_is_there_where_the_lab_is() {
    let lab = |state: &State| views::shown(state).contains(&ViewId::Lab);
    let mut state = starving_state();
    assert!(!lab(&state));
    press(&mut state, "7");
    assert_eq!(state.notice(), Some(lab::NO_LAB));
    report(&mut state, |_| {});
    press(&mut state, "7");
    assert!(lab(&state) && state.view == ViewId::Lab);
    // The lab stops answering: what was known stays, with the reason.
    let now = state.now;
    state.apply(Event::Lab(Update::Lost("gone".into())), now);
    assert!(lab(&state) && state.lab.problem.is_some());
    // Another program behind the same address is no lab.
    state.apply(Event::Lab(Update::Absent), now);
    assert!(!lab(&state) && state.lab.absent);
    assert!(!state.lab_has_keys());
}

#[test]
fn presenter_mode_covers_any_view_and_leads_back_to_it() {
    for view in ["1", "2", "3", "4", "6", "7"] {
        let mut state = lab_state();
        type_text(&mut state, view);
        let before = state.view;
        type_text(&mut state, "p");
        assert_eq!(state.mode(), Mode::Presenter, "{view}");
        type_text(&mut state, "e");
        assert_eq!(state.mode(), Mode::Overlay, "{view}");
        type_text(&mut state, "\u{1b}");
        assert_eq!(state.mode(), Mode::Presenter, "{view}");
        type_text(&mut state, "\u{1b}");
        assert_eq!((state.mode(), state.view), (Mode::View, before), "{view}");
        type_text(&mut state, "pp");
        assert_eq!(state.mode(), Mode::View, "{view}");
    }
    let mut state = lab_state();
    type_text(&mut state, "p4");
    assert_eq!((state.mode(), state.view), (Mode::View, ViewId::Stalls));
}

#[test]
fn only_twins_of_one_scenario_are_compared() {
    let mut state = lab_state();
    let known = |state: &State| {
        let status = state.lab.status.as_ref().unwrap();
        lab::comparison(status).iter().any(|r| r.before.is_some())
    };
    assert!(known(&state));
    report(&mut state, |s| s.scenario = "cpu-in-handler".into());
    assert!(!known(&state));
}

#[test]
fn a_frozen_screen_keeps_the_lab_as_it_was() {
    let mut state = lab_state();
    type_text(&mut state, "7 ");
    report(&mut state, |s| s.twin = Some(Twin::Fixed));
    let twin = |lab: &LabState| lab.status.as_ref().and_then(|s| s.twin);
    assert_eq!(twin(state.shown_lab()), Some(Twin::Broken));
    type_text(&mut state, " ");
    assert_eq!(twin(state.shown_lab()), Some(Twin::Fixed));
}

#[test]
fn the_audience_sees_which_key_did_what() {
    let mut state = lab_state();
    type_text(&mut state, "p");
    state.note_key(Key::Char('f'));
    let echo = state.echo.clone().unwrap();
    assert_eq!((echo.key, echo.at), (Key::Char('f'), state.now));
    assert!(echo.help.starts_with("fixed"), "{}", echo.help);
    state.note_key(Key::Char('~'));
    assert_eq!(state.echo.as_ref().map(|e| e.help), Some(""));
}

#[test]
fn a_click_chooses_a_scenario_and_switches_nothing() {
    let mut state = lab_state();
    type_text(&mut state, "7");
    let body = Screen::new(state.size).unwrap().body;
    let click = |state: &State, y| mouse::action(state, mouse::Mouse::Click, 5, y);
    assert_eq!(click(&state, body.y + 2), Some(Action::Select(1)));
    assert_eq!(click(&state, body.y + 9), None);
    assert_eq!(update(&mut state, Action::Select(1)), []);
    assert_eq!(state.lab.row(), 1);
}
