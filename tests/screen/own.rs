//! What users make of the screen: their keys, a theme, pictures of it, their editor. On a
//! recording, which needs nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use crate::terminal::{ESC, LOOPTOP, PATIENCE, Terminal};

/// A folder with a configuration, in which looptop runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("config.toml")).unwrap()
    }

    /// An executable script of this name.
    fn script(&self, name: &str, text: &str) -> String {
        let (source, path) = (self.path("script"), self.path(name));
        fs::write(&source, format!("#!/bin/sh\n{text}")).unwrap();
        // A program of its own writes it: what a thread has open for writing while another
        // one forks cannot be executed (`ETXTBSY`).
        let install = Command::new("install")
            .args(["-m", "755"])
            .args([&source, &path])
            .status();
        assert!(install.unwrap().success());
        path.to_str().unwrap().to_owned()
    }

    fn replay(&self, environment: &[(&str, &str)], columns: u16, rows: u16) -> Terminal {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let recording = here.join("tests/recordings/sleep-in-handler.looptop");
        let config = self.path("config.toml");
        let mut environment = environment.to_vec();
        environment.push(("LOOPTOP_CONFIG", config.to_str().unwrap()));
        let args = ["replay", recording.to_str().unwrap()];
        let terminal = Terminal::start_in_with(self.0.path(), &args, &environment, columns, rows);
        // Not what the panels below name before it: keys are about the verdict.
        terminal.wait_for("the verdict", |screen| {
            let mut head = screen.lines().take(3);
            head.any(|line| line.contains("sleep_in_handler.rs"))
        });
        terminal
    }

    /// What a file holds, once it is there and something is in it.
    #[track_caller]
    fn wait_for(&self, what: &str, mut found: impl FnMut(&Self) -> Option<String>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match found(self).filter(|text| !text.is_empty()) {
                Some(text) => return text,
                None => assert!(Instant::now() < deadline, "never saw {what}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn quit(mut terminal: Terminal) {
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[test]
fn keys_are_those_of_the_configuration() {
    let folder = Folder::with("[keys]\nhelp = ['H', 'F2']\nview-tasks = 'U'\n");
    let mut terminal = folder.replay(&[], 100, 30);
    terminal.send("?H");
    let help = terminal.wait_for_text("this help");
    assert!(help.contains("H F2"), "{help}");
    terminal.send(ESC);
    terminal.send("U");
    terminal.wait_for_text("[2 Tasks]");
    terminal.send(":stal");
    terminal.wait_for_text("view-stalls");
    terminal.send("\r");
    terminal.wait_for_text("[4 Stalls]");
    quit(terminal);
}

#[test]
fn keys_that_contradict_are_refused_with_both_and_the_line() {
    let folder = Folder::with("ascii = true\n[keys]\nhelp = 'q'\n");
    let output = Command::new(LOOPTOP)
        .args(["config", "check"])
        .env("LOOPTOP_CONFIG", folder.path("config.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let expected = "line 3: q is bound to help, and by default to quit; give one of them another \
                    key, or quit none: quit = []";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_theme_is_switched_live_and_kept() {
    let folder = Folder::with("# mine\n[keys]\nhelp = 'H'\n");
    let mut terminal = folder.replay(&[("COLORTERM", "truecolor")], 100, 30);
    let behind = b"48;2;255;255;255";
    let is_light = |output: Vec<u8>| output.windows(behind.len()).any(|bytes| bytes == behind);
    assert!(!is_light(terminal.output()));
    terminal.send(":light\r");
    terminal.wait_for("a light background", |_| is_light(terminal.output()));
    let kept = |folder: &Folder| Some(folder.config()).filter(|text| text.contains("theme"));
    let config = folder.wait_for("the kept theme", kept);
    assert_eq!(config, "theme = \"light\"\n# mine\n[keys]\nhelp = 'H'\n");
    terminal.wait_for_text("theme light, kept in");
    quit(terminal);
    // It is the first thing that the next one draws.
    let terminal = folder.replay(&[("COLORTERM", "truecolor")], 100, 30);
    assert!(is_light(terminal.output()));
    quit(terminal);
    // And without colours it is none.
    let terminal = folder.replay(&[("NO_COLOR", "1")], 100, 30);
    let output = String::from_utf8_lossy(&terminal.output()).into_owned();
    assert!(!output.contains("\x1b[38;") && !output.contains("\x1b[48;"));
    quit(terminal);
}

#[test]
fn the_screen_is_saved_as_text_and_picture() {
    let folder = Folder::with("theme = 'dark'");
    let mut terminal = folder.replay(&[], 100, 30);
    terminal.send("S");
    terminal.wait_for_text("screen saved: looptop-");
    let find = |folder: &Folder, ending: &str| {
        let mut files = fs::read_dir(folder.0.path()).unwrap().flatten();
        let file = files.find(|file| file.file_name().to_string_lossy().ends_with(ending))?;
        fs::read_to_string(file.path()).ok()
    };
    let text = folder.wait_for("the text", |folder| find(folder, ".txt"));
    assert!(
        text.contains("sleep_in_handler.rs") && text.lines().count() == 30,
        "{text}"
    );
    let svg = folder.wait_for("the picture", |folder| find(folder, ".svg"));
    assert!(
        svg.starts_with("<svg ") && svg.contains("sleep_in_handler.rs"),
        "{svg}"
    );
    quit(terminal);
}

#[test]
fn a_small_terminal_shows_the_verdict_and_the_remedy() {
    let folder = Folder::with("");
    let mut terminal = folder.replay(&[], 100, 30);
    terminal.resize(44, 8);
    let shown = terminal.wait_for("the remedy alone", |screen| {
        screen.contains("→ ") && !screen.contains("Overview")
    });
    assert!(shown.contains("sleep_in_handler.rs"), "{shown}");
    quit(terminal);
}

#[test]
fn places_are_links_where_the_terminal_has_them() {
    let uri = b"\x1b]8;;file://";
    let has = |terminal: &Terminal| {
        terminal
            .output()
            .windows(uri.len())
            .any(|bytes| bytes == uri)
    };
    let none = Folder::with(&sources()).replay(&[], 100, 30);
    assert!(!has(&none));
    quit(none);
    let folder = Folder::with(&format!("links = 'on'\n{}", sources()));
    let terminal = folder.replay(&[], 100, 30);
    terminal.wait_for("a link", |_| has(&terminal));
    let output = String::from_utf8_lossy(&terminal.output()).into_owned();
    let (_, link) = output.split_once("\x1b]8;;file://").unwrap();
    let (target, _) = link.split_once("\x1b\\").unwrap();
    let (place, number) = target.split_once('#').unwrap();
    assert!(
        Path::new(place).is_file() && number.parse::<u32>().is_ok(),
        "{target}"
    );
    quit(terminal);
}

/// Relative paths are those of this checkout.
fn sources() -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    format!("[[source_map]]\nfrom = ''\nto = '{here}'\n")
}

fn arguments(folder: &Folder) -> Vec<String> {
    let file = |folder: &Folder| fs::read_to_string(folder.path("arguments")).ok();
    let text = folder.wait_for("the editor's arguments", file);
    text.lines().map(str::to_owned).collect()
}

const CULPRIT: &str = "demo/src/scenarios/sleep_in_handler.rs";

#[test]
fn an_editor_in_the_terminal_has_it_until_it_ends() {
    let folder = Folder::with(&sources());
    let editor = folder.script(
        "vim",
        "printf '%s\\n' \"$@\" > new && mv new arguments\necho EDITING\nread line\necho \"$line\" > typed\n",
    );
    let mut terminal = folder.replay(&[("VISUAL", ""), ("EDITOR", &editor)], 100, 30);
    terminal.send("v");
    terminal.wait_for_text("EDITING");
    assert!(!terminal.is_full_screen());
    // All of its keys are its own: `q` does not end looptop, Ctrl-C is not asked for.
    terminal.send("q?v\n");
    terminal.wait_for("the screen again", |screen| {
        screen.contains("Overview") && screen.contains("sleep_in_handler.rs")
    });
    assert!(terminal.is_full_screen());
    let typed = |folder: &Folder| fs::read_to_string(folder.path("typed")).ok();
    assert_eq!(folder.wait_for("what was typed", typed), "q?v\n");
    let arguments = arguments(&folder);
    let line: u32 = arguments[0].strip_prefix('+').unwrap().parse().unwrap();
    assert!(line > 0);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(CULPRIT);
    assert_eq!(Path::new(&arguments[1]), file.canonicalize().unwrap());
    quit(terminal);
}

#[test]
fn an_editor_with_a_window_runs_beside_the_screen() {
    let folder = Folder::with(&sources());
    let script = "printf '%s\\n' \"$@\" > new && mv new arguments\nexit 3\n";
    let editor = format!("{} --wait", folder.script("code", script));
    let mut terminal = folder.replay(&[("VISUAL", &editor)], 100, 30);
    terminal.send("v");
    let arguments = arguments(&folder);
    assert_eq!(arguments[..2], ["--wait", "--goto"]);
    let place = arguments[2].strip_suffix(":1").unwrap();
    assert!(place.contains(&format!("/{CULPRIT}:")), "{place}");
    // What becomes of it is said.
    terminal.wait_for_text("ended with exit status: 3");
    assert!(terminal.is_full_screen());
    quit(terminal);
}

#[test]
fn what_keeps_an_editor_from_opening_is_said_with_what_to_do() {
    let none = [("VISUAL", ""), ("EDITOR", "")];
    let gone = [("VISUAL", "/nowhere/vim"), ("EDITOR", "")];
    for (config, environment, said) in [
        (sources(), none, "no editor is set: set $VISUAL or $EDITOR"),
        (sources(), gone, "the editor /nowhere/vim cannot be started"),
        (String::new(), gone, "is not on this machine"),
    ] {
        let folder = Folder::with(&config);
        let mut terminal = folder.replay(&environment, 140, 30);
        terminal.send("v");
        terminal.wait_for_text(said);
        quit(terminal);
    }
}
