//! Fixtures of states, and tests of what actions do to them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use looptop_wire::proto;

use crate::model::{Culprit, Resolved, StackFrame, fixtures};

use super::*;

/// A state that knows nothing yet.
pub(crate) fn empty_state() -> State {
    let options = Options {
        target: "127.0.0.1:6669".into(),
        ..Options::default()
    };
    let mut state = State::new(options, Instant::now());
    state.prepare();
    state
}

/// Connected to the lab, whose worker 3 is blocked.
pub(crate) fn starving_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    state.apply(
        Event::Connected {
            hello: Box::new(fixtures::hello()),
            kind: "agent",
        },
        now,
    );
    // Two frames, so that rates are known.
    let mut before = fixtures::starving_frame(crate::model::Moment(18_900_000_000));
    for polling in &mut before.tasks.as_mut().unwrap().poll_started_at_ns {
        *polling = 0;
    }
    for (n, polls) in before.tasks.as_mut().unwrap().polls.iter_mut().enumerate() {
        *polls -= n as u64 * 20;
    }
    for (n, busy) in before
        .tasks
        .as_mut()
        .unwrap()
        .busy_ns
        .iter_mut()
        .enumerate()
    {
        *busy -= n as u64 * 1_000_000;
    }
    for worker in &mut before.workers {
        worker.busy_ns /= 2;
        worker.polls = worker.polls.map(|n| n - 500);
    }
    for thread in &mut before.threads {
        thread.user_ns /= 2;
    }
    before.stalls.clear();
    before.lag.clear();
    let after = fixtures::starving_frame(crate::model::Moment(20_000_000_000));
    for frame in [before, after] {
        state.apply(Event::Frame(Arc::new(frame)), now);
    }
    state.prepare();
    state
}

/// 70 s of task 4, "report", from 1 s on: a fifth busy; from 30 s to 40 s it also
/// waits half of the time; from 55 s to 57 s it is in one poll; and in the end
/// again.
pub(crate) fn busy_minute() -> (proto::HelloResponse, Vec<proto::Frame>) {
    const MS: u64 = 1_000_000;
    let (mut busy, mut scheduled) = (0, 0);
    let frame = |step: u64| {
        let (at, last) = (step * 100 + 1_000, step == 700);
        let stalls = (55_001..=57_000).contains(&at);
        busy += if stalls { 100 * MS } else { 20 * MS };
        scheduled += if (30_001..=40_000).contains(&at) {
            50 * MS
        } else {
            0
        };
        let mut frame = fixtures::starving_frame(crate::model::Moment(at * MS));
        let live = frame.stalls.remove(0);
        if last {
            frame.stalls.push(live.clone());
        }
        if at == 57_000 {
            frame.stalls.push(proto::Stall {
                id: 2,
                state: proto::StallState::Ended.into(),
                started_at_ns: 55_000 * MS,
                duration_ns: 2_000 * MS,
                ..live
            });
        }
        let tasks = frame.tasks.as_mut().unwrap();
        tasks.busy_ns[3] = busy;
        tasks.scheduled_ns[3] = scheduled;
        if !last {
            tasks.poll_started_at_ns[3] = 0;
        }
        frame
    };
    (fixtures::hello(), (0..=700).map(frame).collect())
}

/// The target has sent a [`busy_minute`], and task 4 was watched from the
/// `first` second on.
pub(crate) fn watched_state(first: usize) -> State {
    let mut state = empty_state();
    let now = state.now;
    let (hello, frames) = busy_minute();
    let connected = Event::Connected {
        hello: Box::new(hello),
        kind: "agent",
    };
    state.apply(connected, now);
    for (n, frame) in frames.into_iter().enumerate() {
        state.apply(Event::Frame(Arc::new(frame)), now);
        if n == first * 10 {
            type_text(&mut state, "2/report\n\n");
        }
    }
    state.prepare();
    state
}

/// Gives the stall of [`starving_state`] a stack with names.
pub(crate) fn name_stall(state: &mut State) {
    let frame = |function: &str, file: &str, line, plumbing| StackFrame {
        function: function.into(),
        file: file.into(),
        line,
        plumbing,
        culprit: false,
    };
    let mut stack = Resolved {
        frames: vec![
            frame(
                "core::hash::sip::Hasher::write",
                "core/src/hash/sip.rs",
                233,
                true,
            ),
            frame(
                "looptop_demo::report::digest",
                "demo/src/report.rs",
                58,
                false,
            ),
            frame(
                "looptop_demo::report::render::{closure}",
                "demo/src/report.rs",
                42,
                false,
            ),
            frame(
                "tokio::runtime::task::core::Core::poll",
                "tokio-1.54.1/src/runtime/task/core.rs",
                331,
                true,
            ),
            frame(
                "tokio::runtime::scheduler::multi_thread::worker::Context::run_task",
                "tokio-1.54.1/src/runtime/scheduler/multi_thread/worker.rs",
                591,
                true,
            ),
            frame(
                "std::sys::backtrace::__rust_begin_short_backtrace",
                "",
                0,
                true,
            ),
        ],
        culprit: Some(Culprit {
            function: "looptop_demo::report::render".into(),
            file: "demo/src/report.rs".into(),
            line: 42,
            ..Culprit::default()
        }),
        ..Resolved::default()
    };
    stack.frames[2].culprit = true;
    let now = state.now;
    let of = crate::model::StackOf::Stall(crate::model::StallId(1));
    state.apply(
        Event::Resolved {
            of,
            stack: Arc::new(stack),
        },
        now,
    );
}

/// Of a target that supplies next to nothing.
pub(crate) fn poor_state() -> State {
    let mut state = empty_state();
    let mut hello = fixtures::hello();
    hello.agent_version.clear();
    for capability in &mut hello.capabilities {
        capability.available = false;
        capability.reason = "no agent in the target; add looptop_agent::init() to main".into();
    }
    let now = state.now;
    state.apply(
        Event::Connected {
            hello: Box::new(hello),
            kind: "console-subscriber",
        },
        now,
    );
    let frame = fixtures::frame(crate::model::Moment(1_000_000_000));
    state.apply(Event::Frame(Arc::new(frame)), now);
    state
}

/// Of a program that has registered no runtime, and runs three threads of some.
pub(crate) fn unobserved_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    state.apply(
        Event::Connected {
            hello: Box::new(fixtures::hello()),
            kind: "agent",
        },
        now,
    );
    let stranger = |tid| proto::Stranger {
        tid,
        kind: proto::StrangerKind::Worker.into(),
        ..proto::Stranger::default()
    };
    let frame = proto::Frame {
        snapshot_complete: true,
        coverage: Some(proto::Coverage {
            strangers: (900..903).map(stranger).collect(),
            ..proto::Coverage::default()
        }),
        ..fixtures::frame(crate::model::Moment(5_000_000_000))
    };
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
    state
}

/// Of a target with `n` tasks, every tenth of them scheduled.
pub(crate) fn crowd(n: u64) -> State {
    let mut state = empty_state();
    let now = state.now;
    state.apply(
        Event::Connected {
            hello: Box::new(fixtures::hello()),
            kind: "agent",
        },
        now,
    );
    let ids: Vec<u64> = (1..=n).collect();
    let tasks = proto::Tasks {
        state: ids
            .iter()
            .map(|id| if id % 10 == 0 { 2 } else { 1 })
            .collect(),
        kind: vec![1; ids.len()],
        polls: ids.clone(),
        busy_ns: ids.iter().map(|id| id * 1_000).collect(),
        id: ids,
        ..proto::Tasks::default()
    };
    let frame = proto::Frame {
        tasks: Some(tasks),
        snapshot_complete: true,
        ..fixtures::frame(crate::model::Moment(5_000_000_000))
    };
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
    state
}

/// Of a target whose names are wide, long, or attack the terminal.
pub(crate) fn hostile_state() -> State {
    let mut state = starving_state();
    let names = [
        "日本語のタスク名はとても幅が広いです",
        "\x1b[2J\x1b[31mred\x1b]0;title\x07",
        "right\u{202e}tfel",
        "e\u{301}\u{301}\u{301}\u{301}accents",
        "tab\tand\nnewline",
        "a-name-that-is-very-long-and-goes-on-and-on-and-on-and-on-and-on-and-on",
        "",
    ];
    let strings = names
        .iter()
        .zip(200..)
        .map(|(text, id)| proto::InternedString {
            id,
            text: (*text).to_owned(),
        });
    let tasks = proto::Tasks {
        id: (1..=names.len() as u64).collect(),
        name: (200..).take(names.len()).collect(),
        state: vec![1; names.len()],
        ..proto::Tasks::default()
    };
    let frame = proto::Frame {
        strings: strings.collect(),
        tasks: Some(tasks),
        ..fixtures::frame(state.model().now)
    };
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
    state
}

fn act(state: &mut State, actions: impl IntoIterator<Item = Action>) -> Vec<Effect> {
    actions
        .into_iter()
        .flat_map(|action| update(state, action))
        .collect()
}

fn key(state: &mut State, key: Key) -> Vec<Effect> {
    bindings::dispatch(state, key).map_or_else(Vec::new, |action| update(state, action))
}

pub(crate) fn type_text(state: &mut State, text: &str) {
    for c in text.chars() {
        let pressed = match c {
            '\n' => Key::Enter,
            '\u{1b}' => Key::Esc,
            c => Key::Char(c),
        };
        key(state, pressed);
    }
}

fn names(state: &State) -> Vec<String> {
    let name = heads_index(state, "name");
    (0..state.rows.len())
        .filter_map(|i| state.rows.row(state.model(), i))
        .map(|row| row.cell(&state.context(), name, 20).plain())
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
    let table: [(&[Key], Check); 16] = [
        (&[Char('2')], |s| s.view == ViewId::Tasks),
        (&[Tab], |s| s.view == ViewId::Tasks),
        (&[Tab, Tab, Key::BackTab], |s| s.view == ViewId::Tasks),
        (&[Key::BackTab], |s| s.view == ViewId::Threads),
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
            kind: "agent",
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
            kind: "agent",
        },
        now,
    );
    assert!(state.model().lag.is_empty() && state.model().workers.is_empty());
    assert!(state.notice().unwrap().starts_with("new process"));
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
fn every_binding_has_keys_and_help() {
    for binding in bindings::BINDINGS {
        assert!(!binding.keys.is_empty() && !binding.help.is_empty());
    }
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
