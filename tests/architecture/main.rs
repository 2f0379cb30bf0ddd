//! The invariants of `docs/architecture.md` that sources and manifests can break, and
//! for each what must break it.

mod code;
mod packages;
mod planted;

use std::{collections::BTreeSet, fs, path::Path};

use code::{Source, module_sources, modules};

/// Every module at the root of the viewer, and those that it may use: each exactly
/// what it needs, and none that comes after it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("escape", &[]),
    ("model", &[]),
    ("record", &["escape", "model"]),
    ("source", &["escape", "model", "record"]),
    ("diagnose", &["model"]),
    ("report", &["diagnose", "escape", "model"]),
    ("dump", &["diagnose", "escape", "model"]),
    ("app", &["diagnose", "escape", "model"]),
    ("ui", &["app", "diagnose", "escape", "model"]),
    ("naming", &["model", "source"]),
    (
        "export",
        &["diagnose", "dump", "escape", "model", "naming", "record"],
    ),
    (
        "cli",
        &[
            "app", "diagnose", "dump", "export", "record", "report", "source",
        ],
    ),
    ("config", &["app", "cli", "source"]),
    ("lab", &["app", "cli", "escape", "source"]),
    (
        "live",
        &[
            "app", "cli", "config", "diagnose", "lab", "model", "naming", "record", "source", "ui",
        ],
    ),
    (
        "mcp",
        &[
            "app", "diagnose", "dump", "escape", "model", "naming", "record", "report", "source",
        ],
    ),
    (
        "commands",
        &[
            "app", "cli", "config", "diagnose", "dump", "escape", "export", "lab", "live", "mcp",
            "model", "naming", "record", "report", "source",
        ],
    ),
];

/// What does no I/O and asks no clock.
const PURE: &[&str] = &["model", "diagnose", "app", "ui", "report", "dump"];

/// Paths that lead outside, by how they begin or end.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "tokio::",
    // Names and calls are pure; these read files, and have threads.
    "looptop_symbols::Lines",
    "looptop_symbols::Resolver",
    "looptop_symbols::Symbolizer",
    "looptop_symbols::elf",
    "looptop_procfs",
];
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now", "elapsed"];
const PRINTS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// Modules that `source` uses and `allowed` does not name.
fn forbidden_uses(source: &Source, module: &str, allowed: &[&str]) -> Vec<String> {
    let mut forbidden = source.modules_used(&modules());
    forbidden.retain(|used| used != module && !allowed.contains(&used.as_str()));
    forbidden.into_iter().collect()
}

/// What `source` mentions of the outside world.
fn outside_uses(source: &Source) -> Vec<String> {
    let is_outside = |path: &String| {
        let begins = |with: &&str| {
            path.strip_prefix(*with).is_some_and(|rest| {
                rest.is_empty() || with.ends_with(':') || rest.starts_with("::")
            })
        };
        let ends = |with: &&str| path == with || path.ends_with(&format!("::{with}"));
        OUTSIDE.iter().any(begins) || CLOCKS.iter().any(ends)
    };
    let paths = source.paths.iter().filter(|path| is_outside(path));
    let macros = source.macros.iter();
    let prints = macros.filter(|name| PRINTS.contains(&name.as_str()));
    paths.chain(prints).cloned().collect()
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, modules(), "MAY_USE and the modules of src");
    for (at, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let is_before = MAY_USE[..at].iter().any(|(name, _)| name == used);
            assert!(is_before, "`{module}` uses `{used}`, which comes after it");
        }
    }
}

#[test]
fn modules_use_what_they_may_and_all_of_it() {
    for (module, allowed) in MAY_USE {
        let mut used = BTreeSet::new();
        for (path, source) in module_sources(module) {
            let forbidden = forbidden_uses(&source, module, allowed);
            assert!(
                forbidden.is_empty(),
                "{}: `{module}` must not use {forbidden:?}",
                path.display()
            );
            used.extend(source.modules_used(&modules()));
        }
        for permission in *allowed {
            assert!(
                used.contains(*permission),
                "`{module}` may use `{permission}` and does not: take it off the list"
            );
        }
    }
}

#[test]
fn a_forbidden_use_is_found_however_it_is_written() {
    for code in [
        "use crate::live::feed::LiveFeed;",
        "use crate::{model::Model, live::feed};",
        "pub use crate::{self as root, live as l};",
        "fn f() -> crate::live::feed::LiveFeed { todo!() }",
        "fn f() { assert!(crate::live::is_there()); }",
        "mod inner { use super::super::live; }",
        "impl Feed for crate::live::X {}",
    ] {
        let source = Source::parse(code, &["model"]);
        assert_eq!(forbidden_uses(&source, "model", &[]), ["live"], "{code}");
    }
    for code in [
        "#[cfg(test)] mod tests { use crate::live; }",
        "#[cfg(test)] use crate::live;",
        "/// Of [`crate::live`].\nfn f() { let _ = \"use crate::live;\"; }",
        "use crate::model::live;",
    ] {
        let source = Source::parse(code, &["model"]);
        assert_eq!(forbidden_uses(&source, "model", &[]), [""; 0], "{code}");
    }
    assert!(!modules().contains("nowhere"));
}

#[test]
fn pure_modules_do_not_touch_the_outside() {
    for module in PURE {
        for (path, source) in module_sources(module) {
            let outside = outside_uses(&source);
            assert!(
                outside.is_empty(),
                "{}: `{module}` mentions {outside:?}",
                path.display()
            );
        }
    }
}

#[test]
fn a_touch_of_the_outside_is_found_however_it_is_written() {
    for (code, found) in [
        ("use std::{fs, fmt};", "std::fs"),
        ("use std::fs::File;", "std::fs::File"),
        ("use std::{net::{SocketAddr as A}};", "std::net::SocketAddr"),
        (
            "fn f() { std::thread::yield_now() }",
            "std::thread::yield_now",
        ),
        ("fn f() { let now = Instant::now(); }", "Instant::now"),
        (
            "fn f() { let now = std::time::SystemTime::now(); }",
            "std::time::SystemTime::now",
        ),
        ("fn f(at: Instant) { at.elapsed(); }", "elapsed"),
        ("use tokio::sync::mpsc;", "tokio::sync::mpsc"),
        (
            "use looptop_symbols::{Call, Symbolizer};",
            "looptop_symbols::Symbolizer",
        ),
        ("use looptop_procfs::Procfs;", "looptop_procfs::Procfs"),
        ("fn f() { println!(\"{}\", 1); }", "println"),
        ("fn f() { assert!(std::fs::exists(p)); }", "std::fs::exists"),
    ] {
        assert_eq!(
            outside_uses(&Source::parse(code, &["model"])),
            [found],
            "{code}"
        );
    }
    let code = "use std::time::{Duration, Instant}; use std::io; fn f() -> io::Result<()> {}";
    assert_eq!(outside_uses(&Source::parse(code, &["model"])), [""; 0]);
}

/// Crates of this workspace that a manifest depends on outside of tests, by their own
/// names.
fn workspace_dependencies(manifest: &str) -> BTreeSet<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(|targets| targets.values());
    let tables = of_targets.filter_map(toml::Value::as_table);
    let tables = tables.chain([&manifest]);
    let tables = tables.flat_map(|table| {
        ["dependencies", "build-dependencies"].map(|name| table.get(name)?.as_table())
    });
    let entries = tables.flatten().flatten();
    let name = |(key, value): (&String, &toml::Value)| {
        let package = value.get("package").and_then(toml::Value::as_str);
        package.unwrap_or(key).to_owned()
    };
    entries
        .map(name)
        .filter(|name| name.starts_with("looptop"))
        .collect()
}

fn manifest(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    let of = |path: &str| workspace_dependencies(&manifest(path));
    assert_eq!(of("wire/Cargo.toml"), names(&[]));
    assert_eq!(of("waits/Cargo.toml"), names(&[]));
    assert_eq!(
        of("diagnosis/Cargo.toml"),
        names(&["looptop-symbols", "looptop-waits", "looptop-wire"])
    );
    assert_eq!(of("procfs/Cargo.toml"), names(&[]));
    assert_eq!(of("symbols/Cargo.toml"), names(&["looptop-procfs"]));
    assert_eq!(of("unwind/Cargo.toml"), names(&["looptop-procfs"]));
    assert_eq!(of("interpret/Cargo.toml"), names(&[]));
    assert_eq!(of("agent/macros/Cargo.toml"), names(&[]));
    assert_eq!(
        of("outside/Cargo.toml"),
        names(&[
            "looptop-interpret",
            "looptop-procfs",
            "looptop-symbols",
            "looptop-unwind",
            "looptop-waits"
        ])
    );
    assert_eq!(
        of("agent/Cargo.toml"),
        names(&[
            "looptop-agent-macros",
            "looptop-diagnosis",
            "looptop-outside",
            "looptop-procfs",
            "looptop-symbols",
            "looptop-unwind",
            "looptop-wire"
        ])
    );
    assert_eq!(of("demo/Cargo.toml"), names(&["looptop-agent"]));
    // It has programs to attack, and takes part in their protocol.
    assert_eq!(of("fire/Cargo.toml"), names(&["looptop-wire"]));
    assert_eq!(
        of("Cargo.toml"),
        names(&[
            "looptop-demo",
            "looptop-diagnosis",
            "looptop-outside",
            "looptop-procfs",
            "looptop-symbols",
            "looptop-wire"
        ])
    );
}

/// What nobody can attach to unless the application asks for it: the agent reads its own
/// process only with the feature `waits`, and never has what samples or stops threads.
#[test]
fn the_agent_reads_memory_only_with_its_feature() {
    let agent: toml::Table = manifest("agent/Cargo.toml").parse().unwrap();
    let outside = &agent["dependencies"]["looptop-outside"];
    assert_eq!(outside["optional"].as_bool(), Some(true));
    assert!(outside.get("features").is_none(), "{outside}");
    let features = agent["features"].as_table().unwrap();
    let takes = |name: &str, what: &str| {
        let of = features[name].as_array().unwrap();
        of.iter().any(|feature| feature.as_str() == Some(what))
    };
    assert!(takes("waits", "dep:looptop-outside"));
    assert!(!takes("default", "waits"));
    let workspace: toml::Table = manifest("Cargo.toml").parse().unwrap();
    let outside = &workspace["workspace"]["dependencies"]["looptop-outside"];
    assert_eq!(outside["default-features"].as_bool(), Some(false));
}

#[test]
fn a_dependency_is_found_however_it_is_written() {
    for manifest in [
        "[dependencies]\nlooptop-demo.workspace = true",
        "[dependencies.looptop-demo]\nversion = \"1\"",
        "[build-dependencies]\nlooptop-demo = \"1\"",
        "[target.'cfg(unix)'.dependencies]\nlooptop-demo = \"1\"",
        "[dependencies]\nlab = { package = \"looptop-demo\", path = \"../demo\" }",
    ] {
        assert_eq!(
            workspace_dependencies(manifest),
            names(&["looptop-demo"]),
            "{manifest}"
        );
    }
    let of_tests = "[dev-dependencies]\nlooptop-demo = \"1\"";
    assert_eq!(workspace_dependencies(of_tests), names(&[]));
}

/// Packages that are pure as a whole: the interpreter asks the world by its `Host` alone, and
/// who waits for whom is made of facts, whoever has found them.
const PURE_PACKAGES: &[&str] = &["interpret/src", "waits/src"];

#[test]
fn pure_packages_do_not_touch_the_outside() {
    for package in PURE_PACKAGES {
        let mut files = Vec::new();
        packages::sources(Path::new(package), &mut files);
        assert!(files.len() > 3, "{files:?}");
        for path in files {
            let source = Source::parse(&manifest(path.to_str().unwrap()), &[]);
            assert_eq!(outside_uses(&source), [""; 0], "{}", path.display());
        }
    }
}

/// Crates that draw, read keys or parse a command line.
const TERMINAL: &[&str] = &["ratatui", "crossterm", "clap"];

fn of_the_terminal(manifest: &str) -> Vec<&'static str> {
    let words = TERMINAL.iter().copied();
    words.filter(|word| manifest.contains(word)).collect()
}

#[test]
fn the_agent_knows_nothing_of_the_terminal() {
    for package in ["agent", "diagnosis", "waits", "symbols"] {
        let manifest = manifest(&format!("{package}/Cargo.toml"));
        assert_eq!(of_the_terminal(&manifest), [""; 0], "{package}");
    }
    let with = "[dependencies]\ncrossterm.workspace = true";
    assert_eq!(of_the_terminal(with), ["crossterm"]);
}

/// The crates outside of which there is no `unsafe`, and what each root says of it.
#[test]
fn unsafe_code_lives_in_the_agent_and_in_one_file() {
    for root in [
        "src/lib.rs",
        "src/main.rs",
        "wire/src/lib.rs",
        "waits/src/lib.rs",
        "diagnosis/src/lib.rs",
        "procfs/src/lib.rs",
        "symbols/src/lib.rs",
        "unwind/src/lib.rs",
        "interpret/src/lib.rs",
        "agent/macros/src/lib.rs",
        "demo/src/lib.rs",
        "demo/src/main.rs",
        "fire/src/main.rs",
    ] {
        assert!(forbids_unsafe(&manifest(root)), "{root}");
    }
    // The outside view has one file of system calls.
    let outside = manifest("outside/src/lib.rs");
    assert!(outside.lines().any(|line| line == "#![deny(unsafe_code)]"));
    let mut allow = Vec::new();
    packages::sources(Path::new("outside/src"), &mut allow);
    allow.retain(|path| manifest(path.to_str().unwrap()).contains("allow(unsafe_code)"));
    assert_eq!(allow, [Path::new("outside/src/sys.rs")]);
    assert!(!forbids_unsafe("#![deny(unsafe_code)]"));
    assert!(!forbids_unsafe("// #![forbid(unsafe_code)]"));
}

fn forbids_unsafe(root: &str) -> bool {
    root.lines().any(|line| line == "#![forbid(unsafe_code)]")
}
