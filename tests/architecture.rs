//! The dependency rule of `docs/architecture.md`, checked against the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A module of the viewer, and the modules of the viewer that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("escape", &[]),
    ("model", &[]),
    ("diagnose", &["model"]),
    ("source", &["escape", "record"]),
    // The source only for `record::command`, which records what it yields.
    ("record", &["model", "escape", "source"]),
    ("export", &["record", "model", "diagnose", "escape"]),
    ("symbols", &["model"]),
    ("app", &["model", "diagnose", "escape", "source"]),
    ("ui", &["app", "model", "diagnose", "escape"]),
    ("report", &["model", "diagnose", "escape"]),
];

/// What modules that do no I/O and ask no clock must not mention.
const PURE: &[&str] = &["model", "diagnose", "app", "ui", "report"];
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "tokio::",
    "println!",
];

fn sources(module: &str) -> Vec<PathBuf> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                walk(&entry.unwrap().path(), found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path.to_owned());
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root.join(module), &mut found);
    let file = root.join(format!("{module}.rs"));
    if file.is_file() {
        found.push(file);
    }
    assert!(!found.is_empty(), "there is no module {module}");
    found
}

/// The source without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    without_strings(&lines.collect::<Vec<_>>().join("\n"))
}

/// What texts say is not what code does.
fn without_strings(code: &str) -> String {
    let mut kept = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        kept.push(c);
        // A quote that is itself a character, '"', opens nothing.
        if c == '"' && !kept.ends_with("'\"") {
            while let Some(c) = chars.next() {
                match c {
                    '\\' => drop(chars.next()),
                    '"' => break,
                    _ => {}
                }
            }
        }
    }
    kept
}

/// The modules of this crate that a source names.
fn used(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    let name = |text: &str| {
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            // `use crate::{a, b::{c, d}}`: the names at depth one.
            Some(list) => {
                let mut depth = 1;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' => start = true,
                        c if c.is_alphabetic() && start && depth == 1 => {
                            used.push(name(&list[at..]));
                            start = false;
                        }
                        c if !c.is_whitespace() => start = false,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                    if depth > 1 {
                        start = false;
                    }
                }
            }
            None => used.push(name(after)),
        }
    }
    used
}

#[test]
fn modules_use_only_what_lies_before_them() {
    for (module, allowed) in MAY_USE {
        for path in sources(module) {
            for used in used(&code(&path)) {
                let known = MAY_USE.iter().any(|(name, _)| *name == used);
                assert!(
                    !known || used == *module || allowed.contains(&used.as_str()),
                    "{}: `{module}` must not use `{used}`",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn pure_modules_do_not_touch_the_outside() {
    for module in PURE {
        for path in sources(module) {
            let tests_only = path
                .file_name()
                .is_some_and(|n| n == "tests.rs" || n == "cases.rs" || n == "fixtures.rs");
            if tests_only {
                continue;
            }
            let code = code(&path);
            for word in OUTSIDE {
                assert!(
                    !code.contains(word),
                    "{}: `{module}` mentions {word}",
                    path.display()
                );
            }
        }
    }
}

/// Runtime dependencies of a manifest on crates of this workspace.
fn workspace_dependencies(manifest: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let text = fs::read_to_string(path).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    dependencies
        .keys()
        .filter(|name| name.starts_with("looptop-"))
        .cloned()
        .collect()
}

#[test]
fn crates_depend_in_one_direction() {
    assert_eq!(workspace_dependencies("wire/Cargo.toml"), [""; 0]);
    assert_eq!(workspace_dependencies("agent/Cargo.toml"), ["looptop-wire"]);
    assert_eq!(workspace_dependencies("demo/Cargo.toml"), ["looptop-agent"]);
    assert_eq!(
        workspace_dependencies("Cargo.toml"),
        ["looptop-demo", "looptop-wire"]
    );
}

#[test]
fn the_agent_knows_nothing_of_the_terminal() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/Cargo.toml")).unwrap();
    for word in ["ratatui", "crossterm", "clap"] {
        assert!(!manifest.contains(word), "the agent depends on {word}");
    }
}

#[test]
fn the_check_itself_can_fail() {
    let source =
        "use crate::{\n    app::State,\n    model::{Model, ui},\n};\nfn f() { crate::ui::draw(); }";
    assert_eq!(used(source), ["app", "model", "ui"]);
    let quoted = without_strings(r#"a("use tokio::x \" y"); b('"', "z")"#);
    assert_eq!(quoted, r#"a("); b('"', ")"#);
}
