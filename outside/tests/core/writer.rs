//! Writes a core dump of a process that goes on: what the kernel would write, from what
//! procfs shows and the registers of its threads.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use looptop_outside::{Page, ProcessSpace, Space, Subject};
use looptop_procfs::{Mapping, Procfs};
use looptop_unwind::Memory;

const PAGE: u64 = 4096;

/// The registers of a thread, as `struct user_regs_struct` has them.
type Registers = [u64; 27];

/// Writes the dump of a process, all of whose threads are blocked.
pub(crate) fn write(pid: u32, to: &Path) {
    let subject = Subject::find(&Procfs::default(), pid).unwrap();
    let space = ProcessSpace::of(&subject);
    let mappings = space.mappings();
    let tids: Vec<u64> = subject.process().tids().unwrap().collect();
    let mut notes = Vec::new();
    for tid in tids {
        note(&mut notes, 1, &status(tid, &registers(tid)));
    }
    note(&mut notes, 3, &process(pid));
    let auxiliary = std::fs::read(format!("/proc/{pid}/auxv")).unwrap();
    note(&mut notes, 6, &auxiliary);
    note(&mut notes, 0x4649_4c45, &files(&mappings));
    let dumped: Vec<u64> = mappings.iter().map(|m| dumped(&space, m)).collect();
    let count = mappings.len() + 1;
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (header[16], header[18], header[20], header[32]) = (4, 62, 1, 64);
    (header[52], header[54]) = (64, 56);
    header[56..58].copy_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
    let begin = 64 + 56 * count as u64;
    segment(&mut header, (4, 0), begin, 0, (notes.len() as u64, 0));
    let mut at = (begin + notes.len() as u64).next_multiple_of(PAGE);
    for (mapping, dumped) in mappings.iter().zip(&dumped) {
        let flags = u32::from(mapping.execute) | u32::from(mapping.write) << 1;
        let flags = flags | u32::from(mapping.read) << 2;
        let size = mapping.range.end - mapping.range.start;
        segment(
            &mut header,
            (1, flags),
            at,
            mapping.range.start,
            (*dumped, size),
        );
        at += dumped;
    }
    let mut file = File::create(to).unwrap();
    file.write_all(&header).unwrap();
    file.write_all(&notes).unwrap();
    let mut at = (begin + notes.len() as u64).next_multiple_of(PAGE);
    for (mapping, dumped) in mappings.iter().zip(&dumped) {
        let range = mapping.range.start..mapping.range.start + dumped;
        for (part, _) in space.pages(&range) {
            let mut bytes = vec![0; (part.end - part.start) as usize];
            if space.read(part.start, &mut bytes) == bytes.len() {
                file.seek(SeekFrom::Start(at + part.start - range.start))
                    .unwrap();
                file.write_all(&bytes).unwrap();
            }
        }
        at += dumped;
    }
    file.set_len(at).unwrap();
}

/// How much of a mapping the kernel writes by default: all that is the process's own, the
/// first page of other files that begin there.
fn dumped(space: &ProcessSpace, mapping: &Mapping) -> u64 {
    let size = mapping.range.end - mapping.range.start;
    let pages = space.pages(&mapping.range);
    let own = pages.iter().any(|(_, page)| *page == Page::Own);
    let special = mapping.path.as_os_str() == "[vdso]";
    match mapping.inode {
        _ if mapping.path.as_os_str() == "[vvar]" => 0,
        0 => size,
        _ if special || own && !mapping.shared => size,
        _ if mapping.offset == 0 && mapping.read => PAGE,
        _ => 0,
    }
}

fn segment(
    header: &mut Vec<u8>,
    (kind, flags): (u32, u32),
    at: u64,
    address: u64,
    (dumped, size): (u64, u64),
) {
    header.extend_from_slice(&kind.to_le_bytes());
    header.extend_from_slice(&flags.to_le_bytes());
    for word in [at, address, 0, dumped, size, PAGE] {
        header.extend_from_slice(&word.to_le_bytes());
    }
}

fn note(notes: &mut Vec<u8>, kind: u32, content: &[u8]) {
    for word in [5, u32::try_from(content.len()).unwrap(), kind] {
        notes.extend_from_slice(&word.to_le_bytes());
    }
    notes.extend_from_slice(b"CORE\0\0\0\0");
    notes.extend_from_slice(content);
    notes.resize(notes.len().next_multiple_of(4), 0);
}

fn status(tid: u64, registers: &Registers) -> Vec<u8> {
    let mut status = vec![0; 336];
    status[32..36].copy_from_slice(&(tid as u32).to_le_bytes());
    for (n, word) in registers.iter().enumerate() {
        status[112 + n * 8..120 + n * 8].copy_from_slice(&word.to_le_bytes());
    }
    status
}

fn process(pid: u32) -> Vec<u8> {
    let mut process = vec![0; 136];
    process[24..28].copy_from_slice(&pid.to_le_bytes());
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap();
    let name = name.trim_ascii_end();
    process[40..40 + name.len()].copy_from_slice(name);
    process
}

fn files(mappings: &[Mapping]) -> Vec<u8> {
    let of_file = || mappings.iter().filter(|m| m.path.is_absolute());
    let mut files = Vec::new();
    let head = [of_file().count() as u64, PAGE];
    let words = of_file().flat_map(|m| [m.range.start, m.range.end, m.offset / PAGE]);
    for word in head.into_iter().chain(words) {
        files.extend_from_slice(&word.to_le_bytes());
    }
    for mapping in of_file() {
        files.extend_from_slice(mapping.path.as_os_str().as_encoded_bytes());
        files.push(0);
    }
    files
}

/// Stops a thread for its registers, and lets it go on.
fn registers(tid: u64) -> Registers {
    let tid = tid as libc::pid_t;
    let none = std::ptr::null_mut::<u8>();
    let mut registers: Registers = [0; 27];
    let mut status = 0;
    // SAFETY: the requests take no address but that of the registers, which are as many as
    // the kernel writes; the status is one number.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, tid, none, none), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, tid, none, none), 0);
        assert_eq!(libc::waitpid(tid, &raw mut status, libc::__WALL), tid);
        let into = registers.as_mut_ptr();
        assert_eq!(libc::ptrace(libc::PTRACE_GETREGS, tid, none, into), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_DETACH, tid, none, none), 0);
    }
    registers
}
