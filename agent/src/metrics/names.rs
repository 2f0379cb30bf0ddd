//! Names for the stacks of stalls, so that a culprit is a function and a line.
//!
//! They are read from the program's symbols on a thread of its own, which lets go of them
//! when nothing was asked for a while: they cost this process memory in proportion to its
//! debug information. Each stack is looked up once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use looptop_diagnosis::model::{LocationId, Model, Resolved, StackOf, TextId};
use looptop_symbols::{Binary, CodeAddress, Resolver};
use looptop_wire::proto;

use crate::shared::Shared;

/// Symbols are held so long after the last question.
const KEPT: Duration = Duration::from_secs(10);
/// An answer that has not come by then will not come: the thread ended as it was asked.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Questions that wait at most.
const QUEUE: usize = 64;
/// Stacks whose names are remembered; then all are forgotten.
const MAX_STACKS: usize = 2_048;

type Stack = Arc<[proto::CodeAddress]>;

struct Question {
    stack: Stack,
    addresses: Vec<CodeAddress>,
    /// Paths of all spawn locations, which say whose crates are.
    sources: Arc<Vec<String>>,
}

type Answer = (Stack, Arc<Resolved>);

/// Looks up the stacks of one observation.
pub(super) struct Names {
    shared: Arc<Shared>,
    questions: Option<SyncSender<Question>>,
    answers: Receiver<Answer>,
    answer: Sender<Answer>,
    known: HashMap<Stack, Arc<Resolved>>,
    asked: HashMap<Stack, Instant>,
    binaries: HashMap<u32, Arc<Binary>>,
    sources: Arc<Vec<String>>,
    /// No thread is to be had.
    failed: bool,
}

impl Names {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (answer, answers) = channel();
        Self {
            shared: Arc::clone(shared),
            questions: None,
            answers,
            answer,
            known: HashMap::new(),
            asked: HashMap::new(),
            binaries: HashMap::new(),
            sources: Arc::default(),
            failed: false,
        }
    }

    /// Gives the model the names that are known by now, and asks for the others.
    pub(super) fn apply(&mut self, model: &mut Model) {
        while let Ok((stack, names)) = self.answers.try_recv() {
            if self.known.len() >= MAX_STACKS {
                self.known.clear();
                self.asked.clear();
            }
            self.known.insert(stack, names);
        }
        let mut wanted: Vec<(StackOf, Stack)> = Vec::new();
        for stall in model.stalls.iter() {
            let is_done = stall.resolved.is_some() && !stall.live;
            if let Some(stack) = stall.telling_stack().filter(|_| !is_done) {
                let stack: Stack = stack.frames.as_slice().into();
                wanted.push((StackOf::Stall(stall.id), stack));
            }
        }
        for (stack, _) in model.other_stacks().filter(|(_, names)| names.is_none()) {
            let stack: Stack = stack.into();
            wanted.push((StackOf::Addresses(Arc::clone(&stack)), stack));
        }
        for (owner, stack) in wanted.into_iter().filter(|(_, stack)| !stack.is_empty()) {
            match self.known.get(&stack) {
                Some(names) => model.resolve(&owner, Arc::clone(names)),
                None => self.ask(model, stack),
            }
        }
    }

    fn ask(&mut self, model: &Model, stack: Stack) {
        let is_due = |asked: &Instant| asked.elapsed() > ASK_AGAIN;
        if self.failed || self.asked.get(&stack).is_some_and(|asked| !is_due(asked)) {
            return;
        }
        self.learn(model);
        let question = Question {
            addresses: self.addresses(model, &stack),
            stack: Arc::clone(&stack),
            sources: Arc::clone(&self.sources),
        };
        if self.send(question) {
            self.asked.insert(stack, Instant::now());
        }
    }

    /// Passes a question on, to a new thread where the last one has let go of its symbols;
    /// false where there is no room now.
    fn send(&mut self, question: Question) -> bool {
        let question = match &self.questions {
            None => question,
            Some(queue) => match queue.try_send(question) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) => return false,
                Err(TrySendError::Disconnected(question)) => question,
            },
        };
        let (queue, questions) = sync_channel(QUEUE);
        // There is room: nobody else has the queue yet.
        drop(queue.try_send(question));
        let (shared, answer) = (Arc::clone(&self.shared), self.answer.clone());
        let thread = std::thread::Builder::new().name("looptop-names".to_owned());
        let started = thread.spawn(move || {
            shared.enter_own_thread();
            serve(&questions, &answer);
            shared.leave_own_thread();
        });
        self.failed = started.is_err();
        self.questions = Some(queue);
        !self.failed
    }

    /// The paths of spawn locations that are new.
    fn learn(&mut self, model: &Model) {
        while let Some(location) = model.location(Some(LocationId(self.sources.len() as u32 + 1))) {
            Arc::make_mut(&mut self.sources).push(location.file.to_owned());
        }
    }

    fn addresses(&mut self, model: &Model, stack: &Stack) -> Vec<CodeAddress> {
        let binaries = &mut self.binaries;
        let mut binary = |id: u32| {
            if let Some(known) = binaries.get(&id) {
                return Some(Arc::clone(known));
            }
            let module = model.module(id)?;
            let binary = Arc::new(Binary {
                path: PathBuf::from(model.texts.get(TextId(module.path))),
                build_id: module.build_id.clone(),
            });
            binaries.insert(id, Arc::clone(&binary));
            Some(binary)
        };
        let address = |frame: &proto::CodeAddress| CodeAddress {
            binary: binary(frame.module),
            offset: frame.offset,
        };
        stack.iter().map(address).collect()
    }
}

/// Answers until nobody has asked for a while.
fn serve(questions: &Receiver<Question>, answer: &Sender<Answer>) {
    let mut resolver = Resolver::new(Some(std::process::id()));
    let mut learned = 0;
    while let Ok(question) = questions.recv_timeout(KEPT) {
        for source in question.sources.iter().skip(learned) {
            resolver.learn(source);
        }
        learned = question.sources.len();
        let found = resolver.resolve(&question.addresses);
        let names = Arc::new(Resolved::of(&found));
        // The observation may have ended.
        if answer.send((question.stack, names)).is_err() {
            return;
        }
    }
}
