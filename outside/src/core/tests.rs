//! Core dumps that a test writes, as hostile as it likes.

use std::path::PathBuf;

use super::*;

/// A dump with a program of two pages, of which it has the first, and a stack.
struct Written {
    directory: tempfile::TempDir,
    header: Vec<u8>,
    /// Kind, flags, address, bytes in memory; what of it is dumped.
    segments: Vec<(u32, u32, u64, u64, Vec<u8>)>,
}

const PROGRAM: u64 = 0x40_0000;
const STACK: u64 = 0x7fff_0000;

fn word(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn note(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [5, content.len() as u32, kind] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(b"CORE\0\0\0\0");
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

impl Written {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut program = vec![0x11; 0x1800];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[0x1000..].fill(0x22);
        std::fs::write(directory.path().join("app"), &program).unwrap();
        let mut header = vec![0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (header[16], header[18], header[32], header[54]) = (4, 62, 64, 56);
        let mut status = vec![0; 336];
        (status[12], status[32]) = (6, 77);
        word(&mut status, 112 + 8 * notes::RSP, STACK + 0x800);
        word(&mut status, 112 + 8 * notes::RIP, PROGRAM + 0x1010);
        word(&mut status, 112 + 8 * notes::FS_BASE, 0x1234);
        word(&mut status, 112 + 8 * notes::ORIG_RAX, 202);
        word(&mut status, 112 + 8 * RAX, -512_i64 as u64);
        word(&mut status, 112 + 8 * notes::RDI, 0x9000);
        let mut files = vec![0; 16 + 24];
        for (n, value) in [1, 0x1000, PROGRAM, PROGRAM + 0x2000, 0]
            .into_iter()
            .enumerate()
        {
            word(&mut files, n * 8, value);
        }
        files.extend_from_slice(b"/nowhere at all/app\0");
        let notes = [note(1, &status), note(0x4649_4c45, &files)].concat();
        let segments = vec![
            (4, 0, 0, 0, notes),
            (1, 5, PROGRAM, 0x2000, program[..0x1000].to_vec()),
            (1, 6, STACK, 0x1000, vec![0x33; 0x1000]),
        ];
        Self {
            directory,
            header,
            segments,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        bytes[56] = self.segments.len() as u8;
        let mut at = (64 + 56 * self.segments.len()) as u64;
        for (kind, flags, address, size, dumped) in &self.segments {
            let mut entry = [0; 56];
            entry[..4].copy_from_slice(&kind.to_le_bytes());
            entry[4..8].copy_from_slice(&flags.to_le_bytes());
            word(&mut entry, 8, at);
            word(&mut entry, 16, *address);
            word(&mut entry, 32, dumped.len() as u64);
            word(&mut entry, 40, *size);
            bytes.extend_from_slice(&entry);
            at += dumped.len() as u64;
        }
        for (.., dumped) in &self.segments {
            bytes.extend_from_slice(dumped);
        }
        bytes
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("core")
    }

    fn open(&self, bytes: &[u8]) -> Result<CoreFile, CoreError> {
        std::fs::write(self.path(), bytes).unwrap();
        CoreFile::open(&self.path())
    }
}

#[test]
fn what_is_not_in_the_dump_is_read_from_the_file_beside_it() {
    let written = Written::new();
    let core = written.open(&written.bytes()).unwrap();
    let beside = written.directory.path().join("app");
    assert_eq!(core.program(), Path::new("/nowhere at all/app"));
    assert_eq!(core.executable(), beside.canonicalize().unwrap());
    assert_eq!(
        (core.pid(), core.signal(), core.lost()),
        (77, Some(6), &[][..])
    );
    let mut buffer = [0xff; 0x10];
    assert_eq!(core.read(PROGRAM + 0xff8, &mut buffer), 0x10);
    assert_eq!(buffer, [[0x11; 8], [0x22; 8]].concat()[..]);
    // The file ends within its last page, the mapping at the end of that.
    let mut buffer = [0xff; 0x1000];
    assert_eq!(core.read(PROGRAM + 0x17f8, &mut buffer), 0x808);
    assert_eq!((buffer[7], buffer[8], buffer[0x807]), (0x22, 0, 0));
    assert_eq!(core.read(STACK + 0xff8, &mut buffer), 8);
    for nowhere in [0, PROGRAM - 1, STACK + 0x1000, u64::MAX - 3] {
        assert_eq!(core.read(nowhere, &mut buffer), 0, "{nowhere:#x}");
    }
    let all = 0..STACK + 0x1_0000;
    assert_eq!(
        core.pages(&all),
        [
            (PROGRAM..PROGRAM + 0x1000, Page::Own),
            (PROGRAM + 0x1000..PROGRAM + 0x2000, Page::File),
            (STACK..STACK + 0x1000, Page::Own),
        ]
    );
    let names: Vec<_> = core.mappings().into_iter().map(|m| m.path).collect();
    assert_eq!(names, [core.executable(), Path::new("[stack]")]);
    assert!(core.has_file(core.executable()) && !core.has_file(core.program()));
}

#[test]
fn code_that_a_debugger_left_out_is_in_the_file() {
    let mut written = Written::new();
    written.segments.remove(1);
    let core = written.open(&written.bytes()).unwrap();
    assert_eq!(core.program(), Path::new("/nowhere at all/app"));
    let mut buffer = [0xff; 0x10];
    assert_eq!(core.read(PROGRAM + 0xff8, &mut buffer), 0x10);
    assert_eq!(buffer, [[0x11; 8], [0x22; 8]].concat()[..]);
    let mappings = core.mappings();
    let found: Vec<_> = mappings
        .iter()
        .map(|m| (m.range.start, m.execute))
        .collect();
    assert_eq!(found, [(PROGRAM, true), (STACK, false)]);
}

#[test]
fn threads_have_their_registers_and_calls() {
    let written = Written::new();
    let core = written.open(&written.bytes()).unwrap();
    let threads: Vec<CoreThread> = core.threads().collect();
    let [thread] = &threads[..] else {
        panic!("{threads:?}");
    };
    assert_eq!((thread.tid, thread.fs_base, thread.signal), (77, 0x1234, 6));
    let at = (thread.registers.pc, thread.registers.sp);
    assert_eq!(at, (PROGRAM + 0x1010, STACK + 0x800));
    let call = thread.call.unwrap();
    assert_eq!((call.number, call.args[0]), (202, 0x9000));
}

#[test]
fn holes_of_the_file_are_no_pages() {
    let mut written = Written::new();
    let (.., stack) = written.segments.last_mut().unwrap();
    *stack = vec![0x33; 0x1000];
    let bytes = written.bytes();
    std::fs::write(written.path(), &bytes).unwrap();
    // A segment of 16 MiB whose file is longer by a hole, and one page behind it.
    let size = 16_u64 << 20;
    let file = File::options().write(true).open(written.path()).unwrap();
    let at = 64 + 56 * 2;
    std::os::unix::fs::FileExt::write_at(&file, &size.to_le_bytes(), at + 32).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &size.to_le_bytes(), at + 40).unwrap();
    let end = bytes.len() as u64 - 0x1000 + size;
    std::os::unix::fs::FileExt::write_at(&file, &[7; 0x1000], end - 0x1000).unwrap();
    let core = CoreFile::open(&written.path()).unwrap();
    let pages = core.pages(&(STACK..STACK + size));
    let own: u64 = pages.iter().map(|(range, _)| range.end - range.start).sum();
    assert!(pages.iter().all(|(_, page)| *page == Page::Own));
    assert!((0x2000..0x10_0000).contains(&own), "{pages:x?}");
    assert_eq!(pages.last().unwrap().0.end, STACK + size);
    assert!(!core.is_truncated());
}

#[test]
fn what_cannot_be_read_says_why() {
    let written = Written::new();
    let bytes = written.bytes();
    let with = |at: usize, value: u8| {
        let mut changed = bytes.clone();
        changed[at] = value;
        changed
    };
    for (bytes, expected) in [
        (
            b"#!/bin/sh\n".to_vec(),
            "it is no ELF file, and no core dump",
        ),
        (Vec::new(), "it is no ELF file, and no core dump"),
        (
            with(16, 3),
            "it is a program or a library, and no core dump",
        ),
        (
            with(18, 183),
            "it is of an aarch64 machine; those of x86-64 Linux are read",
        ),
        (
            with(4, 1),
            "it is of another machine, of 32 bits; those of x86-64 Linux are read",
        ),
        (
            b"\x28\xb5\x2f\xfd and more".to_vec(),
            "it is packed with zstd; unpack it first",
        ),
        (
            bytes[..100].to_vec(),
            "it ends before its threads are described: it was cut short",
        ),
        (
            bytes[..300].to_vec(),
            "it ends before its threads are described: it was cut short",
        ),
        (with(64, 0), "no thread is described in it"),
    ] {
        assert_eq!(written.open(&bytes).unwrap_err().to_string(), expected);
    }
    std::fs::remove_file(written.directory.path().join("app")).unwrap();
    assert_eq!(
        written.open(&bytes).unwrap_err().to_string(),
        "its program /nowhere at all/app is not on this machine; put the file beside the core \
         dump, under its own name"
    );
    std::fs::write(written.directory.path().join("app"), [0x44; 0x2000]).unwrap();
    let another = written.open(&bytes).unwrap_err().to_string();
    assert!(
        another.contains("is another build than the one"),
        "{another}"
    );
    let folder = CoreFile::open(written.directory.path()).unwrap_err();
    assert_eq!(folder.to_string(), "it is no plain file, and no core dump");
    let none = CoreFile::open(Path::new("/nowhere at all/core")).unwrap_err();
    assert!(
        none.to_string().starts_with("it cannot be read: "),
        "{none}"
    );
}

#[test]
fn a_dump_that_was_cut_short_is_read_as_far_as_it_goes() {
    let written = Written::new();
    let bytes = written.bytes();
    let core = written.open(&bytes[..bytes.len() - 0x800]).unwrap();
    assert!(core.is_truncated());
    assert_eq!(core.read(STACK, &mut [0; 0x1000]), 0x800);
}

#[test]
fn a_dump_that_lies_is_read_within_bounds() {
    let written = Written::new();
    let bytes = written.bytes();
    let tables = 64 + 56 * 3;
    for at in 16..tables {
        for value in [0, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let Ok(core) = written.open(&changed) else {
                continue;
            };
            let mut buffer = [0; 64];
            for segment in core.mappings() {
                core.read(segment.range.start, &mut buffer);
                core.read(segment.range.end - 1, &mut buffer);
                let length = (segment.range.end - segment.range.start).min(1 << 30);
                core.pages(&(segment.range.start..segment.range.start + length));
            }
        }
    }
    // All of a header's numbers at their most.
    for header in 0..3 {
        let mut changed = bytes.clone();
        changed[64 + 56 * header + 8..64 + 56 * (header + 1)].fill(0xff);
        let _ = written.open(&changed);
    }
}

/// A note on mapped files: each of a page, with a path of its own.
fn of_many_files(count: u64) -> Vec<u8> {
    let mut files: Vec<u8> = [count, 0x1000].map(u64::to_le_bytes).concat();
    for n in 0..count {
        let start = PROGRAM + n * 0x1000;
        files.extend([start, start + 0x1000, 0].map(u64::to_le_bytes).concat());
    }
    for n in 0..count {
        files.extend(format!("/nowhere/{n}\0").into_bytes());
    }
    note(0x4649_4c45, &files)
}

#[test]
fn files_are_looked_for_up_to_a_bound() {
    let mut written = Written::new();
    written
        .segments
        .retain(|(.., address, _, _)| *address != PROGRAM);
    let (.., notes) = &mut written.segments[0];
    // Behind the one that notes the program, which begins elsewhere.
    notes.extend(of_many_files(100_000));
    let began = std::time::Instant::now();
    let error = written.open(&written.bytes()).unwrap_err();
    assert!(matches!(error, CoreError::NoProgram(_)), "{error}");
    // Of each file with code, all mappings were looked at: minutes.
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_segment_that_is_nowhere_in_the_file_is_not_read() {
    let written = Written::new();
    let mut bytes = written.bytes();
    // The last segment, the stack, begins at the end of all offsets.
    word(&mut bytes, 64 + 56 * 2 + 8, u64::MAX - 0x10);
    let core = written.open(&bytes).unwrap();
    assert_eq!(core.read(STACK + 0x800, &mut [0; 64]), 0);
    assert!(core.is_truncated());
}
