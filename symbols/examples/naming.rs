//! What it takes to name the first stack of a program, and further ones: time, and memory.
//!
//! `cargo run --release -p looptop-symbols --example naming -- PROGRAM [STACKS]`
//!
//! A stack is 30 addresses, taken evenly from all of the program's code, as a real one is of
//! code that lies together: this is the worse of the two.

use std::{path::PathBuf, sync::Arc, time::Instant};

use looptop_symbols::{Binary, CodeAddress, Resolver};
use object::{Object, ObjectSection, SectionKind};

const FRAMES: u64 = 30;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().map(PathBuf::from);
    let Some(path) = path.and_then(|path| path.canonicalize().ok()) else {
        eprintln!("usage: naming PROGRAM [STACKS]");
        return;
    };
    let stacks: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    let Some((text, length, build_id)) = code_of(&path) else {
        eprintln!("{} is no program", path.display());
        return;
    };
    let megabytes = std::fs::metadata(&path).map_or(0, |file| file.len() >> 20);
    println!("{megabytes} MiB, of which {} MiB code", length >> 20);
    let binary = Arc::new(Binary { path, build_id });
    let stack = |n: u64| -> Vec<CodeAddress> {
        let step = length / (FRAMES * stacks);
        let frames = (0..FRAMES).map(|frame| text + (frame * stacks + n) * step);
        let address = |offset| CodeAddress {
            binary: Some(Arc::clone(&binary)),
            offset,
        };
        frames.map(address).collect()
    };
    let mut resolver = Resolver::new(None);
    let mut named = 0;
    let before = resident();
    let start = Instant::now();
    for n in 0..stacks {
        let resolution = resolver.resolve(&stack(n));
        let frames = resolution.frames.iter();
        named += frames.filter(|frame| frame.function.is_some()).count();
        if n == 0 || n + 1 == stacks {
            let now = resident();
            let [own, mapped] = [0, 1].map(|n| now[n].saturating_sub(before[n]) >> 20);
            println!(
                "{:4} stacks: {named:6} names after {:8.1?}; {own} MiB, and {mapped} MiB of the \
                 file's pages",
                n + 1,
                start.elapsed(),
            );
            resolution
                .problems
                .iter()
                .for_each(|problem| println!("{problem}"));
        }
    }
}

/// Where the code begins, how long it is, and the build id.
fn code_of(path: &std::path::Path) -> Option<(u64, u64, Vec<u8>)> {
    let cache = object::ReadCache::new(std::fs::File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let text = file.sections().filter(|s| s.kind() == SectionKind::Text);
    let largest = text.max_by_key(ObjectSection::size)?;
    let build_id = file.build_id().ok().flatten().unwrap_or_default();
    Some((largest.address(), largest.size(), build_id.to_vec()))
}

/// Memory of this process, and of files that it has mapped, in bytes; 0 where the system
/// does not say.
fn resident() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["RssAnon:", "RssFile:"].map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or(0_u64) << 10
    })
}
