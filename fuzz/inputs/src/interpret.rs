//! Hostile code on hostile memory: a run ends at its limits.

use std::collections::HashMap;
use std::time::Duration;

use looptop_interpret::{
    Answers, Clocks, Code, Coverage, Events, Function, Host, Limits, PAGE, Start, run as run_code,
};

use crate::file::Input;
use crate::guard::guarded;

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
/// From here on each page is mapped, and holds the input again and again.
const EVERYWHERE: u64 = 0x10_0000_0000;

struct Memory<'a> {
    pages: HashMap<u64, &'a [u8]>,
    everywhere: &'a [u8],
}

impl Host for Memory<'_> {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        let number = address / PAGE as u64;
        if let Some(bytes) = self.pages.get(&number) {
            page[..bytes.len()].copy_from_slice(bytes);
            return true;
        }
        if !(EVERYWHERE..2 * EVERYWHERE).contains(&address) || self.everywhere.is_empty() {
            return false;
        }
        for (byte, from) in page.iter_mut().zip(self.everywhere.iter().cycle()) {
            *byte = *from;
        }
        true
    }
}

/// The input: what is answered, the arguments, the code, the data.
pub fn run(data: &[u8]) {
    guarded(|| {
        let mut input = Input(data);
        let kinds = input.byte();
        let mut argument = || match input.byte() {
            0 => DATA,
            1 => EVERYWHERE,
            2 => CODE,
            3 => u64::MAX,
            byte => u64::from(byte),
        };
        let arguments = std::array::from_fn(|_| argument());
        let code = input.part();
        let mut memory = Memory {
            pages: HashMap::new(),
            everywhere: input.0,
        };
        for (number, piece) in code.chunks(PAGE).enumerate() {
            memory
                .pages
                .insert(CODE / PAGE as u64 + number as u64, piece);
        }
        for (number, piece) in input.0.chunks(PAGE).enumerate() {
            memory
                .pages
                .insert(DATA / PAGE as u64 + number as u64, piece);
        }
        let mut coverage = Coverage::default();
        coverage.count(code, CODE);
        let mut answers = Answers::default();
        if kinds & 1 == 1 {
            let now = Some(Duration::from_secs(1 << 40));
            answers = Answers {
                clocks: Clocks {
                    realtime: now,
                    monotonic: now,
                    boottime: now,
                },
                functions: vec![
                    (CODE + 0x800, Function::ClockGettime),
                    (CODE + 0x900, Function::Time),
                ],
                thread: Some(7),
                counter: Some(u64::MAX - 10),
                cpuid: vec![([7, 0], [1, 2, 3, 4])],
                saved_states: Some(u64::MAX),
                events: Events::OfAny,
                gives_back: kinds & 4 == 4,
            };
        }
        let start = Start {
            function: CODE,
            arguments,
            fs: (kinds & 2 == 2).then_some(DATA),
            writes: vec![(DATA, vec![1; usize::from(kinds >> 4)])],
        };
        let limits = Limits {
            // Fewer than of a real run, so that one takes a moment.
            steps: 100_000,
            reads: 20_000,
            ..Limits::default()
        };
        let mut code = Code::default();
        let mut run = run_code(&mut memory, &mut code, &start, &answers, &limits);
        assert!(run.steps <= limits.steps + 1, "{} steps", run.steps);
        assert!(run.pages <= limits.pages, "{} pages", run.pages);
        assert!(run.frames.len() <= limits.frames && run.reads.len() <= limits.reads);
        let _ = run.end.to_string();
        assert!(run.unchanged(&mut memory), "nobody changes this memory");
        for frame in [run.innermost, 0] {
            run.path(frame);
        }
        for visit in &run.visits {
            run.instructions(visit);
        }
        run.read(&mut memory, DATA, &mut [0; 8]);
    });
}
