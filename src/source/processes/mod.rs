//! The programs on this machine that can be attached to: `looptop ls`, and the picker.
//!
//! - [`process`]: what procfs says of them,
//! - [`ask`]: what answers where they listen,
//! - [`sockets`]: agents by the sockets in this user's folders,
//! - [`row`]: both together, a line for each place to attach to,
//! - [`family`]: a process, and those that it has started,
//! - [`lister`]: the lines, again and again,
//! - [`table`]: the lines for people.
//!
//! Only a process one of whose threads is the agent's or console-subscriber's is
//! dialled, and of the sockets at which it listens those are listed that answer:
//! its own HTTP ports are none of them. Tokio programs without either are recognised
//! by their executables and threads; nothing of their memory is looked at.

mod ask;
mod family;
mod lister;
mod process;
mod row;
#[cfg(unix)]
mod sockets;
mod table;

use std::time::Duration;

use looptop_outside::access::ThisKernel;
use looptop_procfs::Procfs;
use tokio::{task::spawn_blocking, time::sleep};

use self::{
    process::{Instrument, Process, Scan, Way},
    row::{Place, places},
};
use super::target::Target;

pub use family::Family;
pub use lister::{Lister, Listing};
pub use row::{At, Row};
pub use table::table;

/// First and longest pause between looks whether an agent listens by now.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The process with this id, if there is one.
async fn process(pid: u32) -> Option<Process> {
    let look = move || Scan::<ThisKernel>::default().of(pid);
    spawn_blocking(look).await.ok()?
}

/// What the process with this id has to do with looptop, as a sentence, for
/// somebody who gave a number that is no port of ours; `None` where no process
/// has it.
pub async fn with_id(pid: u32) -> Option<String> {
    let process = process(pid).await?;
    let name = super::problem::quote(&process.name);
    let whose = format!("{pid} is the process id of {name}");
    let who = match &process.way {
        Way::Within(Instrument::Agent, _) => "its agent",
        Way::Within(Instrument::Console, _) => "its console-subscriber",
        Way::Outside(_, Ok(())) => {
            return Some(format!(
                "{whose}, in which no agent runs: write pid:{pid} to look at it from outside"
            ));
        }
        Way::Outside(_, Err(refusal)) => return Some(format!("{whose}: {refusal}")),
        Way::None => {
            return Some(format!(
                "{whose}, in which neither an agent nor tokio shows: `looptop ls` lists the \
                 tokio programs of this machine"
            ));
        }
    };
    let places = places(&process)
        .await
        .into_iter()
        .map(|place| match place.at {
            At::Target(target) => format!("{who} listens at {target}"),
            nowhere => format!("{who} cannot be attached to ({nowhere})"),
        });
    let places: Vec<String> = places.collect();
    let places = places.join(", and ");
    Some(format!("{whose}: {places}; pid:{pid} attaches to it"))
}

/// When the process with this id started, in ticks: an id is given anew, with another
/// start. `None` where there is none.
pub(super) fn started(pid: u32) -> Option<u64> {
    let stat = Procfs::default().process(pid).stat()?;
    Some(stat.start_ticks)
}

/// Where the agent or console-subscriber of the process with this id listens; `None`
/// where there is none that can be reached and answers.
pub(super) async fn listens_at(pid: u32) -> Option<Target> {
    let mut places = instrumented(pid).await.into_iter();
    places.find_map(|place| place.at.target())
}

/// Waits until an agent or console-subscriber of the process with this id can be attached
/// to: one that was slow to answer, or that begins later than its program. One that wants
/// a token is not waited for.
///
/// It is looked for ever more rarely: a look reads the names of all threads.
pub(super) async fn comes_to_listen(pid: u32) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let mut places = instrumented(pid).await.into_iter();
        if places.any(|place| !place.wants_token && place.at.target().is_some()) {
            return;
        }
    }
}

/// The places of the agent or console-subscriber of the process with this id.
async fn instrumented(pid: u32) -> Vec<Place> {
    let look = move || Scan::<ThisKernel>::default().instrumented(pid);
    match spawn_blocking(look).await {
        Ok(Some(process)) => places(&process).await,
        _ => Vec::new(),
    }
}
