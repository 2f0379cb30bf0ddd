//! The engine that says who waits for whom, on a hostile memory: see [`crate::snapshot`].

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::tasks::{AddressSet, Tasks};
use looptop_outside::waiting::Waiting;
use looptop_symbols::Resolver;

use crate::guard::guarded_twice;
use crate::snapshot::{Changed, Process, snapshot};

/// One engine for all inputs, as for a process that changes: what it reads of the program's
/// file takes a second.
struct Engine {
    memory: Changed,
    waiting: Waiting<Process>,
    now: Instant,
}

impl Engine {
    fn new() -> Self {
        let base = snapshot();
        let memory = Changed::of(&base, &[]);
        let resolver = Resolver::new(None);
        let process = Process(memory.clone());
        let mut engine = Self {
            waiting: Waiting::new(process, Arc::clone(&base.types), resolver),
            memory,
            now: Instant::now(),
        };
        engine.look();
        engine
    }

    fn look(&mut self) {
        let base = snapshot();
        let mut tasks = Tasks::over(self.memory.clone(), Arc::clone(&base.types));
        let listing = tasks.read_all(&base.stacks);
        self.now += Duration::from_secs(3);
        let all = (listing.tasks.clone().into(), listing.lacks());
        self.waiting
            .take_listing(all, &AddressSet::default(), self.now);
        self.waiting.read(Duration::from_millis(300));
        self.waiting.look_at_threads(self.now);
        let _ = format!("{:?}", self.waiting.take());
    }
}

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(Engine::new());
}

/// The input is changes of memory.
pub fn run(data: &[u8]) {
    ENGINE.with_borrow_mut(|engine| {
        engine.memory.become_as(data);
        guarded_twice(|| engine.look());
    });
}
