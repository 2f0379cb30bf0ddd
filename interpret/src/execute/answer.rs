//! What code asks for that memory does not hold: the time, and the processor.

use iced_x86::{Instruction, Mnemonic};

use super::Machine;
use crate::end::{Refusal, Stop};
use crate::start::{Answers, Events, Function};
use crate::state::{RAX, RBX, RCX, RDI, RDX, RSI};

/// `clock_gettime`, `gettid` and `write`, by their numbers.
const CLOCK_GETTIME: u64 = 228;
const GETTID: u64 = 186;
const WRITE: u64 = 1;
/// Calls that only give something back: `close`, `munmap`, `madvise`, `shutdown`, `unlink`
/// and `epoll_ctl`; and `mprotect`, by which an allocator has more or less of its own memory.
const GIVES_BACK: [u64; 7] = [3, 10, 11, 28, 48, 87, 233];
const FUTEX: u64 = 202;
/// Commands of a futex that wake; what else is in the argument says how.
const COMMAND: u64 = 0x7f;
const WAKES: [u64; 2] = [1, 10];
/// Whether a descriptor is open is asked before it is closed.
const FCNTL: u64 = 72;
const GET_FLAGS: u64 = 1;
/// Whether a child has ended is asked before it is left to itself: it goes on.
const WAIT4: u64 = 61;
const NO_HANG: u64 = 1;
/// Bytes that are written to a counter of events at a time.
const EVENT: u64 = 8;
/// `EINVAL` as a result.
const INVALID: u64 = (-22_i64) as u64;

impl Machine<'_> {
    /// Answers a function that was just called, and returns from it.
    pub(crate) fn answer(&mut self, function: Function, answers: &Answers) -> Result<(), Stop> {
        self.steps += 1;
        let unknown = Stop::Refused(Refusal::Time);
        let (first, second) = (self.state.general[RDI], self.state.general[RSI]);
        let result = match function {
            Function::ClockGettime => self.clock_gettime(first, second, answers)?,
            Function::Gettimeofday => {
                let now = answers.clocks.realtime.ok_or(unknown)?;
                if first != 0 {
                    self.store(first, 8, now.as_secs())?;
                    let micros = u64::from(now.subsec_micros());
                    self.store(first.wrapping_add(8), 8, micros)?;
                }
                if second != 0 {
                    self.store(second, 8, 0)?;
                }
                0
            }
            Function::Time => {
                let now = answers.clocks.realtime.ok_or(unknown)?.as_secs();
                if first != 0 {
                    self.store(first, 8, now)?;
                }
                now
            }
            Function::Getcpu => {
                for place in [first, second] {
                    if place != 0 {
                        self.store(place, 4, 0)?;
                    }
                }
                0
            }
        };
        let back = self.pop()?;
        self.state.general[RAX] = result;
        self.state.ip = back;
        Ok(())
    }

    fn clock_gettime(&mut self, clock: u64, to: u64, answers: &Answers) -> Result<u64, Stop> {
        let now = answers.clocks.of(clock & 0xffff_ffff);
        let now = now.ok_or(Stop::Refused(Refusal::Time))?;
        if to == 0 {
            return Ok(INVALID);
        }
        self.store(to, 8, now.as_secs())?;
        self.store(to.wrapping_add(8), 8, u64::from(now.subsec_nanos()))?;
        Ok(0)
    }

    /// The time, the thread, the wake of a driver, and where that is allowed what gives
    /// something back, are answered; every other call is refused.
    pub(super) fn system_call(
        &mut self,
        instruction: &Instruction,
        answers: &Answers,
    ) -> Result<(), Stop> {
        let number = self.state.general[RAX];
        let (clock, to) = (self.state.general[RDI], self.state.general[RSI]);
        let refused = Stop::Refused(Refusal::SystemCall(number));
        let result = match (number, answers.thread) {
            (CLOCK_GETTIME, _) => self.clock_gettime(clock, to, answers)?,
            (GETTID, Some(thread)) => thread,
            (WRITE, _) if self.counts_event(answers)? => EVENT,
            _ if answers.gives_back && self.gives_back(number) => 0,
            _ => return Err(refused),
        };
        self.state.general[RAX] = result;
        // The processor puts where it returns to, and the flags, into two registers.
        self.state.general[RCX] = instruction.next_ip();
        self.state.general[11] = self.state.flags.bits();
        Ok(())
    }

    /// Whether one event is written to a counter of them, by which a thread is woken that
    /// waits for a runtime's driver: in the process nobody is.
    fn counts_event(&mut self, answers: &Answers) -> Result<bool, Stop> {
        let [descriptor, from, length] = [RDI, RSI, RDX].map(|at| self.state.general[at]);
        let is_counter = match &answers.events {
            Events::Refused => false,
            Events::Of(counters) => counters.iter().any(|fd| u64::from(*fd) == descriptor),
            Events::OfAny => true,
        };
        Ok(is_counter && length == EVENT && self.load(from, EVENT as usize)? == 1)
    }

    /// Whether a call only gives something back, or asks what it asks who does.
    fn gives_back(&self, number: u64) -> bool {
        let [second, third] = [RSI, RDX].map(|at| self.state.general[at]);
        match number {
            FUTEX => WAKES.contains(&(second & COMMAND)),
            FCNTL => second == GET_FLAGS,
            WAIT4 => third & NO_HANG != 0,
            number => GIVES_BACK.contains(&number),
        }
    }

    pub(super) fn processor_kind(&mut self, answers: &Answers) -> Result<(), Stop> {
        let leaf = [RAX, RCX].map(|register| self.state.general[register] as u32);
        let mut known = answers.cpuid.iter();
        let (_, values) = known
            .find(|(of, _)| *of == leaf)
            .ok_or(Stop::Refused(Refusal::Processor))?;
        for (register, value) in [RAX, RBX, RCX, RDX].into_iter().zip(values) {
            self.state.general[register] = u64::from(*value);
        }
        Ok(())
    }

    pub(super) fn counter(
        &mut self,
        instruction: &Instruction,
        answers: &Answers,
    ) -> Result<(), Stop> {
        let counter = answers.counter.ok_or(Stop::Refused(Refusal::Time))?;
        self.state.general[RAX] = counter & 0xffff_ffff;
        self.state.general[RDX] = counter >> 32;
        if instruction.mnemonic() == Mnemonic::Rdtscp {
            self.state.general[RCX] = 0;
        }
        Ok(())
    }

    pub(super) fn saved_states(&mut self, answers: &Answers) -> Result<(), Stop> {
        let states = answers.saved_states.filter(|_| {
            let register = self.state.general[RCX];
            register as u32 == 0
        });
        let states = states.ok_or(Stop::Refused(Refusal::Processor))?;
        self.state.general[RAX] = states & 0xffff_ffff;
        self.state.general[RDX] = states >> 32;
        Ok(())
    }
}
