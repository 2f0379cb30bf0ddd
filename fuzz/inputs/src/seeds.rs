//! The inputs that the targets begin with, of real data: this repository's recordings, a
//! compiled program, files of `/proc`, frames and messages as they are sent.

#[cfg(feature = "viewer")]
mod console;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use looptop_wire::proto::{Frame, HelloResponse};
use looptop_wire::recording::chunk::ChunkFrames;
use looptop_wire::recording::format::{
    BLOCK_HEADER_LEN, BlockHeader, BlockKind, ChunkInfo, FILE_HEADER_LEN, Opening,
};
use prost::Message;

use crate::core::PROGRAM;
use crate::dwarf::SECTIONS;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Bytes of a file that is a seed as a whole.
const MAX_FILE: usize = 20_000;

/// Writes all seeds into a folder, a folder for each target.
pub fn write(folder: &Path) -> Result<()> {
    let seeds = Seeds { folder };
    seeds.recordings()?;
    seeds.program()?;
    seeds.processes()?;
    seeds.code()?;
    seeds.memory()?;
    seeds.texts()?;
    #[cfg(feature = "viewer")]
    for (number, updates) in console::messages()?.iter().enumerate() {
        seeds.put("console", &format!("app-{number}"), updates)?;
    }
    Ok(())
}

struct Seeds<'a> {
    folder: &'a Path,
}

/// Appends a part, with its length before it.
pub(crate) fn part(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().min(usize::from(u16::MAX));
    to.extend((length as u16).to_le_bytes());
    to.extend(&bytes[..length]);
}

impl Seeds<'_> {
    fn put(&self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
        Ok(())
    }

    /// Of a recording: its file, its blocks without their checksums, its frames.
    fn recordings(&self) -> Result<()> {
        for entry in fs::read_dir(Path::new(ROOT).join("tests/recordings"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "looptop") {
                continue;
            }
            let name = path.file_stem().context("a name")?.to_string_lossy();
            let file = fs::read(&path)?;
            let blocks = blocks(&file);
            if file.len() < MAX_FILE {
                self.put(
                    "recording",
                    &format!("{name}-file"),
                    &[&[0], &file[..]].concat(),
                )?;
            }
            let mut hello = HelloResponse::default();
            let mut frames = Vec::new();
            let mut inside = vec![1];
            for (kind, info, payload) in &blocks {
                match kind {
                    BlockKind::Opening => {
                        hello = Opening::decode(&payload[..])?.hello.unwrap_or_default();
                    }
                    BlockKind::Chunk => {
                        let raw = zstd::decode_all(&payload[..])?;
                        inside.push(4);
                        part(&mut inside, info);
                        part(&mut inside, &raw);
                        let info = ChunkInfo::decode(&info[..])?;
                        let mut reader = ChunkFrames::new(&payload[..], &info)?;
                        while let Ok(Some(frame)) = reader.next_frame() {
                            frames.push(frame);
                        }
                        continue;
                    }
                    BlockKind::Index => inside.push(3),
                    BlockKind::Unknown(_) => inside.push(9),
                }
                if *kind == BlockKind::Opening {
                    inside.push(1);
                }
                part(&mut inside, info);
                part(&mut inside, payload);
            }
            inside.truncate(MAX_FILE);
            self.put("recording", &format!("{name}-blocks"), &inside)?;
            self.frames(&name, &hello, &frames)?;
        }
        Ok(())
    }

    fn frames(&self, name: &str, hello: &HelloResponse, frames: &[Frame]) -> Result<()> {
        let mut all = vec![1];
        part(&mut all, &hello.encode_to_vec());
        let step = frames.len().div_ceil(20).max(1);
        for frame in frames
            .iter()
            .take(3)
            .chain(frames.iter().skip(3).step_by(step))
        {
            let encoded = frame.encode_to_vec();
            if encoded.len() < 16_000 && all.len() < MAX_FILE {
                part(&mut all, &encoded);
            }
        }
        self.put("frames", name, &all)
    }

    /// A tiny program: its file, its debug information, its memory.
    fn program(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (object, program) = (folder.path().join("tiny.o"), folder.path().join("tiny"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tiny.rs");
        for version in ["4", "5"] {
            let compiled = Command::new("rustc")
                .args([
                    "--edition",
                    "2024",
                    "--crate-name",
                    "tokio",
                    "--emit",
                    "obj",
                    "-g",
                ])
                .args([
                    "-C",
                    "opt-level=1",
                    "-C",
                    "panic=abort",
                    "-C",
                    "codegen-units=1",
                ])
                .args(["-C", "relocation-model=static", "-C"])
                .arg(format!("dwarf-version={version}"))
                .args([source.as_ref(), "-o".as_ref(), object.as_os_str()])
                .status()?;
            ensure!(compiled.success(), "rustc has failed");
            let linked = Command::new("cc")
                .args([
                    "-nostdlib",
                    "-static",
                    "-no-pie",
                    "-Wl,-Ttext=0x401000,--build-id",
                ])
                .arg("-Wl,--eh-frame-hdr,--unresolved-symbols=ignore-all,--gc-sections")
                .args([object.as_os_str(), "-o".as_ref(), program.as_os_str()])
                .status()?;
            ensure!(linked.success(), "the linker has failed");
            let file = fs::read(&program)?;
            self.put("elf", &format!("tiny-{version}"), &file)?;
            let mut parts = Vec::new();
            for name in SECTIONS {
                part(&mut parts, section(&file, name).unwrap_or_default());
            }
            self.put("dwarf", &format!("tiny-{version}"), &parts)?;
            self.put("types", &format!("tiny-{version}"), &parts)?;
            if version == "4" {
                self.unwind(&file)?;
                self.core(&file)?;
            }
        }
        Ok(())
    }

    /// Registers, a stack with addresses of the code, the file as it is mapped.
    fn unwind(&self, file: &[u8]) -> Result<()> {
        for kinds in [0_u8, 1, 3] {
            let mut input = vec![kinds, 0x50, 0x01, 0x20, 0x00];
            let stack: Vec<u8> = (0..32_u64)
                .map(|n| {
                    if n % 3 == 0 {
                        0x10_1000 + 0x160 + n
                    } else {
                        0x7f00_0000 + n * 8
                    }
                })
                .flat_map(u64::to_le_bytes)
                .collect();
            part(&mut input, &stack);
            // Its segments are as far apart in the file as in memory.
            input.extend(&file[..file.len().min(0x2400)]);
            self.put("unwind", &format!("tiny-{kinds}"), &input)?;
        }
        Ok(())
    }

    /// A dump of the program: one thread, its stack, the files that were mapped.
    fn core(&self, program: &[u8]) -> Result<()> {
        let mut input = Vec::new();
        part(&mut input, program);
        input.extend(dump(program));
        self.put("core", "tiny", &input)
    }

    fn processes(&self) -> Result<()> {
        let names = [
            "stat",
            "status",
            "maps",
            "cmdline",
            "comm",
            "cgroup",
            "schedstat",
            "syscall",
            "wchan",
            "net/tcp",
            "net/tcp6",
            "net/unix",
        ];
        for name in names {
            let bytes = fs::read(format!("/proc/self/{name}"));
            let mut bytes = bytes.with_context(|| name.to_owned())?;
            bytes.truncate(4_000);
            self.put("procfs", &name.replace('/', "-"), &bytes)?;
        }
        self.put("procfs", "machine-stat", &fs::read("/proc/stat")?)
    }

    /// Code as compilers make it: pieces of this program.
    fn code(&self) -> Result<()> {
        let own = fs::read(std::env::current_exe()?)?;
        let text = section(&own, ".text").context("code")?;
        let pieces = text.chunks(400).step_by(text.len() / 400 / 20);
        for (number, piece) in pieces.take(20).enumerate() {
            let mut input = vec![(number % 4) as u8, 0, 1, 0, 2, 1, 8];
            part(&mut input, piece);
            input.extend((0..64_u64).flat_map(|n| (0x50_0000 + n * 8).to_le_bytes()));
            self.put("interpret", &format!("code-{number}"), &input)?;
        }
        Ok(())
    }

    /// Changes of memory: each kind of them.
    fn memory(&self) -> Result<()> {
        for target in ["tasks", "waiting"] {
            self.put(target, "none", &[])?;
            for kind in 0..8_u8 {
                let mut input = Vec::new();
                for number in 0..20_u8 {
                    input.extend([kind, number, number.wrapping_mul(13)]);
                    let operand = number.wrapping_mul(7);
                    match kind {
                        0 => input.extend(u64::from(operand).to_le_bytes()),
                        1 => input.extend([operand, number * 9, 0]),
                        4 => input.extend([operand, number * 9]),
                        7 => input.extend([4, operand, number, 0, 0]),
                        _ => input.push(operand),
                    }
                }
                self.put(target, &format!("kind-{kind}"), &input)?;
            }
        }
        Ok(())
    }

    /// What people and programs write: filters, configuration, requests, names.
    fn texts(&self) -> Result<()> {
        for (target, name, text) in TEXTS {
            self.put(target, name, text.as_bytes())?;
        }
        for entry in fs::read_dir(Path::new(ROOT).join("src/ui/themes"))? {
            let path = entry?.path();
            let name = path.file_name().context("a name")?.to_string_lossy();
            self.put("config", &name, &[b"t", &fs::read(&path)?[..]].concat())?;
        }
        Ok(())
    }
}

const TEXTS: &[(&str, &str, &str)] = &[
    (
        "filter",
        "columns",
        "state:running kind:blocking loc:file.rs busy>100ms polls>1000 !ticker",
    ),
    (
        "filter",
        "quoted",
        "name:\"http conn\" !warn age>=1.5s size=4KiB busy<50% id:7 \"open",
    ),
    (
        "config",
        "config",
        "ctheme = \"light\"\nascii = true\nmouse = false\ncolor = \"always\"\n\
         editor = \"vim +{line} {file}\"\n[keys]\nquit = \"Q\"\nhelp = [\"F1\", \"ctrl-h\"]\n\
         [columns]\ntasks = [\"id\", \"name\"]\n[source_map]\n\"/build\" = \"/home/me\"\n",
    ),
    (
        "http_agent",
        "metrics",
        "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n",
    ),
    (
        "http_agent",
        "token",
        "GET /metrics HTTP/1.0\r\nAuthorization: Bearer abc\r\nAccept-Encoding: gzip\r\n\r\n",
    ),
    (
        "http_agent",
        "profile",
        "GET /debug/pprof/profile?seconds=5 HTTP/1.1\r\nConnection: close\r\n\r\n",
    ),
    ("http_lab", "status", "GET /lab HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "http_lab",
        "card",
        "GET /lab/sleep-in-handler HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "http_lab",
        "switch",
        "POST /lab/heavy-cpu/fixed HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "text",
        "escapes",
        "\u{1b}[2J\u{1b}]52;c;aGk=\u{7} user\u{202e}txt e\u{301} \u{9b}31m",
    ),
    (
        "text",
        "names",
        "<tokio::runtime::task::core::Stage<app::{impl#3}::run::{async_fn_env#0}<T>>>",
    ),
    ("text", "wide", "日本語 لا 👍🏽 zero\u{200b}width a\tb\nc\r"),
];

/// The blocks of a whole recording: kind, info, payload.
fn blocks(file: &[u8]) -> Vec<(BlockKind, Vec<u8>, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut at = FILE_HEADER_LEN;
    while let Some(header) = file
        .get(at..at + BLOCK_HEADER_LEN)
        .and_then(|head| BlockHeader::parse(head.try_into().ok()?))
    {
        let info = at + BLOCK_HEADER_LEN;
        let payload = info + usize::from(header.info_len);
        let end = payload + header.payload_len as usize;
        let (Some(info), Some(payload)) = (file.get(info..payload), file.get(payload..end)) else {
            break;
        };
        blocks.push((header.kind, info.to_vec(), payload.to_vec()));
        at = end;
    }
    blocks
}

/// A section of a 64-bit ELF file.
fn section<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number = |at: usize, size: usize| {
        let bytes = file.get(at..at + size)?.iter().rev();
        Some(bytes.fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let (table, count, of_names) = (number(40, 8)?, number(60, 2)?, number(62, 2)?);
    let names = number(table + of_names * 64 + 24, 8)?;
    (0..count).map(|n| table + n * 64).find_map(|header| {
        let at = names + number(header, 4)?;
        let found = file.get(at..)?.split(|byte| *byte == 0).next()?;
        let (offset, size) = (number(header + 24, 8)?, number(header + 32, 8)?);
        (found == name.as_bytes()).then(|| file.get(offset..offset + size))?
    })
}

const STACK: u64 = 0x7fff_0000;
const BASE: u64 = 0x40_0000;

/// A core dump of a program that is mapped at its addresses.
fn dump(program: &[u8]) -> Vec<u8> {
    let note = |kind: u32, content: &[u8]| {
        let mut bytes = Vec::new();
        for word in [5, content.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(b"CORE\0\0\0\0");
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let mut status = vec![0; 336];
    (status[12], status[32]) = (6, 77);
    // RSP, RIP, FS base, the number of the call.
    for (register, value) in [
        (19, STACK + 0x800),
        (16, BASE + 0x1050),
        (21, STACK),
        (15, 202),
    ] {
        let at = 112 + 8 * register;
        status[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
    }
    let path = format!("/nowhere/{PROGRAM}\0");
    let mut files: Vec<u8> = [3, 0x1000]
        .into_iter()
        .chain((0..3).flat_map(|n| [BASE + n * 0x1000, BASE + (n + 1) * 0x1000, n]))
        .flat_map(u64::to_le_bytes)
        .collect();
    for _ in 0..3 {
        files.extend(path.as_bytes());
    }
    let mut process = vec![0; 136];
    process[24] = 77;
    process[40..43].copy_from_slice(PROGRAM.as_bytes());
    let notes = [
        note(1, &status),
        note(3, &process),
        note(0x4649_4c45, &files),
    ]
    .concat();
    let stack: Vec<u8> = (0..0x200_u64)
        .map(|n| {
            if n % 5 == 0 {
                BASE + 0x1060
            } else {
                STACK + n * 8
            }
        })
        .flat_map(u64::to_le_bytes)
        .collect();
    let first = &program[..program.len().min(0x1000)];
    let segments: [(u32, u32, u64, u64, &[u8]); 5] = [
        (4, 0, 0, 0, &notes),
        (1, 4, BASE, 0x1000, first),
        (1, 5, BASE + 0x1000, 0x1000, &[]),
        (1, 4, BASE + 0x2000, 0x1000, &[]),
        (1, 6, STACK, 0x1000, &stack),
    ];
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18], bytes[32], bytes[54]) = (4, 62, 64, 56);
    bytes[56] = segments.len() as u8;
    let mut at = 64 + 56 * segments.len() as u64;
    for (kind, flags, address, size, dumped) in segments {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        for word in [at, address, 0, dumped.len() as u64, size, 0x1000] {
            bytes.extend(word.to_le_bytes());
        }
        at += dumped.len() as u64;
    }
    for (.., dumped) in segments {
        bytes.extend(dumped);
    }
    bytes
}
