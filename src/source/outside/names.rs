//! The names of futures: looked up once for each task type, on a thread of their own.
//!
//! The symbols of a large program take a second to be read, in which tasks are listed
//! without names.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use looptop_outside::{
    ProcessSpace, Space, Subject,
    tasks::{AddressMap, Types},
};
use looptop_procfs::Process;
use looptop_symbols::{Futures, Memory, TaskCode};

use super::seen::{Future, Place};
use crate::source::budget::{self, Budget};

/// The programs' files are closed when nobody has asked for so long.
const CLOSE_AFTER: Duration = Duration::from_secs(20);

/// A mapped file.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// What to add to an address of the file to get the one in memory.
    pub(super) base: u64,
}

/// The names that are known.
#[derive(Debug)]
pub(super) struct Names {
    /// By vtable; `None` while it is looked up.
    known: AddressMap<Option<Arc<Future>>>,
    waiting: usize,
    questions: mpsc::Sender<Question>,
    answers: mpsc::Receiver<(u64, Future)>,
}

/// Which future has this code?
#[derive(Debug)]
struct Question {
    vtable: u64,
    program: Program,
    /// By the addresses that the file counts.
    code: TaskCode,
}

impl Names {
    /// Of a process's task types. The thread ends with it.
    pub(super) fn start(subject: &Subject, budget: Option<Budget>) -> io::Result<Self> {
        let space = ProcessSpace::of(subject);
        let subject = subject.clone();
        Self::over(space, budget, move |path| places(subject.process(), path))
    }

    /// Of those in some address space; `places` says where the file of a path may be.
    pub(super) fn over(
        space: impl Space + Send + 'static,
        budget: Option<Budget>,
        places: impl Fn(&Path) -> Vec<PathBuf> + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let thread = thread::Builder::new().name("looptop-names".into());
        thread.spawn(move || answer_all(&space, budget.as_ref(), &places, (&asked, &answer)))?;
        Ok(Self {
            known: AddressMap::default(),
            waiting: 0,
            questions,
            answers,
        })
    }

    /// Takes in what was found meanwhile.
    pub(super) fn renew(&mut self) {
        for (vtable, future) in self.answers.try_iter() {
            self.known.insert(vtable, Some(Arc::new(future)));
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Some are still looked up.
    pub(super) fn are_awaited(&self) -> bool {
        self.waiting > 0
    }

    /// The future of the tasks with this vtable; `None` before it was found.
    pub(super) fn of(
        &mut self,
        vtable: u64,
        types: &Types,
        programs: &[Program],
    ) -> Option<Arc<Future>> {
        if let Some(known) = self.known.get(&vtable) {
            return known.clone();
        }
        let task = types.get(vtable)?;
        let module = types.modules().get(task.module)?;
        // It is mapped, and the thread that looks will know soon where.
        let program = programs.iter().find(|p| p.path == module.path)?;
        let functions = task.functions.iter();
        let question = Question {
            vtable,
            program: program.clone(),
            code: TaskCode {
                functions: functions
                    .map(|address| address.wrapping_sub(program.base))
                    .collect(),
            },
        };
        if self.questions.send(question).is_ok() {
            self.waiting += 1;
        }
        self.known.insert(vtable, None);
        None
    }
}

/// Answers until nobody asks.
fn answer_all(
    space: &impl Space,
    budget: Option<&Budget>,
    places: &dyn Fn(&Path) -> Vec<PathBuf>,
    (asked, answer): (&mpsc::Receiver<Question>, &mpsc::Sender<(u64, Future)>),
) {
    let mut files: HashMap<PathBuf, Option<Arc<Mutex<Futures>>>> = HashMap::new();
    let next = |files: &mut HashMap<_, _>| {
        if files.is_empty() {
            return asked.recv().ok();
        }
        match asked.recv_timeout(CLOSE_AFTER) {
            // All names are known that somebody asks for: what they were read of is large.
            Err(mpsc::RecvTimeoutError::Timeout) => {
                *files = HashMap::new();
                asked.recv().ok()
            }
            asked => asked.ok(),
        }
    };
    while let Some(question) = next(&mut files) {
        let _turn = budget::turn_for_once(budget, || false);
        let path = question.program.path;
        let futures = files
            .entry(path)
            .or_insert_with_key(|path| load(&places(path), path));
        let base = question.program.base;
        let future = match futures {
            Some(futures) => {
                let mut futures = futures.lock().unwrap_or_else(PoisonError::into_inner);
                named(&mut futures, &question.code, base, space)
            }
            None => Future::default(),
        };
        if answer.send((question.vtable, future)).is_err() {
            return;
        }
    }
}

/// The program's file, wherever it can be read: also where it was replaced, and in
/// another mount namespace.
fn places(process: &Process, path: &Path) -> Vec<PathBuf> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let own = (process.program().as_deref() == Some(path)).then(|| process.path("exe"));
    let within = process.path("root").join(inside);
    own.into_iter().chain([within]).collect()
}

fn load(places: &[PathBuf], path: &Path) -> Option<Arc<Mutex<Futures>>> {
    places.iter().find_map(|place| Futures::shared(place, path))
}

fn named(futures: &mut Futures, code: &TaskCode, base: u64, space: &impl Space) -> Future {
    let read = |address: u64, buffer: &mut [u8]| {
        space.read(address.wrapping_add(base), buffer) == buffer.len()
    };
    let memory = Memory {
        bias: base,
        read: &read,
    };
    let name = futures.name(code, Some(&memory));
    let place = futures.place(code, Some(&memory));
    Future {
        name: name.text.to_string(),
        certain: name.certain,
        place: place.map(|place| Place {
            file: Arc::clone(&place.file),
            line: place.line,
            column: place.column,
        }),
    }
}
