//! The program as code: what is mapped, how to unwind it, and where tokio's scheduler is
//! in it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use looptop_procfs::{Mapping, Process};
use looptop_symbols::scheduler::{self, Landmark, Landmarks, Place, Unknown, Wait};
use looptop_unwind::{
    Beyond, ModuleIndex, ModuleInfo, Registers, StackCopy, Unwinder, Unwound, modules,
};

use self::bare::Bare;
use crate::tasks::Types;
use crate::{ProcessSpace, Space};

mod bare;

/// Between two looks at what is mapped: `dlopen` and `dlclose` are rare.
const AGAIN: Duration = Duration::from_secs(2);
/// The same where a stack led to code that is not known.
const SOON: Duration = Duration::from_millis(200);

/// Words of a stack in which a task is sought.
const MAX_WORDS: usize = 4_096;

/// A process as something that runs a program's file.
pub(crate) trait Image: Space {
    /// The path of the program, as the process sees it.
    fn program(&self) -> Option<PathBuf>;

    /// The program's file.
    fn executable(&self) -> io::Result<File>;
}

impl Image for ProcessSpace {
    fn program(&self) -> Option<PathBuf> {
        self.process().program()
    }

    fn executable(&self) -> io::Result<File> {
        File::open(self.process().path("exe"))
    }
}

/// The program of a process.
pub(crate) struct Program<S = ProcessSpace> {
    space: S,
    unwinder: Unwinder,
    landmarks: Result<Landmarks, Unknown>,
    /// What the task types say of polls, where there are no symbols.
    bare: Option<Bare>,
    /// The module that is the program's own file.
    own: Option<ModuleIndex>,
    /// What of code is mapped, to see that it has changed.
    mapped: Vec<Mapping>,
    looked: Option<Instant>,
    /// A stack has led to code that is not known.
    stranger: bool,
}

/// A stack, and where in tokio it stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) unwound: Unwound,
    /// `None` where the scheduler is not known, or the stack says too little.
    pub(crate) place: Option<Place>,
    /// The frame that ends with the poll: the call of the task's poll by the scheduler, or
    /// what the future of `block_on` has called.
    pub(crate) poll: Option<usize>,
    /// It is the scheduler's call of a task's poll.
    pub(crate) is_task: bool,
}

impl Standing {
    /// Where on the stack the return address of that frame is, as long as the poll goes
    /// on: the scheduler's next call of a poll writes it anew.
    pub(crate) fn slot(&self) -> Option<u64> {
        let begin = *self.unwound.begins.get(self.poll?)?;
        begin.checked_sub(8).filter(|slot| slot % 8 == 0)
    }

    /// Where on the stack that frame, and the one inside it, begin and end: words there
    /// are of the poll, and not what earlier calls have left.
    pub(crate) fn frame(&self, sp: u64) -> Option<u64> {
        let inside = self.poll?.checked_sub(2);
        match inside {
            Some(inside) => self.unwound.begins.get(inside).copied(),
            None => Some(sp),
        }
    }

    /// The words of a stack, of which `copy` is what lies from `sp` on, from the poll's
    /// frames outwards: those of the poll.
    pub(crate) fn words(&self, copy: &[u8], sp: u64) -> Vec<u64> {
        let from = self.frame(sp).unwrap_or(sp).max(sp);
        let skip = usize::try_from(from - sp).unwrap_or(usize::MAX);
        let rest = copy.get(skip..).unwrap_or_default();
        let end = usize::try_from(self.unwound.end.saturating_sub(from)).unwrap_or(0);
        let rest = &rest[..rest.len().min(end)];
        crate::space::words(rest).take(MAX_WORDS).collect()
    }
}

impl<S: Image> Program<S> {
    /// Symbols are left alone, as if there were none, without `symbols`.
    pub(crate) fn load(space: S, symbols: bool) -> Self {
        let file = space.executable().map_err(|_| Unknown::Unreadable);
        let read = |file: File| {
            if symbols {
                scheduler::read(&file)
            } else {
                Err(Unknown::Stripped)
            }
        };
        let mut program = Self {
            space,
            unwinder: Unwinder::new(),
            landmarks: file.and_then(read),
            bare: None,
            own: None,
            mapped: Vec::new(),
            looked: None,
            stranger: false,
        };
        program.renew(Instant::now());
        program
    }

    pub(crate) fn modules(&self) -> &[ModuleInfo] {
        self.unwinder.modules()
    }

    /// Why the functions of tokio's scheduler are not known, where they are not.
    pub(crate) fn nameless(&self) -> Option<Unknown> {
        self.landmarks.as_ref().err().copied()
    }

    /// The polls of tasks are known by their types alone.
    pub(crate) fn is_bare(&self) -> bool {
        self.bare.is_some()
    }

    /// Finds the polls of tasks by their types: all that is known of them where symbols do
    /// not name them, and more than symbols say otherwise.
    pub(crate) fn learn_types(&mut self, types: &Types) {
        let space = &self.space;
        let Some(index) = self.own else { return };
        let Some(own) = self.unwinder.modules().get(index.0 as usize) else {
            return;
        };
        let function = |address| self.unwinder.function(address);
        match &mut self.landmarks {
            Ok(known) => {
                let more = bare::beside_symbols(types, own, space, known, function);
                known.learn(more);
            }
            Err(_) => self.bare = Bare::of(types, own, space, function),
        }
    }

    /// Reads what is mapped, where it is time for that, and the modules anew if it is
    /// another than before; a tenth of a millisecond, some milliseconds if it is.
    pub(crate) fn renew(&mut self, now: Instant) {
        let rest = if self.stranger { SOON } else { AGAIN };
        let due = |looked| now.saturating_duration_since(looked) >= rest;
        if !self.looked.is_none_or(due) {
            return;
        }
        self.looked = Some(now);
        self.stranger = false;
        let mappings = self.space.mappings();
        let code = |m: &&Mapping| m.execute;
        let mapped: Vec<Mapping> = mappings.iter().filter(code).cloned().collect();
        // Without any it has ended.
        if mapped.is_empty() || mapped == self.mapped {
            return;
        }
        self.unwinder.set_modules(modules(&mappings, &self.space));
        self.mapped = mapped;
        if let Some(path) = self.space.program() {
            let own = self.unwinder.modules().iter().rposition(|m| m.path == path);
            self.own = own.map(|index| ModuleIndex(index as u32));
        }
    }

    /// Unwinds a stack of which `copy` is the inner part, and says where it stands.
    pub(crate) fn stand(
        &mut self,
        registers: Registers,
        copy: &[u8],
        beyond: Beyond,
        wait: Wait,
    ) -> Standing {
        let copy = StackCopy {
            bytes: copy,
            beyond,
        };
        let unwound = self.unwinder.unwind(&self.space, registers, copy);
        let frames = &unwound.stack.frames;
        self.stranger |= frames.iter().any(|(module, _)| module.is_none());
        let landmarks = match (&self.landmarks, &self.bare) {
            (Ok(landmarks), _) => landmarks,
            (Err(_), Some(bare)) => &bare.landmarks,
            (Err(_), None) => {
                return Standing {
                    unwound,
                    place: None,
                    poll: None,
                    is_task: false,
                };
            }
        };
        let (mut marks, mut at): (Vec<Landmark>, Vec<usize>) = (Vec::new(), Vec::new());
        for (index, (module, address)) in frames.iter().enumerate() {
            let own = module.is_some() && *module == self.own;
            if let Some(mark) = landmarks.at(*address).filter(|_| own) {
                marks.push(mark);
                at.push(index);
            }
        }
        let (place, task) = match &self.bare {
            Some(bare) => bare.place(&marks, wait),
            None => (
                scheduler::place(&marks, wait, landmarks.parks_apart()),
                scheduler::poll(&marks),
            ),
        };
        // What is missing outside may be the scheduler.
        let vague = matches!(place, Place::Elsewhere | Place::Pool | Place::Waits);
        let sure = !unwound.stack.truncated || !vague;
        let is_task = task.is_some();
        let poll = match (place, task) {
            (Place::InPoll(_), Some(poll)) => at.get(poll).copied(),
            // The future of `block_on`: what it has called.
            (Place::InPoll(_), None) => at.first().and_then(|first| first.checked_sub(1)),
            _ => None,
        };
        Standing {
            unwound,
            place: Some(place).filter(|_| sure),
            poll,
            is_task,
        }
    }

    /// Copies memory; gives the number of bytes.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.space.read(address, buffer)
    }

    /// Copies a stack from its pointer on; gives the number of bytes.
    pub(crate) fn read_stack(&self, sp: u64, buffer: &mut [u8]) -> usize {
        self.space.read_stack(sp, buffer)
    }
}

impl Program {
    pub(crate) fn process(&self) -> &Process {
        self.space.process()
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Program<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("space", &self.space)
            .field("landmarks", &self.landmarks.as_ref().map(|_| ()))
            .finish_non_exhaustive()
    }
}
