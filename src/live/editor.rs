//! An editor at a line of the source code that the target names.
//!
//! No shell takes part. What the target says is the path of a file: it must be one on this
//! machine, and reaches the editor as one argument that begins with `/`.

mod find;
mod table;

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::sync::mpsc::UnboundedSender;

use crate::{app::SourcePlace, cli::Editing};

pub(super) use find::find;
use table::{Window, window_of};

/// An editor that is to be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    program: String,
    arguments: Vec<OsString>,
    window: Window,
}

/// What the environment says of editors.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// `$VISUAL`, otherwise `$EDITOR`.
    pub(super) editor: Option<String>,
    /// There is a desktop to open windows on.
    pub(super) windows: bool,
}

impl Environment {
    /// The one of this process.
    pub(super) fn here() -> Self {
        let set = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        Self {
            editor: set("VISUAL").or_else(|| set("EDITOR")),
            windows: set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some(),
        }
    }
}

impl Invocation {
    /// What opens `file` at `place`'s line, or why nothing does.
    pub(super) fn new(
        settings: &Editing,
        environment: &Environment,
        file: &Path,
        place: &SourcePlace,
    ) -> Result<Self, String> {
        let text = settings.editor.as_deref().or(environment.editor.as_deref());
        let text = text.ok_or(
            "no editor is set: set $VISUAL or $EDITOR, or editor = \"code -g {file}:{line}\" in \
             the configuration",
        )?;
        let mut command = words(text).ok_or_else(|| {
            format!("the editor `{text}` has a quote that does not end; mend that, then try again")
        })?;
        if command.is_empty() {
            return Err("the editor is empty: name one".to_owned());
        }
        let window = match settings.editor_window {
            Some(true) => Window::Own,
            Some(false) => Window::Terminal,
            None => window_of(&command, environment.windows),
        };
        if !command.iter().any(|word| word.contains("{file}")) {
            let arguments = table::find(&command[0]).map_or(&["{file}"][..], |k| k.arguments);
            command.extend(arguments.iter().map(|word| (*word).to_owned()));
        }
        let program = command.remove(0);
        let with_place = |word: &String| filled(word, file, place);
        Ok(Self {
            program,
            arguments: command.iter().map(with_place).collect(),
            window,
        })
    }

    /// It needs the terminal for itself.
    pub(super) fn takes_terminal(&self) -> bool {
        self.window == Window::Terminal
    }

    /// What it is called.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// Starts it in the terminal, which must have been given back.
    pub(super) fn in_terminal(&self) -> Result<tokio::process::Child, String> {
        // Whatever standard input is, the keys come from the terminal.
        let terminal = std::fs::File::open("/dev/tty");
        let input = terminal.map_or_else(|_| Stdio::inherit(), Stdio::from);
        tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .stdin(input)
            .spawn()
            .map_err(|error| self.not_started(&error))
    }

    /// Starts it beside the terminal, and reports if it fails later.
    pub(super) fn beside(&self, report: UnboundedSender<String>) -> Result<(), String> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C and the end of the terminal are not for it.
            .process_group(0)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let program = self.program.clone();
        let wait = move || {
            let ended = child.wait();
            if let Some(status) = ended.ok().filter(|status| !status.success()) {
                let _ = report.send(format!("the editor {program} ended with {status}"));
            }
        };
        // Without a thread nobody waits for it, which costs an entry of the process table.
        let thread = std::thread::Builder::new().name("looptop-editor".to_owned());
        drop(thread.spawn(wait));
        Ok(())
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        format!(
            "the editor {} cannot be started: {error}; set $VISUAL, or editor in the configuration",
            self.program
        )
    }
}

/// A word of a command with the place in it. What is filled in is not looked at again.
fn filled(word: &str, file: &Path, place: &SourcePlace) -> OsString {
    let mut filled = OsString::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        filled.push(&rest[..at]);
        rest = &rest[at..];
        let numbers = [
            ("{line}", place.line.to_string()),
            ("{column}", place.column.to_string()),
        ];
        let number = numbers.iter().find(|(name, _)| rest.starts_with(name));
        if let Some(after) = rest.strip_prefix("{file}") {
            filled.push(file);
            rest = after;
        } else if let Some((name, number)) = number {
            filled.push(number);
            rest = &rest[name.len()..];
        } else {
            filled.push("{");
            rest = &rest[1..];
        }
    }
    filled.push(rest);
    filled
}

/// The words of a command, with quotes as a shell has them, and nothing else of a shell;
/// `None` where a quote does not end.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => word.push(chars.next()?),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Folders below which a relative path may be: that of the target's executable and those
/// around it, then those where this program runs.
pub(super) fn roots(executable: &str) -> Vec<PathBuf> {
    let executable = Path::new(executable);
    let of_target = executable.is_absolute().then_some(executable);
    let here = std::env::current_dir().ok();
    let around = |path: &Path| path.ancestors().map(Path::to_owned).collect::<Vec<_>>();
    let mut roots: Vec<PathBuf> = of_target.map(around).unwrap_or_default();
    roots.extend(here.as_deref().map(around).unwrap_or_default());
    roots.extend(registries());
    roots
}

/// Where cargo keeps the sources of dependencies.
fn registries() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = set("CARGO_HOME").or_else(|| Some(set("HOME")?.join(".cargo")));
    let entries = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invocation(editor: &str, windows: bool) -> Result<(Vec<String>, Window), String> {
        let environment = Environment {
            editor: Some(editor.to_owned()),
            windows,
        };
        let place = SourcePlace {
            file: "src/a.rs".into(),
            line: 42,
            column: 7,
        };
        let file = Path::new("/s/a {line} $(id);.rs");
        let made = Invocation::new(&Editing::default(), &environment, file, &place)?;
        let arguments = made.arguments.iter();
        let arguments = arguments.map(|a| a.to_str().unwrap().to_owned());
        let command = std::iter::once(made.program.clone()).chain(arguments);
        Ok((command.collect(), made.window))
    }

    #[test]
    fn each_editor_gets_the_line_in_its_own_way() {
        const FILE: &str = "/s/a {line} $(id);.rs";
        let plus = vec!["+42", FILE];
        let place = format!("{FILE}:42:7");
        let colon = vec![place.as_str()];
        let line = vec!["--line", "42", FILE];
        for (editor, arguments, window) in [
            ("vim", plus.clone(), Window::Terminal),
            ("/usr/bin/nvim", plus.clone(), Window::Terminal),
            ("vi", plus.clone(), Window::Terminal),
            ("nano", vec!["+42,7", FILE], Window::Terminal),
            ("micro", vec!["+42:7", FILE], Window::Terminal),
            ("kak", vec!["+42:7", FILE], Window::Terminal),
            ("hx", colon.clone(), Window::Terminal),
            ("helix", colon.clone(), Window::Terminal),
            ("emacs", vec!["+42:7", FILE], Window::Own),
            ("emacs -nw", vec!["-nw", "+42:7", FILE], Window::Terminal),
            (
                "emacsclient -t",
                vec!["-t", "+42:7", FILE],
                Window::Terminal,
            ),
            (
                "code --wait",
                vec!["--wait", "--goto", place.as_str()],
                Window::Own,
            ),
            ("codium", vec!["--goto", place.as_str()], Window::Own),
            ("zed", colon.clone(), Window::Own),
            ("subl", colon.clone(), Window::Own),
            ("idea", line.clone(), Window::Own),
            ("clion", line.clone(), Window::Own),
            ("rustrover", line.clone(), Window::Own),
            ("kate", line, Window::Own),
            ("nobody-knows-it -x", vec!["-x", FILE], Window::Terminal),
            (
                "'my editor' --at={line}:{column} \"{file}\" {x",
                vec!["--at=42:7", FILE, "{x"],
                Window::Terminal,
            ),
        ] {
            let (command, shown) = invocation(editor, true).unwrap();
            assert_eq!(command[1..], arguments[..], "{editor}");
            assert_eq!(shown, window, "{editor}");
        }
        let (command, _) = invocation("'my editor' {file}", true).unwrap();
        assert_eq!(command[0], "my editor");
        // Without a desktop it stays in the terminal.
        assert_eq!(invocation("emacs", false).unwrap().1, Window::Terminal);
        assert!(
            invocation("vim 'x", true)
                .unwrap_err()
                .contains("does not end")
        );
        let none = Invocation::new(
            &Editing::default(),
            &Environment::default(),
            Path::new("/a"),
            &SourcePlace::parse("a:1").unwrap(),
        );
        assert!(none.unwrap_err().contains("set $VISUAL or $EDITOR"));
    }

    #[test]
    fn the_configuration_has_the_first_word_and_says_where_it_shows() {
        let settings = Editing {
            editor: Some("mine -g {file}:{line}".into()),
            editor_window: Some(true),
            ..Editing::default()
        };
        let environment = Environment {
            editor: Some("vim".into()),
            windows: false,
        };
        let place = SourcePlace::parse("a.rs:3").unwrap();
        let made = Invocation::new(&settings, &environment, Path::new("/a.rs"), &place).unwrap();
        assert_eq!(made.program(), "mine");
        assert_eq!(made.arguments, ["-g", "/a.rs:3"]);
        assert!(!made.takes_terminal());
    }

    #[test]
    fn words_are_split_as_a_shell_does_and_nothing_is_executed() {
        for (text, expected) in [
            ("a  b\tc", Some(vec!["a", "b", "c"])),
            (
                "a 'b c' \"d \\\" e\" f\\ g",
                Some(vec!["a", "b c", "d \" e", "f g"]),
            ),
            ("a ''", Some(vec!["a", ""])),
            ("a$(b) `c` ; d", Some(vec!["a$(b)", "`c`", ";", "d"])),
            ("  ", Some(vec![])),
            ("a 'b", None),
            ("a \\", None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn an_editor_that_fails_is_reported() {
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let make = |program: &str| Invocation {
            program: program.to_owned(),
            arguments: Vec::new(),
            window: Window::Own,
        };
        let said = make("/nowhere/editor").beside(report.clone()).unwrap_err();
        assert!(
            said.contains("cannot be started") && said.contains("$VISUAL"),
            "{said}"
        );
        make("false").beside(report).unwrap();
        let said = reports.recv().await.unwrap();
        assert!(
            said.starts_with("the editor false ended with exit status"),
            "{said}"
        );
    }
}
