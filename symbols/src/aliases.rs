//! Functions whose code is the same: the compiler keeps it once, under all their
//! names. Which of them runs does not show at the address.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use looptop_procfs::FileId;

use super::shared::Shared;
use super::{name, table};

/// The names of code that has several.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<u64, Vec<String>>);

/// Names that are kept of one function.
const MAX_NAMES: usize = 16;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 16 << 10;

static READ: Shared<FileId, Aliases> = Shared::new();

impl Aliases {
    /// Those of the program at `path`, in memory once for all who hold them; none where it
    /// cannot be read.
    pub(super) fn shared(path: &Path) -> Arc<Self> {
        let load = || Ok::<_, Infallible>(Self::load(path).unwrap_or_default());
        let Ok(read) = READ.of(path, load);
        read
    }

    /// Reads the symbols of the program at `path`.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let cache = object::ReadCache::new(fs::File::open(path).ok()?);
        let file = object::File::parse(&cache).ok()?;
        let mut functions: Vec<(u64, String)> = Vec::new();
        table::for_each(&file, |symbol| {
            if symbol.is_function && symbol.size > 0 && symbol.name.len() <= MAX_NAME {
                functions.push((symbol.address, symbol.name.to_owned()));
            }
        });
        functions.sort_unstable();
        let shared = functions.chunk_by(|one, other| one.0 == other.0);
        let shared = shared.filter(|names| names.len() > 1).map(|names| {
            let demangled = names.iter().map(|(_, name)| demangled(name));
            let distinct: BTreeSet<String> = demangled.collect();
            (names[0].0, distinct)
        });
        Some(Self(
            shared
                .filter(|(_, names)| names.len() > 1)
                .map(|(address, names)| (address, names.into_iter().take(MAX_NAMES).collect()))
                .collect(),
        ))
    }

    /// The names of the function that begins at `address`; empty where it has one.
    pub(super) fn at(&self, address: u64) -> &[String] {
        self.0.get(&address).map_or(&[], Vec::as_slice)
    }
}

fn demangled(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let name = name.split(".llvm.").next().unwrap_or(&name);
    name.split('@').next().unwrap_or(name).to_owned()
}

/// What is true of code that has all these names; `None` where the one that it goes
/// by may stand: the others are not the application's own, and say less.
pub(super) fn true_of(names: &[String], is_own: impl Fn(&str) -> bool) -> Option<String> {
    let clean: BTreeSet<String> = names.iter().map(|name| name::clean(name)).collect();
    let mut clean = clean.iter();
    match (clean.next(), clean.next(), clean.count()) {
        (None, ..) => None,
        (Some(only), None, _) => Some(innermost_type(names).unwrap_or(only).to_owned()),
        _ if !names.iter().all(|name| is_own(name)) => None,
        (Some(one), Some(other), 0) => Some(format!("{one} or {other}")),
        (Some(one), Some(_), more) => Some(format!("{one} or {} others", more + 1)),
    }
}

/// Of one function for several types the name with the type that all the others
/// wrap: what is done to them is done to that. Otherwise of which is not known.
fn innermost_type(names: &[String]) -> Option<&str> {
    let shortest = names.iter().min_by_key(|name| name.len())?;
    let inner = *name::arguments(shortest).first()?;
    names
        .iter()
        .all(|name| name.contains(inner))
        .then_some(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_true_of_several_names() {
        let cases: [(&[&str], Option<&str>); 7] = [
            (&[], None),
            (
                &["app::read_orders", "app::read_users"],
                Some("app::read_orders or app::read_users"),
            ),
            (
                &["app::a", "app::b", "<app::C as app::Read>::read"],
                Some("app::C::read or 2 others"),
            ),
            (
                &[
                    "core::ptr::drop_in_place<app::Session>",
                    "core::ptr::drop_in_place<app::Other>",
                ],
                Some("core::ptr::drop_in_place"),
            ),
            (
                &[
                    "core::ptr::drop_in_place<core::option::Option<app::Session>>",
                    "core::ptr::drop_in_place<app::Session>",
                ],
                Some("core::ptr::drop_in_place<app::Session>"),
            ),
            (
                &[
                    "tokio::runtime::task::raw::poll::<app::a::{closure#0}, S>",
                    "tokio::runtime::task::raw::poll::<app::b::{closure#0}, S>",
                ],
                Some("tokio::runtime::task::raw::poll"),
            ),
            (
                &["app::run", "core::ops::function::FnOnce::call_once"],
                None,
            ),
        ];
        for (names, expected) in cases {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = true_of(&names, |name| {
                name.trim_start_matches('<').starts_with("app::")
            });
            assert_eq!(found.as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn names_lose_what_the_compiler_adds() {
        for (symbol, expected) in [
            (
                "_ZN3app4read17h0123456789abcdefE.llvm.1398412643",
                "app::read",
            ),
            ("read@@GLIBC_2.2.5", "read"),
        ] {
            assert_eq!(demangled(symbol), expected);
        }
    }

    #[test]
    fn what_is_no_program_has_none() {
        assert!(Aliases::load(Path::new("/nonexistent")).is_none());
        assert!(Aliases::default().at(1).is_empty());
    }
}
