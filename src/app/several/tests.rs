use super::*;
use crate::{
    app::{
        Connection,
        fixtures::{starving_state, waits_state},
    },
    diagnose::{Level, Verdict},
};

/// How the starving lab does, as its own screen says it.
fn starving() -> Summary {
    let mut state = starving_state();
    crate::app::fixtures::name_stall(&mut state);
    let snapshot = state.shown();
    let verdict = (*snapshot.verdict).clone();
    Summary::new(&snapshot.model, &snapshot.findings, verdict)
}

fn healthy() -> Summary {
    Summary {
        session: "another".into(),
        application: "billing".into(),
        pid: Some(812),
        verdict: Verdict {
            level: Level::Healthy,
            sentence: "nothing starves the loop: 12 tasks, 4 workers".into(),
            remedy: String::new(),
            finding: None,
        },
        worst: None,
        findings: 0,
        lag: Some(Duration::from_micros(120)),
        busy: Some(0.04),
        stalls: 0,
    }
}

#[test]
fn a_deadlock_is_told_by_all_who_wait_for_each_other() {
    let state = waits_state();
    let snapshot = state.shown();
    let verdict = (*snapshot.verdict).clone();
    let summary = Summary::new(&snapshot.model, &snapshot.findings, verdict);
    assert_eq!(
        summary.culprit().as_deref(),
        Some("DEADLOCK of bank::transfer (src/bank.rs:21) and bank::report (src/bank.rs:33)")
    );
}

fn process(
    id: u64,
    target: &str,
    connection: Connection,
    summary: Option<Summary>,
) -> Arc<Process> {
    Arc::new(Process {
        connection,
        summary: summary.map(Box::new),
        ..Process::new(id, target.to_owned(), false)
    })
}

/// One of each kind, in the order in which they were named.
pub(crate) fn processes(now: Instant) -> Vec<Arc<Process>> {
    let live = || Connection::Live;
    let lost = Connection::Lost {
        problem: "connection refused: nothing listens on 10.0.0.9:6669; is the application \
                  running, and does it call looptop_agent::init()?"
            .into(),
        retry_at: Some(now + Duration::from_millis(1_200)),
    };
    let silent = Connection::Silent {
        since: now,
        problem: "process 97 (shop) is stopped by a signal or a debugger; `kill -CONT 97` lets \
                  it go on; what you see is old"
            .into(),
    };
    let blind = Summary {
        verdict: Verdict {
            level: Level::NotObserving,
            sentence: "no runtime is registered, and 3 threads run tokio".into(),
            remedy: "call looptop_agent::register_current() in each".into(),
            finding: None,
        },
        lag: None,
        busy: None,
        application: "evil\u{1b}[2J\u{202e}".into(),
        ..healthy()
    };
    let ended = Connection::Ended;
    vec![
        process(1, "10.0.0.7:6669", live(), Some(healthy())),
        process(2, "10.0.0.9:6669", lost, Some(starving())),
        process(3, "10.0.0.8:6669", live(), Some(starving())),
        process(4, "pid:4211", live(), Some(blind)),
        process(5, "yesterday.looptop", ended, Some(healthy())),
        process(6, "unix:/run/orders/looptop.sock", silent, Some(healthy())),
        Arc::new(Process::new(7, "10.0.0.10:6669".into(), false)),
    ]
}

pub(crate) fn page(width: u16, height: u16) -> Several {
    let now = Instant::now();
    let mut page = Several::new(Size::new(width, height), Keymap::default(), now);
    page.nothing = "There is no process to watch.";
    page.found(processes(now));
    page
}

fn press(page: &mut Several, keys: &[Key]) -> Choice {
    let mut choice = Choice::Stay;
    for key in keys {
        choice = page.key(*key);
    }
    choice
}

use Key::{Backspace, Char, Down, Enter, Esc};

#[test]
fn what_suffers_most_comes_first_and_what_gives_no_data_is_not_called_well() {
    let page = page(120, 40);
    let pains: Vec<(u64, Pain)> = page.all().iter().map(|p| (p.id, p.pain())).collect();
    assert_eq!(
        pains,
        [
            (3, Pain::Starved),
            (2, Pain::NoData),
            (6, Pain::NoData),
            (4, Pain::NotObserving),
            (7, Pain::Unknown),
            (1, Pain::None),
            (5, Pain::None),
        ]
    );
    // What was seen of one before its connection broke says nothing of it now.
    assert!(page.all()[1].current().is_none() && page.all()[1].summary.is_some());
}

#[test]
fn of_equal_pain_the_greater_lag_comes_first_and_a_little_more_changes_nothing() {
    let now = Instant::now();
    let mut page = Several::new(Size::new(80, 24), Keymap::default(), now);
    let with = |id, millis| {
        let summary = Summary {
            lag: Some(Duration::from_millis(millis)),
            ..starving()
        };
        process(id, "a", Connection::Live, Some(summary))
    };
    let mut order = |processes: Vec<Arc<Process>>| {
        page.found(processes);
        page.all().iter().map(|p| p.id).collect::<Vec<_>>()
    };
    assert_eq!(order(vec![with(1, 300), with(2, 900)]), [2, 1]);
    assert_eq!(order(vec![with(1, 300), with(2, 310)]), [1, 2]);
}

#[test]
fn keys_choose() {
    let text = |text: &str| text.chars().map(Char).collect::<Vec<_>>();
    let filtered =
        |filter: &str, then: &[Key]| [&[Char('/')][..], &text(filter), &[Enter], then].concat();
    for (keys, expected) in [
        (vec![Enter], Choice::Open(3)),
        (vec![Down, Enter], Choice::Open(2)),
        (vec![Char('G'), Enter], Choice::Open(5)),
        (vec![Char('G'), Char('g'), Enter], Choice::Open(3)),
        (filtered("10.0.0.7", &[Enter]), Choice::Open(1)),
        (filtered("STARVED", &[Enter]), Choice::Open(3)),
        (filtered("such a row is not there", &[Enter]), Choice::Stay),
        (filtered("q", &[Esc, Enter]), Choice::Open(3)),
        // Back never ends the program.
        (vec![Esc, Esc, Backspace, Backspace], Choice::Stay),
        (vec![Char('q')], Choice::Quit),
        (vec![Key::Ctrl('c')], Choice::Quit),
        (vec![Char('/'), Char('q')], Choice::Stay),
        (vec![Char('/'), Key::Ctrl('c')], Choice::Quit),
        (vec![Key::Ctrl('z')], Choice::Suspend),
        (vec![Char('?'), Enter], Choice::Stay),
        (vec![Char('?'), Esc, Enter], Choice::Open(3)),
        (vec![Char('?'), Char('q')], Choice::Quit),
        (vec![Char('x')], Choice::Stay),
    ] {
        assert_eq!(press(&mut page(80, 24), &keys), expected, "{keys:?}");
    }
}

#[test]
fn the_cursor_follows_its_process() {
    let now = Instant::now();
    let mut page = page(80, 24);
    press(&mut page, &[Down, Down]);
    assert_eq!(page.under_cursor().unwrap().id, 6);
    // It comes back, and is well.
    let mut all = processes(now);
    all[5] = process(6, "unix:/run", Connection::Live, Some(healthy()));
    page.found(all.clone());
    assert_eq!(page.under_cursor().unwrap().id, 6);
    // It is gone: the cursor stays in the list.
    all.remove(5);
    page.found(all);
    assert!(page.under_cursor().is_some());
    page.found(Vec::new());
    assert!(page.under_cursor().is_none());
    assert_eq!(page.key(Enter), Choice::Stay);
}

#[test]
fn the_cursor_begins_on_the_worst_and_stays_there_until_it_is_moved() {
    let now = Instant::now();
    let mut page = Several::new(Size::new(80, 24), Keymap::default(), now);
    let mut all = vec![process(1, "a", Connection::Live, Some(healthy()))];
    page.found(all.clone());
    all.push(process(2, "b", Connection::Live, Some(starving())));
    page.found(all);
    assert_eq!(page.key(Enter), Choice::Open(2));
}

#[test]
fn what_is_copied_names_the_process_and_holds_no_control_characters() {
    let mut page = page(80, 24);
    let Choice::Copy(text) = page.key(Char('y')) else {
        panic!("nothing was copied");
    };
    let begins = text.starts_with("lab 10.0.0.8:6669\n[");
    assert!(begins && text.contains("report.rs:42"), "{text}");
    press(&mut page, &[Down, Down, Down]);
    let Choice::Copy(text) = page.key(Char('y')) else {
        panic!("nothing was copied");
    };
    assert!(text.contains("no runtime is registered"), "{text}");
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert!(page.notice().is_some());
}

#[test]
fn the_culprit_is_named_as_far_as_it_is_known() {
    let mut summary = starving();
    assert_eq!(
        summary.culprit().unwrap(),
        "report::render (demo/src/report.rs:42)"
    );
    let worst = summary.worst.as_mut().unwrap();
    worst.function = None;
    assert_eq!(summary.culprit().unwrap(), "demo/src/report.rs:42");
    let worst = summary.worst.as_mut().unwrap();
    worst.location.clear();
    let title = worst.title.clone();
    assert_eq!(summary.culprit().unwrap(), title);
    assert_eq!(healthy().culprit(), None);
}

#[test]
fn the_mouse_selects() {
    let mut page = page(80, 24);
    let first = page.parts().rows.y;
    page.mouse(Mouse::Click, first + 3);
    assert_eq!(page.under_cursor().unwrap().id, 4);
    page.mouse(Mouse::WheelUp, 0);
    assert_eq!(page.under_cursor().unwrap().id, 6);
    page.mouse(Mouse::Click, 0);
    assert_eq!(page.under_cursor().unwrap().id, 6);
}
