//! The outside view: a process of this machine without an agent, as it is.
//!
//! - `seen`: what was seen, as plain facts,
//! - `hello`: who is looked at, and what cannot be known,
//! - `stop`: how the threads that look are asked to end,
//! - `translate`, `tasks`, `workers`: the facts in the normal form.

#[allow(dead_code, reason = "nobody looks yet")]
mod hello;
#[allow(dead_code, reason = "nobody looks yet")]
mod seen;
#[allow(dead_code, reason = "nobody looks yet")]
mod stop;
#[allow(dead_code, reason = "nobody looks yet")]
mod tasks;
#[allow(dead_code, reason = "nobody looks yet")]
mod translate;
#[allow(dead_code, reason = "nobody looks yet")]
mod workers;


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
