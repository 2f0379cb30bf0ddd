//! The stacks of a core dump's threads, and what each thread does for tokio.

use looptop_procfs::syscalls;
use looptop_symbols::scheduler::{Place, Unknown, Wait};
use looptop_unwind::{Beyond, Frame, Memory, ModuleInfo};

use super::{CoreFile, CoreThread};
use crate::code::Program;
use crate::tasks::{InPoll, Types};
use crate::{Call, Role, RunningTask};

/// Bytes of a stack that are read at once; what lies further out is read word by word.
const STACK: usize = 64 << 10;

/// Unwinds the stacks of a core dump's threads.
#[derive(Debug)]
pub struct CoreStacks {
    core: CoreFile,
    program: Program<CoreFile>,
}

/// Where a thread stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadStack {
    /// Its id.
    pub tid: u64,
    /// What it does for tokio.
    pub role: Role,
    /// It drives a runtime, and waits for work.
    pub parked: bool,
    /// It is in a poll, or in the future of a `block_on`.
    pub in_poll: bool,
    /// The task in whose poll it is.
    pub task: Option<RunningTask>,
    /// The system call in which it was.
    pub call: Option<Call>,
    /// The signal that it was given; 0 where it was given none.
    pub signal: u32,
    /// Innermost first; see [`CoreStacks::modules`].
    pub frames: Vec<Frame>,
    /// Outer frames are missing.
    pub truncated: bool,
}

impl CoreStacks {
    /// Those of a core dump; its program's symbols are read, some ten milliseconds. With
    /// `types` more is known of what polls.
    pub fn of(core: &CoreFile, types: Option<&Types>) -> Self {
        let mut program = Program::load(core.clone(), true);
        if let Some(types) = types {
            program.learn_types(types);
        }
        Self {
            core: core.clone(),
            program,
        }
    }

    /// What was mapped and has code, as the frames count.
    pub fn modules(&self) -> &[ModuleInfo] {
        self.program.modules()
    }

    /// Why the functions of tokio's scheduler are not known, where they are not.
    pub fn nameless(&self) -> Option<Unknown> {
        self.program.nameless()
    }

    /// Where all threads stood, in the order of the dump.
    pub fn threads(&mut self, in_poll: Option<&InPoll<CoreFile>>) -> Vec<ThreadStack> {
        let core = self.core.clone();
        let threads = core.threads();
        threads
            .map(|thread| self.thread(&thread, in_poll))
            .collect()
    }

    fn thread(&mut self, thread: &CoreThread, in_poll: Option<&InPoll<CoreFile>>) -> ThreadStack {
        let sp = thread.registers.sp;
        let mut copy = vec![0; STACK];
        let length = self.core.read(sp, &mut copy);
        copy.truncate(length);
        let wait = thread
            .call
            .map_or(Wait::Other, |call| Wait::of(&syscalls::name(call.number)));
        let standing = self
            .program
            .stand(thread.registers, &copy, Beyond::InMemory, wait);
        let role = match standing.place {
            // No poll of those that are known: it may be of the blocking pool.
            Some(Place::Elsewhere) if self.program.is_bare() => Role::Unknown,
            Some(place) => Role::at(place, Role::Unknown),
            None => Role::Unknown,
        };
        let is_in_poll = matches!(standing.place, Some(Place::InPoll(_) | Place::InFuture));
        let words = standing.words(&copy, sp);
        let task = in_poll.filter(|_| is_in_poll).and_then(|in_poll| {
            let found = in_poll.among(&words)?;
            Some(RunningTask {
                header: found.header,
                id: found.id,
            })
        });
        ThreadStack {
            tid: thread.tid,
            role,
            parked: matches!(standing.place, Some(Place::Parked(_))),
            in_poll: is_in_poll,
            task,
            call: thread.call,
            signal: thread.signal,
            frames: standing.unwound.stack.frames,
            truncated: standing.unwound.stack.truncated,
        }
    }
}
