//! Screens of where tasks wait.

use std::sync::Arc;

use looptop_wire::{columns, proto};
use ratatui::style::Modifier;

use crate::{
    app::{
        Event, Screen, State, Tone, ViewId,
        fixtures::{hostile_waits_state, outside_state, type_text, waits_state},
        mouse::{Mouse, action, tabs},
        update,
    },
    model::{AwaitKind, AwaitLink, AwaitsBy, TaskState, WantKind, fixtures},
};

use super::{
    Depth, Theme,
    tests::{draw, screen, text},
};

/// Keys from a fresh screen to each of the views and pages.
const SCREENS: [(&str, &str); 11] = [
    ("overview", "1"),
    ("by_what", "8"),
    ("by_chain", "8t"),
    ("one_by_one", "8tt"),
    ("group", "8j\n"),
    ("task_in_ring", "2/transfer\n\n"),
    ("task_of_pool", "2/id:3\n\n"),
    ("task_whole_chain", "2/transfer\n\na"),
    ("task_select", "2/Handler\n\n"),
    ("thread", "8/std\n\n\n"),
    ("tasks", "2"),
];

#[test]
fn where_tasks_wait() {
    for (name, keys) in SCREENS {
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let mut state = waits_state();
            type_text(&mut state, keys);
            let name = format!("{name}_{width}x{height}");
            insta::assert_snapshot!(name, screen(&mut state, width, height));
        }
    }
}

#[test]
fn in_ascii_and_without_colours() {
    for (name, keys) in [
        ("by_what", "8"),
        ("task", "2/Handler\n\n"),
        ("task_ring", "2/transfer\n\n"),
    ] {
        let mut state = waits_state();
        type_text(&mut state, keys);
        let shown = text(&draw(&mut state, 80, 24, &Theme::new(Depth::None, true)));
        let unknown = shown
            .lines()
            .skip(5)
            .take(18)
            .any(|line| line.contains('?'));
        assert!(shown.is_ascii() && !unknown, "{shown}");
        insta::assert_snapshot!(format!("ascii_{name}"), shown);
    }
}

#[test]
fn names_of_a_hostile_target_reach_no_terminal_raw() {
    for (name, keys) in SCREENS {
        for (width, height) in [(60, 15), (80, 24), (200, 50)] {
            let mut state = hostile_waits_state();
            type_text(&mut state, keys);
            let shown = screen(&mut state, width, height);
            let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!shown.chars().any(is_raw), "{name}: {shown:?}");
        }
    }
    let mut state = hostile_waits_state();
    for (name, keys) in [("by_what", "8"), ("task", "\n\n")] {
        type_text(&mut state, keys);
        insta::assert_snapshot!(format!("hostile_{name}"), screen(&mut state, 80, 24));
    }
}

#[test]
fn the_mouse_sorts_selects_and_opens_groups() {
    let mut state = waits_state();
    let click = |state: &mut State, x: u16, y: u16| {
        let clicked = action(state, Mouse::Click, x, y);
        clicked.map(|action| update(state, action))
    };
    let tabs = tabs(&state, Screen::new(state.size).unwrap().tabs);
    let tab = tabs.last().unwrap().place;
    click(&mut state, tab.x + 3, tab.y);
    assert_eq!(state.view, ViewId::Waits);
    let area = state.table_area().unwrap();
    // By age: the ring stays first.
    click(&mut state, 12, area.head.y);
    let first = screen(&mut state, 80, 24);
    let rows: Vec<&str> = first.lines().skip(7).take(3).collect();
    assert!(
        rows[0].contains("DEADLOCK") && rows[1].contains("≥41 s"),
        "{rows:?}"
    );
    let pool = first
        .lines()
        .position(|line| line.contains("Semaphore"))
        .unwrap();
    click(&mut state, 5, pool as u16);
    click(&mut state, 5, pool as u16);
    assert_eq!(state.rows.len(), 10);
}

#[test]
fn the_applications_own_stands_out() {
    let theme = Theme::new(Depth::True, false);
    let mut state = waits_state();
    type_text(&mut state, "2/transfer\n\na");
    let buffer = draw(&mut state, 80, 24, &theme);
    let shown = text(&buffer);
    let style_of = |word: &str| {
        let found = shown.lines().enumerate().skip(6);
        let (y, line) = found
            .into_iter()
            .find(|(_, line)| line.contains(word))
            .unwrap();
        let x = line[..line.find(word).unwrap()].chars().count();
        buffer[(x as u16, y as u16)].style()
    };
    let is_bold = |word| style_of(word).add_modifier.contains(Modifier::BOLD);
    assert!(is_bold("bank::transfer") && !is_bold("tokio::sync::mutex"));
    assert_eq!(style_of("tokio::sync::mutex").fg, theme.style(Tone::Dim).fg);
    assert_eq!(style_of("DEADLOCK").fg, theme.style(Tone::Critical).fg);
}

/// With what a frame adds.
fn with(change: impl FnOnce(&mut proto::Frame)) -> State {
    let mut state = waits_state();
    let mut frame = fixtures::frame(state.model().now);
    change(&mut frame);
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    state.prepare();
    state
}

#[test]
fn how_much_was_read_is_said_and_why_nothing_was() {
    let read = |idle, read, complete, reason| proto::WaitsRead {
        idle,
        read,
        complete,
        without: idle - read,
        without_reason: reason,
        ..proto::WaitsRead::default()
    };
    let text = proto::InternedString {
        id: 900,
        text: "the program has no debug information".into(),
    };
    let titled = |state: &mut State| {
        type_text(state, "8");
        screen(state, 80, 24).lines().nth(5).unwrap().to_owned()
    };
    let mut state = with(|frame| frame.waits_read = Some(read(100_000, 12_000, false, 0)));
    assert!(titled(&mut state).contains(" 12,000 of 100,000 read "));
    let mut state = with(|frame| frame.waits_read = Some(read(1_204, 1_204, true, 0)));
    assert!(titled(&mut state).contains(" 1,204 idle, 1,204 read "));
    // A task that has no chain says why, or that it has to wait for it.
    let unread = |frame: &mut proto::Frame, complete| {
        frame.strings = vec![text.clone()];
        frame.task_waits = vec![proto::TaskWait {
            task: 17,
            ..proto::TaskWait::default()
        }];
        frame.waits_read = Some(read(20, 18, complete, 900));
    };
    for (complete, why) in [
        (true, "the program has no debug information"),
        (false, "not read yet: 18 of 20 idle tasks were"),
    ] {
        let mut state = with(|frame| unread(frame, complete));
        type_text(&mut state, "2/purge\n\nG");
        let shown = screen(&mut state, 80, 60);
        assert!(
            shown.contains("– await chain") && shown.contains(why),
            "{shown}"
        );
    }
    // Nothing at all.
    let mut state = outside_state();
    let frame = proto::Frame {
        strings: vec![text.clone()],
        waits_read: Some(read(11, 0, true, 900)),
        ..fixtures::frame(state.model().now)
    };
    let now = state.now;
    state.apply(Event::Frame(Arc::new(frame)), now);
    type_text(&mut state, "8");
    insta::assert_snapshot!("nothing_read_80x24", screen(&mut state, 80, 24));
}

#[test]
fn a_verdict_of_a_deadlock_names_both_at_once() {
    let mut state = waits_state();
    let shown = screen(&mut state, 80, 24);
    let verdict: Vec<&str> = shown.lines().skip(1).take(2).collect();
    let verdict = verdict.join(" ");
    for part in ["deadlock", "bank.rs:21", "bank.rs:33", "transfer", "report"] {
        assert!(verdict.contains(part), "{part}: {verdict}");
    }
}

/// A tree of futures: depth, kind, link and name of each.
fn shape(id: u32, by: AwaitsBy, nodes: &[(u32, AwaitKind, AwaitLink, u32)]) -> proto::AwaitShape {
    let nodes = nodes
        .iter()
        .map(|(depth, kind, link, future)| proto::AwaitNode {
            depth: *depth,
            kind: (*kind).into(),
            future: *future,
            link: (*link).into(),
            ..proto::AwaitNode::default()
        });
    proto::AwaitShape {
        id,
        nodes: nodes.collect(),
        by: by.into(),
        cut: 0,
    }
}

#[test]
fn what_is_kept_joined_timed_and_not_whole_is_said() {
    use AwaitKind::{AsyncFn, Join, Leaf, Select};
    use AwaitLink::{Awaited, Kept, NotStarted};
    const FIRST: u32 = 900;
    let names = [
        "app::crawl::{async_fn#0}",
        "futures_util::future::join_all::JoinAll<app::fetch::{async_fn#0}>",
        "app::fetch::{async_fn#0}",
        "tokio::time::timeout::Timeout<app::fetch::{async_fn#0}>",
        "tokio::net::tcp::stream::TcpStream::readable",
        "tokio::time::sleep::Sleep",
        "an instruction of it is not known",
    ];
    let name = |n: u32| FIRST + n;
    let mut joined = vec![
        (0, AsyncFn, Awaited, name(0)),
        (1, AsyncFn, Kept, name(2)),
        (1, AsyncFn, NotStarted, name(2)),
        (1, Join, Awaited, name(1)),
    ];
    joined.extend((0..23).map(|_| (2, AsyncFn, Awaited, name(2))));
    let timed = [
        (0, AsyncFn, Awaited, name(0)),
        (1, Select, Awaited, name(3)),
        (2, AsyncFn, Awaited, name(2)),
        (3, Leaf, Awaited, name(4)),
        (2, Leaf, Awaited, name(5)),
    ];
    let mut state = with(|frame| {
        let texts = names.iter().zip(FIRST..);
        frame.strings = texts
            .map(|(text, id)| proto::InternedString {
                id,
                text: (*text).to_owned(),
            })
            .collect();
        let mut timed = shape(901, AwaitsBy::Interpreter, &timed);
        timed.cut = name(6);
        frame.await_shapes = vec![shape(900, AwaitsBy::Types, &joined), timed];
        let wait = |task, shape, wants| proto::TaskWait {
            task,
            shape,
            wants,
            since_ns: frame.now_ns - 5_000_000_000,
            read_at_ns: frame.now_ns,
            certain: shape == 900,
            ..proto::TaskWait::default()
        };
        let socket = proto::Want {
            node: 3,
            kind: WantKind::Socket.into(),
            descriptor: Some(7),
            ..proto::Want::default()
        };
        let sleep = proto::Want {
            node: 4,
            kind: WantKind::Timer.into(),
            ..proto::Want::default()
        };
        frame.task_waits = vec![wait(17, 900, vec![]), wait(18, 901, vec![socket, sleep])];
    });
    for (name, keys) in [
        ("joined", "2/id:17\n\n"),
        ("timed", "\u{1b}\u{1b}/id:18\n\n"),
    ] {
        type_text(&mut state, keys);
        insta::assert_snapshot!(format!("{name}_80x24"), screen(&mut state, 80, 24));
    }
}

#[test]
fn how_long_is_exact_where_the_last_poll_is_known() {
    let mut state = with(|frame| {
        let mut tasks = proto::Tasks::default();
        let record = columns::Record {
            id: 3,
            tokio_id: Some(3),
            state: TaskState::Idle,
            idle_since_ns: Some(Some(frame.now_ns - 7_000_000_000)),
            ..columns::Record::default()
        };
        columns::push(&mut tasks, &record);
        frame.tasks = Some(tasks);
    });
    type_text(&mut state, "2/id:3\n\n");
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("Await chain, idle for 7.0 s"), "{shown}");
    type_text(&mut state, "\u{1b}8tt/id:3\n");
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("  7.0 s permit of"), "{shown}");
}

#[test]
fn a_filter_finds_those_who_wait_by_each_column() {
    for (keys, expected) in [
        ("8/pool.rs:31\n", 1),
        ("8/tasks>2\n", 2),
        ("8/oldest>20s\n", 3),
        ("8/held:report\n", 1),
        ("8/deadlock\n", 1),
        ("8t/Handler\n", 1),
        ("8tt/wait:semaphore !id:3\n", 9),
        ("2/waits:Semaphore\n", 10),
        ("2/audit\n", 1),
    ] {
        let mut state = waits_state();
        type_text(&mut state, keys);
        assert_eq!(
            state.rows.len(),
            expected,
            "{keys}: {}",
            screen(&mut state, 120, 40)
        );
    }
}
