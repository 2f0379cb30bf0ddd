//! The future that a task polls, where no frame of the stack names it.
//!
//! Rust's older mangling leaves type parameters out: `raw::poll` is one name for
//! the polls of all tasks, and an `async fn` that was inlined into it shows nowhere.
//! But the same code also drops the future, and `drop_in_place<...>` has the whole
//! type in its name: the calls of the poll lead there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use object::{Architecture, Object, ObjectSection, SectionKind};

use super::{name, table};

/// The code of a program, as far as it polls and drops futures.
pub(super) struct Futures {
    file: fs::File,
    architecture: Architecture,
    text: Vec<Section>,
    /// Functions: address and size, by address.
    functions: Vec<(u64, u64)>,
    /// Functions that drop a future, with the types that it may be.
    drops: HashMap<u64, Vec<String>>,
    /// Functions of tokio's tasks, by address.
    tasks: BTreeMap<u64, Role>,
    /// What was found already, by the address of a function.
    known: HashMap<u64, Option<String>>,
}

struct Section {
    address: u64,
    size: u64,
    offset: u64,
}

/// What a function does for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    RawPoll,
    HarnessPoll,
    CorePoll,
    Other,
}

/// Calls that are followed from a poll on.
const DEPTH: usize = 3;
/// Bytes of a function that are read.
const MAX_CODE: u64 = 1 << 16;
/// Bytes of a symbol's name that are looked at; a future's type may be long.
const MAX_NAME: usize = 16 << 10;

impl Futures {
    /// Reads the symbols of the program at `path`.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let file = fs::File::open(path).ok()?;
        let cache = object::ReadCache::new(file.try_clone().ok()?);
        let object = object::File::parse(&cache).ok()?;
        let text = object
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .filter_map(|section| {
                let (offset, size) = section.file_range()?;
                Some(Section {
                    address: section.address(),
                    size,
                    offset,
                })
            })
            .collect();
        let mut functions = Vec::new();
        let mut drops: HashMap<u64, Vec<String>> = HashMap::new();
        let mut tasks = BTreeMap::new();
        table::for_each(&object, |symbol| {
            if !symbol.is_function {
                return;
            }
            functions.push((symbol.address, symbol.size));
            if let Some(future) = dropped(symbol.name) {
                let futures = drops.entry(symbol.address).or_default();
                if !futures.contains(&future) {
                    futures.push(future);
                }
            } else if let Some(role) = role(symbol.name) {
                tasks.insert(symbol.address, role);
            }
        });
        functions.sort_unstable();
        functions.dedup();
        let architecture = object.architecture();
        Some(Self {
            file,
            architecture,
            text,
            functions,
            drops,
            tasks,
            known: HashMap::new(),
        })
    }

    /// The type of the future that the function at `address` polls, if it is one
    /// that polls tasks, and if no other type can be meant.
    pub(super) fn polled_at(&mut self, address: u64) -> Option<String> {
        let (start, _) = self.function(address)?;
        if let Some(known) = self.known.get(&start) {
            return known.clone();
        }
        let found = self.look_up(start);
        self.known.insert(start, found.clone());
        found
    }

    fn look_up(&mut self, start: u64) -> Option<String> {
        let role = *self.tasks.get(&start)?;
        let candidates = self.leads_to(start);
        // Futures that drop alike have their drop functions merged, under one of
        // the names: what the polls of two tasks lead to names neither.
        let others: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(at, other)| **at != start && **other == role)
            .map(|(at, _)| *at)
            .collect();
        let mut shared = HashSet::new();
        for other in others {
            shared.extend(self.leads_to(other));
        }
        let types: BTreeSet<&String> = candidates
            .iter()
            .filter(|drop| !shared.contains(*drop))
            .flat_map(|drop| &self.drops[drop])
            .collect();
        let mut types = types.into_iter();
        match (types.next(), types.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }

    /// The drop functions that a function of a task calls, itself or through
    /// others of the task's.
    fn leads_to(&mut self, start: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut seen = HashSet::from([start]);
        let mut level = vec![start];
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for function in level {
                for callee in self.callees(function) {
                    if self.drops.contains_key(&callee) {
                        found.insert(callee);
                    } else if self.tasks.contains_key(&callee) && seen.insert(callee) {
                        next.push(callee);
                    }
                }
            }
            level = next;
        }
        found
    }

    /// Start and size of the function around an address.
    fn function(&self, address: u64) -> Option<(u64, u64)> {
        let at = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        let (start, _) = *self.functions.get(at.checked_sub(1)?)?;
        let first = self.functions.partition_point(|(other, _)| *other < start);
        let (_, size) = self.functions[first..at]
            .iter()
            .max_by_key(|(_, size)| *size)?;
        (address < start + (*size).max(1)).then_some((start, *size))
    }

    fn code(&mut self, start: u64) -> Option<Vec<u8>> {
        let (_, size) = self.function(start)?;
        let inside =
            |section: &&Section| section.address <= start && start < section.address + section.size;
        let section = self.text.iter().find(inside)?;
        let offset = start - section.address;
        let length = size.min(MAX_CODE).min(section.size - offset);
        let mut code = vec![0; usize::try_from(length).ok()?];
        self.file
            .seek(SeekFrom::Start(section.offset + offset))
            .ok()?;
        self.file.read_exact(&mut code).ok()?;
        Some(code)
    }

    /// Targets of direct calls and jumps. Found byte by byte on x86: that they
    /// are compared with the starts of few functions keeps chance out.
    fn callees(&mut self, start: u64) -> Vec<u64> {
        let Some(code) = self.code(start) else {
            return Vec::new();
        };
        match self.architecture {
            Architecture::X86_64 => code
                .windows(5)
                .zip(start..)
                .filter(|(bytes, _)| matches!(bytes[0], 0xe8 | 0xe9))
                .map(|(bytes, at)| {
                    let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                    (at + 5).wrapping_add_signed(i64::from(distance))
                })
                .collect(),
            Architecture::Aarch64 => code
                .chunks_exact(4)
                .zip((start..).step_by(4))
                .filter_map(|(bytes, at)| {
                    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    // `b` and `bl`, with a distance of 26 bits in words.
                    (word & 0x7c00_0000 == 0x1400_0000).then(|| {
                        let distance = (word << 6).cast_signed() >> 6;
                        at.wrapping_add_signed(i64::from(distance) * 4)
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The future that a drop function of a task drops.
fn dropped(raw: &str) -> Option<String> {
    if !raw.contains("drop_in_place") && !raw.contains("drop_glue") {
        return None;
    }
    let holders = ["core..Stage", "core..CoreStage", "core..Cell"];
    let of_task = raw.contains("runtime..task..") && holders.iter().any(|h| raw.contains(h));
    if !of_task || raw.len() > MAX_NAME {
        return None;
    }
    let name = format!("{:#}", rustc_demangle::demangle(raw));
    let holder = *name::arguments(&name).first()?;
    let is_holder = ["Stage<", "CoreStage<", "Cell<"]
        .iter()
        .any(|kind| holder.starts_with(&format!("tokio::runtime::task::core::{kind}")));
    let future = *name::arguments(holder).first()?;
    is_holder.then(|| future.to_owned())
}

fn role(raw: &str) -> Option<Role> {
    if !raw.contains("runtime") || !raw.contains("task") || raw.len() > MAX_NAME {
        return None;
    }
    let clean = name::clean(&format!("{:#}", rustc_demangle::demangle(raw)));
    Some(match clean.strip_prefix("tokio::runtime::task::")? {
        "raw::poll" => Role::RawPoll,
        "harness::Harness::poll" => Role::HarnessPoll,
        "core::Core::poll" => Role::CorePoll,
        _ => Role::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_in_the_name_of_a_drop() {
        for (symbol, expected) in [
            (
                "_ZN4core3ptr103drop_in_place$LT$tokio..runtime..task..core..Stage$LT$app..handler\
                 ..$u7b$$u7b$closure$u7d$$u7d$$GT$$GT$17h0123456789abcdefE",
                Some("app::handler::{{closure}}"),
            ),
            (
                "_ZN4core3ptr98drop_in_place$LT$tokio..runtime..task..core..Cell$LT$app..Job$C$\
                 alloc..sync..Arc$LT$u8$GT$$GT$$GT$17h0123456789abcdefE",
                Some("app::Job"),
            ),
            (
                "_ZN4core3ptr29drop_in_place$LT$app..Job$GT$17h0123456789abcdefE",
                None,
            ),
        ] {
            assert_eq!(dropped(symbol).as_deref(), expected, "{symbol}");
        }
    }
}
