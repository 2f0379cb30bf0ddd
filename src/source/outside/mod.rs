//! The outside view: a process of this machine without an agent, as it is.

use std::convert::Infallible;

use super::{
    Problem, ProblemKind,
    session::{End, Session},
};

/// Looks at the process with this id until nobody listens, or until it has ended.
#[expect(
    clippy::unused_async,
    reason = "who looks at a process sends what is seen on the way"
)]
pub(super) async fn run(_session: &mut Session, pid: u32) -> Result<Infallible, End> {
    let problem = Problem::new(
        ProblemKind::Unsupported,
        format!("process {pid} has no agent that answers, and this looptop cannot read it without"),
        "add looptop_agent::init() to the application",
    );
    Err(problem.into())
}
