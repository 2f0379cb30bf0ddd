//! Debug information that a test writes, also as no compiler would.

use std::io::Write;

use super::*;

type Abbreviation = (u8, u8, bool, &'static [(u8, u8)]);

/// Abbreviations: code, tag, children, attributes with their forms.
const ABBREVIATIONS: &[Abbreviation] = &[
    (UNIT, 0x11, true, &[]),
    (NAMESPACE, 0x39, true, &[(0x03, STRING)]),
    (STRUCT, 0x13, true, &[(0x03, STRING), (0x0b, NUMBER)]),
    (BARE, 0x13, false, &[(0x03, STRING), (0x0b, NUMBER)]),
    (
        MEMBER,
        0x0d,
        false,
        &[(0x03, STRING), (0x49, REFERENCE), (0x38, NUMBER)],
    ),
    (PART, 0x33, true, &[]),
    (VARIANT, 0x19, true, &[(0x16, NUMBER)]),
    (OTHERWISE, 0x19, true, &[]),
    (BASE, 0x24, false, &[(0x03, STRING), (0x0b, NUMBER)]),
    (FUNCTION, 0x2e, false, &[(0x11, ADDRESS), (0x03, STRING)]),
    (
        VARIABLE,
        0x34,
        false,
        &[(0x02, EXPRESSION), (0x49, REFERENCE)],
    ),
    (VTABLE, 0x13, false, &[(0x03, STRING), (0x1d, REFERENCE)]),
    (POINTER, 0x0f, false, &[(0x49, REFERENCE), (0x03, STRING)]),
    (PARAMETER, 0x2f, false, &[(0x49, REFERENCE), (0x03, STRING)]),
];
const UNIT: u8 = 1;
const NAMESPACE: u8 = 2;
const STRUCT: u8 = 3;
const BARE: u8 = 4;
const MEMBER: u8 = 5;
const PART: u8 = 6;
const VARIANT: u8 = 7;
const OTHERWISE: u8 = 8;
const BASE: u8 = 9;
const FUNCTION: u8 = 10;
const VARIABLE: u8 = 11;
const VTABLE: u8 = 12;
const POINTER: u8 = 13;
const PARAMETER: u8 = 14;
const STRING: u8 = 0x08;
const NUMBER: u8 = 0x0b;
const REFERENCE: u8 = 0x13;
const ADDRESS: u8 = 0x01;
const EXPRESSION: u8 = 0x18;

/// The entries of units, put one after the other.
struct Dwarf {
    info: Vec<u8>,
    start: usize,
}

impl Dwarf {
    fn new() -> Self {
        let mut new = Self {
            info: Vec::new(),
            start: 0,
        };
        new.unit();
        new
    }

    fn unit(&mut self) {
        self.start = self.info.len();
        // Length, version, abbreviations, bytes of an address.
        self.info.extend([0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8]);
        self.info.push(UNIT);
    }

    fn end_unit(&mut self) {
        self.end();
        let length = (self.info.len() - self.start - 4) as u32;
        self.info[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn end(&mut self) {
        self.info.push(0);
    }

    /// An entry; where it is.
    fn entry(&mut self, code: u8) -> u32 {
        let at = self.info.len() as u32;
        self.info.push(code);
        at
    }

    fn text(&mut self, text: &str) {
        self.info.extend(text.as_bytes());
        self.info.push(0);
    }

    fn reference(&mut self, to: u32) {
        self.info.extend(to.to_le_bytes());
    }

    fn named(&mut self, code: u8, name: &str, size: u8) -> u32 {
        let at = self.entry(code);
        self.text(name);
        self.info.push(size);
        at
    }

    fn namespace(&mut self, name: &str) {
        self.entry(NAMESPACE);
        self.text(name);
    }

    fn member(&mut self, name: &str, ty: u32, at: u8) {
        self.entry(MEMBER);
        self.text(name);
        self.reference(ty);
        self.info.push(at);
    }

    fn variant(&mut self, number: Option<u8>, name: &str, ty: u32) {
        match number {
            Some(number) => {
                self.entry(VARIANT);
                self.info.push(number);
            }
            None => drop(self.entry(OTHERWISE)),
        }
        self.member(name, ty, 0);
        self.end();
    }

    fn function(&mut self, name: &str, at: u64) {
        self.entry(FUNCTION);
        self.info.extend(at.to_le_bytes());
        self.text(name);
    }

    fn file(&self) -> Vec<u8> {
        let mut abbreviations = Vec::new();
        for (code, tag, children, attributes) in ABBREVIATIONS {
            abbreviations.extend([*code, *tag, u8::from(*children)]);
            for (attribute, form) in *attributes {
                abbreviations.extend([*attribute, *form]);
            }
            abbreviations.extend([0, 0]);
        }
        abbreviations.push(0);
        elf(&[
            (".debug_info", &self.info),
            (".debug_abbrev", &abbreviations),
        ])
    }
}

/// A file with these sections.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut bytes = vec![0; 64];
    let mut headers = vec![0_u8; 64];
    let mut header = |name: u32, kind: u32, offset: usize, size: usize| {
        headers.extend(name.to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for word in [0, 0, offset as u64, size as u64, 0, 1, 0] {
            headers.extend(word.to_le_bytes());
        }
    };
    for (name, content) in sections {
        header(names.len() as u32, 1, bytes.len(), content.len());
        names.extend(name.as_bytes());
        names.push(0);
        bytes.extend(*content);
    }
    let name = names.len() as u32;
    names.extend(b".shstrtab\0");
    header(name, 3, bytes.len(), names.len());
    bytes.extend(&names);
    let table = bytes.len() as u64;
    bytes.extend(&headers);
    bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[52] = 64;
    bytes[58] = 64;
    bytes[60] = sections.len() as u8 + 2;
    bytes[62] = sections.len() as u8 + 1;
    bytes
}

fn load(file: &[u8]) -> Result<DebugTypes, NoDebugTypes> {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file).unwrap();
    DebugTypes::load(written.path())
}

/// A future with a state and what it awaits, its vtable, and a task's function; in a
/// second unit its description without members.
fn program() -> (Dwarf, [u32; 3]) {
    let mut dwarf = Dwarf::new();
    let byte = dwarf.named(BASE, "u8", 1);
    let word = dwarf.named(BASE, "u64", 8);
    dwarf.namespace("app");
    let empty = dwarf.named(BARE, "Unresumed", 16);
    let suspended = dwarf.named(STRUCT, "Suspend0", 16);
    dwarf.member("__awaitee", word, 8);
    dwarf.end();
    dwarf.namespace("fetch");
    let future = dwarf.named(STRUCT, "{async_fn_env#0}<u8>", 16);
    dwarf.entry(PARAMETER);
    dwarf.reference(byte);
    dwarf.text("T");
    dwarf.entry(PART);
    dwarf.member("__state", byte, 3);
    dwarf.variant(Some(0), "0", empty);
    dwarf.variant(Some(3), "3", suspended);
    dwarf.end();
    // A type within the type: its members are not the type's.
    dwarf.named(STRUCT, "Inner", 8);
    dwarf.member("of_another", word, 0);
    dwarf.end();
    dwarf.end();
    dwarf.end();
    dwarf.end();
    let vtable = dwarf.entry(VTABLE);
    dwarf.text("<app::fetch as Future>::{vtable_type}");
    dwarf.reference(future);
    dwarf.entry(VARIABLE);
    dwarf.info.extend([9, 0x03]);
    dwarf.info.extend(0x7000_u64.to_le_bytes());
    dwarf.reference(vtable);
    for name in ["tokio", "runtime", "task", "raw"] {
        dwarf.namespace(name);
    }
    dwarf.function("poll<app::F, app::S<u8>>", 0x1000);
    dwarf.function("dealloc<app::F, app::S<u8>>", 0x2000);
    dwarf.function("dealloc<app::G, app::S<u8>>", 0x2000);
    dwarf.function("other<app::H>", 0x1000);
    for _ in 0..4 {
        dwarf.end();
    }
    dwarf.end_unit();
    dwarf.unit();
    let start = dwarf.start as u32;
    dwarf.namespace("app");
    dwarf.namespace("fetch");
    let bare = dwarf.named(BARE, "{async_fn_env#0}<u8>", 16);
    dwarf.end();
    dwarf.end();
    let pointer = dwarf.entry(POINTER);
    dwarf.reference(bare - start);
    dwarf.text("&mut app::fetch");
    // Without one that has members it would be passed over as a unit of lines.
    dwarf.named(STRUCT, "Filler", 0);
    dwarf.end();
    dwarf.end_unit();
    (dwarf, [future, bare, pointer])
}

#[test]
fn a_future_is_described() {
    let (dwarf, [future, bare, pointer]) = program();
    let mut types = load(&dwarf.file()).unwrap();
    let ty = types.get(TypeId(future)).unwrap();
    assert_eq!(&*ty.name, "app::fetch::{async_fn_env#0}<u8>");
    assert_eq!((ty.kind, ty.size), (Kind::Struct, 16));
    assert_eq!(ty.members.len(), 0, "{ty:?}");
    assert_eq!(&*ty.parameters[0].0, "T");
    let variants = ty.variants.as_ref().unwrap();
    assert_eq!((variants.at, variants.size, variants.all.len()), (3, 1, 2));
    assert_eq!(&*variants.with(0).unwrap().name, "0");
    assert_eq!(variants.with(7), None);
    let suspended = variants.with(3).unwrap();
    let suspended = types.get(suspended.ty).unwrap();
    assert_eq!(&*suspended.members[0].name, "__awaitee");
    assert_eq!(suspended.members[0].at, 8);

    assert_eq!(types.named(&ty.name), Some(TypeId(future)));
    assert_eq!(types.named("app::fetch"), None);
    assert_eq!(types.of_vtable(0x7000), Some(TypeId(future)));
    assert_eq!(types.of_vtable(0x7008), None);
    // The other unit leaves the members out.
    let other = types.get(TypeId(bare)).unwrap();
    assert_eq!(other.variants, ty.variants);
    let pointer = types.get(TypeId(pointer)).unwrap();
    assert_eq!(
        (pointer.kind, pointer.target),
        (Kind::Pointer, Some(TypeId(bare)))
    );
    assert_eq!(&*pointer.name, "&mut app::fetch");
    assert_eq!(types.get(TypeId(5)), None);
    assert_eq!(types.get(TypeId(u32::MAX)), None);
}

#[test]
fn functions_of_tasks_name_their_futures() {
    let (dwarf, _) = program();
    let mut types = load(&dwarf.file()).unwrap();
    let mut of = |functions: &[u64]| -> Vec<String> {
        let found = types.task_arguments(functions);
        found.iter().map(ToString::to_string).collect()
    };
    assert_eq!(of(&[0x1000]), ["app::F, app::S<u8>"]);
    assert_eq!(
        of(&[0x1000, 0x2000]),
        ["app::F, app::S<u8>", "app::G, app::S<u8>"]
    );
    assert_eq!(of(&[0x3000, 0]), [""; 0]);
}

#[test]
fn numbers_of_variants() {
    let variant = |number| Variant {
        number,
        name: "v".into(),
        at: 0,
        ty: TypeId(0),
        location: None,
    };
    let of = |size, numbers: &[Option<u64>], read| {
        let all = numbers.iter().map(|number| variant(*number)).collect();
        let variants = Variants { at: 0, size, all };
        variants.with(read).map(|variant| variant.number)
    };
    // Debug information writes numbers with a sign.
    assert_eq!(
        of(1, &[Some(u64::MAX), Some(1)], 0xff),
        Some(Some(u64::MAX))
    );
    assert_eq!(of(8, &[Some(0), None], 0x5555), Some(None), "in a niche");
    assert_eq!(of(4, &[Some(1)], 2), None);
    assert_eq!(of(0, &[None], 9), Some(None), "the only one");
    assert_eq!(of(u64::MAX, &[Some(3)], 3), Some(Some(3)));
}

#[test]
fn files_without_types_say_why() {
    let why = |bytes: &[u8]| load(bytes).map(|_| ()).unwrap_err();
    assert_eq!(why(b"text"), NoDebugTypes::Unreadable);
    assert_eq!(why(&elf(&[])), NoDebugTypes::None);
    let mut dwarf = Dwarf::new();
    let byte = dwarf.named(BASE, "u8", 1);
    dwarf.named(STRUCT, "A", 1);
    dwarf.member("a", byte, 0);
    dwarf.end();
    dwarf.end_unit();
    assert_eq!(why(&dwarf.file()), NoDebugTypes::NoTasks);
    // Tests of this workspace are built with line tables only.
    let own = std::env::current_exe().unwrap();
    assert_eq!(DebugTypes::load(&own).map(|_| ()), Err(NoDebugTypes::None));
}

#[test]
fn a_file_is_in_memory_once_and_another_one_with_the_same_bytes_is_another() {
    let bytes = program().0.file();
    let written = || {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    };
    let (one, other) = (written(), written());
    let load = |file: &tempfile::NamedTempFile| DebugTypes::load(file.path()).unwrap();
    let (first, again, another) = (load(&one), load(&one), load(&other));
    assert!(std::sync::Arc::ptr_eq(&first.file, &again.file));
    assert!(!std::sync::Arc::ptr_eq(&first.file, &another.file));
    // Two threads that read at once see what one would.
    let names = |mut types: DebugTypes| {
        let id = types.named("app::fetch::{async_fn_env#0}<u8>").unwrap();
        types.get(id).unwrap().size
    };
    let threads = [first, again].map(|types| std::thread::spawn(move || names(types)));
    let found = threads.map(|thread| thread.join().unwrap());
    assert_eq!(found, [names(load(&one)), names(another)]);
}

/// Each byte is changed to several others, each length cut; each answer is asked for.
#[test]
fn what_a_file_says_is_not_trusted() {
    let (dwarf, ids) = program();
    let whole = dwarf.file();
    let ask_all = |file: &[u8]| {
        let Ok(mut types) = load(file) else { return };
        for at in 0..dwarf.info.len() as u32 + 8 {
            types.get(TypeId(at));
        }
        types.named("app::fetch::{async_fn_env#0}<u8>");
        types.task_arguments(&[0x1000, 0x2000]);
        assert!(types.costs().bytes < 1 << 20);
    };
    ask_all(&whole);
    assert!(ids.iter().all(|id| *id > 0));
    let info = 64..64 + dwarf.info.len();
    for at in info.clone() {
        for byte in [0, 1, 0x7f, 0xff, whole[at].wrapping_add(1)] {
            let mut changed = whole.clone();
            changed[at] = byte;
            ask_all(&changed);
        }
    }
    // Abbreviations and section headers, by chance.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2_000 {
        let mut changed = whole.clone();
        for _ in 0..3 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let at = info.end + (random >> 33) as usize % (whole.len() - info.end);
            changed[at] = (random >> 24) as u8;
        }
        ask_all(&changed);
    }
}

/// What a section's header says is allocated before it is read.
#[test]
fn a_section_is_no_longer_than_its_file() {
    let file = elf(&[(".debug_str", b"abc"), (".debug_info", b"")]);
    let header = file.len() - 64 * 3;
    for size in [3, 100, 1 << 29, u64::MAX] {
        let mut changed = file.clone();
        changed[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
        let mut written = tempfile::tempfile().unwrap();
        written.write_all(&changed).unwrap();
        let object = object::File::parse(&*changed).unwrap();
        let sections = Sections::of(written, &object);
        let most = changed.len() as u64 - 64;
        assert_eq!(sections.strings.size(), size.min(most), "{size}");
    }
}

#[test]
fn abbreviations_of_a_unit_end_before_those_of_the_next() {
    let (mut dwarf, _) = program();
    let one = load(&dwarf.file()).unwrap().costs();
    // As many units as a file has bytes for, each with a table that begins within the first.
    for at in 0..2_000_u16 {
        dwarf.unit();
        let field = dwarf.start + 6;
        dwarf.info[field..field + 2].copy_from_slice(&(1 + at % 60).to_le_bytes());
        dwarf.end_unit();
    }
    let error = load(&dwarf.file()).map(|types| types.costs().types);
    assert_eq!(error, Err(NoDebugTypes::None), "the first table is cut");
    // The same with one table for all of them.
    let (mut dwarf, _) = program();
    for _ in 0..2_000 {
        dwarf.unit();
        dwarf.end_unit();
    }
    let all = load(&dwarf.file()).unwrap().costs();
    assert_eq!((all.types, all.unread), (one.types, one.unread));
    assert_eq!(all.with_types, one.with_types + 2_000);
}
