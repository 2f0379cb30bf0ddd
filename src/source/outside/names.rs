//! The names of futures: looked up once for each task type, on a thread of their own.
//!
//! The symbols of a large program take a second to be read, in which tasks are listed
//! without names.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use looptop_outside::{
    ProcessMemory, Subject,
    tasks::{AddressMap, Types},
};
use looptop_procfs::Process;
use looptop_symbols::{Futures, Memory, TaskCode};

use super::seen::{Future, Place};

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
    pub(super) fn start(subject: &Subject) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let subject = subject.clone();
        let thread = thread::Builder::new().name("looptop-names".into());
        thread.spawn(move || answer_all(&subject, &asked, &answer))?;
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
    subject: &Subject,
    asked: &mpsc::Receiver<Question>,
    answer: &mpsc::Sender<(u64, Future)>,
) {
    let mut files: HashMap<PathBuf, Option<Futures>> = HashMap::new();
    for question in asked {
        let path = question.program.path;
        let futures = files
            .entry(path)
            .or_insert_with_key(|path| load(subject.process(), path));
        let base = question.program.base;
        let future = match futures {
            Some(futures) => named(futures, &question.code, base, subject.memory()),
            None => Future::default(),
        };
        if answer.send((question.vtable, future)).is_err() {
            return;
        }
    }
}

/// The program's file, wherever it can be read: also where it was replaced, and in
/// another mount namespace.
fn load(process: &Process, path: &Path) -> Option<Futures> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let own = (process.program().as_deref() == Some(path)).then(|| process.path("exe"));
    let mut places = own.into_iter().chain([process.path("root").join(inside)]);
    let futures = places.find_map(|place| Futures::load(&place))?;
    Some(futures.called_as(path))
}

fn named(futures: &mut Futures, code: &TaskCode, base: u64, memory: ProcessMemory) -> Future {
    let read = |address: u64, buffer: &mut [u8]| {
        let bytes = memory.bytes(address.wrapping_add(base), buffer.len());
        bytes.is_some_and(|bytes| {
            buffer.copy_from_slice(&bytes);
            true
        })
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
