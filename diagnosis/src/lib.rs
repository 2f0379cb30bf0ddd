//! What starves a tokio event loop, and how to mend it.
//!
//! [`model`] is what is known of an observed program, built from the wire's frames alone;
//! [`diagnose`] has the rules, the remedies and the verdict. Neither does I/O or asks a
//! clock: "now" is the moment of the newest frame. So whoever has the frames comes to the
//! same verdict: looptop's screen and reports, a recording, and the agent in the program
//! itself.
#![forbid(unsafe_code)]

pub mod diagnose;
pub mod model;
