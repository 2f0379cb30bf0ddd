//! Beside an agent: what it does not show is read from outside.
//!
//! - Where it shows no tasks (stable tokio), those that are listed join its frames. Where
//!   it shows some after all, as when the application sets a subscriber late, those that
//!   were listed are forgotten before its first one, and are listed no more.
//! - Where threads run tokio for runtimes that nobody registered, these runtimes join, with
//!   their workers, tasks and counts, and with the polls that the agent cannot
//!   distinguish. Only their threads are watched. Where all runtimes are registered
//!   nothing is.
//!
//! - Where it does not read where tasks wait, that is read from outside, and joins its tasks.
//!
//! All else is the agent's. Tasks have tokio's ids in both.
//!
//! - `joined`: what is seen, in the agent's session,
//! - `shown`: the tasks that the agent shows.

mod joined;
mod shown;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use looptop_outside::{
    Chosen,
    access::{self, Access, ThisKernel},
};
use looptop_procfs::Procfs;
use looptop_wire::proto::{Frame, HelloResponse};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use self::joined::Joined;
use crate::source::{
    Options, Problem, Received, budget, host,
    outside::{
        driver::{Attached, Driver, Message, Stacks, What},
        live::{INTERVAL, since},
        ran::Ran,
        reader::Reading,
    },
};

/// What was seen and not yet taken.
const MESSAGES: usize = 4;
/// Agent and viewer compute a process's start from clocks that may be set meanwhile.
const SAME_START: Duration = Duration::from_secs(2);
/// Without a stranger for so long, on the agent's clock, there are none: threads come and
/// go.
const SETTLED_NS: u64 = 2_000_000_000;

/// The view beside one connection.
pub(in crate::source) struct Beside {
    /// Who the agent says that it is; `None` where its process is none of this machine's,
    /// or may not be read.
    process: Option<HelloResponse>,
    reading: Reading,
    state: State,
    /// What the state is for.
    wants: Wants,
    /// When the agent last had strangers.
    seen_ns: u64,
    /// When the agent's clock began, on this machine's.
    origin: Instant,
    /// Which tasks have run, as the agent says.
    ran: Ran,
    joined: Joined,
}

/// What of the process is wanted from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wants {
    Nothing,
    /// Where its tasks wait, which it shows itself.
    Waits,
    /// Its tasks: the agent shows none.
    Tasks,
    /// Runtimes that nobody registered, and their threads, which are these; the tasks of
    /// all, where the agent shows none.
    Strangers(HashSet<u64>),
}

enum State {
    Off,
    /// The program is read, or may not be.
    Begins(JoinHandle<Result<Runs, Not>>),
    Runs(Runs),
}

struct Runs {
    messages: mpsc::Receiver<Message>,
    /// Dropped, it ends the threads.
    driver: Driver,
}

/// Nothing is looked at: why, where that is worth a word.
struct Not(Option<String>);

impl From<Problem> for Not {
    fn from(problem: Problem) -> Self {
        Self(Some(problem.to_string()))
    }
}

/// What comes from outside.
pub(in crate::source) struct Heard(News);

enum News {
    Seen(Message),
    /// There is no more.
    Ended,
    /// Nothing will come, and why.
    Refused(String),
}

impl Beside {
    /// Looks at the agent's process where that lacks something, and it is one of this
    /// machine that may be read.
    pub(in crate::source) fn attach(hello: &HelloResponse, options: &Options) -> Self {
        let ran = Ran::default();
        let mut joined = Joined::new(options.finished_tasks).with_ran(ran.clone());
        joined.learn(&hello.capabilities);
        let now = Instant::now();
        let began = now.checked_sub(Duration::from_nanos(hello.now_ns));
        let mut beside = Self {
            process: (options.host && hello.pid != 0).then(|| hello.clone()),
            reading: Reading::of(options),
            state: State::Off,
            wants: Wants::Nothing,
            seen_ns: 0,
            origin: began.unwrap_or(now),
            ran,
            joined,
        };
        beside.want(beside.joined.wants(), hello.now_ns);
        beside
    }

    /// What comes next; nothing ever where nothing is looked at. Safe to cancel.
    pub(in crate::source) async fn next(&mut self) -> Heard {
        loop {
            match &mut self.state {
                State::Off => return std::future::pending().await,
                State::Begins(begins) => {
                    let begun = begins.await.unwrap_or(Err(Not(None)));
                    self.state = State::Off;
                    match begun {
                        Ok(runs) => {
                            if let Wants::Strangers(tids) = &self.wants {
                                runs.driver.choose(Chosen::These(tids.clone()));
                            }
                            runs.driver.show_listings(self.wants != Wants::Waits);
                            self.state = State::Runs(runs);
                        }
                        Err(Not(why)) => {
                            // It is not tried again: what forbids it stays.
                            self.process = None;
                            if let Some(why) = why {
                                return Heard(News::Refused(why));
                            }
                        }
                    }
                }
                State::Runs(runs) => {
                    let message = runs.messages.recv().await;
                    let seen = message.filter(|message| !matches!(message.what, What::Ended(_)));
                    if let Some(message) = seen {
                        return Heard(News::Seen(message));
                    }
                    self.process = None;
                    self.state = State::Off;
                    return Heard(News::Ended);
                }
            }
        }
    }

    /// As frames. `newest` is number and instant of the agent's newest.
    pub(in crate::source) fn frames(&mut self, heard: Heard, newest: (u64, u64)) -> Vec<Frame> {
        let message = match heard.0 {
            News::Seen(message) => message,
            News::Ended => return self.joined.end(newest),
            News::Refused(why) => return self.joined.refused(&why, newest),
        };
        let at_ns = since(self.origin, message.at);
        match message.what {
            What::Look(look) => self.joined.look(at_ns, &look, newest),
            // They are listed to be read, and no more.
            What::Listing(_) if self.wants == Wants::Waits => Vec::new(),
            What::Listing(listing) => self.joined.listing(at_ns, *listing, newest),
            What::Waits(waits) => self.joined.waits(at_ns, &waits, newest),
            What::Stopped | What::Ended(_) => Vec::new(),
        }
    }

    /// The agent's frame as it is to go on, and what must go before it.
    pub(in crate::source) fn joined_by(
        &mut self,
        frame: Received,
        newest: (u64, u64),
    ) -> (Received, Vec<Frame>) {
        if self.process.is_none() {
            return (frame, Vec::new());
        }
        let mut before = self.joined.meets(&frame, newest);
        if self.want(self.joined.wants(), frame.now_ns) {
            before.extend(self.joined.end(newest));
        }
        (self.joined.completed(frame), before)
    }

    /// From now on this is looked at; whether what was seen until now is void.
    fn want(&mut self, wants: Wants, now_ns: u64) -> bool {
        let of_strangers = matches!(wants, Wants::Strangers(_));
        let before = matches!(self.wants, Wants::Strangers(_));
        if of_strangers {
            self.seen_ns = now_ns;
        }
        if wants == self.wants {
            return false;
        }
        if before && !of_strangers && now_ns.saturating_sub(self.seen_ns) < SETTLED_NS {
            return false;
        }
        if let (true, Wants::Strangers(tids)) = (before, &wants) {
            if let State::Runs(runs) = &self.state {
                runs.driver.choose(Chosen::These(tids.clone()));
            }
            self.wants = wants;
            return false;
        }
        let lists = |wants: &Wants| matches!(wants, Wants::Waits | Wants::Tasks);
        if lists(&self.wants) && lists(&wants) {
            // The same is read for both.
            self.wants = wants;
            if let State::Runs(runs) = &self.state {
                runs.driver.show_listings(self.wants != Wants::Waits);
            }
            return self.wants == Wants::Waits;
        }
        self.state = match (&wants, &self.process) {
            (Wants::Nothing, _) | (_, None) => State::Off,
            (_, Some(process)) => {
                let (process, origin) = (process.clone(), self.origin);
                let (reading, ran) = (self.reading.clone(), self.ran.clone());
                let threads = match &wants {
                    Wants::Strangers(tids) => Some(tids.clone()),
                    Wants::Nothing | Wants::Waits | Wants::Tasks => None,
                };
                State::Begins(spawn_blocking(move || {
                    begin(&process, threads, origin, (reading, ran))
                }))
            }
        };
        self.wants = wants;
        before || matches!(self.wants, Wants::Nothing | Wants::Waits)
    }
}

/// Whether the process of an agent is one of this machine's that may be read from here.
/// Some files of procfs, and the program's symbols: it blocks.
pub(in crate::source) fn may_read(hello: &HelloResponse) -> bool {
    examined(hello).is_ok()
}

fn examined(hello: &HelloResponse) -> Result<Access, Not> {
    let procfs = Procfs::default();
    let mut found = HelloResponse::default();
    host::describe(&procfs, hello.pid, &mut found);
    if !is_same(hello, &found) {
        return Err(Not(None));
    }
    let access = access::examine(&procfs, &ThisKernel, hello.pid);
    Ok(access.map_err(|refusal| Problem::refusal(&refusal))?)
}

/// Reads the program; not where the process is another's, or cannot be read. Of `threads`
/// polls are watched, too.
fn begin(
    hello: &HelloResponse,
    threads: Option<HashSet<u64>>,
    origin: Instant,
    (reading, ran): (Reading, Ran),
) -> Result<Runs, Not> {
    let _turn = budget::turn_for_once(reading.budget.as_ref(), || false);
    let access = examined(hello)?;
    let (sender, messages) = mpsc::channel(MESSAGES);
    let driver = match threads {
        None => Driver::list(&access, reading, ran, sender).ok_or(Not(None))?,
        Some(tids) => {
            let attached = Attached::new(access)?;
            let these = (Chosen::These(tids), Stacks::All);
            let driver = Driver::start(attached, origin, (INTERVAL, reading), these, sender);
            driver.map_err(|error| Problem::no_thread(hello.pid, &error))?
        }
    };
    Ok(Runs { messages, driver })
}

/// Whether the agent speaks of the process that has its id here: in another pid
/// namespace or on another machine that is another one.
fn is_same(hello: &HelloResponse, found: &HelloResponse) -> bool {
    let started = (hello.process_started_unix_ns, found.process_started_unix_ns);
    let (Some(said), Some(seen)) = started else {
        return false;
    };
    !hello.exe.is_empty()
        && hello.exe == found.exe
        && Duration::from_nanos(said.abs_diff(seen)) <= SAME_START
}
