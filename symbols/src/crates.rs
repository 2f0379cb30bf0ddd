//! Whose a crate is: the application's own, or one that it uses.
//!
//! A binary without line tables says of a function no more than its crate. Whose
//! that is shows in what every Rust program carries: the crate whose `main` it
//! has, and the paths of sources in the texts of its panics, which begin in
//! Cargo's registry for a dependency and are relative in a workspace.

#[cfg(feature = "lines")]
mod of_binary;

use std::collections::BTreeSet;

use super::name;
use super::origin::{Place, place};

/// Whose crates are whose, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crates {
    /// The application's own.
    own: BTreeSet<String>,
    /// From a registry, a git checkout or a vendor directory.
    foreign: BTreeSet<String>,
}

/// Whose a crate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Own,
    Foreign,
    /// Nothing says.
    Unknown,
}

impl Crates {
    /// Takes over what the path of a source says: of a spawn location, for example.
    pub fn learn(&mut self, source: &str) {
        match place(source) {
            Place::Package(path) => {
                let package = path.split('/').next().unwrap_or(path);
                self.foreign.insert(crate_name(package));
            }
            Place::Workspace => {
                let package = source.split_once("/src/").map(|(before, _)| before);
                if let Some(package) = package.and_then(|before| before.rsplit('/').next()) {
                    self.own.insert(crate_name(package));
                }
            }
            Place::Standard(_) | Place::Generated => {}
        }
    }

    /// Whose it is. What `main` or the workspace says comes before a path in the
    /// registry, from which programs are installed too.
    pub(super) fn owner(&self, krate: &str) -> Owner {
        if self.own.contains(krate) {
            Owner::Own
        } else if self.foreign.contains(krate) {
            Owner::Foreign
        } else {
            Owner::Unknown
        }
    }
}

fn crate_name(package: &str) -> String {
    name::without_version(package).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spawn_locations_say() {
        let mut crates = Crates::default();
        for path in [
            "src/main.rs",
            "crates/report-engine/src/render.rs",
            "/home/u/.cargo/registry/src/index.crates.io-1949/hyper-util-0.1.20/src/rt.rs",
            "/rustc/5980/library/std/src/thread/mod.rs",
            "axum-0.8.9/src/serve/mod.rs",
            "web-2/src/lib.rs",
        ] {
            crates.learn(path);
        }
        for (krate, owner) in [
            ("report_engine", Owner::Own),
            ("hyper_util", Owner::Foreign),
            ("axum", Owner::Foreign),
            ("web", Owner::Own),
            ("std", Owner::Unknown),
            ("src", Owner::Unknown),
        ] {
            assert_eq!(crates.owner(krate), owner, "{krate}");
        }
    }
}
