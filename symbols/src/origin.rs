//! Whose code a frame is: by the path of its source, or its name where the binary
//! has no lines.

use std::path::Path;

use super::crates::{Crates, Owner};
use super::name;

/// Whose code a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The application's own.
    User,
    /// A library that the application uses.
    Dependency,
    /// Between the application and the machine, on every stack: the standard
    /// library, the runtime, the web server.
    Plumbing,
    /// The C library, the loader, the kernel's vDSO.
    System,
}

/// Crates that run tasks, pass requests on or wrap futures. A whole family is
/// meant where the name ends in `*`.
const PLUMBING: &[&str] = &[
    "std",
    "core",
    "alloc",
    "proc_macro",
    "test",
    "backtrace",
    "tokio*",
    "futures*",
    "tracing*",
    "console_*",
    "looptop_agent",
    "hyper*",
    "axum*",
    "tower*",
    "tonic*",
    "h2",
    "h3*",
    "http*",
    "warp",
    "actix_rt",
    "actix_http",
    "actix_server",
    "actix_service",
    "mio",
    "polling",
    "async_executor",
    "async_io",
    "async_std",
    "async_task",
    "smol",
    "pollster",
    "pin_project*",
    "parking_lot*",
    "lock_api",
    "crossbeam*",
    "rayon_core",
    "rustls",
    "scoped_tls",
    "sharded_slab",
    "metrics*",
    "quinn*",
];

/// Crates that do an application's work, hence the culprit where no frame of its
/// own is there. Needed only where neither lines nor the binary's texts say that a
/// crate is a dependency ([`Crates`]).
const LIBRARIES: &[&str] = &[
    "event_listener*",
    "parking",
    "blowfish",
    "tempfile",
    "flume",
    "reqwest",
    "ureq",
    "curl",
    "rusqlite",
    "libsqlite3_sys",
    "postgres*",
    "mysql*",
    "diesel*",
    "redis",
    "serde*",
    "regex*",
    "flate2",
    "miniz_oxide",
    "zstd*",
    "brotli*",
    "lz4*",
    "snap",
    "sha1",
    "sha2",
    "md5",
    "blake3",
    "argon2",
    "bcrypt",
    "scrypt",
    "pbkdf2",
    "ring",
    "rsa",
    "image",
    "png",
    "rand*",
    "hashbrown",
    "memchr",
    "aho_corasick",
    "rayon",
    "dashmap",
];

/// More crates that types of futures mention.
const POPULAR: &[&str] = &[
    "actix*",
    "async_*",
    "aws_*",
    "bb8*",
    "bytes",
    "bytestring",
    "chrono",
    "deadpool*",
    "either",
    "indexmap",
    "lapin",
    "matchit",
    "moka",
    "mongodb",
    "native_tls",
    "openssl*",
    "opentelemetry*",
    "pin_utils",
    "prost*",
    "r2d2*",
    "rdkafka",
    "sea_orm*",
    "sentry*",
    "slab",
    "smallvec",
    "socket2",
    "sqlx*",
    "sync_wrapper",
    "time",
    "tungstenite",
    "url",
    "uuid",
    "want",
    "webpki*",
    "zbus*",
];

/// What is known of a frame's function.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its name, demangled.
    pub function: Option<&'a str>,
    /// The path of its source as the binary has it, where that can be relied on.
    pub file: Option<&'a str>,
    /// The binary's own path.
    pub binary: Option<&'a Path>,
    /// The source is C, and lies in a workspace of this machine.
    pub own_c: bool,
}

/// The crates of the standard library, and what the compiler adds to a program: its
/// allocator. Whatever file their functions seem to
/// stand in (that of the unit that they were compiled with), they are nobody's.
const STANDARD: &[&str] = &["std", "core", "alloc", "__rustc"];

/// Classifies a frame.
pub fn origin(seen: Seen<'_>, crates: &Crates) -> Origin {
    let writers = seen.function.map(name::crates).unwrap_or_default();
    let system = seen.binary.is_none_or(is_system);
    if is_agent(&writers, seen.function) {
        return Origin::Plumbing;
    }
    if !writers.is_empty() && writers.iter().all(|krate| STANDARD.contains(krate)) {
        return if system {
            Origin::System
        } else {
            Origin::Plumbing
        };
    }
    match seen.file {
        Some(file) if is_rust(file) => return by_path(file, crates),
        Some(_) if seen.own_c => return Origin::User,
        _ => {}
    }
    let owned = writers
        .iter()
        .any(|krate| crates.owner(krate) == Owner::Own);
    if owned {
        return Origin::User;
    }
    if system {
        return Origin::System;
    }
    let foreign = writers
        .into_iter()
        .filter(|krate| !STANDARD.contains(krate))
        .map(|krate| by_crate(krate, crates));
    // A type of the application's with a trait of a dependency's is its own.
    if let Some(origin) = foreign.min_by_key(|origin| *origin != Origin::User) {
        return origin;
    }
    match seen.function {
        // The program's entry, before any Rust.
        Some(name) if name == "_start" || name == "main" || name.starts_with("__") => {
            Origin::System
        }
        // C that is linked into the program, or Rust of which only the last part
        // of the name is known.
        Some(_) => Origin::Dependency,
        None => Origin::System,
    }
}

fn by_crate(krate: &str, crates: &Crates) -> Origin {
    match crates.owner(krate) {
        Owner::Own => Origin::User,
        _ if matches(PLUMBING, krate) => Origin::Plumbing,
        _ if matches(LIBRARIES, krate) => Origin::Dependency,
        Owner::Foreign => Origin::Dependency,
        Owner::Unknown => Origin::User,
    }
}

/// Whether a crate is the application's own: what nothing else is known of is.
pub(super) fn is_own_crate(krate: &str, crates: &Crates) -> bool {
    match crates.owner(krate) {
        Owner::Own => true,
        Owner::Foreign => false,
        Owner::Unknown => [PLUMBING, LIBRARIES, POPULAR]
            .iter()
            .all(|list| !matches(list, krate)),
    }
}

/// Whether every crate that a function's name mentions is known to be none of the
/// application's, by its name alone: where no line and no text of the binary's says whose
/// it is.
pub fn is_of_known_crates(function: &str) -> bool {
    let crates = Crates::default();
    let writers = name::crates(function);
    !writers.is_empty() && !writers.iter().any(|krate| is_own_crate(krate, &crates))
}

/// The agent's layer and hooks run inside of polls, wherever its source lies.
fn is_agent(writers: &[&str], function: Option<&str>) -> bool {
    writers.contains(&"looptop_agent")
        && !function.is_some_and(|function| function.contains("::tests::"))
}

pub(super) fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|end| end == "rs")
}

fn by_path(file: &str, crates: &Crates) -> Origin {
    match place(file) {
        Place::Standard(_) => Origin::Plumbing,
        Place::Package(path) => {
            let package = path.split('/').next().unwrap_or(path);
            let krate = name::without_version(package).replace('-', "_");
            match by_crate(&krate, crates) {
                // What nothing is known of lies in the registry all the same.
                Origin::User if crates.owner(&krate) != Owner::Own => Origin::Dependency,
                origin => origin,
            }
        }
        Place::Generated => Origin::Dependency,
        Place::Workspace => Origin::User,
    }
}

/// Where a source file lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In the standard library; the path from its crate on.
    Standard(&'a str),
    /// In a package from a registry, a git checkout or a vendor directory; the
    /// path from the package's directory on.
    Package(&'a str),
    /// Written by a build script.
    Generated,
    Workspace,
}

/// Directories of packages that are none of the application's: cargo's own, those of Nix,
/// and those of Debian and Fedora.
pub(super) const VENDORED: [&str; 3] = ["/vendor/", "/cargo-vendor-dir/", "/share/cargo/registry/"];

/// `axum-0.8.9/src/serve.rs`.
pub(super) fn is_versioned(source: &str) -> bool {
    let package = source.split_once("/src/").map(|(package, _)| package);
    package.is_some_and(|package| {
        let version = &package[name::without_version(package).len()..];
        !package.contains('/') && version.contains('.')
    })
}

/// Says where a source file lies from its path alone.
pub(super) fn place(file: &str) -> Place<'_> {
    // /rustc/HASH/library/std/src/..., .../lib/rustlib/src/rust/library/std/src/...
    let compiler = file.starts_with("/rustc/") || file.contains("/rustlib/src/rust/");
    if compiler {
        if let Some((_, rest)) = file.rsplit_once("/library/") {
            return Place::Standard(rest);
        }
        // Crates that the standard library is built from.
        if let Some((_, rest)) = file.split_once("/vendor/") {
            return Place::Standard(rest);
        }
    }
    if let Some(rest) = file.strip_prefix("/rust/deps/") {
        return Place::Standard(rest);
    }
    // .../registry/src/INDEX/PACKAGE-VERSION/src/...
    if let Some((_, rest)) = file.rsplit_once("/registry/src/") {
        return Place::Package(rest.split_once('/').map_or(rest, |(_, path)| path));
    }
    // .../git/checkouts/REPOSITORY-HASH/COMMIT/...
    if let Some((_, rest)) = file.rsplit_once("/git/checkouts/") {
        let path = rest.splitn(3, '/').nth(2).unwrap_or(rest);
        // A repository of one package has no directory for it.
        return match path.strip_prefix("src/") {
            Some(_) => Place::Package(rest),
            None => Place::Package(path),
        };
    }
    for directory in VENDORED {
        if let Some((_, rest)) = file.rsplit_once(directory) {
            return Place::Package(rest);
        }
    }
    // external/crates__PACKAGE-VERSION/src/..., below whatever Bazel calls the repository.
    if let Some((_, rest)) = file.rsplit_once("external/")
        && let Some((repository, _)) = rest.split_once('/')
        && let Some((prefix, _)) = repository.rsplit_once("__")
        && is_versioned(&rest[prefix.len() + 2..])
    {
        return Place::Package(&rest[prefix.len() + 2..]);
    }
    // Cut to this by --remap-path-prefix, or by cargo's trim-paths: a workspace's own
    // sources are relative to its root then.
    let cut = file.trim_start_matches("./");
    if is_versioned(cut) {
        return Place::Package(cut);
    }
    let mut parts = file.rsplit('/').skip(1);
    if parts.any(|part| part == "out") && file.contains("/build/") {
        return Place::Generated;
    }
    Place::Workspace
}

/// Is it the kernel's, or a library that the system installed?
pub(super) fn is_system(binary: &Path) -> bool {
    let text = binary.to_string_lossy();
    if text.starts_with('[') {
        return true;
    }
    let file = text.rsplit('/').next().unwrap_or_default();
    let shared = file.contains(".so");
    shared
        && ["/lib", "/usr/lib", "/nix/store", "/gnu/store"]
            .iter()
            .any(|start| text.starts_with(start))
}

fn matches(list: &[&str], krate: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => krate.starts_with(start),
        None => *entry == krate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_many_use_are_none_of_the_application_s() {
        for (function, expected) in [
            ("deadpool::managed::pool::Pool::get", true),
            ("deadpool::managed::Pool<shop::Db>::get", true),
            (
                "sqlx_core::pool::inner::PoolInner::acquire::{{closure}}",
                true,
            ),
            ("tokio::sync::batch_semaphore::Acquire", true),
            ("shop::transfer::{{closure}}", false),
            ("<shop::Db as deadpool::managed::Manager>::create", false),
            ("", false),
        ] {
            assert_eq!(is_of_known_crates(function), expected, "{function}");
        }
    }

    #[test]
    fn a_package_is_recognised_wherever_its_source_was_put() {
        let tokio = "tokio-1.54.1/src/sync/mutex.rs";
        for before in [
            "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/",
            "/home/u/service/vendor/",
            "/build/cargo-vendor-dir/",
            "/usr/share/cargo/registry/",
            "/b/execroot/_main/external/crates__",
            "external/rules_rust++crate+crates__",
            "././",
            "",
        ] {
            let file = format!("{before}{tokio}");
            assert_eq!(place(&file), Place::Package(tokio), "{file}");
        }
        for own in [
            "src/main.rs",
            "./src/main.rs",
            "/home/u/service/src/main.rs",
            "/build/service-1.2.3/src/main.rs",
            "/home/u/external/service/src/main.rs",
            "crates/http-2/src/lib.rs",
        ] {
            assert_eq!(place(own), Place::Workspace, "{own}");
        }
        let of_std = "/rustc/59807616e1fa/library/std/src/thread/mod.rs";
        assert_eq!(place(of_std), Place::Standard("std/src/thread/mod.rs"));
    }
}
