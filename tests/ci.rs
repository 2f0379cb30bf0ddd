//! `docs/ci.md`: its shell lines, taken out of it and run, with the lab as the service.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

const LOOPTOP: &str = env!("CARGO_BIN_EXE_looptop");
const DOCUMENT: &str = include_str!("../docs/ci.md");
/// The address that the document uses.
const ADDRESS: &str = "127.0.0.1:6669";

/// The code blocks of one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let mut blocks = Vec::new();
    let opening = format!("```{language}\n");
    let mut rest = document;
    while let Some(at) = rest.find(&opening) {
        rest = &rest[at + opening.len()..];
        let end = rest.find("```").expect("a block ends");
        blocks.push(&rest[..end]);
        rest = &rest[end..];
    }
    blocks
}

/// A step of a workflow: its name, and the script that it runs.
fn steps(workflow: &str) -> Vec<(String, String)> {
    let mut steps = Vec::new();
    let mut name = String::new();
    let mut lines = workflow.lines().peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim_start().trim_start_matches("- ");
        if let Some(value) = text.strip_prefix("name: ") {
            value.clone_into(&mut name);
        }
        let Some(value) = text.strip_prefix("run: ") else {
            continue;
        };
        let mut script = String::new();
        if value == "|" {
            while let Some(line) = lines.next_if(|line| {
                line.trim().is_empty() || line.len() - line.trim_start().len() > indent
            }) {
                script.push_str(line.trim_start());
                script.push('\n');
            }
        } else {
            script.push_str(value);
        }
        steps.push((std::mem::take(&mut name), script));
    }
    steps
}

/// A folder in which the document's commands find what they name: the service is the lab,
/// and cargo does nothing.
struct Project {
    folder: tempfile::TempDir,
    port: u16,
}

impl Project {
    fn new(scenario: &str, mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let project = Self { folder, port };
        project.program(
            "target/release/shop",
            &format!("exec '{LOOPTOP}' lab --scenario {scenario} --mode {mode} --port 0"),
        );
        project.program("ci/load.sh", "exit 0");
        project.program("bin/cargo", "echo cargo \"$@\" >> cargo.log");
        project.program("bin/looptop", &format!("exec '{LOOPTOP}' \"$@\""));
        project
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script as a workflow's step is: the first command that fails ends it.
    fn run(&self, script: &str) -> Output {
        let mut script = script
            .replace(ADDRESS, &format!("127.0.0.1:{}", self.port))
            .replace("--for 10s", "--for 4s");
        if !script.contains("--timeout") {
            script = script.replace("looptop check", "looptop check --timeout 30s");
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.path("bin");
        Command::new("bash")
            .args(["-e", "-c", &script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("GITHUB_SERVER_URL", "https://github.com")
            .env("GITHUB_REPOSITORY", "acme/shop")
            .env("GITHUB_SHA", "0a1b2c3d")
            .env_remove("LOOPTOP_BIND")
            .output()
            .unwrap()
    }
}

impl Drop for Project {
    /// A test that failed leaves no service behind.
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.path("shop.pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("{}", said(output)))
}

#[test]
fn the_workflow_is_red_for_what_is_new_and_green_for_what_is_known() {
    let workflow = blocks(DOCUMENT, "yaml")[0];
    let steps = steps(workflow);
    let script = |name: &str| {
        let step = steps.iter().find(|(step, _)| step == name);
        &step
            .unwrap_or_else(|| panic!("no step {name}: {steps:#?}"))
            .1
    };
    let shell = blocks(DOCUMENT, "sh");
    let write = shell
        .iter()
        .find(|b| b.contains("--write-baseline"))
        .unwrap();
    let compare = shell.iter().find(|b| b.contains(" --baseline")).unwrap();
    let recording = shell.iter().find(|b| b.contains("looptop record")).unwrap();

    let project = Project::new("sleep-in-handler", "broken");
    for step in ["Install looptop", "Build the service", "Start the service"] {
        let output = project.run(script(step));
        assert_eq!(code(&output), 0, "{step}: {}", said(&output));
    }
    let cargo = fs::read_to_string(project.path("cargo.log")).unwrap();
    assert_eq!(cargo.lines().count(), 2, "{cargo}");

    // No baseline: the command line makes no sense.
    let check = script("Does it block its event loop?");
    let output = project.run(check);
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(
        said(&output).contains("--write-baseline"),
        "{}",
        said(&output)
    );

    // An empty one: all is new, with its line at the commit.
    let file = project.path("looptop-baseline.json");
    fs::write(&file, "{\"schema\": 1, \"findings\": []}").unwrap();
    let output = project.run(check);
    assert_eq!(code(&output), 1, "{}", said(&output));
    let report = said(&output);
    assert!(report.contains("title=looptop blocked-worker"), "{report}");
    let link = "https://github.com/acme/shop/blob/0a1b2c3d/demo/src/scenarios/";
    assert!(report.contains(link), "{report}");

    // Written down, it is known.
    let output = project.run(write);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("\"rule\":\"blocked-worker\""), "{written}");
    for script in [check, *compare, *recording] {
        let output = project.run(script);
        assert_eq!(code(&output), 0, "{script}: {}", said(&output));
    }
    let output = project.run(compare);
    assert!(
        said(&output).contains("known     blocked-worker"),
        "{}",
        said(&output)
    );

    let output = project.run(script("Stop the service"));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let output = project.run(&check.replace("--timeout 30s", "--timeout 1s"));
    assert_eq!(code(&output), 3, "{}", said(&output));
}

#[test]
fn what_was_mended_is_resolved_and_both_options_drop_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baseline.json");
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let check = |recording: &str, options: &[&str]| {
        let output = Command::new(LOOPTOP)
            .arg("check")
            .arg(recordings.join(recording))
            .args(options)
            .output()
            .unwrap();
        (code(&output), said(&output))
    };
    let path = file.to_str().unwrap();
    let (code, _) = check("sleep-in-handler.looptop", &[]);
    assert_eq!(code, 1);
    let (code, said) = check("sleep-in-handler.looptop", &["--write-baseline", path]);
    assert_eq!(code, 0, "{said}");
    let before = fs::read_to_string(&file).unwrap();
    assert!(before.contains("blocked-worker"), "{before}");
    let (code, said) = check("healthy-busy.looptop", &["--baseline", path]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("resolved  blocked-worker"), "{said}");
    // Another mistake is new.
    let (code, said) = check("cpu-in-handler.looptop", &["--baseline", path]);
    assert_eq!(code, 1, "{said}");
    let (code, said) = check(
        "cpu-in-handler.looptop",
        &["--baseline", path, "--write-baseline", path],
    );
    assert_eq!(code, 1, "it was new in this run: {said}");
    let after = fs::read_to_string(&file).unwrap();
    assert_ne!(before, after);
    let (code, said) = check("cpu-in-handler.looptop", &["--baseline", path]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn the_hook_is_a_command() {
    let hook = blocks(DOCUMENT, "yaml")[1];
    let entry = hook
        .lines()
        .find_map(|line| line.trim().strip_prefix("entry: "));
    let project = Project::new("sleep-in-handler", "fixed");
    let output = project.run(entry.expect("the hook has an entry"));
    assert_eq!(code(&output), 0, "{}", said(&output));
    let cargo = fs::read_to_string(project.path("cargo.log")).unwrap();
    assert_eq!(cargo, "cargo test --tests\n");
}
