//! The interpreter beside the processor: the same instructions and functions, from the
//! same registers and memory, must leave the same.
//!
//! `LOOPTOP_INTERPRET_SEED` repeats what a failure prints, `LOOPTOP_INTERPRET_ROUNDS`
//! makes the tests that much longer.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod functions;
mod generate;
mod processor;
mod random;

use std::collections::{BTreeMap, HashSet};

use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};
use looptop_interpret::{
    Answers, Code, End, Extended, Flags, Floats, Host, Limits, PAGE, Refusal, Run, State, run_until,
};

use generate::Case;
use processor::{CODE_SIZE, DATA, DATA_SIZE, Processor, STACK, STACK_SIZE};
use random::Random;

/// The test's places in memory, as they were before.
struct Places {
    data: Vec<u8>,
    stack: Vec<u8>,
    code: Vec<u8>,
    code_at: u64,
}

impl Host for Places {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        for (bytes, start) in [
            (&self.data, DATA),
            (&self.stack, STACK),
            (&self.code, self.code_at),
        ] {
            if address >= start && address + PAGE as u64 <= start + bytes.len() as u64 {
                let at = (address - start) as usize;
                page.copy_from_slice(&bytes[at..at + PAGE]);
                return true;
            }
        }
        false
    }
}

/// Flags that an instruction leaves undefined.
fn undefined(i: &Instruction) -> u32 {
    let of = i.rflags_undefined();
    let mut flags = 0;
    for (bit, flag) in [
        (RflagsBits::OF, Flags::OF),
        (RflagsBits::SF, Flags::SF),
        (RflagsBits::ZF, Flags::ZF),
        (RflagsBits::AF, Flags::AF),
        (RflagsBits::CF, Flags::CF),
        (RflagsBits::PF, Flags::PF),
    ] {
        if of & bit != 0 {
            flags |= flag;
        }
    }
    flags
}

/// Fills the data with the same for both.
fn fill(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = |length: usize| -> Vec<u8> {
        let vectors = std::iter::repeat_with(|| random.vector()).take(length / 64);
        vectors.flatten().flat_map(u64::to_le_bytes).collect()
    };
    (bytes(DATA_SIZE), bytes(STACK_SIZE))
}

/// What differs between the processor and the interpreter after the same code.
fn differences(native: &State, run: &mut Run, host: &mut Places, flags: u32) -> Vec<String> {
    let mut found = Vec::new();
    let ours = &run.state;
    for (n, (a, b)) in native.general.iter().zip(&ours.general).enumerate() {
        if a != b {
            found.push(format!("general {n}: {a:#x}, interpreted {b:#x}"));
        }
    }
    for (n, (a, b)) in native.vector.iter().zip(&ours.vector).enumerate() {
        if a != b {
            found.push(format!("vector {n}: {a:x?}, interpreted {b:x?}"));
        }
    }
    for (n, (a, b)) in native.mask.iter().zip(&ours.mask).enumerate() {
        if a != b {
            found.push(format!("mask {n}: {a:#x}, interpreted {b:#x}"));
        }
    }
    let (a, b) = (used(&native.float), used(&ours.float));
    if a != b {
        found.push(format!("x87: {a:x?}, interpreted {b:x?}"));
    }
    let compared = u64::from(!flags);
    let (a, b) = (native.flags.bits() & compared, ours.flags.bits() & compared);
    if a != b {
        found.push(format!("flags: {a:#x}, interpreted {b:#x}"));
    }
    for (start, length) in [(DATA, DATA_SIZE), (STACK, STACK_SIZE)] {
        let native = Processor::read(start, length);
        let mut ours = vec![0; length];
        for (at, page) in ours.chunks_exact_mut(PAGE).enumerate() {
            assert!(run.read(host, start + (at * PAGE) as u64, page));
        }
        if native != ours {
            let at = native.iter().zip(&ours).position(|(a, b)| a != b).unwrap();
            found.push(format!(
                "memory at {:#x}: {:x?}, interpreted {:x?}",
                start + at as u64,
                &native[at..(at + 16).min(length)],
                &ours[at..(at + 16).min(length)]
            ));
        }
    }
    found
}

/// What the x87 unit has, without what was in registers that are free.
fn used(of: &Floats) -> Floats {
    let mut of = of.clone();
    for (number, register) in of.registers.iter_mut().enumerate() {
        if of.used >> number & 1 == 0 {
            *register = Extended::default();
        }
    }
    of
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    both_stopped: usize,
    /// The encodings of those that left the same.
    codes: HashSet<iced_x86::Code>,
    /// Numbers with which the x87 unit is not modelled.
    refused: usize,
}

const OFFSET: usize = 64;

/// Runs cases on both, and says what differs.
fn compare(
    processor: &mut Processor,
    cases: &[(Vec<Case>, State)],
    random: &mut Random,
    failures: &mut BTreeMap<String, (usize, String)>,
) -> Tally {
    let mut tally = Tally::default();
    let mut offset = 0;
    let mut places = Vec::new();
    for (case, _) in cases {
        let bytes: Vec<u8> = case.iter().flat_map(|one| one.bytes.clone()).collect();
        places.push(processor.put_code(offset, &bytes));
        offset += (bytes.len() + 16).next_multiple_of(OFFSET);
    }
    let (start, _) = places[0];
    let code_bytes = Processor::read(start, CODE_SIZE);
    let mut host = Places {
        data: Vec::new(),
        stack: Vec::new(),
        code: code_bytes,
        code_at: start,
    };
    let mut code = Code::default();
    for ((case, state), (at, end)) in cases.iter().zip(places) {
        (host.data, host.stack) = fill(random);
        Processor::write(DATA, &host.data);
        Processor::write(STACK, &host.stack);
        let mut state = state.clone();
        state.ip = at;
        let (native, signal) = processor.run(&state);
        let answers = Answers::default();
        let limits = Limits::default();
        let mut run = run_until(&mut host, &mut code, &state, end, &answers, &limits);
        let returned = matches!(run.end, End::Returned { .. });
        let unaligned = case.iter().any(|one| !one.aligned);
        let found = match (signal, returned) {
            // Memory must be aligned for some instructions; here it need not.
            (Some(libc::SIGSEGV), true) if unaligned => continue,
            (Some(_), false) => {
                tally.both_stopped += 1;
                continue;
            }
            (None, true) => {
                let flags = case
                    .iter()
                    .fold(0, |all, one| all | undefined(&one.instruction));
                let flags = flags | beyond_the_width(case);
                differences(&native, &mut run, &mut host, flags)
            }
            (None, false) if case.iter().any(|one| is_of_x87(one.instruction.code())) => {
                tally.refused += 1;
                continue;
            }
            (None, false) if is_left_open(&run.end) => {
                tally.refused += 1;
                continue;
            }
            (signal, _) => vec![format!("signal {signal:?}, interpreted: {}", run.end)],
        };
        if found.is_empty() {
            tally.same += 1;
            let codes = case.iter().map(|one| one.instruction.code());
            tally.codes.extend(codes);
            continue;
        }
        let name = format!("{:?}", case.last().unwrap().instruction.code());
        let bytes: Vec<_> = case
            .iter()
            .map(|one| format!("{:02x?}", one.bytes))
            .collect();
        let text = format!("{bytes:?}\n    {}", found.join("\n    "));
        failures.entry(name).or_insert((0, text)).0 += 1;
    }
    tally
}

/// It was refused because processors of different makers do not agree on it.
fn is_left_open(end: &End) -> bool {
    use iced_x86::Code as Encoding;

    let End::Refused {
        why: Refusal::Unknown(code),
        ..
    } = end
    else {
        return false;
    };
    matches!(
        code,
        Encoding::Shld_rm16_r16_CL
            | Encoding::Shld_rm16_r16_imm8
            | Encoding::Shrd_rm16_r16_CL
            | Encoding::Shrd_rm16_r16_imm8
            | Encoding::Reservednop_rm16_r16_0F0D
            | Encoding::Reservednop_rm32_r32_0F0D
            | Encoding::Reservednop_rm64_r64_0F0D
    )
}

fn is_of_x87(code: iced_x86::Code) -> bool {
    format!("{:?}", code.mnemonic()).starts_with('F')
}

/// What iced does not list: `shld` and `shrd` of two bytes by more than their bits, and
/// `rcl` and `rcr` by several, also all the way around, which one maker's processors let
/// alone and another's do not.
fn beyond_the_width(case: &[Case]) -> u32 {
    let is_open = |one: &Case| match one.instruction.mnemonic() {
        Mnemonic::Shld | Mnemonic::Shrd => true,
        Mnemonic::Rcl | Mnemonic::Rcr => {
            one.instruction.op1_kind() != OpKind::Immediate8 || one.instruction.immediate8() != 1
        }
        _ => false,
    };
    if case.iter().any(is_open) {
        Flags::OF
    } else {
        0
    }
}

fn has_defined_flags(case: &Case) -> bool {
    undefined(&case.instruction) == 0 && beyond_the_width(std::slice::from_ref(case)) == 0
}

fn report(failures: &BTreeMap<String, (usize, String)>) {
    for (name, (count, text)) in failures {
        println!("{name}: {count} times, first {text}");
    }
    assert!(failures.is_empty(), "{} encodings differ", failures.len());
}

#[test]
fn each_instruction_leaves_what_the_processor_leaves() {
    if !processor::is_able() {
        println!("not tested: this processor has no AVX-512");
        return;
    }
    let (seed, rounds) = random::settings();
    let mut random = Random::new(seed);
    let encodings = generate::encodings();
    println!("{} encodings", encodings.len());
    assert!(encodings.len() > 2500, "{}", encodings.len());
    let mut processor = Processor::new();
    let mut failures = BTreeMap::new();
    let mut all = Tally::default();
    let each = 6 * rounds;
    for some in encodings.chunks(8000 / each.min(8000)) {
        let mut cases = Vec::new();
        for encoding in some {
            let each = if is_of_x87(*encoding) {
                20 * each
            } else {
                each
            };
            for _ in 0..each {
                if let Some(mut case) = generate::make(*encoding, &mut random, false) {
                    generate::prepare_strings(&mut case, &mut random);
                    let state = case.state.clone();
                    cases.push((vec![case], state));
                }
            }
        }
        for cases in cases.chunks(8000) {
            let tally = compare(&mut processor, cases, &mut random, &mut failures);
            all.same += tally.same;
            all.both_stopped += tally.both_stopped;
            all.refused += tally.refused;
            all.codes.extend(tally.codes);
        }
    }
    let (same, both, refused) = (all.same, all.both_stopped, all.refused);
    println!("{same} the same, {both} stopped both, {refused} refused");
    report(&failures);
    // Of what may be refused, each form was compared.
    let x87 = encodings.iter().filter(|code| is_of_x87(**code));
    let x87: Vec<_> = x87.filter(|code| !all.codes.contains(code)).collect();
    assert!(x87.is_empty(), "never the same: {x87:?}");
    assert!(all.same > 5000, "{}", all.same);
}

/// Instructions whose flags are all defined, one after the other.
#[test]
fn sequences_leave_what_the_processor_leaves() {
    if !processor::is_able() {
        println!("not tested: this processor has no AVX-512");
        return;
    }
    let (seed, rounds) = random::settings();
    let mut random = Random::new(seed ^ 0x5e9);
    let mut encodings = generate::encodings();
    encodings.retain(|code| {
        let case = (0..8).find_map(|_| generate::make(*code, &mut random, true));
        case.is_some_and(|case| has_defined_flags(&case) && !changes_the_stack(&case))
    });
    println!("{} encodings", encodings.len());
    let mut processor = Processor::new();
    let mut failures = BTreeMap::new();
    let mut same = 0;
    for _ in 0..rounds {
        let mut cases = Vec::new();
        while cases.len() < 1500 {
            let mut sequence = Vec::new();
            while sequence.len() < 12 {
                let encoding = random.pick(&encodings);
                let case = generate::make(encoding, &mut random, true);
                // Whether all flags are defined may depend on a number.
                sequence.extend(case.filter(has_defined_flags));
            }
            let state = sequence[0].state.clone();
            cases.push((sequence, state));
        }
        for cases in cases.chunks(1000) {
            same += compare(&mut processor, cases, &mut random, &mut failures).same;
        }
    }
    println!("{same} sequences are the same");
    report(&failures);
    assert!(same > 500, "{same}");
}

/// Sequences use no registers for their memory, so these would leave it.
fn changes_the_stack(case: &Case) -> bool {
    use Mnemonic as M;
    let by_name = [M::Push, M::Pop, M::Leave, M::Movsb, M::Stosb, M::Std];
    by_name.contains(&case.instruction.mnemonic())
        || (0..case.instruction.op_count()).any(|op| {
            use iced_x86::OpKind as K;
            matches!(
                case.instruction.op_kind(op),
                K::MemorySegRSI | K::MemoryESRDI
            )
        })
}

/// Where memory is not to be had, code ends before it changes anything.
#[test]
fn a_refused_instruction_has_changed_nothing() {
    let mut host = Places {
        data: vec![1; DATA_SIZE],
        stack: vec![2; STACK_SIZE],
        code: vec![0x90; 2 * PAGE],
        code_at: 0x5000_0000,
    };
    // `mov [rax], rbx`, over the end of the data.
    host.code[..3].copy_from_slice(&[0x48, 0x89, 0x18]);
    let mut state = State {
        ip: 0x5000_0000,
        ..State::default()
    };
    state.general[0] = DATA + DATA_SIZE as u64 - 4;
    state.general[3] = u64::MAX;
    let limits = Limits::default();
    let answers = Answers::default();
    let mut code = Code::default();
    let mut run = run_until(&mut host, &mut code, &state, 0, &answers, &limits);
    let beyond = DATA + DATA_SIZE as u64;
    assert_eq!(
        run.end,
        End::Refused {
            at: 0x5000_0000,
            why: Refusal::Memory(beyond)
        }
    );
    let mut last = [0; 4];
    assert!(run.read(&mut host, beyond - 4, &mut last));
    assert_eq!(last, [1; 4]);
    assert_eq!(run.state, state);
}
