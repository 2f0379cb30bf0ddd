//! A run: one function, from its first instruction to its return, or to where it ends
//! before.

use std::collections::HashSet;

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::code::Code;
use crate::end::{End, Limit, Refusal, Stop};
use crate::execute::{Machine, Next};
use crate::memory::{Host, PAGE};
use crate::start::{Answers, Limits, Start};
use crate::state::{RAX, RDX, RSP, State};
use crate::trace::{Atomic, Frame, Read, Run, Visit};

/// The address to which the first function returns: of no process.
const RETURN: u64 = 0x0000_7fff_ffff_f00d;

/// Steps between two looks at the time.
const LOOK: u64 = 1024;

/// Runs a function on a copy of memory. Nothing is executed and nothing is written
/// outside of this call.
///
/// What an instruction takes is printed by `--example speed`; each page that is touched, 4 KiB.
pub fn run(
    host: &mut dyn Host,
    code: &mut Code,
    start: &Start,
    answers: &Answers,
    limits: &Limits,
) -> Run {
    let mut machine = Machine::new(host, limits);
    machine.state.ip = start.function;
    machine.state.fs = start.fs;
    for (register, argument) in crate::state::ARGUMENTS.iter().zip(start.arguments) {
        machine.state.general[*register] = argument;
    }
    let top = limits.stack_end - 8;
    machine.state.general[RSP] = top;
    let mut notes = Notes::new(&machine.state, limits);
    let mut stop = machine.write(top, &RETURN.to_le_bytes());
    for (address, bytes) in &start.writes {
        stop = stop.and_then(|()| machine.write(*address, bytes));
    }
    let end = match stop {
        Ok(()) => notes.follow(&mut machine, code, answers, None),
        Err(stop) => Err(stop),
    };
    notes.finish(machine, end)
}

/// Runs code from given registers on, until the next instruction is the one at `until`;
/// a stack is none of the run's own. For tests, and for who stops a thread.
pub fn run_until(
    host: &mut dyn Host,
    code: &mut Code,
    state: &State,
    until: u64,
    answers: &Answers,
    limits: &Limits,
) -> Run {
    let mut machine = Machine::new(host, limits);
    machine.state = state.clone();
    let mut notes = Notes::new(&machine.state, limits);
    let end = notes.follow(&mut machine, code, answers, Some(until));
    notes.finish(machine, end)
}

/// A call that has not returned.
#[derive(Debug)]
struct Active {
    frame: u32,
    /// Where its return address lies.
    stack: u64,
}

/// What is noted of a run while it goes on.
struct Notes {
    limits: Limits,
    frames: Vec<Frame>,
    active: Vec<Active>,
    visits: Vec<Visit>,
    seen: HashSet<(u32, u64)>,
    /// The visit that is not closed; `None`: this code was noted before.
    open: Option<Visit>,
    atomics: Vec<Atomic>,
    atomics_dropped: u64,
    reads: Vec<Read>,
    instructions: Vec<u64>,
    /// The page of code that was last seen to be as it was, with so many pages written.
    checked: (u64, usize),
}

impl Notes {
    fn new(state: &State, limits: &Limits) -> Self {
        let stack = state.general[RSP];
        let mut notes = Self {
            limits: *limits,
            frames: vec![Frame {
                parent: None,
                depth: 0,
                site: 0,
                entry: state.ip,
                return_address: RETURN,
                stack,
                arguments: state.arguments(),
                returned: None,
            }],
            active: vec![Active { frame: 0, stack }],
            visits: Vec::new(),
            seen: HashSet::new(),
            open: None,
            atomics: Vec::new(),
            atomics_dropped: 0,
            reads: Vec::new(),
            instructions: Vec::new(),
            checked: (u64::MAX, 0),
        };
        notes.open(state.ip, None);
        notes
    }

    /// What a run has shown that ended so.
    fn finish(mut self, machine: Machine, end: Result<(), Stop>) -> Run {
        let at = machine.state.ip;
        self.close(at);
        let end = match end {
            Ok(()) => End::Returned {
                rax: machine.state.general[RAX],
                rdx: machine.state.general[RDX],
            },
            Err(Stop::Refused(why)) => End::Refused { at, why },
            Err(Stop::Limit(limit)) => End::Limit { at, limit },
        };
        Run {
            end,
            innermost: self.frame(),
            frames: self.frames,
            visits: self.visits,
            atomics: self.atomics,
            atomics_dropped: self.atomics_dropped,
            reads: self.reads,
            instructions: self.instructions,
            written: machine.pages.written(),
            steps: machine.steps,
            pages: machine.pages.count(),
            state: machine.state,
            copy: machine.pages,
        }
    }

    /// Steps until the first function returns, or the instruction at `until` is next.
    fn follow(
        &mut self,
        machine: &mut Machine,
        code: &mut Code,
        answers: &Answers,
        until: Option<u64>,
    ) -> Result<(), Stop> {
        loop {
            if until == Some(machine.state.ip) {
                return Ok(());
            }
            if machine.steps >= self.limits.steps {
                return Err(Stop::Limit(Limit::Steps));
            }
            if machine.steps.is_multiple_of(LOOK) && machine.host.expired() {
                return Err(Stop::Limit(Limit::Time));
            }
            let at = machine.state.ip;
            if let Some((_, function)) = answers.functions.iter().find(|f| f.0 == at) {
                machine.answer(*function, answers)?;
                self.returned(machine, at);
            } else {
                self.unwritten(machine, at)?;
                let decoded = code.at(machine.host, at)?;
                let instruction = &decoded.instruction;
                if self.open.is_some() {
                    self.instructions.push(at);
                }
                if is_atomic(instruction) {
                    self.atomic(machine, instruction)?;
                }
                machine.reads.clear();
                let next = machine.step(&decoded, answers);
                self.reads(machine, at);
                match next? {
                    Next::Through => {}
                    Next::Jumped => self.jumped(machine, instruction, false),
                    Next::JumpedFar => self.jumped(machine, instruction, true),
                    Next::Called => self.called(machine, instruction)?,
                    Next::Returned => self.returned(machine, instruction.next_ip()),
                }
            }
            if self.active.is_empty() {
                // A stack that was damaged returns to anywhere.
                return match machine.state.ip {
                    RETURN => Ok(()),
                    elsewhere => Err(Stop::Refused(Refusal::Code(elsewhere))),
                };
            }
        }
    }

    /// Code that the run has written is not what the process would run.
    fn unwritten(&mut self, machine: &Machine, at: u64) -> Result<(), Stop> {
        let checked = (at / PAGE as u64, machine.pages.written_count());
        if self.checked != checked {
            if machine.pages.is_written(at) {
                return Err(Stop::Refused(Refusal::WrittenCode(at)));
            }
            self.checked = checked;
        }
        Ok(())
    }

    fn frame(&self) -> u32 {
        self.active.last().map_or(0, |active| active.frame)
    }

    /// Begins a visit at `at`.
    fn open(&mut self, at: u64, tail: Option<[u64; 4]>) {
        let frame = self.frame();
        self.open = self.seen.insert((frame, at)).then_some(Visit {
            frame,
            code: at..at,
            tail,
            instructions: self.instructions.len()..self.instructions.len(),
        });
    }

    /// Ends the visit at `end`.
    fn close(&mut self, end: u64) {
        if let Some(mut visit) = self.open.take() {
            visit.code.end = end;
            visit.instructions.end = self.instructions.len();
            self.visits.push(visit);
        }
    }

    fn jumped(&mut self, machine: &Machine, jump: &Instruction, indirect: bool) {
        self.close(jump.next_ip());
        let at_entry = self.active.last().map(|active| active.stack);
        let is_tail = indirect && at_entry == Some(machine.state.general[RSP]);
        let tail = is_tail.then(|| machine.state.arguments());
        self.open(machine.state.ip, tail);
    }

    fn called(&mut self, machine: &Machine, call: &Instruction) -> Result<(), Stop> {
        self.close(call.next_ip());
        if self.frames.len() >= self.limits.frames {
            return Err(Stop::Limit(Limit::Frames));
        }
        let stack = machine.state.general[RSP];
        let frame = self.frames.len() as u32;
        self.frames.push(Frame {
            parent: Some(self.frame()),
            depth: self.active.len() as u32,
            site: call.ip(),
            entry: machine.state.ip,
            return_address: call.next_ip(),
            stack,
            arguments: machine.state.arguments(),
            returned: None,
        });
        self.active.push(Active { frame, stack });
        self.open(machine.state.ip, None);
        Ok(())
    }

    /// After a return: to the caller, or to any of the callers' callers.
    fn returned(&mut self, machine: &Machine, end: u64) {
        self.close(end);
        let state = &machine.state;
        while let Some(active) = self.active.last()
            && active.stack < state.general[RSP]
        {
            let frame = &mut self.frames[active.frame as usize];
            if frame.return_address == state.ip && active.stack + 8 <= state.general[RSP] {
                frame.returned = Some([state.general[RAX], state.general[RDX]]);
            }
            self.active.pop();
        }
        if !self.active.is_empty() {
            self.open(state.ip, None);
        }
    }

    /// Notes what the instruction at `at` has read.
    fn reads(&mut self, machine: &Machine, at: u64) {
        let frame = self.frame();
        let left = self.limits.reads.saturating_sub(self.reads.len());
        let reads = machine.reads.iter().take(left);
        self.reads.extend(reads.map(|(address, size, value)| Read {
            frame,
            at,
            address: *address,
            size: *size,
            value: *value,
        }));
    }

    fn atomic(&mut self, machine: &mut Machine, instruction: &Instruction) -> Result<(), Stop> {
        let address = machine.address(instruction)?;
        if machine.pages.is_own(address) {
            return Ok(());
        }
        if self.atomics.len() >= self.limits.atomics {
            self.atomics_dropped += 1;
            return Ok(());
        }
        let size = instruction.memory_size().size().min(8);
        let atomic = Atomic {
            frame: self.frame(),
            at: instruction.ip(),
            address,
            size: size as u8,
            before: machine.load(address, size)?,
        };
        self.atomics.push(atomic);
        Ok(())
    }
}

fn is_atomic(instruction: &Instruction) -> bool {
    let memory = instruction.op0_kind() == OpKind::Memory;
    memory && (instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg)
}
