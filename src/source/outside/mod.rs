//! The outside view: a process of this machine without an agent, as it is.

use std::convert::Infallible;

use looptop_outside::access::{self, ThisKernel};
use looptop_procfs::Procfs;
use tokio::task::spawn_blocking;

use super::{
    Problem, ProblemKind,
    session::{End, Session},
};

/// Looks at the process with this id until nobody listens, or until it has ended.
pub(super) async fn run(_session: &mut Session, pid: u32) -> Result<Infallible, End> {
    let examined =
        spawn_blocking(move || access::examine(&Procfs::default(), &ThisKernel, pid)).await;
    if let Ok(Err(refusal)) = examined {
        return Err(Problem::refusal(&refusal).into());
    }
    let problem = Problem::new(
        ProblemKind::Unsupported,
        format!("process {pid} has no agent that answers, and this looptop cannot read it without"),
        "add looptop_agent::init() to the application",
    );
    Err(problem.into())
}
