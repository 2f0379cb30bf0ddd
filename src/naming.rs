//! Stacks of stalls get their names: the model's addresses go to the symbolizer,
//! its answers come back as [`Resolved`].

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use looptop_symbols::{Answer, Binary, CodeAddress, Function, Remote, Symbolizer};
use looptop_wire::proto;
use tokio::sync::mpsc;

use crate::{
    model::{LocationId, Model, Resolved, StackOf},
    source::{self, Target},
};

/// The way to the agent of a target, for names that no file here has.
#[derive(Debug, Clone)]
pub struct AgentSymbols {
    /// The target.
    pub target: Target,
    /// Runs the questions.
    pub runtime: tokio::runtime::Handle,
}

/// The module that comes first is the program itself.
const PROGRAM: u32 = 1;

/// An agent that has read its symbols answers within this; reading those of a
/// large program takes seconds.
const PATIENCE: Duration = Duration::from_secs(20);

impl AgentSymbols {
    /// Of a process of this machine the files are here: an agent in it would read the
    /// same ones. What it returns is to be called outside of any runtime.
    fn remote(self, numbers: Numbers) -> Option<Remote> {
        if matches!(self.target, Target::Process(_)) {
            return None;
        }
        Some(Box::new(move |addresses| {
            let frames = {
                let numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
                let number = |a: &CodeAddress| numbers.get(a.binary.as_ref()?).copied();
                let frame = |a: &CodeAddress| proto::CodeAddress {
                    module: number(a).unwrap_or_default(),
                    offset: a.offset,
                };
                addresses.iter().map(frame).collect()
            };
            let answer = self.runtime.block_on(async {
                tokio::time::timeout(PATIENCE, source::resolve(&self.target, frames)).await
            });
            match answer {
                Ok(Ok(response)) if response.frames.iter().any(|f| !f.symbols.is_empty()) => {
                    Ok(response.frames.into_iter().map(functions).collect())
                }
                Ok(Ok(response)) => Err(format!("the agent: {}", response.reason)),
                Ok(Err(problem)) => Err(format!("the agent sends no names: {problem}")),
                Err(_late) => Err("the agent has sent no names in 20 s".to_owned()),
            }
        }))
    }
}

fn functions(frame: proto::ResolvedFrame) -> Vec<Function> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let function = |symbol: proto::Symbol| Function {
        name: some(symbol.function),
        file: some(symbol.file),
        line: (symbol.line > 0).then_some(symbol.line),
    };
    frame.symbols.into_iter().map(function).collect()
}

/// Looks up the stacks of one session.
#[derive(Debug)]
pub struct Naming {
    symbolizer: Option<Symbolizer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// What was asked for each stack, so that it is looked up once.
    asked: HashMap<StackOf, Asked>,
    /// Whose answer a ticket brings.
    tickets: HashMap<u64, StackOf>,
    next_ticket: u64,
    binaries: HashMap<u32, Arc<Binary>>,
    numbers: Numbers,
    /// Spawn locations of which the symbolizer knows.
    learned: u32,
    /// The program's symbols were asked for before its first stall.
    prepared: bool,
}

/// The numbers of binaries on the wire.
type Numbers = Arc<Mutex<HashMap<Arc<Binary>, u32>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    sample: Sample,
    answered: bool,
}

/// Distinguishes the samples of one stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    first_at_ns: u64,
    frames: usize,
}

impl Naming {
    /// For the session of `model`; names come from files on this machine, and
    /// where those are out of reach from the agent, if `agent` is one.
    pub fn new(model: &Model, agent: Option<AgentSymbols>) -> Self {
        // The symbolizer takes 256 requests at most at once, so the answers that
        // wait are bounded as well.
        let (sender, answers) = mpsc::unbounded_channel();
        let local = is_local(model).then_some(model.session.pid).flatten();
        let numbers = Numbers::default();
        let remote = agent.and_then(|agent| agent.remote(Arc::clone(&numbers)));
        let deliver = move |answer| drop(sender.send(answer));
        let symbolizer = Symbolizer::start(local, remote, deliver);
        Self {
            symbolizer: symbolizer.ok(),
            answers,
            asked: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            binaries: HashMap::new(),
            numbers,
            learned: 0,
            prepared: false,
        }
    }

    /// Asks for the stacks that are new in `model`. Never waits.
    pub fn request(&mut self, model: &Model) {
        self.forget(model);
        if !self.learn(model) {
            return;
        }
        self.prepare(model);
        for stall in model.stalls.iter().filter(|s| !s.stacks.is_empty()) {
            let of = StackOf::Stall(stall.id);
            // A recording brought its names along.
            if stall.resolved.is_some() && !self.asked.contains_key(&of) {
                continue;
            }
            let Some(shown) = stall.telling_stack() else {
                continue;
            };
            let sample = Sample {
                first_at_ns: shown.first_at_ns,
                frames: shown.frames.len(),
            };
            if !self.ask(model, of, sample, &shown.frames) {
                return;
            }
        }
        for (stack, _) in model.other_stacks().filter(|(_, names)| names.is_none()) {
            let sample = Sample {
                first_at_ns: 0,
                frames: stack.len(),
            };
            if !self.ask(model, StackOf::Addresses(stack.into()), sample, stack) {
                return;
            }
        }
    }

    /// Gives the symbolizer the paths of spawn locations that are new, before any
    /// stack, so that frames are judged by all that is known; `false` where there is
    /// no room for more now.
    fn learn(&mut self, model: &Model) -> bool {
        let Some(symbolizer) = &self.symbolizer else {
            return false;
        };
        while let Some(location) = model.location(Some(LocationId(self.learned + 1))) {
            if !symbolizer.learn(location.file) {
                return false;
            }
            self.learned += 1;
        }
        true
    }

    /// Lets the symbols be read of a program that is seen from outside before it stalls,
    /// so that its first stall is named at once: somebody waits for just that.
    fn prepare(&mut self, model: &Model) {
        if self.prepared || !model.is_outside() || model.module(PROGRAM).is_none() {
            return;
        }
        let Some(symbolizer) = &self.symbolizer else {
            return;
        };
        let any = [proto::CodeAddress {
            module: PROGRAM,
            offset: 0,
        }];
        let stack = addresses(model, &any, &mut self.binaries, &self.numbers);
        // Nobody waits for the answer to this ticket.
        self.prepared = symbolizer.request(self.next_ticket, stack);
        self.next_ticket += 1;
    }

    /// Drops what is known of stacks that the model no longer has.
    fn forget(&mut self, model: &Model) {
        let others: HashSet<&[proto::CodeAddress]> =
            model.other_stacks().map(|(stack, _)| stack).collect();
        self.asked.retain(|of, _| match of {
            StackOf::Stall(id) => model.stalls.get(*id).is_some(),
            StackOf::Addresses(stack) => others.contains(&**stack),
        });
    }

    /// Asks for a stack unless that was done; `false` where there is no room for
    /// more questions now.
    fn ask(
        &mut self,
        model: &Model,
        of: StackOf,
        sample: Sample,
        frames: &[proto::CodeAddress],
    ) -> bool {
        let Some(symbolizer) = &self.symbolizer else {
            return false;
        };
        // One at a time: a poll that computes is seen elsewhere at each look, and the
        // newest of these is asked for once the one before has its names.
        let known = |asked: &Asked| asked.sample == sample || !asked.answered;
        if self.asked.get(&of).is_some_and(known) {
            return true;
        }
        let stack = addresses(model, frames, &mut self.binaries, &self.numbers);
        if !symbolizer.request(self.next_ticket, stack) {
            return false;
        }
        self.tickets.insert(self.next_ticket, of.clone());
        self.next_ticket += 1;
        let asked = Asked {
            sample,
            answered: false,
        };
        self.asked.insert(of, asked);
        true
    }

    /// The next answer; waits for ever where none will come. Safe to cancel.
    pub async fn recv(&mut self) -> (StackOf, Arc<Resolved>) {
        loop {
            match self.answers.recv().await {
                Some(answer) => {
                    if let Some(named) = self.take(&answer) {
                        return named;
                    }
                }
                None => return std::future::pending().await,
            }
        }
    }

    /// Gives the model the answers that have come; `true` if there were any.
    pub fn apply(&mut self, model: &mut Model) -> bool {
        let mut any = false;
        while let Ok(answer) = self.answers.try_recv() {
            if let Some((of, resolved)) = self.take(&answer) {
                model.resolve(&of, resolved);
                any = true;
            }
        }
        any
    }

    /// Waits for the answers that are still due, for `patience` at most; how many have
    /// not come by then.
    pub async fn finish(&mut self, model: &mut Model, patience: Duration) -> usize {
        self.request(model);
        let deadline = tokio::time::Instant::now() + patience;
        let due = |asked: &HashMap<StackOf, Asked>| asked.values().filter(|a| !a.answered).count();
        while due(&self.asked) > 0 {
            let Ok((of, resolved)) = tokio::time::timeout_at(deadline, self.recv()).await else {
                break;
            };
            model.resolve(&of, resolved);
            self.request(model);
        }
        due(&self.asked)
    }

    fn take(&mut self, answer: &Answer) -> Option<(StackOf, Arc<Resolved>)> {
        let of = if answer.preliminary {
            self.tickets.get(&answer.ticket).cloned()
        } else {
            self.tickets.remove(&answer.ticket)
        }?;
        if let Some(asked) = self.asked.get_mut(&of) {
            asked.answered = !answer.preliminary;
        }
        Some((of, Arc::new(Resolved::of(&answer.found))))
    }
}

/// The target runs on this machine, so its files can be read here.
fn is_local(model: &Model) -> bool {
    model.session.hostname.is_empty()
        || sysinfo::System::host_name().map_or(true, |name| name == model.session.hostname)
}

fn addresses(
    model: &Model,
    frames: &[proto::CodeAddress],
    binaries: &mut HashMap<u32, Arc<Binary>>,
    numbers: &Numbers,
) -> Vec<CodeAddress> {
    let mut binary = |id: u32| {
        if let Some(known) = binaries.get(&id) {
            return Some(Arc::clone(known));
        }
        let module = model.module(id)?;
        let path = PathBuf::from(model.texts.get(crate::model::TextId(module.path)));
        let binary = Arc::new(Binary {
            path,
            build_id: module.build_id.clone(),
        });
        binaries.insert(id, Arc::clone(&binary));
        let mut numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.insert(Arc::clone(&binary), id);
        Some(binary)
    };
    frames
        .iter()
        .map(|frame| CodeAddress {
            binary: binary(frame.module),
            offset: frame.offset,
        })
        .collect()
}
