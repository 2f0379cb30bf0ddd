//! Through a recording once.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    sync::Arc,
    time::Duration,
};

use looptop_wire::proto::{Frame, StackSample};

use crate::{
    diagnose::{cause_word, waits::Rings},
    dump::Dump,
    model::{Cause, Model, Moment, Resolved, Stall, StallId, StallScope, TextId, WorkerId},
    naming::Naming,
    record::{Recording, Step},
};

/// Stalls that an export holds in memory, at most; the rest are counted.
const MAX_STALLS: usize = 1_000_000;
/// Time allowed at the end of a session for names that are still looked up: on a machine
/// without a free CPU it takes many seconds to read a large program's.
const NAMES: Duration = Duration::from_secs(20);

/// Sees a recording go by.
pub trait Visitor {
    /// A process begins; `at` is counted since the recording's beginning. `new`
    /// is false where the same goes on after a gap.
    fn session(&mut self, at: Duration, model: &Model, new: bool) -> io::Result<()>;

    /// A whole frame was taken in. `frame` is its last part.
    fn frame(&mut self, at: Duration, model: &Model, frame: &Frame) -> io::Result<()>;
}

/// A binary or library of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Binary {
    /// Its path; empty where unknown.
    pub path: String,
    /// Its GNU build id; empty where unknown.
    pub build_id: Vec<u8>,
}

/// An address in a binary.
#[derive(Debug, Clone)]
pub struct Address {
    /// The binary.
    pub binary: Arc<Binary>,
    /// From where it begins.
    pub offset: u64,
}

impl fmt::Display for Address {
    /// `module+offset`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.binary.path.rsplit('/').next().unwrap_or_default();
        write!(f, "{name}+{:#x}", self.offset)
    }
}

/// What an export says of a stall.
#[derive(Debug, Clone)]
pub struct StallRow {
    /// The process that it is of, counted from 0.
    pub session: usize,
    /// Its id within the session.
    pub id: StallId,
    /// Since the recording's beginning.
    pub at: Duration,
    /// When it ended, or the recording, likewise.
    pub end: Duration,
    /// How long it took, or had taken when the recording ended; also before the
    /// recording's beginning.
    pub duration: Duration,
    /// It had ended.
    pub ended: bool,
    /// One poll, or possibly several.
    pub scope: StallScope,
    /// The worker, where it was one.
    pub worker: Option<WorkerId>,
    /// The thread, where known.
    pub tid: Option<u64>,
    /// The task's name; empty where unknown.
    pub task: String,
    /// The task's id, where known.
    pub task_id: Option<u64>,
    /// Where the task was spawned; empty where unknown.
    pub spawned_at: String,
    /// Why it took so long.
    pub cause: Cause,
    /// CPU time within it, where known.
    pub cpu: Option<Duration>,
    /// Time without a CPU within it, where known.
    pub run_queue: Option<Duration>,
    /// System call in which it was; empty where unknown.
    pub syscall: String,
    /// The stack with names, innermost first.
    pub stack: Option<Arc<Resolved>>,
    /// The same as addresses, for where there are no names, innermost first.
    pub addresses: Vec<Address>,
    /// The application's name.
    pub process: String,
    /// The program itself.
    pub program: Arc<Binary>,
}

impl StallRow {
    /// The cause as a word.
    pub fn cause_word(&self) -> &'static str {
        cause_word(self.cause)
    }

    /// Function names, or what is known in their place, innermost first.
    pub fn functions(&self) -> Vec<String> {
        match &self.stack {
            Some(stack) if !stack.frames.is_empty() => {
                stack.frames.iter().map(|f| f.function.clone()).collect()
            }
            _ => self.addresses.iter().map(Address::to_string).collect(),
        }
    }
}

/// What a walk found beside what the visitor saw.
#[derive(Debug, Default)]
pub struct Walked {
    /// All stalls, by session and start.
    pub stalls: Vec<StallRow>,
    /// Stalls over the bound.
    pub stalls_left_out: u64,
    /// What could not be read, as sentences.
    pub gaps: Vec<String>,
    /// Where tasks waited at the end of each session, by its number; of those in which that
    /// was read.
    pub waits: BTreeMap<usize, Dump>,
}

/// Reads `recording` to its end. Stacks without names are looked up in this
/// machine's files.
pub fn walk(recording: &Recording, visitor: &mut impl Visitor) -> io::Result<Walked> {
    let mut walk = Walk::new();
    for step in recording.frames() {
        match step {
            Step::Session(hello) => {
                walk.end_session();
                let model = Model::new(&hello);
                let new = walk.model.session.id != model.session.id || walk.model.since.is_none();
                walk.session += usize::from(new && walk.model.since.is_some());
                walk.naming = Some(Naming::new(&model, None));
                walk.rings = Rings::default();
                walk.binaries = Binaries::new(&model);
                walk.model = model;
                walk.ended_before = None;
                walk.begin = Some(new);
            }
            Step::Frame(frame, at) => walk.frame(&frame, at, visitor)?,
            Step::Gap(why) => walk.walked.gaps.push(why),
        }
    }
    walk.end_session();
    let mut walked = walk.walked;
    walked.stalls = walk.stalls.into_values().collect();
    walked.stalls.sort_by_key(|s| (s.session, s.at));
    Ok(walked)
}

struct Walk {
    runtime: Option<tokio::runtime::Runtime>,
    model: Model,
    naming: Option<Naming>,
    session: usize,
    /// A session whose first frame is still to come: whether it is a new one.
    begin: Option<bool>,
    /// The moment of the session's first frame.
    began: Moment,
    /// Recording time and the session's clock at its newest frame.
    clock: (Duration, u64),
    /// Ended stalls that were taken note of.
    ended_before: Option<u64>,
    stalls: BTreeMap<(usize, StallId), StallRow>,
    rings: Rings,
    binaries: Binaries,
    walked: Walked,
}

/// The binaries of a session, by the ids that frames have for them.
#[derive(Default)]
struct Binaries {
    program: Arc<Binary>,
    modules: HashMap<u32, Arc<Binary>>,
}

impl Binaries {
    fn new(model: &Model) -> Self {
        let program = Binary {
            path: model.session.exe.clone(),
            build_id: model.session.build_id.clone(),
        };
        Self {
            program: Arc::new(program),
            modules: HashMap::new(),
        }
    }

    fn of(&mut self, model: &Model, id: u32) -> Arc<Binary> {
        let Some(module) = model.module(id) else {
            return Arc::default();
        };
        let binary = self.modules.entry(id).or_insert_with(|| {
            Arc::new(Binary {
                path: model.text(Some(TextId(module.path))).to_owned(),
                build_id: module.build_id.clone(),
            })
        });
        Arc::clone(binary)
    }
}

impl Walk {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Self {
            runtime: runtime.ok(),
            model: Model::default(),
            naming: None,
            session: 0,
            begin: None,
            began: Moment::default(),
            clock: (Duration::ZERO, 0),
            ended_before: None,
            stalls: BTreeMap::new(),
            rings: Rings::default(),
            binaries: Binaries::default(),
            walked: Walked::default(),
        }
    }

    fn frame(&mut self, frame: &Frame, at: Duration, visitor: &mut impl Visitor) -> io::Result<()> {
        // What is malformed is left out, as it was live.
        let _ = self.model.apply(frame);
        for id in frame.names.iter().flat_map(|named| &named.stalls) {
            self.note(StallId(*id));
        }
        // Names come in a frame of their own, which is no moment of its own.
        if frame.more || !frame.names.is_empty() {
            return Ok(());
        }
        self.clock = (at, self.model.now.0);
        if let Some(new) = self.begin.take() {
            if new {
                self.began = self.model.now;
            }
            visitor.session(at, &self.model, new)?;
        }
        self.note_new();
        self.rings.observe(&self.model);
        if let Some(naming) = &mut self.naming {
            naming.request(&self.model);
            if naming.apply(&mut self.model) {
                self.note_all();
            }
        }
        visitor.frame(at, &self.model, frame)
    }

    /// Takes note of stalls that are live or ended since the last frame.
    fn note_new(&mut self) {
        let ended = self.model.stalls.total_ended;
        let before = self.ended_before.replace(ended);
        // A keyframe brings those of before.
        let new = before.map_or(usize::MAX, |before| ended.saturating_sub(before) as usize);
        let live = self.model.stalls.live().map(|s| s.id);
        let ids: Vec<_> = live
            .chain(self.model.stalls.ended().take(new).map(|s| s.id))
            .collect();
        for id in ids {
            self.note(id);
        }
    }

    fn note_all(&mut self) {
        let (model, began) = (&self.model, self.began);
        let stalls = model.stalls.iter();
        let rows: Vec<StallRow> = stalls
            .filter(|stall| is_recorded(stall, model, began))
            .map(|s| row(s, model, &mut self.binaries, self.session, self.clock))
            .collect();
        for row in rows {
            self.keep(row);
        }
    }

    fn note(&mut self, id: StallId) {
        let stall = self.model.stalls.get(id);
        let stall = stall.filter(|stall| is_recorded(stall, &self.model, self.began));
        if let Some(stall) = stall {
            let binaries = &mut self.binaries;
            let row = row(stall, &self.model, binaries, self.session, self.clock);
            self.keep(row);
        }
    }

    fn keep(&mut self, row: StallRow) {
        let key = (self.session, row.id);
        if self.stalls.len() >= MAX_STALLS && !self.stalls.contains_key(&key) {
            self.walked.stalls_left_out += 1;
            return;
        }
        self.stalls.insert(key, row);
    }

    fn end_session(&mut self) {
        let Some(mut naming) = self.naming.take() else {
            return;
        };
        if let Some(runtime) = &self.runtime {
            runtime.block_on(naming.finish(&mut self.model, NAMES));
        }
        self.note_all();
        if !self.model.waits.is_empty() {
            let dump = Dump::new("", &self.model, &self.rings);
            self.walked.waits.insert(self.session, dump);
        }
    }
}

/// It was not over before the recording began; such come with the first keyframe.
fn is_recorded(stall: &Stall, model: &Model, began: Moment) -> bool {
    stall.live || stall.end(model.now) >= began
}

fn row(
    stall: &Stall,
    model: &Model,
    binaries: &mut Binaries,
    session: usize,
    clock: (Duration, u64),
) -> StallRow {
    let text = |id: Option<TextId>| model.text(id).to_owned();
    let ago = Duration::from_nanos(clock.1.saturating_sub(stall.started.0));
    let task = stall.task.and_then(|id| model.tasks.get(id));
    StallRow {
        session,
        id: stall.id,
        // One that began before the recording begins with it.
        at: clock.0.saturating_sub(ago),
        end: clock
            .0
            .saturating_sub(model.now.since(stall.end(model.now))),
        duration: stall.age(model.now),
        ended: !stall.live,
        scope: stall.scope,
        worker: stall.worker,
        tid: stall.tid.map(|tid| tid.0),
        task: text(stall.name.or_else(|| task?.name)),
        task_id: stall.task.map(|id| id.0),
        spawned_at: model
            .location(stall.location)
            .map(|l| l.to_string())
            .unwrap_or_default(),
        cause: stall.cause,
        cpu: stall.cpu,
        run_queue: stall.run_queue,
        syscall: text(stall.syscall),
        stack: stall.resolved.clone(),
        addresses: stall
            .telling_stack()
            .map_or_else(Vec::new, |sample| addresses(sample, model, binaries)),
        process: model.session.name.clone(),
        program: Arc::clone(&binaries.program),
    }
}

fn addresses(sample: &StackSample, model: &Model, binaries: &mut Binaries) -> Vec<Address> {
    let frames = sample.frames.iter();
    frames
        .map(|frame| Address {
            binary: binaries.of(model, frame.module),
            offset: frame.offset,
        })
        .collect()
}
