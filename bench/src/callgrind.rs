//! Instruction counts of the main thread, by `valgrind --tool=callgrind`.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::child::Program;

pub(crate) fn is_installed() -> bool {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// `valgrind` itself, to be completed by [`count`].
pub(crate) fn program() -> Program {
    Program::new(Path::new("valgrind"))
}

/// Instructions of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Instructions {
    pub(crate) all: f64,
    /// Without those of the allocator. How many it takes for one and the same
    /// request depends on what was allocated and freed before: tokio's tasks are
    /// aligned to 128 bytes, for which glibc searches its free lists.
    pub(crate) own: f64,
}

/// Instructions of the main thread of `binary count --operation ... --times ...`.
/// Threads are counted apart: what an observer's own threads do depends on how
/// long the run takes, and callgrind makes it take long.
pub(crate) fn count(
    valgrind: Program,
    binary: &Path,
    scratch: &Path,
    operation: &str,
    times: usize,
) -> anyhow::Result<Instructions> {
    let counts = scratch.join("callgrind");
    valgrind
        .argument("--tool=callgrind")
        .argument("--quiet")
        .argument("--separate-threads=yes")
        .argument(format!("--callgrind-out-file={}", counts.display()))
        .argument(binary)
        .argument("count")
        .option("operation", operation)
        .option("times", times)
        .results()?;
    let main_thread = scratch.join("callgrind-01");
    let text = fs::read_to_string(&main_thread)
        .with_context(|| format!("callgrind left no {}", main_thread.display()))?;
    let counted = parse(&text);
    ensure!(counted.all > 0.0, "callgrind counted nothing");
    Ok(counted)
}

/// The functions of glibc's allocator.
const ALLOCATOR: [&str; 12] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
    "unlink_chunk",
    "malloc_consolidate",
    "sysmalloc",
    "tcache",
    "arena_get",
];

fn is_of_allocator(function: &str) -> bool {
    // `_int_malloc`, `_mid_memalign.isra.0`, `free`, `unlink_chunk.constprop.0`
    let name = function.split('.').next().unwrap_or(function);
    let name = name.trim_start_matches('_');
    let name = name.strip_prefix("int_").unwrap_or(name);
    let name = name.strip_prefix("mid_").unwrap_or(name);
    ALLOCATOR.iter().any(|known| name.starts_with(known)) && !function.contains("::")
}

/// Adds up callgrind's file: after `fn=(id) name` come lines of a position and a
/// cost; a cost after `calls=` is what the called function took, and is listed
/// there as its own.
fn parse(text: &str) -> Instructions {
    let mut names: HashMap<&str, bool> = HashMap::new();
    let mut in_allocator = false;
    let mut callee = false;
    let mut sum = Instructions::default();
    for line in text.lines() {
        if let Some((kind, function)) = line.split_once('=') {
            callee = kind == "calls";
            let (id, name) = function.split_once(' ').unwrap_or((function, ""));
            if matches!(kind, "fn" | "cfn") && !name.is_empty() {
                names.insert(id, is_of_allocator(name));
            }
            if kind == "fn" {
                in_allocator = names.get(id).copied().unwrap_or(false);
            }
            continue;
        }
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if is_cost && !std::mem::take(&mut callee) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
            let cost: f64 = cost.unwrap_or(0.0);
            sum.all += cost;
            sum.own += if in_allocator { 0.0 } else { cost };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Instructions, is_of_allocator, parse};

    #[test]
    fn own_costs_are_added_up_and_the_allocator_told_apart() {
        let text = "events: Ir\n\nfl=(1) main.rs\nfn=(1) program::main\n10 5\n+2 7\n\
            cfi=(2) malloc.c\ncfn=(2) malloc\ncalls=1 3\n* 100\n-1 1\n\n\
            fl=(2)\nfn=(2)\n3 60\n+1 40\ntotals: 113\n";
        assert_eq!(
            parse(text),
            Instructions {
                all: 113.0,
                own: 13.0
            }
        );
    }

    #[test]
    fn the_allocator_is_known_by_name() {
        for name in [
            "malloc",
            "_int_free",
            "_mid_memalign.isra.0",
            "unlink_chunk.constprop.0",
        ] {
            assert!(is_of_allocator(name), "{name}");
        }
        for name in [
            "memcpy",
            "tokio::free_list::free",
            "alloc::alloc::dealloc",
            "main",
        ] {
            assert!(!is_of_allocator(name), "{name}");
        }
    }
}
