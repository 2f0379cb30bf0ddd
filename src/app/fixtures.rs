//! States to test with.

use std::{sync::Arc, time::Instant};

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

/// Connected to an agent that has sent no frame yet.
fn connected_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(fixtures::hello()),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    state
}

/// Connected to the lab, whose worker 3 is blocked.
pub(crate) fn starving_state() -> State {
    let mut state = connected_state();
    let now = state.now;
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
        kind: crate::model::SourceKind::Agent,
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

/// The same program seen from outside, without an agent.
pub(crate) fn outside_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    state.apply(
        Event::Connected {
            hello: Box::new(fixtures::outside_hello()),
            kind: crate::model::SourceKind::Outside,
        },
        now,
    );
    for second in [18_900_000_000, 20_000_000_000] {
        let frame = fixtures::outside_frame(crate::model::Moment(second));
        state.apply(Event::Frame(Arc::new(frame)), now);
    }
    name_stall(&mut state);
    state.prepare();
    state
}

/// Of a service whose tasks wait for each other, seen from outside: [`fixtures::waits`].
pub(crate) fn waits_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(fixtures::outside_hello()),
        kind: crate::model::SourceKind::Outside,
    };
    state.apply(connected, now);
    let model = fixtures::waits();
    let seen = proto::Frame {
        outside: Some(proto::Outside {
            looks: 6_000,
            read: 40,
            listings: 60,
            ..proto::Outside::default()
        }),
        ..fixtures::frame(model.now)
    };
    // A ring is one once it has stood for seconds.
    for mut frame in model.keyframes() {
        frame.now_ns -= 4_000_000_000;
        state.apply(Event::Frame(Arc::new(frame)), now);
    }
    state.prepare();
    state.apply(Event::Frame(Arc::new(seen)), now);
    state.prepare();
    state
}

/// The same where every name is wide, long, or attacks the terminal.
pub(crate) fn hostile_waits_state() -> State {
    let mut state = empty_state();
    let now = state.now;
    let connected = Event::Connected {
        hello: Box::new(fixtures::hello()),
        kind: crate::model::SourceKind::Agent,
    };
    state.apply(connected, now);
    for mut frame in fixtures::waits().keyframes() {
        for string in &mut frame.strings {
            string.text = match string.id % 3 {
                0 => format!("{}\x1b[2J\x1b]0;title\x07", string.text),
                1 => format!("日本語の名前\u{202e}{}", string.text),
                _ => format!("{}<{}>", string.text, "very::long::Name".repeat(30)),
            };
        }
        frame.now_ns -= 4_000_000_000;
        state.apply(Event::Frame(Arc::new(frame)), now);
    }
    state.prepare();
    let later = fixtures::frame(fixtures::waits().now);
    state.apply(Event::Frame(Arc::new(later)), now);
    state.prepare();
    state
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
            kind: crate::model::SourceKind::Console,
        },
        now,
    );
    let frame = fixtures::frame(crate::model::Moment(1_000_000_000));
    state.apply(Event::Frame(Arc::new(frame)), now);
    state
}

/// Of a program that has registered no runtime, and runs three threads of some.
pub(crate) fn unobserved_state() -> State {
    let mut state = connected_state();
    let now = state.now;
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
    let mut state = connected_state();
    let now = state.now;
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

/// Presses a key.
pub(crate) fn key(state: &mut State, key: Key) -> Vec<Effect> {
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
