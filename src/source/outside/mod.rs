//! The outside view: a process of this machine without an agent, as it is.
//!
//! Three threads look at the process: one at its threads a hundred times a second, one at
//! its tasks once a second, and one reads where the tasks wait; a fourth looks up the names
//! of futures. What they see is translated where the session runs.
//!
//! - `live`: an attachment, from the first look to the end,
//! - `beside`: the same beside an agent or console-subscriber, in one session with it,
//! - `view`: whether the process of another source can be looked at, too,
//! - `core`: a core dump, read once,
//! - `driver`: the threads that look,
//! - `reader`: the one that reads where tasks wait,
//! - `facts`: what `looptop-outside` says, as `seen` has it,
//! - `names`: the names of futures,
//! - `stop`: how the threads are asked to end,
//! - `seen`: what was seen, as plain facts,
//! - `hello`: who is looked at, and what cannot be known,
//! - `translate`, `tasks`, `workers`, `waits`: the facts in the normal form.

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod beside;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod core;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod driver;
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
mod elsewhere;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod facts;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod hello;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod live;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod names;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod ran;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod reader;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod seen;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod stop;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod tasks;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod translate;
mod view;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod waits;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod workers;

use std::{convert::Infallible, path::PathBuf};

use looptop_outside::access::{self, ThisKernel};
use looptop_procfs::Procfs;
use tokio::task::spawn_blocking;

use super::{
    Problem,
    session::{End, Session},
};

/// Whether processes can be looked at here.
pub(super) const IS_SUPPORTED: bool = cfg!(all(
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
));

/// Looks at the process with this id until nobody listens, or until it has ended.
pub(super) async fn run(session: &mut Session, pid: u32) -> Result<Infallible, End> {
    let examine = spawn_blocking(move || access::examine(&Procfs::default(), &ThisKernel, pid));
    match session.awaiting(examine, Problem::slow_to_read).await? {
        Ok(Ok(access)) => look(session, access).await,
        Ok(Err(refusal)) => Err(Problem::refusal(&refusal).into()),
        Err(_panicked) => Err(Problem::not_attached(pid).into()),
    }
}

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
pub(super) use beside::{
    Beside, BesideConsole, Heard, HeardBesideConsole, Joins, may_read as may_read_agent,
};
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
pub(super) use elsewhere::{
    Beside, BesideConsole, Heard, HeardBesideConsole, Joins, may_read_agent, why_never,
};
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
pub(super) use hello::why_never;
pub(super) use view::{Shown, View};

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
use live::run as look;

/// Shows the core dump at a path until nobody listens.
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
pub(super) async fn read_core(session: &mut Session, path: PathBuf) -> Result<Infallible, End> {
    core::run(session, path).await
}

/// Elsewhere none is read.
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
pub(super) async fn read_core(_: &mut Session, path: PathBuf) -> Result<Infallible, End> {
    let why = "core dumps are read on Linux on x86-64";
    Err(Problem::core(&path, &why).into())
}

/// Elsewhere nothing may be looked at in the first place.
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
async fn look(_: &mut Session, access: access::Access) -> Result<Infallible, End> {
    Err(Problem::not_attached(access.subject.pid()).into())
}
