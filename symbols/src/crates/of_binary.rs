//! What a binary says of whose crates are whose, by its symbols and texts.

use std::collections::BTreeSet;
use std::path::Path;

use object::{Object, ObjectSection};

use super::Crates;
use crate::origin::VENDORED;
use crate::table;

/// Bytes of a path in a binary that are looked at.
const MAX_PATH: usize = 240;

impl Crates {
    /// What the symbols and texts of a program say.
    pub(crate) fn of<'a>(file: &object::File<'a, impl object::ReadRef<'a>>, path: &Path) -> Self {
        let mut crates = Crates::default();
        let constants = file.sections().filter(|section| {
            let named = section.name().unwrap_or_default();
            named == ".rodata" || named == "__const" || named == "__cstring"
        });
        for section in constants {
            crates.read_texts(section.data().unwrap_or_default());
        }
        let mut mains = BTreeSet::new();
        table::for_each(file, |symbol| mains.extend(main_of(symbol.name)));
        // A dependency may have a `main` of its own, which nobody calls.
        let own = mains
            .iter()
            .filter(|name| mains.len() == 1 || !crates.foreign.contains(*name));
        crates.own = own.cloned().collect();
        if crates.own.is_empty() {
            // `main` was inlined. Cargo names the file after the crate.
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            crates.own.insert(stem.replace('-', "_"));
        }
        crates
    }

    /// Adds what `other` knows.
    pub(crate) fn merged(&self, other: &Crates) -> Crates {
        Crates {
            own: self.own.union(&other.own).cloned().collect(),
            foreign: self.foreign.union(&other.foreign).cloned().collect(),
        }
    }

    fn read_texts(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'/') {
            let start = at + found;
            at = start + 1;
            let cargos = ["/registry/src/", "/git/checkouts/"];
            for marker in cargos.into_iter().chain(VENDORED) {
                if bytes[start..].starts_with(marker.as_bytes()) {
                    let end = bytes.len().min(start + MAX_PATH);
                    let path = source_path(&bytes[start..end]);
                    at = start + path.len().max(1);
                    if let Some(path) = whole(path) {
                        self.learn(path);
                    }
                    break;
                }
            }
        }
    }
}

/// The part of a text that a path may consist of.
fn source_path(bytes: &[u8]) -> &str {
    let end = bytes
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"/._-+".contains(byte)))
        .unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or_default()
}

/// Up to the first source: texts stand in a binary without anything between them.
fn whole(path: &str) -> Option<&str> {
    path.find(".rs").map(|end| &path[..end + 3])
}

/// The crate whose `main` the symbol is, or a closure in it.
fn main_of(symbol: &str) -> Option<String> {
    if !symbol.contains("4main") {
        return None;
    }
    let name = format!("{:#}", rustc_demangle::try_demangle(symbol).ok()?);
    let (krate, rest) = name.split_once("::")?;
    let is_main = rest == "main" || rest.starts_with("main::{");
    (is_main && !krate.starts_with(['<', '_'])).then(|| krate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;

    #[test]
    fn a_binarys_texts_say_which_crates_are_foreign() {
        let mut crates = Crates::default();
        crates.read_texts(
            b"src/main.rs/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/\
              event-listener-5.4.1/src/lib.rs\0called/home/u/.cargo/git/checkouts/own-1a2b/3c4d/\
              src/lib.rs\x01/w/vendor/md5-0.7.0/src/lib.rs/registry/src/",
        );
        for (krate, owner) in [
            ("event_listener", Owner::Foreign),
            ("own", Owner::Foreign),
            ("md5", Owner::Foreign),
            ("app", Owner::Unknown),
        ] {
            assert_eq!(crates.owner(krate), owner, "{krate}");
        }
    }

    #[test]
    fn the_crate_of_main() {
        for (symbol, expected) in [
            (
                "_ZN12bcrypt_login4main17h0123456789abcdefE",
                Some("bcrypt_login"),
            ),
            (
                "_ZN12bcrypt_login4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                Some("bcrypt_login"),
            ),
            ("_RNvCs7qp1vGrKqKJ_3app4main", Some("app")),
            ("_ZN3app6remain4main17h0123456789abcdefE", None),
            ("main", None),
        ] {
            assert_eq!(main_of(symbol).as_deref(), expected, "{symbol}");
        }
    }
}
