//! Stacks of stalls get their names: the model's addresses go to the symbolizer,
//! its answers come back as [`Resolved`].

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use looptop_wire::proto::StackSample;
use tokio::sync::mpsc;

use crate::{
    model::{Call, Culprit, Model, Resolved, StackFrame, Stall, StallId},
    symbols::{self, Answer, Binary, CodeAddress, Row, Symbolizer},
};

/// Looks up the stacks of one session.
#[derive(Debug)]
pub struct Naming {
    symbolizer: Option<Symbolizer>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// What was asked for each stall, so that a stack is looked up once.
    asked: HashMap<StallId, Asked>,
    binaries: HashMap<u32, Arc<Binary>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    sample: Sample,
    answered: bool,
}

/// Tells the samples of one stall apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    first_at_ns: u64,
    frames: usize,
}

impl Naming {
    /// For the session of `model`; names come from files on this machine.
    pub fn new(model: &Model) -> Self {
        // The symbolizer takes 256 requests at most at once, so the answers that
        // wait are bounded as well.
        let (sender, answers) = mpsc::unbounded_channel();
        let local = is_local(model).then_some(model.session.pid).flatten();
        let symbolizer = Symbolizer::start(local, move |answer| drop(sender.send(answer)));
        Self {
            symbolizer: symbolizer.ok(),
            answers,
            asked: HashMap::new(),
            binaries: HashMap::new(),
        }
    }

    /// Asks for the stacks that are new in `model`. Never waits.
    pub fn request(&mut self, model: &Model) {
        let Some(symbolizer) = &self.symbolizer else {
            return;
        };
        self.asked.retain(|id, _| model.stalls.get(*id).is_some());
        for stall in model.stalls.iter().filter(|s| !s.stacks.is_empty()) {
            // A recording brought its names along.
            if stall.resolved.is_some() && !self.asked.contains_key(&stall.id) {
                continue;
            }
            let Some(telling) = most_telling(stall) else {
                continue;
            };
            let sample = Sample {
                first_at_ns: telling.first_at_ns,
                frames: telling.frames.len(),
            };
            if self
                .asked
                .get(&stall.id)
                .is_some_and(|asked| asked.sample == sample)
            {
                continue;
            }
            let stack = addresses(model, telling, &mut self.binaries);
            if !symbolizer.request(stall.id.0, stack) {
                break;
            }
            self.asked.insert(
                stall.id,
                Asked {
                    sample,
                    answered: false,
                },
            );
        }
    }

    /// The next answer; waits for ever where none will come. Safe to cancel.
    pub async fn recv(&mut self) -> (StallId, Arc<Resolved>) {
        match self.answers.recv().await {
            Some(answer) => self.take(&answer),
            None => std::future::pending().await,
        }
    }

    /// Gives the model the answers that have come; `true` if there were any.
    pub fn apply(&mut self, model: &mut Model) -> bool {
        let mut any = false;
        while let Ok(answer) = self.answers.try_recv() {
            let (id, resolved) = self.take(&answer);
            model.stalls.resolve(id, resolved);
            any = true;
        }
        any
    }

    /// Waits for the answers that are still due, for `patience` at most.
    pub async fn finish(&mut self, model: &mut Model, patience: Duration) {
        self.request(model);
        let deadline = tokio::time::Instant::now() + patience;
        while self.asked.values().any(|asked| !asked.answered) {
            let Ok((id, resolved)) = tokio::time::timeout_at(deadline, self.recv()).await else {
                return;
            };
            model.stalls.resolve(id, resolved);
        }
    }

    fn take(&mut self, answer: &Answer) -> (StallId, Arc<Resolved>) {
        let id = StallId(answer.ticket);
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.answered = true;
        }
        (id, Arc::new(resolved(answer)))
    }
}

/// The target runs on this machine, so its files can be read here.
fn is_local(model: &Model) -> bool {
    model.session.hostname.is_empty()
        || sysinfo::System::host_name().map_or(true, |name| name == model.session.hostname)
}

/// The stack that was seen most often; of equals the newest.
fn most_telling(stall: &Stall) -> Option<&StackSample> {
    stall
        .stacks
        .iter()
        .max_by_key(|sample| (sample.count, sample.last_at_ns))
}

fn addresses(
    model: &Model,
    sample: &StackSample,
    binaries: &mut HashMap<u32, Arc<Binary>>,
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
        Some(binary)
    };
    sample
        .frames
        .iter()
        .map(|frame| CodeAddress {
            binary: binary(frame.module),
            offset: frame.offset,
        })
        .collect()
}

fn resolved(answer: &Answer) -> Resolved {
    let culprit = symbols::culprit(&answer.frames);
    let mut frames: Vec<StackFrame> = answer
        .frames
        .iter()
        .map(|frame| StackFrame {
            function: frame.label(),
            file: frame.file.as_deref().unwrap_or_default().to_owned(),
            line: frame.line.unwrap_or_default(),
            plumbing: true,
            culprit: false,
        })
        .collect();
    for row in symbols::fold(&answer.frames) {
        if let Row::Frame(position) = row {
            frames[position].plumbing = false;
        }
    }
    if let Some(culprit) = &culprit {
        frames[culprit.frame].culprit = true;
    }
    Resolved {
        frames,
        culprit: culprit.map(|culprit| Culprit {
            function: culprit.function,
            file: culprit.file.as_deref().unwrap_or_default().to_owned(),
            line: culprit.line.unwrap_or_default(),
            call: culprit.blocking_call.map(|call| Call {
                kind: call.kind,
                name: call.name.to_owned(),
            }),
        }),
        problem: (!answer.problems.is_empty()).then(|| answer.problems.join("; ")),
    }
}
