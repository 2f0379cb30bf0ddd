//! Names for addresses, for a viewer that cannot read the binary.
//!
//! A thread of its own reads the symbols when it is asked, and lets go of them
//! when nobody asks for a while: as long as it holds them they cost this process
//! memory in proportion to its debug information.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use looptop_symbols::{Function, Lines, elf};
use looptop_wire::proto::{CodeAddress, ResolveFramesResponse, ResolvedFrame, Symbol};
use tokio::sync::oneshot;

use crate::capture::{self, ModuleInfo};
use crate::shared::Shared;
use crate::sync::lock;

/// Symbols are kept so long after the last question.
const KEPT: Duration = Duration::from_secs(10);
/// Questions that wait at most.
const QUEUE: usize = 8;
/// Addresses of one question at most: some hundred deep stacks.
const MAX_FRAMES: usize = 16_384;

struct Question {
    frames: Vec<CodeAddress>,
    answer: oneshot::Sender<ResolveFramesResponse>,
}

/// The way to the thread, as long as there is one.
static THREAD: Mutex<Option<SyncSender<Question>>> = Mutex::new(None);

/// The names of `frames`, read from the binaries of this process.
pub(crate) async fn resolve(
    shared: &Arc<Shared>,
    frames: Vec<CodeAddress>,
) -> ResolveFramesResponse {
    let asked = frames.len();
    let refused = if asked > MAX_FRAMES {
        "more addresses than the agent looks up at once"
    } else {
        let (answer, answered) = oneshot::channel();
        match ask(shared, Question { frames, answer }) {
            Ok(()) => match answered.await {
                Ok(response) => return response,
                Err(_gone) => "the thread that reads symbols has failed",
            },
            Err(why) => why,
        }
    };
    ResolveFramesResponse {
        frames: vec![ResolvedFrame::default(); asked],
        reason: refused.to_owned(),
    }
}

fn ask(shared: &Arc<Shared>, mut question: Question) -> Result<(), &'static str> {
    let mut thread = lock(&THREAD);
    if let Some(queue) = thread.as_ref() {
        match queue.try_send(question) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => {
                return Err("the agent is busy with other questions for names; ask again");
            }
            // It ended, having nothing to do.
            Err(TrySendError::Disconnected(back)) => question = back,
        }
    }
    let (queue, questions) = sync_channel(QUEUE);
    // There is room: nobody else has the queue yet.
    drop(queue.try_send(question));
    let shared = Arc::clone(shared);
    let started = std::thread::Builder::new()
        .name("looptop-symbols".to_owned())
        .spawn(move || {
            shared.enter_own_thread();
            serve(&questions);
        });
    match started {
        Ok(_detached) => {
            *thread = Some(queue);
            Ok(())
        }
        Err(_) => Err("the system refuses the thread that would read symbols"),
    }
}

/// Answers until nobody has asked for a while.
fn serve(questions: &Receiver<Question>) {
    let mut binaries = HashMap::new();
    while let Ok(Question { frames, answer }) = questions.recv_timeout(KEPT) {
        // Whoever asked may have gone.
        drop(answer.send(look_up(&frames, &mut binaries)));
    }
}

fn look_up(
    frames: &[CodeAddress],
    binaries: &mut HashMap<u32, Result<Lines, String>>,
) -> ResolveFramesResponse {
    let mut reason = String::new();
    let mut resolved = Vec::with_capacity(frames.len());
    for frame in frames {
        let binary = binaries
            .entry(frame.module)
            .or_insert_with(|| load(frame.module));
        resolved.push(match binary {
            Ok(lines) => ResolvedFrame {
                symbols: lines
                    .functions(frame.offset)
                    .into_iter()
                    .map(symbol)
                    .collect(),
            },
            Err(why) => {
                reason.clone_from(why);
                ResolvedFrame::default()
            }
        });
    }
    ResolveFramesResponse {
        frames: resolved,
        reason,
    }
}

/// The symbols of a module by its number on the wire.
fn load(module: u32) -> Result<Lines, String> {
    let index = (module as usize).checked_sub(1);
    let modules = capture::modules();
    let module = index.and_then(|index| modules.into_iter().nth(index));
    let module = module.ok_or("the agent knows no such module")?;
    let shown = module.path.display();
    let path = candidates(&module)
        .into_iter()
        .find(|path| elf::build_id(path).as_deref() == Some(&module.build_id))
        .ok_or_else(|| format!("{shown} is gone or was replaced since the process began"))?;
    Lines::open(&path).map_err(|error| format!("could not read symbols of {shown}: {error}"))
}

/// Where the file may be; the program itself is there even if it was deleted.
fn candidates(module: &ModuleInfo) -> Vec<PathBuf> {
    let own = (!module.build_id.is_empty()).then(|| PathBuf::from("/proc/self/exe"));
    own.into_iter().chain([module.path.clone()]).collect()
}

fn symbol(function: Function) -> Symbol {
    Symbol {
        function: function.name.unwrap_or_default(),
        file: function.file.unwrap_or_default(),
        line: function.line.unwrap_or_default(),
    }
}
