//! What the screen costs with many tasks: prints the milliseconds that a frame
//! of data, a sort and a drawing take.
//!
//! ```text
//! cargo run --release --example render_cost [TASKS]
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop::{
    app::{Action, Event, Motion, State, ViewId, update},
    ui::{Depth, Theme, render},
};
use looptop_wire::{intern::Interner, proto};
use ratatui::{Terminal, backend::TestBackend, layout::Size};

const SIZE: Size = Size {
    width: 160,
    height: 50,
};

fn main() {
    let tasks: u64 = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    let mut state = State::new(looptop::app::Options::default(), Instant::now());
    state.size = SIZE;
    let hello = Box::new(hello());
    state.apply(
        Event::Connected {
            hello,
            kind: looptop::model::SourceKind::Agent,
        },
        Instant::now(),
    );
    let mut interner = Interner::default();
    timed("the first frame, all tasks", 1, || {
        state.apply(
            Event::Frame(Arc::new(frame(0, tasks, &mut interner))),
            Instant::now(),
        );
    });
    let theme = Theme::new(Depth::True, false);
    let mut terminal =
        Terminal::new(TestBackend::new(SIZE.width, SIZE.height)).expect("a test backend is ready");
    // A tenth of the tasks changes in each tenth of a second.
    let mut n = 0;
    let apply = timed("a frame with a tenth of the tasks", 30, || {
        n += 1;
        state.apply(
            Event::Frame(Arc::new(frame(n, tasks / 10, &mut interner))),
            Instant::now(),
        );
    });
    // Where a frame's time goes.
    let mut model = state.live_model().as_ref().clone();
    timed("  of it: the model", 30, || {
        n += 1;
        let _ = model.apply(&frame(n, tasks / 10, &mut interner));
    });
    let mut engine = looptop::diagnose::Engine::new(looptop::diagnose::Window::Live);
    let mut at = model.now;
    timed("  of it: the diagnosis", 30, || {
        at = at.plus(Duration::from_millis(100));
        model.now = at;
        engine.update(&model);
    });
    update(&mut state, Action::Show(ViewId::Tasks));
    let sort = timed("filtering and sorting all rows", 10, || {
        update(&mut state, Action::Invert);
    });
    let draw = timed("drawing the tasks", 100, || {
        state.prepare();
        terminal
            .draw(|frame| render(&state, &theme, frame))
            .expect("a test backend draws");
    });
    let key = timed("a key until it is drawn", 100, || {
        update(&mut state, Action::Move(Motion::Down));
        terminal
            .draw(|frame| render(&state, &theme, frame))
            .expect("a test backend draws");
    });
    update(&mut state, Action::Show(ViewId::Overview));
    timed("drawing the overview", 100, || {
        state.prepare();
        terminal
            .draw(|frame| render(&state, &theme, frame))
            .expect("a test backend draws");
    });
    // Ten frames a second, each drawn, and one sort a second.
    let share = (apply + draw) * 10 + sort;
    println!(
        "{tasks} tasks at 10 frames/s: {:.1} % of a core; a key takes {:.2} ms (at worst {:.1} ms, with a sort)",
        share.as_secs_f64() * 100.0,
        key.as_secs_f64() * 1e3,
        (key + sort).as_secs_f64() * 1e3,
    );
}

fn timed(what: &str, times: u32, mut run: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        run();
    }
    let each = started.elapsed() / times;
    println!("{:8.3} ms  {what}", each.as_secs_f64() * 1e3);
    each
}

fn hello() -> proto::HelloResponse {
    let capability = |kind: i32| proto::Capability {
        kind,
        available: true,
        reason: String::new(),
    };
    proto::HelloResponse {
        session: "bench".into(),
        name: "bench".into(),
        capabilities: (1..=16).map(capability).collect(),
        ..proto::HelloResponse::default()
    }
}

/// The state of `tasks` tasks, `n` tenths of a second into the session.
fn frame(n: u64, tasks: u64, interner: &mut Interner) -> proto::Frame {
    let ids: Vec<u64> = (1..=tasks).collect();
    let column = |f: &dyn Fn(u64) -> u64| ids.iter().map(|id| f(*id)).collect::<Vec<u64>>();
    let name = |id: u64| format!("http::connection-{}", id % 50);
    let columns = proto::Tasks {
        state: ids.iter().map(|id| 1 + i32::from(id % 7 == 0)).collect(),
        kind: vec![1; ids.len()],
        name: ids.iter().map(|id| interner.string(&name(*id))).collect(),
        location: ids
            .iter()
            .map(|id| interner.location("src/service/connection.rs", 40 + (id % 50) as u32, 9))
            .collect(),
        spawned_at_ns: column(&|id| id * 1_000),
        polls: column(&|id| n * (id % 1_000)),
        busy_ns: column(&|id| n * (id * 7_919 % 100_000)),
        scheduled_ns: column(&|id| n * (id % 10_000)),
        wakes: column(&|id| n * (id % 1_000)),
        self_wakes: column(&|_| 0),
        id: ids.clone(),
        ..proto::Tasks::default()
    };
    proto::Frame {
        now_ns: 1_000_000_000 + n * 100_000_000,
        snapshot_complete: true,
        strings: interner.take_strings(),
        locations: interner.take_locations(),
        tasks: Some(columns),
        ..proto::Frame::default()
    }
}
