//! Task lists, futures and polls out of a hostile memory: see [`crate::snapshot`].

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use looptop_interpret::Limits;
use looptop_outside::awaits::interpreted::{Interpreter, Named};
use looptop_outside::awaits::{Awaits, text, waits};
use looptop_outside::core::CoreFile;
use looptop_outside::tasks::Tasks;
use looptop_outside::waits::Waits;
use looptop_symbols::Lines;

use crate::guard::guarded;
use crate::snapshot::{Changed, path, snapshot};

/// Tasks whose chains are read.
const MAX_TASKS: usize = 30;

thread_local! {
    static AWAITS: RefCell<Option<Awaits>> = RefCell::new({
        let core = CoreFile::open(&path()).ok();
        core.and_then(|core| Awaits::of_core(&core, Arc::clone(&snapshot().types)).ok())
    });
    static NAMES: RefCell<std::collections::HashMap<u64, Vec<Named>>> = RefCell::default();
    static LINES: Option<(Lines, u64)> = lines();
}

/// The names of the program's functions, and what is added to its addresses.
fn lines() -> Option<(Lines, u64)> {
    let core = CoreFile::open(&path()).ok()?;
    let bias = snapshot().types.modules().first()?.bias?;
    Some((Lines::open(core.executable()).ok()?, bias))
}

fn names(address: u64) -> Vec<Named> {
    NAMES.with_borrow_mut(|known| {
        let named = known.entry(address).or_insert_with(|| {
            LINES.with(|lines| {
                let Some((lines, bias)) = lines else {
                    return Vec::new();
                };
                let found = lines.functions(address.wrapping_sub(*bias)).into_iter();
                let named = found.map(|function| Named {
                    name: function.name.unwrap_or_default().into(),
                    ..Named::default()
                });
                named.collect()
            })
        });
        named.clone()
    })
}

/// The input is changes of memory.
pub fn run(data: &[u8]) {
    let base = snapshot();
    // Read once, and not by an input's time.
    AWAITS.with_borrow(|awaits| assert!(awaits.is_some(), "the program has types"));
    guarded(|| {
        let memory = Changed::of(&base, data);
        let mut tasks = Tasks::over(memory.clone(), Arc::clone(&base.types));
        let listing = tasks.read_all(&base.stacks);
        let mut interpreter = Interpreter::over(memory.clone());
        interpreter.play_at(base.worker);
        interpreter.limit(Limits {
            // Fewer than of a real one: there are as many as there are tasks.
            steps: 20_000,
            reads: 20_000,
            ..Limits::default()
        });
        let mut all = Waits::default();
        let mut chains = Vec::new();
        for task in listing.tasks.iter().take(MAX_TASKS) {
            listing.spawned_at(task);
            let by_types = AWAITS.with_borrow_mut(|awaits| {
                let awaits = awaits.as_mut()?;
                awaits.chain(&memory, task).ok()
            });
            let by_poll = interpreter.chain(task, &base.types, &mut names).ok();
            for chain in [by_types, by_poll].into_iter().flatten() {
                let _ = text(&chain, Duration::from_secs(1));
                chains.push(chain);
            }
        }
        waits(&chains, &mut all);
        let stack: Vec<u64> = listing.tasks.iter().map(|task| task.header).collect();
        tasks.running_among(&stack);
        tasks.read(&base.stacks);
    });
}
