//! Whose code a frame is: by the path of its source, or its name where the binary
//! has no lines.

use std::path::Path;

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
/// own is there. Needed only for binaries without lines.
const LIBRARIES: &[&str] = &[
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

/// Classifies a frame by its function, the path of its source as the binary has
/// it, and the binary's own path.
pub fn origin(function: Option<&str>, file: Option<&str>, binary: Option<&Path>) -> Origin {
    let clean = function.map(name::clean);
    let krate = clean.as_deref().and_then(first_part);
    if clean.as_deref().is_some_and(is_agent) {
        return Origin::Plumbing;
    }
    if let Some(file) = file.filter(|file| is_rust(file)) {
        return by_path(file);
    }
    let system = binary.is_none_or(is_system);
    match (krate, &clean) {
        (Some(krate), Some(_)) if matches(PLUMBING, krate) => Origin::Plumbing,
        (Some(krate), Some(_)) if matches(LIBRARIES, krate) => Origin::Dependency,
        (Some(_), Some(_)) if !system && file.is_none() => Origin::User,
        _ if system => Origin::System,
        // The program's entry, before any Rust.
        (_, Some(name)) if name == "_start" || name == "main" || name.starts_with("__") => {
            Origin::System
        }
        // C that is linked into the program.
        _ if file.is_some() => Origin::Dependency,
        (_, Some(_)) => Origin::User,
        (_, None) => Origin::System,
    }
}

/// The agent's layer and hooks run inside of polls, wherever its source lies.
fn is_agent(clean: &str) -> bool {
    clean.starts_with("looptop_agent::") && !clean.contains("::tests::")
}

fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|end| end == "rs")
}

fn by_path(file: &str) -> Origin {
    match place(file) {
        Place::Standard(_) => Origin::Plumbing,
        Place::Package(path) => {
            let package = path.split('/').next().unwrap_or(path);
            let krate = name::without_version(package).replace('-', "_");
            if matches(PLUMBING, &krate) {
                Origin::Plumbing
            } else {
                Origin::Dependency
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

/// Tells where a source file lies from its path alone.
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
    if let Some((_, rest)) = file.rsplit_once("/vendor/") {
        return Place::Package(rest);
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

/// The crate of a clean path with more than one part.
fn first_part(clean: &str) -> Option<&str> {
    clean.split_once("::").map(|(first, _)| first)
}

fn matches(list: &[&str], krate: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => krate.starts_with(start),
        None => *entry == krate,
    })
}
