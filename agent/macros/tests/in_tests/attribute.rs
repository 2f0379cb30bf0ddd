//! What the compiler says of an attribute that makes no sense.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The macro's library that was built newest, beside this program.
fn macros() -> PathBuf {
    let program = std::env::current_exe().expect("its own path");
    let folder = program.parent().expect("a folder");
    let files = std::fs::read_dir(folder).expect("it can be read").flatten();
    let is_it = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.starts_with("liblooptop_agent_macros-") && path.extension().is_some_and(|e| e == "so")
    };
    let changed = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
    let found = files.map(|file| file.path()).filter(is_it);
    found
        .max_by_key(changed)
        .expect("it was built for this test")
}

/// What rustc says of a source.
fn errors(folder: &Path, source: &str) -> String {
    let file = folder.join("source.rs");
    std::fs::write(&file, source).expect("it can be written");
    let output = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--test",
            "--emit",
            "metadata",
        ])
        .arg("--extern")
        .arg(format!("looptop_agent_macros={}", macros().display()))
        .arg("--out-dir")
        .arg(folder)
        .arg(&file)
        .output()
        .expect("rustc runs");
    assert!(!output.status.success(), "it compiles: {source}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_mistake_is_said_at_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    // The attribute, the function, the error, and what it points at.
    for (arguments, function, error, at) in [
        ("", "fn f() {}", "the function is not `async`", "fn"),
        (
            "",
            "async fn f(n: u8) {}",
            "a test has no arguments",
            "(n: u8)",
        ),
        ("", "async fn f<T>() {}", "a test has no parameters", "<"),
        ("", "struct S;", "is for an `async fn` with a body", ";"),
        (
            "",
            "#[test] async fn f() {}",
            "makes a second test",
            "[test]",
        ),
        (
            "flavour = \"x\"",
            "async fn f() {}",
            "unknown argument `flavour`",
            "flavour",
        ),
        (
            "flavor = \"x\"",
            "async fn f() {}",
            "`flavor` is \"current_thread\" or",
            "\"x\"",
        ),
        (
            "flavor",
            "async fn f() {}",
            "`flavor` needs a value",
            "flavor",
        ),
        (
            "worker_threads = 2",
            "async fn f() {}",
            "needs the multi-thread scheduler",
            "worker_threads",
        ),
        (
            "flavor = \"multi_thread\", start_paused = true",
            "async fn f() {}",
            "`start_paused` needs the current-thread scheduler",
            "\"multi_thread\"",
        ),
        (
            "max_poll = \"50\"",
            "async fn f() {}",
            "is a duration such as",
            "\"50\"",
        ),
        (
            "max_poll = 50",
            "async fn f() {}",
            "is a duration such as",
            "50",
        ),
        (
            "leak = \"no\"",
            "async fn f() {}",
            "`leak` is true or false",
            "\"no\"",
        ),
        (
            "leak = true, leak = true",
            "async fn f() {}",
            "`leak` is set twice",
            "leak",
        ),
        (
            "allow = \"f\"",
            "async fn f() {}",
            "`allow` is a list of functions",
            "\"f\"",
        ),
        (
            "allow = [f]",
            "async fn f() {}",
            "`allow` is a list of functions",
            "f",
        ),
        (
            "leak = true deadlock = true",
            "async fn f() {}",
            "a comma is expected",
            "deadlock",
        ),
    ] {
        let source = format!("#[looptop_agent_macros::test({arguments})]\n{function}\n");
        let said = errors(folder.path(), &source);
        assert!(said.contains(error), "{source}: {said}");
        let shown: Vec<&str> = said
            .lines()
            .filter(|line| line.trim_start().starts_with(['1', '2']) || line.contains('^'))
            .collect();
        assert!(
            shown.iter().any(|line| line.contains(at)),
            "{source}: {said}"
        );
    }
}
