//! What a run notes and why it ends, by small pieces of code; and that nothing in code
//! or memory breaks it. Needs no processor of a kind.

use std::collections::HashMap;
use std::time::Duration;

use looptop_interpret::{
    Answers, Clocks, Code, End, Events, Function, Host, Limit, Limits, PAGE, Refusal, Run, Start,
    State, run, run_until,
};

const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;

/// Pages by their addresses; everything else is not mapped.
#[derive(Default)]
struct Memory {
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    asked: usize,
    patience: Option<usize>,
}

impl Memory {
    fn with(code: &[u8]) -> Self {
        let mut memory = Self::default();
        memory.put(CODE, code);
        memory.put(DATA, &[0; PAGE]);
        memory
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(address..) {
            let page = self
                .pages
                .entry(at / PAGE as u64)
                .or_insert_with(|| Box::new([0; PAGE]));
            page[(at % PAGE as u64) as usize] = *byte;
        }
    }
}

impl Host for Memory {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        self.asked += 1;
        let found = self.pages.get(&(address / PAGE as u64));
        found.is_some_and(|found| {
            *page = **found;
            true
        })
    }

    fn expired(&mut self) -> bool {
        if let Some(patience) = &mut self.patience {
            *patience = patience.saturating_sub(1);
        }
        self.patience == Some(0)
    }
}

fn begin(code: &[u8]) -> Run {
    begin_with(code, &Answers::default(), &Limits::default())
}

fn begin_with(code: &[u8], answers: &Answers, limits: &Limits) -> Run {
    let mut memory = Memory::with(code);
    start(&mut memory, answers, limits)
}

fn start(memory: &mut Memory, answers: &Answers, limits: &Limits) -> Run {
    let start = Start {
        function: CODE,
        arguments: [DATA, 2, 3, 4, 5, 6],
        ..Start::default()
    };
    run(memory, &mut Code::default(), &start, answers, limits)
}

fn refused(code: &[u8]) -> Refusal {
    match begin(code).end {
        End::Refused { why, .. } => why,
        end => panic!("{end:?}"),
    }
}

#[test]
fn calls_code_and_atomics_are_noted() {
    let code = [
        0xe8, 0x0b, 0, 0, 0, // call +0x10
        0x48, 0xff, 0xc0, // inc rax
        0xc3, // ret
        0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, // to 0x10
        0xf0, 0x48, 0x0f, 0xc1, 0x37, // lock xadd [rdi], rsi
        0x48, 0x89, 0xf0, // mov rax, rsi
        0x48, 0x83, 0xc0, 0x07, // add rax, 7
        0xc3, // ret
    ];
    let mut memory = Memory::with(&code);
    memory.put(DATA, &40_u64.to_le_bytes());
    let mut run = start(&mut memory, &Answers::default(), &Limits::default());
    assert_eq!(run.end, End::Returned { rax: 48, rdx: 3 });
    assert_eq!(run.steps, 7);
    let [outer, inner] = &run.frames[..] else {
        panic!("{:?}", run.frames)
    };
    assert_eq!((outer.parent, outer.depth, outer.entry), (None, 0, CODE));
    assert_eq!((inner.parent, inner.depth, inner.site), (Some(0), 1, CODE));
    assert_eq!((inner.entry, inner.return_address), (CODE + 0x10, CODE + 5));
    assert_eq!(inner.arguments, [DATA, 2, 3, 4]);
    assert_eq!(inner.returned, Some([47, 3]));
    assert_eq!(run.path(1), [0, 1]);
    let visits: Vec<_> = run
        .visits
        .iter()
        .map(|visit| (visit.frame, visit.code.start - CODE, visit.code.end - CODE))
        .collect();
    assert_eq!(visits, [(0, 0, 5), (1, 0x10, 0x1d), (0, 5, 9)]);
    let [atomic] = run.atomics[..] else {
        panic!("{:?}", run.atomics)
    };
    assert_eq!((atomic.frame, atomic.at), (1, CODE + 0x10));
    assert_eq!((atomic.address, atomic.size, atomic.before), (DATA, 8, 40));
    // Written in the copy, and nowhere else.
    assert_eq!(run.written.len(), 1);
    assert_eq!((run.written[0].address, run.written[0].changed), (DATA, 1));
    let mut after = [0; 8];
    assert!(run.read(&mut memory, DATA, &mut after));
    assert_eq!(u64::from_le_bytes(after), 42);
    assert_eq!(memory.pages[&(DATA / PAGE as u64)][0], 40);
}

#[test]
fn a_jump_to_another_function_is_noted_with_its_arguments() {
    // `lea rax, [rip + 9]`, `jmp rax`, and there `ret`.
    let code = [
        0x48, 0x8d, 0x05, 0x09, 0, 0, 0, 0xff, 0xe0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3,
    ];
    let run = begin(&code);
    assert!(matches!(run.end, End::Returned { .. }));
    let tail = run.visits.iter().find_map(|visit| {
        let arguments = visit.tail?;
        Some((visit.code.start, arguments))
    });
    assert_eq!(tail, Some((CODE + 0x10, [DATA, 2, 3, 4])));
}

#[test]
fn what_changes_while_it_runs_is_noticed() {
    let code = [0x48, 0x8b, 0x07, 0xc3]; // mov rax, [rdi]; ret
    let mut memory = Memory::with(&code);
    let run = start(&mut memory, &Answers::default(), &Limits::default());
    assert!(run.unchanged(&mut memory));
    // Another word of the same page was not read.
    memory.put(DATA + 8, &[1]);
    assert!(run.unchanged(&mut memory));
    memory.put(DATA + 7, &[1]);
    assert!(!run.unchanged(&mut memory));
    memory.pages.remove(&(DATA / PAGE as u64));
    assert!(!run.unchanged(&mut memory));

    // What it wrote before it read is its own.
    let code = [0x48, 0x89, 0x37, 0x48, 0x8b, 0x07, 0xc3]; // mov [rdi], rsi; mov rax, [rdi]
    let mut memory = Memory::with(&code);
    let run = start(&mut memory, &Answers::default(), &Limits::default());
    memory.put(DATA, &[9]);
    assert!(run.unchanged(&mut memory));
}

#[test]
fn what_is_refused_says_what_it_was() {
    for (code, text) in [
        (&[0xb8, 1, 0, 0, 0, 0x0f, 0x05][..], "system call 1"),
        (&[0xd9, 0xfe], "unknown instruction Fsin"),
        (&[0x0f, 0x77], "unknown instruction Emms"),
        (&[0x0f, 0x0b], "trap"),
        (&[0x31, 0xc9, 0xf7, 0xf1], "division without a result"),
        (
            &[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0],
            "memory of an unknown thread",
        ),
        (&[0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0], "no memory at 0x0"),
        (&[0xff, 0xe6], "no code at 0x2"),
        (&[0x31, 0xc0, 0x0f, 0xa2], "question on the processor"),
        (&[0x0f, 0x31], "time that was not given"),
        (&[0x06], "unknown instruction INVALID"),
        // `mov byte [rip], 0` over the next instruction.
        (
            &[0xc6, 0x05, 0, 0, 0, 0, 0, 0x90],
            "code at 0x400007 was written",
        ),
        // `push 8; pop rax; xchg rsp, rax; ret`
        (&[0x6a, 8, 0x58, 0x48, 0x94, 0xc3], "no memory at 0x0"),
    ] {
        assert_eq!(refused(code).to_string(), text, "{code:x?}");
    }
}

#[test]
fn the_place_of_a_refusal_is_that_of_its_instruction() {
    let run = begin(&[0x90, 0xe8, 0, 0, 0, 0, 0x90, 0x0f, 0x0b]);
    assert_eq!(
        run.end,
        End::Refused {
            at: CODE + 7,
            why: Refusal::Trap
        }
    );
    assert_eq!(run.innermost, 1);
    assert_eq!(run.frames[1].returned, None);
    let last = run.visits.last().unwrap();
    assert_eq!((last.frame, last.code.clone()), (1, CODE + 6..CODE + 7));
}

#[test]
fn the_time_is_what_the_caller_says() {
    let answers = Answers {
        clocks: Clocks {
            monotonic: Some(Duration::new(77, 99)),
            ..Clocks::default()
        },
        functions: vec![(0x7000, Function::ClockGettime)],
        ..Answers::default()
    };
    let by_call = [
        0x48, 0x89, 0xfe, // mov rsi, rdi
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0xb8, 228, 0, 0, 0, // mov eax, 228
        0x0f, 0x05, // syscall
        0xc3,
    ];
    let by_function = [
        0x48, 0x89, 0xfe, // mov rsi, rdi
        0xbf, 6, 0, 0, 0, // mov edi, 6
        0xb8, 0x00, 0x70, 0, 0, // mov eax, 0x7000
        0xff, 0xd0, // call rax
        0xc3,
    ];
    for code in [&by_call[..], &by_function] {
        let mut memory = Memory::with(code);
        let mut run = start(&mut memory, &answers, &Limits::default());
        assert_eq!(run.end, End::Returned { rax: 0, rdx: 3 });
        let mut said = [0; 16];
        assert!(run.read(&mut memory, DATA, &mut said));
        let (words, _) = said.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        assert_eq!(words, [77, 99]);
        // The realtime clock was not given.
        let mut memory = Memory::with(code);
        memory.put(CODE + 4, &[0]);
        let run = start(&mut memory, &answers, &Limits::default());
        let End::Refused { why, .. } = run.end else {
            panic!("{:?}", run.end)
        };
        assert_eq!(why, Refusal::Time);
    }
}

#[test]
fn the_thread_is_the_one_that_the_caller_says() {
    let code = [
        0xb8, 186, 0, 0, 0, // mov eax, 186
        0x0f, 0x05, // syscall
        0xc3,
    ];
    let answers = Answers {
        thread: Some(4321),
        ..Answers::default()
    };
    let run = begin_with(&code, &answers, &Limits::default());
    assert_eq!(run.end, End::Returned { rax: 4321, rdx: 3 });
    assert_eq!(refused(&code), Refusal::SystemCall(186));
}

#[test]
fn one_event_may_be_written_to_what_counts_them() {
    let code = [
        0x48, 0x89, 0xfe, // mov rsi, rdi
        0xbf, 7, 0, 0, 0, // mov edi, 7
        0xba, 8, 0, 0, 0, // mov edx, 8
        0xb8, 1, 0, 0, 0, // mov eax, 1
        0x0f, 0x05, // syscall
        0xc3,
    ];
    let length = 9;
    let written = |events: Events, length_of: u8, value: u64| {
        let mut memory = Memory::with(&code);
        memory.put(CODE + length, &[length_of]);
        memory.put(DATA, &value.to_le_bytes());
        let answers = Answers {
            events,
            ..Answers::default()
        };
        start(&mut memory, &answers, &Limits::default()).end
    };
    for events in [Events::Of(vec![3, 7]), Events::OfAny] {
        let end = written(events, 8, 1);
        assert_eq!(end, End::Returned { rax: 8, rdx: 8 });
    }
    for (events, length, value) in [
        (Events::Refused, 8, 1),
        (Events::Of(vec![3]), 8, 1),
        // What a protocol writes.
        (Events::OfAny, 8, 0x0a0d_4b4f),
        (Events::OfAny, 4, 1),
        (Events::Of(vec![7]), 16, 1),
    ] {
        let end = written(events, length, value);
        let why = Refusal::SystemCall(1);
        assert!(
            matches!(end, End::Refused { why: found, .. } if found == why),
            "{end:?}"
        );
    }
}

#[test]
fn what_only_gives_back_counts_as_done_where_that_is_allowed() {
    // The number, its second and third argument, and whether it is such a call: close, munmap,
    // a wake of a private futex, one that waits in it, flags that are asked and set, a child
    // that is asked for and waited for, fsync.
    for (number, second, third, expected) in [
        (3_u32, 0_u32, 0_u32, true),
        (11, 4096, 0, true),
        (202, 1 | 128, 1, true),
        (202, 128, 1, false),
        (72, 1, 0, true),
        (72, 4, 0, false),
        (61, 0, 1, true),
        (61, 0, 0, false),
        (74, 0, 0, false),
    ] {
        // mov eax, number; mov esi, second; mov edx, third; syscall; ret
        let mut code = vec![0xb8];
        code.extend(number.to_le_bytes());
        code.push(0xbe);
        code.extend(second.to_le_bytes());
        code.push(0xba);
        code.extend(third.to_le_bytes());
        code.extend([0x0f, 0x05, 0xc3]);
        for gives_back in [false, true] {
            let answers = Answers {
                gives_back,
                ..Answers::default()
            };
            let end = begin_with(&code, &answers, &Limits::default()).end;
            let why = Refusal::SystemCall(u64::from(number));
            if expected && gives_back {
                let rdx = u64::from(third);
                assert_eq!(end, End::Returned { rax: 0, rdx }, "{number}");
            } else {
                assert!(
                    matches!(end, End::Refused { why: found, .. } if found == why),
                    "{number}: {end:?}"
                );
            }
        }
    }
}

#[test]
fn what_was_read_is_noted_as_far_as_is_allowed() {
    let code = [
        0x48, 0x8b, 0x07, // mov rax, [rdi]
        0x0f, 0x10, 0x47, 0x08, // movups xmm0, [rdi+8]
        0x8a, 0x5f, 0x20, // mov bl, [rdi+32]
        0x48, 0x8b, 0x0c, 0x24, // mov rcx, [rsp]: its own stack
        0xc3,
    ];
    for (allowed, expected) in [(0, 0), (2, 2), (100, 4)] {
        let limits = Limits {
            reads: allowed,
            ..Limits::default()
        };
        let run = begin_with(&code, &Answers::default(), &limits);
        let reads = run.reads.iter();
        let seen: Vec<_> = reads
            .map(|read| (read.at - CODE, read.address - DATA, read.size))
            .collect();
        let all = [(0, 0, 8), (3, 8, 8), (3, 16, 8), (7, 32, 1)];
        assert_eq!(seen, all[..expected]);
        let visits = run.visits.iter();
        let instructions: Vec<u64> = visits
            .flat_map(|visit| run.instructions(visit))
            .map(|at| at - CODE)
            .collect();
        assert_eq!(instructions, [0, 3, 7, 10, 14]);
    }
}

#[test]
fn what_the_processor_is_asked_is_answered_as_given() {
    let answers = Answers {
        counter: Some(0x1_0000_0002),
        cpuid: vec![([7, 0], [1, 2, 3, 4])],
        saved_states: Some(0xe7),
        ..Answers::default()
    };
    let limits = Limits::default();
    // `rdtsc; ret`
    let run = begin_with(&[0x0f, 0x31, 0xc3], &answers, &limits);
    assert_eq!(run.end, End::Returned { rax: 2, rdx: 1 });
    // `mov eax, 7; xor ecx, ecx; cpuid; ret`
    let code = [0xb8, 7, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2, 0xc3];
    let run = begin_with(&code, &answers, &limits);
    assert_eq!(run.end, End::Returned { rax: 1, rdx: 4 });
    // `xor ecx, ecx; xgetbv; ret`
    let code = [0x31, 0xc9, 0x0f, 0x01, 0xd0, 0xc3];
    let run = begin_with(&code, &answers, &limits);
    assert_eq!(run.end, End::Returned { rax: 0xe7, rdx: 0 });
}

#[test]
fn limits_end_what_does_not_end_itself() {
    let limits = Limits {
        steps: 10_000,
        pages: 20,
        frames: 500,
        atomics: 3,
        ..Limits::default()
    };
    for (code, limit) in [
        (&[0xeb, 0xfe][..], Limit::Steps),                // jmp to itself
        (&[0xe8, 0xfb, 0xff, 0xff, 0xff], Limit::Frames), // call itself
        (
            &[
                0x48, 0xb9, 255, 255, 255, 255, 255, 255, 255, 127, 0xf3, 0xaa,
            ],
            Limit::Steps,
        ),
        (
            &[0x50, 0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0xeb, 0xf6],
            Limit::Pages,
        ), // down the stack
    ] {
        let mut memory = Memory::with(code);
        // For `rep stosb`.
        memory.put(DATA - 40_000, &vec![0; 100_000]);
        let run = start(&mut memory, &Answers::default(), &limits);
        let End::Limit { limit: found, .. } = run.end else {
            panic!("{code:x?}: {:?}", run.end)
        };
        assert_eq!(found, limit, "{code:x?}");
        assert!(run.steps <= 10_000 && run.pages <= 20 && run.frames.len() <= 500);
    }
    // `lock inc dword [rdi]; jmp` back.
    let run = begin_with(
        &[0xf0, 0xff, 0x07, 0xeb, 0xfb],
        &Answers::default(),
        &limits,
    );
    assert_eq!((run.atomics.len(), run.atomics_dropped), (3, 4_997));
    // Each visit is noted once.
    assert_eq!(run.visits.len(), 1);

    let mut memory = Memory::with(&[0xeb, 0xfe]);
    memory.patience = Some(3);
    let run = start(&mut memory, &Answers::default(), &Limits::default());
    assert!(
        matches!(
            run.end,
            End::Limit {
                limit: Limit::Time,
                ..
            }
        ),
        "{:?}",
        run.end
    );
}

#[test]
fn decoded_code_is_kept_and_its_pages_are_read_once() {
    let mut memory = Memory::with(&[0x90, 0x90, 0xc3]);
    let mut code = Code::default();
    let start = Start {
        function: CODE,
        ..Start::default()
    };
    let mut asked = Vec::new();
    for _ in 0..3 {
        memory.asked = 0;
        let answers = Answers::default();
        let run = run(&mut memory, &mut code, &start, &answers, &Limits::default());
        assert!(matches!(run.end, End::Returned { .. }));
        asked.push(memory.asked);
    }
    assert_eq!(asked, [1, 0, 0]);
}

/// Bytes by chance, as code and as memory.
#[test]
fn nothing_breaks_it() {
    let rounds = std::env::var("LOOPTOP_INTERPRET_ROUNDS");
    let rounds: u64 = rounds.ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let limits = Limits {
        steps: 2_000,
        pages: 16,
        frames: 100,
        atomics: 10,
        ..Limits::default()
    };
    let mut next = 0x1234_5678_9abc_def1_u64;
    let mut random = move || {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        next
    };
    let mut ends: HashMap<&str, usize> = HashMap::new();
    for round in 0..1_000 * rounds {
        let mut memory = Memory::default();
        let prefixes = [
            0xf0_u8, 0xf3, 0x66, 0x0f, 0xc5, 0xc4, 0x62, 0x48, 0x41, 0x64,
        ];
        let bytes: Vec<u8> = (0..512)
            .map(|_| match random() {
                word if word % 5 == 0 => prefixes[(word >> 8) as usize % prefixes.len()],
                word => (word >> 16) as u8,
            })
            .collect();
        memory.put(CODE, &bytes);
        memory.put(CODE + 4096, &bytes);
        memory.put(DATA, &bytes);
        let mut state = State {
            ip: CODE + round % 64,
            fs: (round % 3 == 0).then_some(DATA),
            ..State::default()
        };
        for register in &mut state.general {
            *register = match random() % 4 {
                0 => DATA + random() % 4096,
                1 => CODE + random() % 4096,
                2 => random(),
                _ => random() % 100,
            };
        }
        for vector in &mut state.vector {
            vector.fill_with(&mut random);
        }
        let mut code = Code::default();
        let answers = Answers::default();
        let run = run_until(&mut memory, &mut code, &state, 1, &answers, &limits);
        assert!(run.steps <= 2_000 && run.pages <= 16);
        let end = match run.end {
            End::Returned { .. } => "returned",
            End::Refused { why, .. } => match why {
                Refusal::Unknown(_) => "unknown",
                Refusal::Memory(_) | Refusal::Code(_) => "memory",
                _ => "refused",
            },
            End::Limit { .. } => "limit",
        };
        *ends.entry(end).or_default() += 1;
        assert!(run.unchanged(&mut memory));
    }
    println!("{ends:?}");
    assert!(ends["memory"] > 20 && ends["unknown"] > 20, "{ends:?}");
}
