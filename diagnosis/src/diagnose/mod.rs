//! From the model to findings: what starves the loop, who is to blame, and what
//! to do instead.
//!
//! A rule is a file in [`rules`] and a line in its registry; it is a pure
//! function of the model and a window of time. The registry also generates
//! `docs/detection.md` and `looptop explain`.
//!
//! Invariants:
//! - No I/O, no clock: "now" is the model's.
//! - A healthy but busy program yields no finding. A false alarm is a bug as
//!   grave as a miss.
//! - A finding says what the evidence shows; where it does not decide, the cause
//!   is unknown.

mod coverage;
mod engine;
mod explain;
mod finding;
mod mistakes;
mod remedy;
pub mod rules;
mod scans;
mod stalls;
mod unseen;
mod verdict;
pub mod waits;
mod words;

pub use coverage::{Gap, gaps, remarks, replaced};
pub use engine::{Engine, Window};
pub use explain::{all_rules, explain, list};
pub use finding::{Finding, Severity, Subject, cause_word, counts_waiters};
pub use remedy::{Advice, Case};
pub use rules::{Rule, find, nearest};
pub use verdict::{Level, Verdict};
pub use words::spoken;
