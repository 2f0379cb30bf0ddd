//! The screen in a real pseudo-terminal, against real labs and scripted agents. One
//! program, because each one links the whole viewer. What measures or judges a
//! loaded machine has a program of its own, in which nothing runs beside it.

#[cfg(feature = "demo")]
mod attach;
#[cfg(feature = "demo")]
mod demo;
mod hostile;
#[cfg(feature = "demo")]
mod lab_view;
mod own;
#[cfg(feature = "demo")]
mod past;
#[cfg(feature = "demo")]
mod several;

#[cfg(feature = "demo")]
#[path = "../lab/mod.rs"]
mod lab;
#[cfg(feature = "demo")]
#[path = "../programs/mod.rs"]
mod programs;
#[path = "../sources/script.rs"]
#[allow(dead_code, reason = "shared with the tests of sources")]
mod script;
#[path = "../terminal/mod.rs"]
mod terminal;
