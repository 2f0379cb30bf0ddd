//! The ladder on programs made by hand.

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

/// An ELF file in which an address is the place in the file: code from 0x1000 on, texts
/// from 0x8000 on, data from 0x9000 on.
struct Program {
    bytes: Vec<u8>,
    symbols: Vec<(String, u64, u64)>,
    relocations: Vec<(u64, u64)>,
    /// It has unwind rules instead of symbols.
    stripped: bool,
}

const CODE: u64 = 0x1000;
const TEXTS: u64 = 0x8000;
const DATA: u64 = 0x9000;
const END: u64 = 0xa000;

impl Program {
    fn new() -> Self {
        Self {
            bytes: vec![0xcc; END as usize],
            symbols: Vec::new(),
            relocations: Vec::new(),
            stripped: false,
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn function(&mut self, at: u64, name: &str, parts: &[Part]) {
        let mut code = Vec::new();
        for part in parts {
            let next = |length: usize| at + (code.len() + length) as u64;
            let distance = |to: u64, length| (to.wrapping_sub(next(length)) as u32).to_le_bytes();
            let encoded = match *part {
                Part::Bytes(bytes) => bytes.to_vec(),
                Part::Call(to) => [&[0xe8][..], &distance(to, 5)].concat(),
                Part::CallBy(to) => [&[0xff, 0x15][..], &distance(to, 6)].concat(),
                Part::Pass(location) => [&[0x48, 0x8d, 0x3d][..], &distance(location, 7)].concat(),
                Part::Table(table) => [&[0x48, 0x8d, 0x0d][..], &distance(table, 7)].concat(),
            };
            code.extend(encoded);
        }
        self.put(at, &code);
        self.symbols.push((name.to_owned(), at, code.len() as u64));
    }

    /// An address in data, which the loader puts there.
    fn address(&mut self, at: u64, to: u64) {
        self.put(at, &[0; 8]);
        self.relocations.push((at, to));
    }

    /// The same in a program at a fixed address, or with RELR.
    fn fixed(&mut self, at: u64, to: u64) {
        self.put(at, &to.to_le_bytes());
    }

    fn vtable(&mut self, at: u64, functions: [u64; 7]) -> TaskCode {
        for (function, at) in functions.into_iter().zip((at..).step_by(8)) {
            self.address(at, function);
        }
        TaskCode {
            functions: functions.to_vec(),
        }
    }

    fn location(&mut self, at: u64, file: &str, line: u32) {
        let text = TEXTS + u64::from(line) * 64;
        self.put(text, file.as_bytes());
        self.address(at, text);
        self.put(at + 8, &(file.len() as u64).to_le_bytes());
        self.put(at + 16, &line.to_le_bytes());
        self.put(at + 20, &9_u32.to_le_bytes());
    }

    /// A rule for each function, without instructions, and a zero.
    fn unwind_rules(&self) -> Vec<u8> {
        // Its length and id; version, no augmentation, factors, the return address.
        let mut rules = vec![12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0, 0, 0];
        for (_, at, size) in &self.symbols {
            rules.extend(20_u32.to_le_bytes());
            rules.extend((rules.len() as u32).to_le_bytes());
            rules.extend(at.to_le_bytes());
            rules.extend(size.to_le_bytes());
        }
        rules.extend([0; 4]);
        rules
    }

    fn save(&self) -> NamedTempFile {
        let mut file = self.bytes.clone();
        let mut sections = vec![[0_u8; 64]];
        let mut section = |kind: u32, flags: u64, start: u64, size: u64, link: u32, entry: u64| {
            let mut header = [0; 64];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[8..16].copy_from_slice(&flags.to_le_bytes());
            header[16..24].copy_from_slice(&start.to_le_bytes());
            header[24..32].copy_from_slice(&start.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            header[40..44].copy_from_slice(&link.to_le_bytes());
            header[56..64].copy_from_slice(&entry.to_le_bytes());
            sections.push(header);
        };
        section(1, 2 | 4, CODE, TEXTS - CODE, 0, 0);
        section(1, 2, TEXTS, DATA - TEXTS, 0, 0);
        section(1, 2 | 1, DATA, END - DATA, 0, 0);
        let start = file.len() as u64;
        for (at, to) in &self.relocations {
            file.extend(at.to_le_bytes());
            file.extend(8_u64.to_le_bytes());
            file.extend(to.to_le_bytes());
        }
        section(4, 2, start, file.len() as u64 - start, 0, 24);
        let mut names = vec![0];
        let start = file.len() as u64;
        file.extend([0; 24]);
        for (name, at, size) in &self.symbols {
            file.extend((names.len() as u32).to_le_bytes());
            file.extend([2, 0, 1, 0]);
            file.extend(at.to_le_bytes());
            file.extend(size.to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        let kind = if self.stripped { 0 } else { 2 };
        section(kind, 0, start, file.len() as u64 - start, 6, 24);
        let start = file.len() as u64;
        let name = names.len() as u32;
        names.extend(b".eh_frame\0");
        file.extend(&names);
        section(3, 0, start, names.len() as u64, 0, 0);
        let start = file.len() as u64;
        file.extend(self.unwind_rules());
        section(1, 2, start, file.len() as u64 - start, 0, 0);
        if let Some(rules) = sections.last_mut() {
            rules[..4].copy_from_slice(&name.to_le_bytes());
        }
        let start = file.len() as u64;
        let count = sections.len() as u16;
        file.extend(sections.concat());
        file[..64].fill(0);
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..24].copy_from_slice(&[3, 0, 62, 0, 1, 0, 0, 0]);
        file[40..48].copy_from_slice(&start.to_le_bytes());
        file[52] = 64;
        file[58] = 64;
        file[60..62].copy_from_slice(&count.to_le_bytes());
        file[62] = 6;
        let mut saved = NamedTempFile::with_prefix("app").unwrap();
        saved.write_all(&file).unwrap();
        saved
    }
}

/// A piece of code.
enum Part {
    Bytes(&'static [u8]),
    Call(u64),
    /// Through a place in data.
    CallBy(u64),
    /// `lea rdi, [rip + LOCATION]`
    Pass(u64),
    /// `lea rcx, [rip + TABLE]`
    Table(u64),
}

use Part::{Bytes, Call, CallBy, Pass, Table};

const POLL: &str = "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE";
const DEALLOC: &str = "_ZN5tokio7runtime4task3raw7dealloc17h0123456789abcdefE";
const CORE_POLL: &str = "_ZN5tokio7runtime4task4core17Core$LT$T$C$S$GT$4poll17h0123456789abcdefE";
const RESUMED: &str = "_RNvNtNtCs1_4core9panicking11panic_const28panic_const_async_fn_resumed";
const SCHEDULE: u64 = 0x1010;
const RET: &[u8] = &[0xc3];

fn drop_of(future: &str) -> String {
    let inner =
        format!("drop_in_place$LT$tokio..runtime..task..core..Cell$LT${future}$C$u8$GT$$GT$");
    format!("_ZN4core3ptr{}{inner}17h0123456789abcdefE", inner.len())
}

fn program() -> Program {
    let mut program = Program::new();
    program.function(0x1000, RESUMED, &[Bytes(RET)]);
    program.function(SCHEDULE, "schedule", &[Bytes(RET)]);
    program.function(0x1020, "other", &[Bytes(RET)]);
    program
}

fn named(program: &Program, tasks: &[&TaskCode]) -> Vec<(NamedBy, bool, String, String)> {
    let file = program.save();
    let mut futures = Futures::load(file.path()).expect("it is a program");
    let name = |task: &&TaskCode| {
        let name = futures.name(task, None);
        let place = futures.place(task, None).map(|place| place.to_string());
        let text = match name.by {
            NamedBy::Address => name.text.rsplit('+').next().unwrap_or_default().to_owned(),
            _ => name.text.to_string(),
        };
        (name.by, name.certain, text, place.unwrap_or_default())
    };
    tasks.iter().map(name).collect()
}

#[test]
fn the_newer_mangling_has_the_type() {
    let mut program = program();
    let poll = "_RINvNtNtNtCs1_5tokio7runtime4task3raw4pollNCNvCs2_3app5fetch0uE";
    let other = "_RINvNtNtNtCs1_5tokio7runtime4task3raw4pollNCNvCs2_3app4send0uE";
    program.function(0x1100, poll, &[Bytes(RET)]);
    program.function(0x1200, other, &[Bytes(RET)]);
    let own = program.vtable(
        0x9000,
        [0x1100, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1020],
    );
    let merged = [
        program.vtable(
            0x9100,
            [0x1200, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1020],
        ),
        program.vtable(
            0x9200,
            [0x1200, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1000],
        ),
    ];
    let named = named(&program, &[&own, &merged[0]]);
    let name = |certain, text: &str| (NamedBy::Symbol, certain, text.to_owned(), String::new());
    assert_eq!(
        named,
        [
            name(true, "app::fetch::{closure#0}"),
            // Which of two tasks the poll function is named after is not known.
            name(false, "app::send::{closure#0}"),
        ]
    );
}

#[test]
fn the_older_mangling_has_it_in_what_drops() {
    let mut program = program();
    // The first drops alone, the two others alike.
    program.function(0x1100, POLL, &[Bytes(RET)]);
    program.function(0x1140, DEALLOC, &[CallBy(0x9800)]);
    program.address(0x9800, 0x1180);
    program.function(
        0x1180,
        &drop_of("app..fetch..$u7b$$u7b$closure$u7d$$u7d$"),
        &[Bytes(RET)],
    );
    program.function(0x1200, POLL, &[Bytes(RET)]);
    program.function(0x1240, DEALLOC, &[Call(0x1280)]);
    program.function(0x1280, &drop_of("app..Job"), &[Bytes(RET)]);
    program.function(0x1300, POLL, &[Bytes(RET)]);
    // What nothing leads to.
    program.function(0x1400, POLL, &[Bytes(RET)]);
    let vtable = |poll, dealloc| [poll, SCHEDULE, dealloc, 0x1020, 0x1020, 0x1020, 0x1020];
    let tasks = [
        program.vtable(0x9000, vtable(0x1100, 0x1140)),
        program.vtable(0x9100, vtable(0x1200, 0x1240)),
        program.vtable(0x9200, vtable(0x1300, 0x1240)),
        program.vtable(0x9300, vtable(0x1400, 0x1020)),
    ];
    let named = named(&program, &tasks.each_ref());
    let none = String::new;
    assert_eq!(
        named,
        [
            (
                NamedBy::Drop,
                true,
                "app::fetch::{{closure}}".into(),
                none()
            ),
            (NamedBy::Drop, false, "app::Job".into(), none()),
            (NamedBy::Drop, false, "app::Job".into(), none()),
            (NamedBy::Address, true, "0x1400".into(), none()),
        ]
    );
}

#[test]
fn without_a_type_there_is_the_body_or_its_place() {
    let mut program = program();
    program.location(0x9800, "src/main.rs", 41);
    program.location(0x9840, "src/orders.rs", 7);
    let registry = "/r/registry/src/index-1/hyper-1.12.0/src/a.rs";
    program.location(0x9880, registry, 3);
    program.address(0x98c0, 0x1000);
    // The first calls its async fn.
    program.function(0x1100, POLL, &[Call(0x1140)]);
    program.function(0x1140, CORE_POLL, &[Call(0x1180)]);
    let body = "_ZN3app5fetch28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE";
    program.function(0x1180, body, &[Bytes(RET), Pass(0x9800), CallBy(0x98c0)]);
    // That of the second was inlined, with one that it awaits, whose panic comes first; a
    // comparison stands before the call, and the state leads to it by a table.
    program.function(0x1200, POLL, &[Call(0x1240)]);
    program.function(
        0x1240,
        CORE_POLL,
        &[
            Table(0x8f00),
            Bytes(RET),
            Pass(0x9840),
            Call(0x1000),
            Pass(0x9800),
            Bytes(&[0x83, 0xf8, 0x01, 0x75, 0x00]),
            Call(0x1000),
            // Another call's location is none.
            Pass(0x9880),
            Call(0x1020),
            Call(0x1000),
        ],
    );
    let second = 0x1240_u32 + 7 + 1 + 12;
    for state in 0..3 {
        let distance = second.wrapping_sub(0x8f00).to_le_bytes();
        program.put(0x8f00 + 4 * state, &distance);
    }
    // The third is a dependency's, with one of the application's in it.
    program.function(
        0x1300,
        POLL,
        &[Pass(0x9880), Call(0x1000), Pass(0x9840), Call(0x1000)],
    );
    let vtable = |poll| [poll, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1020];
    let tasks =
        [0x1100, 0x1200, 0x1300].map(|poll| program.vtable(0x9000 + poll - 0x1100, vtable(poll)));
    let place = |place: &str| (NamedBy::Place, true, place.to_owned(), place.to_owned());
    assert_eq!(
        named(&program, &tasks.each_ref()),
        [
            (
                NamedBy::Body,
                true,
                "app::fetch::{{closure}}".into(),
                "src/main.rs:41".into()
            ),
            place("src/main.rs:41"),
            place("src/orders.rs:7"),
        ]
    );
    let file = program.save();
    let mut futures = Futures::load(file.path()).unwrap();
    let all = |futures: &mut Futures, task| {
        let places = futures.places(task, None);
        places.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        all(&mut futures, &tasks[1]),
        ["src/main.rs:41", "src/orders.rs:7"]
    );
    assert_eq!(
        all(&mut futures, &tasks[2]),
        ["hyper-1.12.0/src/a.rs:3", "src/orders.rs:7"]
    );
    // The parts of a poll are known as such, by any address in them.
    assert_eq!(futures.polled_at(0x1245), [tasks[1].clone()]);
    assert_eq!(
        futures.certain_at(0x1144).as_deref(),
        Some("app::fetch::{{closure}}")
    );
    assert_eq!(futures.certain_at(0x1245), None);
    assert_eq!(
        futures
            .place_at(0x1245)
            .map(|place| place.to_string())
            .as_deref(),
        Some("src/main.rs:41")
    );
    assert_eq!(futures.polled_at(0x1020), []);
}

#[test]
fn data_is_the_files_or_the_running_programs() {
    let mut program = program();
    program.function(0x1100, POLL, &[Pass(0x9800), Call(0x1000)]);
    program.location(0x9800, "src/main.rs", 41);
    let task = program.vtable(
        0x9000,
        [0x1100, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1020],
    );
    // What RELA has in a list, RELR has in place.
    program.relocations.clear();
    for (at, to) in (0x9000..).step_by(8).zip(&task.functions) {
        program.fixed(at, *to);
    }
    program.fixed(0x9800, TEXTS + 41 * 64);
    let expected = "src/main.rs:41";
    assert_eq!(named(&program, &[&task])[0].3, expected);
    // In memory, addresses are elsewhere.
    let bias = 0x5555_0000_0000;
    let mut loaded = program.bytes.clone();
    loaded[0x9800..0x9808].copy_from_slice(&(TEXTS + 41 * 64 + bias).to_le_bytes());
    let read = |at: u64, buffer: &mut [u8]| {
        let Some(bytes) = loaded.get(at as usize..at as usize + buffer.len()) else {
            return false;
        };
        buffer.copy_from_slice(bytes);
        true
    };
    let memory = Memory { bias, read: &read };
    program.put(0x9800, &[0; 8]);
    let file = program.save();
    let mut futures = Futures::load(file.path()).unwrap();
    let place = futures.place(&task, Some(&memory));
    assert_eq!(
        place.map(|place| place.to_string()).as_deref(),
        Some(expected)
    );
}

#[test]
fn a_stripped_program_has_the_places_of_its_async_fns() {
    for (by_list, what) in [(false, "the text itself"), (true, "a list of texts")] {
        let mut program = Program {
            stripped: true,
            ..Program::new()
        };
        let (text, list) = (0x8f00, 0x9f00);
        program.put(text, b"`async fn` resumed after completion");
        program.address(list, text);
        let passed = if by_list { list } else { text };
        program.function(0x1000, "", &[Pass(passed), Call(0x1040)]);
        program.function(SCHEDULE + 0x20, "", &[Bytes(RET)]);
        program.function(0x1040, "", &[Bytes(RET)]);
        program.location(0x9800, "src/own.rs", 10);
        program.location(0x9820, "src/other.rs", 20);
        program.function(0x1100, "", &[Pass(0x9800), Call(0x1000)]);
        program.function(0x1200, "", &[Bytes(RET), Call(0x1240)]);
        program.function(0x1240, "", &[Pass(0x9820), Call(0x1000)]);
        program.function(0x1300, "", &[Call(0x1040), Pass(0x9800), Call(0x1040)]);
        let vtables = [(0x9000, 0x1100), (0x9100, 0x1200), (0x9200, 0x1300)];
        let tasks = vtables.map(|(at, poll)| {
            let functions = [poll, 0x1030, 0x1040, 0x1040, 0x1040, 0x1040, 0x1040];
            program.vtable(at, functions)
        });
        let found = named(&program, &[&tasks[0], &tasks[1], &tasks[2]]);
        let place =
            |file: &str, certain| (NamedBy::Place, certain, file.to_owned(), file.to_owned());
        assert_eq!(found[0], place("src/own.rs:10", true), "{what}");
        assert_eq!(
            found[1],
            place("src/other.rs:20", false),
            "{what}: further in"
        );
        assert_eq!(found[2].0, NamedBy::Address, "{what}: another panic");
    }
}

#[test]
fn what_is_no_program_has_no_futures() {
    assert!(Futures::load(std::path::Path::new("/nowhere")).is_none());
    let mut program = program();
    program.function(0x1100, POLL, &[Pass(0x9ff0), Call(0x1000), Table(0x9ffc)]);
    let task = program.vtable(
        0x9000,
        [0x1100, SCHEDULE, 0x1020, 0x1020, 0x1020, 0x1020, 0x1020],
    );
    // A location that ends beyond the data, and addresses that are everywhere.
    assert_eq!(named(&program, &[&task])[0].0, NamedBy::Address);
    let file = program.save();
    let mut futures = Futures::load(file.path()).unwrap();
    for wild in [0, 1, 0x1100, u64::MAX - 3, u64::MAX] {
        let functions = vec![wild; TaskCode::FUNCTIONS];
        let name = futures.name(&TaskCode { functions }, None);
        assert_eq!(name.by, NamedBy::Address);
        assert_eq!(futures.places_at(wild, None), []);
    }
    let name = futures.name(
        &TaskCode {
            functions: Vec::new(),
        },
        None,
    );
    assert_eq!(name.by, NamedBy::Address);
}
