//! One chain, by whichever way it can be had.

use std::path::Path;
use std::sync::Arc;

use looptop_procfs::{SyscallState, syscalls};

use super::frames::Stacks;
use super::readable::{Readable, ThreadAt};
use crate::awaits::interpreted::{GivenBack, Interpreter, Lock, NotPolled};
use crate::awaits::{Awaits, Chain, NoChain};
use crate::space::{Space, words};
use crate::tasks::{InPoll, Task, TaskKind, Types};

/// Bytes of a stack that say whether its thread is a worker.
const STACK: usize = 32 << 10;

/// Reads chains: by types where debug information has them, else by the interpreter.
pub(super) struct Chains<S> {
    types: Arc<Types>,
    by_types: Option<Awaits>,
    interpreter: Interpreter<S>,
    /// A thread's part is played.
    plays: bool,
}

impl<S: Space + Clone> Chains<S> {
    /// Reads the types of the program: half a second for a large one.
    pub(super) fn load<R: Readable<Space = S>>(readable: &R, types: Arc<Types>) -> Self {
        let file = |path: &Path| readable.file(path).unwrap_or_else(|| path.to_owned());
        let by_types = Awaits::of(Arc::clone(&types), file).ok();
        Self {
            types,
            by_types,
            interpreter: Interpreter::over(readable.space().clone()),
            plays: false,
        }
    }

    /// Learns which descriptors there are, and chooses a thread whose part is played, where
    /// none is yet.
    pub(super) fn renew<R: Readable<Space = S>>(&mut self, readable: &mut R) {
        self.interpreter.know(readable.sockets());
        if !self.plays {
            let space = readable.space().clone();
            self.plays = self.play(readable, &space);
        }
    }

    /// Plays the part of a thread that is blocked: best of a worker, which runs as a job of
    /// the blocking pool; then of one that waits for events.
    fn play<R: Readable<Space = S>>(&mut self, readable: &mut R, space: &S) -> bool {
        let in_poll = InPoll::new(space.clone(), Arc::clone(&self.types));
        let mut threads: Vec<(u8, ThreadAt)> = Vec::new();
        for thread in readable.threads() {
            let Some(sp) = thread.stack() else { continue };
            let mut stack = vec![0; STACK];
            let read = space.read_stack(sp & !7, &mut stack);
            let words: Vec<u64> = words(&stack[..read]).collect();
            let jobs = in_poll.all_among(&words);
            let runs_job = jobs.iter().any(|task| task.kind == TaskKind::Blocking);
            let polls = jobs.iter().any(|task| task.kind == TaskKind::Async);
            let idles = matches!(thread.state, SyscallState::In { number, args, .. }
                if syscalls::may_idle(number, &args) || syscalls::is_futex(number));
            let rank = match (runs_job && !polls, idles) {
                (true, true) => 0,
                (_, true) => 1,
                _ => 2,
            };
            threads.push((rank, thread));
        }
        threads.sort_by_key(|(rank, _)| *rank);
        let mut plays = threads.iter().filter_map(|(_, thread)| {
            let sp = thread.stack()?;
            Some((thread, sp))
        });
        plays.any(|(thread, sp)| match thread.fs {
            Some(fs) => {
                self.interpreter.play_at(fs);
                true
            }
            None => self.interpreter.play(thread.tid, sp),
        })
    }

    /// What a task would give back of some locks if it were cancelled.
    ///
    /// # Errors
    ///
    /// It does not wait, or does not as it did a moment ago.
    pub(super) fn gives_back(
        &mut self,
        task: &Task,
        locks: &[Lock],
    ) -> Result<GivenBack, NotPolled> {
        let of = self.types.get(task.vtable).ok_or(NotPolled::Gone)?;
        self.interpreter.gives_back(task, of, locks)
    }

    /// Where a task waits; `names` are those of the program's code.
    ///
    /// # Errors
    ///
    /// It does not wait, or nothing is known of it.
    pub(super) fn of(
        &mut self,
        space: &S,
        task: &Task,
        names: &mut Stacks,
    ) -> Result<Chain, NoChain> {
        let mut functions = |address: u64| names.functions(address);
        if let Some(by_types) = &mut self.by_types {
            match by_types.chain(space, task) {
                Err(NoChain::Unknown) => {}
                Ok(chain) if chain.root.is_none() => {}
                Ok(mut chain) => {
                    // Lines of `select!` and `join!`, once for each.
                    if by_types.wants_lines(&chain)
                        && let Ok(polled) =
                            self.interpreter.chain(task, &self.types, &mut functions)
                    {
                        by_types.learn_lines(&mut chain, &polled);
                    }
                    return Ok(chain);
                }
                Err(why) => return Err(why),
            }
        }
        self.interpreter.chain(task, &self.types, &mut functions)
    }
}

impl<S> std::fmt::Debug for Chains<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chains")
            .field("by_types", &self.by_types.is_some())
            .field("plays", &self.plays)
            .finish_non_exhaustive()
    }
}
