//! x86-64 machine code, interpreted on a copy of memory.
//!
//! [`run`] takes a function through its code until it returns, on a copy-on-write copy
//! of the pages that it touches. Nothing is executed, and nothing is written outside of
//! the run. What it did on the way is the result, a [`Run`]: the calls ([`Frame`]) with
//! their first arguments and what they returned, the code that each of them went through
//! ([`Visit`]), the atomic accesses ([`Atomic`]), what was read ([`Read`]), the pages that
//! were written ([`Written`]), and why it ended ([`End`]). Addresses are not named here.
//!
//! # What is known
//!
//! Instructions of general registers, also those with a lock; strings; SSE to SSE4.2, AVX
//! and AVX2 but for the rare; fused multiplications; of AVX-512 what the C library and
//! compilers use: moves, arithmetic and comparisons of whole numbers under masks, shuffles,
//! masks themselves; AES and SHA-256. What an instruction does is decided at one place
//! (`op`), when it is decoded. One that has no entry there is unknown: a run that comes to
//! it ends ([`Refusal::Unknown`]), with all that was seen before.
//!
//! `cargo run -p looptop-interpret --example coverage -- BINARY...` counts those that a
//! program has, and names the unknown ones. Of release builds of real servers
//! (mini-redis, miniserve, dufs and others, with OpenSSL's and ring's assembly where they
//! have it) all are known but for constants among the code; of the C library, 99.9 %: the
//! rest is arithmetic of x87, and transactions.
//!
//! Of x87 is known what compilers make of numbers of 80 bits: loads, stores, the four
//! operations, comparison into the flags, and what rounds to a whole number, as long as no
//! number is denormal or none. What asks for its status is not.
//!
//! Not known are MMX, scatters, transactions, and vector arithmetic that rounds otherwise
//! than to the nearest. The flags that report inexact results are not kept.
//!
//! # What is refused, and what is answered
//!
//! System calls are refused, whatever they do; so are traps, and code that the run itself
//! has written. The time and the thread's id are answered, as the caller gives them
//! ([`Answers`]): the system calls `clock_gettime` and `gettid`, and the functions of the
//! vDSO, whose own code reads pages that no other process
//! may read. So is a `write` by which a runtime's driver is woken ([`Events`]): timers that
//! a poll makes anew do so. `cpuid`, `xgetbv` and `rdtsc` say what the caller gives, and are refused
//! without it; in a running program they have been asked long before, and what they said
//! lies in memory. Memory at FS is that of the thread whose part is played
//! ([`Start::fs`]).
//!
//! # Limits
//!
//! Code and memory are another's, who may mean harm. A run ends after so many
//! instructions (elements of a repeated one count), pages, calls, or when the [`Host`]
//! says that its time is over ([`Limits`]); what it notes is bounded by these. No code
//! makes it panic: addresses wrap, divisions are checked, stacks may lead anywhere.
//!
//! A page is read when it is first touched, while the process goes on. So a run may have
//! seen memory of several moments; [`Run::unchanged`] reads again what was read, and says
//! whether it was of one.
//!
//! # Proof
//!
//! `tests/native` runs code natively and interpreted, and compares registers, flags and
//! memory: each encoding that is known, with operands, prefixes, masks and values by
//! chance; sequences of them; functions of the standard library; the C library's memory
//! functions, in each variant that the loader can be made to choose. It needs a processor
//! with AVX-512, and says so where there is none.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod code;
mod coverage;
mod end;
mod execute;
mod flags;
mod memory;
mod op;
mod run;
mod start;
mod state;
mod trace;

pub use code::Code;
pub use coverage::Coverage;
pub use end::{End, Limit, Refusal};
pub use flags::Flags;
pub use memory::{Host, PAGE, Written};
pub use run::{run, run_until};
pub use start::{Answers, Clocks, Events, Function, Limits, Start};
pub use state::{Extended, Floats, State, Vector};
pub use trace::{Atomic, Frame, Read, Run, Visit};
