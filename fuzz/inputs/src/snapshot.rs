//! The memory of a real process of tokio's, as it was dumped, with words of it changed by an
//! input: what a process can do that means harm to who reads it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use looptop_outside::awaits::Awaits;
use looptop_outside::awaits::interpreted::Interpreter;
use looptop_outside::core::{CoreFile, CoreStacks};
use looptop_outside::tasks::{Tasks, Types};
use looptop_outside::waiting::{Readable, ThreadAt};
use looptop_outside::{Page, Role, Space};
use looptop_procfs::Mapping;
use looptop_unwind::Memory;

use crate::file::Input;

const PAGE: u64 = 4096;
/// Reads up to this length are of single things; each of their words may be changed.
const SMALL: usize = 1_024;
/// Changes that one input makes.
const MAX_CHANGES: usize = 64;

/// Where the dump is.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/snapshot/core")
}

/// A process as it was dumped.
pub struct Snapshot {
    core: CoreFile,
    pages: RefCell<HashMap<u64, Option<Box<[u8; PAGE as usize]>>>>,
    mappings: Vec<Mapping>,
    /// What is behind the pages of ranges that were asked for.
    asked: RefCell<HashMap<(u64, u64), Vec<(Range<u64>, Page)>>>,
    /// Its task types.
    pub types: Arc<Types>,
    /// Its threads: ids and stack pointers.
    pub stacks: Vec<(u64, u64)>,
    /// The register FS of a worker.
    pub worker: u64,
    /// Addresses of words that are read when nothing is changed.
    words: Vec<u64>,
}

thread_local! {
    static SNAPSHOT: Rc<Snapshot> = Rc::new(Snapshot::load());
}

/// That of the dump, which is read once.
pub fn snapshot() -> Rc<Snapshot> {
    SNAPSHOT.with(Rc::clone)
}

impl Snapshot {
    fn load() -> Self {
        let core = CoreFile::open(&path()).unwrap_or_else(|error| {
            panic!(
                "the dump that memory targets change cannot be read: {error}; write it by \
                 `fuzz/run --seeds`"
            )
        });
        let types = Arc::new(Types::of_core(&core).expect("the dumped program has tasks"));
        let mut tasks = Tasks::over(core.clone(), Arc::clone(&types));
        let stacks: Vec<(u64, u64)> = core.threads().map(|t| (t.tid, t.registers.sp)).collect();
        tasks.read_all(&stacks);
        let threads = CoreStacks::of(&core, Some(&types)).threads(Some(&*tasks.in_poll()));
        let worker = threads.iter().find(|thread| thread.role == Role::Worker);
        let worker = worker.expect("one of its threads is a worker").tid;
        let worker = core.threads().find(|thread| thread.tid == worker);
        let mut snapshot = Self {
            mappings: core.mappings(),
            asked: RefCell::default(),
            pages: RefCell::default(),
            stacks,
            worker: worker.expect("it is one of the threads").fs_base,
            words: Vec::new(),
            types,
            core,
        };
        snapshot.learn_words();
        snapshot
    }

    /// Reads all as a target does, and notes what is read.
    fn learn_words(&mut self) {
        let words = Rc::new(RefCell::new(BTreeSet::new()));
        let base = Rc::new(Self {
            core: self.core.clone(),
            pages: RefCell::default(),
            mappings: self.mappings.clone(),
            asked: RefCell::default(),
            types: Arc::clone(&self.types),
            stacks: self.stacks.clone(),
            worker: self.worker,
            words: Vec::new(),
        });
        let mut memory = Changed::of(&base, &[]);
        memory.noted = Some(Rc::clone(&words));
        let mut tasks = Tasks::over(memory.clone(), Arc::clone(&self.types));
        let listing = tasks.read_all(&self.stacks).clone();
        let mut awaits = Awaits::of_core(&self.core, Arc::clone(&self.types)).ok();
        let mut interpreter = Interpreter::over(memory.clone());
        interpreter.play_at(self.worker);
        for task in &listing.tasks {
            if let Some(awaits) = &mut awaits {
                let _ = awaits.chain(&memory, task);
            }
            let Some(of) = self.types.get(task.vtable) else {
                continue;
            };
            if let Ok(polled) = interpreter.poll(task, of) {
                let read = polled.run.reads.iter().map(|read| read.address & !7);
                words.borrow_mut().extend(read);
            }
        }
        let writable = |address: &u64| {
            let mut mappings = self.mappings.iter();
            mappings.any(|m| m.write && m.range.contains(address))
        };
        self.words = words.borrow().iter().copied().filter(writable).collect();
        assert!(self.words.len() > 1_000, "{} words", self.words.len());
    }

    fn with_page<T>(&self, number: u64, f: impl FnOnce(Option<&[u8; PAGE as usize]>) -> T) -> T {
        let mut pages = self.pages.borrow_mut();
        let page = pages.entry(number).or_insert_with(|| {
            let mut bytes = Box::new([0; PAGE as usize]);
            let read = self.core.read(number * PAGE, &mut bytes[..]);
            (read == PAGE as usize).then_some(bytes)
        });
        f(page.as_deref())
    }

    /// The address of a word that is read.
    fn word(&self, number: u16) -> u64 {
        self.words[usize::from(number) * self.words.len() >> 16]
    }
}

/// Pages that are not as they were dumped.
type Overlay = BTreeMap<u64, Vec<u8>>;

/// The memory of a snapshot with changes; clones are the same memory.
#[derive(Clone)]
pub struct Changed {
    base: Rc<Snapshot>,
    /// Pages that were changed.
    pages: Rc<RefCell<Overlay>>,
    noted: Option<Rc<RefCell<BTreeSet<u64>>>>,
}

impl Changed {
    /// With the changes that an input makes.
    pub fn of(base: &Rc<Snapshot>, data: &[u8]) -> Self {
        let changed = Self {
            base: Rc::clone(base),
            pages: Rc::default(),
            noted: None,
        };
        changed.become_as(data);
        changed
    }

    /// Takes back all changes, and makes those of an input: a kind, the number of a word, and
    /// what it becomes.
    pub fn become_as(&self, data: &[u8]) {
        let base = &self.base;
        let mut pages = Overlay::new();
        let mut input = Input(data);
        let mut changes = 0;
        while !base.words.is_empty() && !input.is_empty() && changes < MAX_CHANGES {
            changes += 1;
            let kind = input.byte();
            let at = base.word(input.short());
            let now = base.read_u64(at).unwrap_or(0);
            let word = match kind % 8 {
                0 => input.word(),
                // To another thing that is read, or into it.
                1 => {
                    let other = base.word(input.short());
                    other.wrapping_add_signed(i64::from(input.byte().cast_signed()) * 8)
                }
                2 => u64::from(input.byte()),
                3 => now.wrapping_add_signed(i64::from(input.byte().cast_signed())),
                // As another word.
                4 => base.read_u64(base.word(input.short())).unwrap_or(0),
                5 => now ^ 1 << (input.byte() % 64),
                6 => u64::MAX >> (input.byte() % 64),
                _ => {
                    let bytes = input.byte();
                    base.write(&mut pages, at, input.take(bytes.into()));
                    continue;
                }
            };
            base.write(&mut pages, at, &word.to_le_bytes());
        }
        *self.pages.borrow_mut() = pages;
    }

    fn note(&self, address: u64, length: usize) {
        if let Some(noted) = self.noted.as_ref().filter(|_| length <= SMALL) {
            let words = (address & !7..address.saturating_add(length as u64)).step_by(8);
            noted.borrow_mut().extend(words);
        }
    }
}

impl Snapshot {
    fn write(&self, pages: &mut Overlay, address: u64, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(address..) {
            let number = at / PAGE;
            let page = pages.entry(number).or_insert_with(|| {
                self.with_page(number, |page| {
                    page.map_or_else(Vec::new, |page| page.to_vec())
                })
            });
            if let Some(place) = page.get_mut((at % PAGE) as usize) {
                *place = *byte;
            }
        }
    }
}

fn copy(from: &[u8], address: u64, to: &mut [u8]) -> usize {
    let from = from.get((address % PAGE) as usize..).unwrap_or(&[]);
    let length = from.len().min(to.len());
    to[..length].copy_from_slice(&from[..length]);
    length
}

impl Memory for Snapshot {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let to = &mut buffer[done..];
            match self.with_page(at / PAGE, |page| page.map(|page| copy(page, at, to))) {
                Some(copied @ 1..) => done += copied,
                _ => break,
            }
        }
        done
    }
}

impl Memory for Changed {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.note(address, buffer.len());
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let length = ((PAGE - at % PAGE) as usize).min(buffer.len() - done);
            let to = &mut buffer[done..done + length];
            let copied = match self.pages.borrow().get(&(at / PAGE)) {
                Some(page) => copy(page, at, to),
                None => self.base.read(at, to),
            };
            done += copied;
            if copied < length {
                break;
            }
        }
        done
    }
}

impl Space for Changed {
    fn mappings(&self) -> Vec<Mapping> {
        self.base.mappings.clone()
    }

    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
        let mut asked = self.base.asked.borrow_mut();
        let known = asked.entry((range.start, range.end));
        known.or_insert_with(|| self.base.core.pages(range)).clone()
    }
}

/// The process, as the engine of waiting reads it.
pub struct Process(pub Changed);

impl Readable for Process {
    type Space = Changed;

    fn space(&self) -> &Changed {
        &self.0
    }

    fn file(&self, path: &Path) -> Option<PathBuf> {
        Readable::file(&self.0.base.core, path)
    }

    fn threads(&mut self) -> Vec<ThreadAt> {
        Readable::threads(&mut self.0.base.core.clone())
    }

    fn thread(&mut self, tid: u64) -> Option<ThreadAt> {
        Readable::thread(&mut self.0.base.core.clone(), tid)
    }

    fn descriptor(&mut self, fd: i32) -> Option<Arc<str>> {
        (fd < 100).then(|| "127.0.0.1:1 <- 127.0.0.1:2".into())
    }

    fn clock(&self) -> Option<Duration> {
        Some(Duration::from_secs(1_000))
    }

    fn goes_on(&self) -> bool {
        true
    }
}
