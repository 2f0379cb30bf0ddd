//! How editors take a line, and which of them need the terminal.

/// Where an editor shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// In the terminal, which it has alone meanwhile.
    Terminal,
    /// In a window of its own.
    Own,
}

/// Editors that are started alike.
pub(super) struct Known {
    pub(super) names: &'static [&'static str],
    pub(super) arguments: &'static [&'static str],
    pub(super) window: Window,
}

const fn known(
    names: &'static [&'static str],
    arguments: &'static [&'static str],
    window: Window,
) -> Known {
    Known {
        names,
        arguments,
        window,
    }
}

use Window::{Own, Terminal};

const PLUS: &[&str] = &["+{line}", "{file}"];
const COLON: &[&str] = &["{file}:{line}:{column}"];
const OPTION: &[&str] = &["--line", "{line}", "{file}"];

/// By the names of their programs.
pub(super) const EDITORS: &[Known] = &[
    known(
        &[
            "vi",
            "vim",
            "nvim",
            "vim.basic",
            "vim.tiny",
            "nvi",
            "elvis",
            "vile",
            "mg",
            "zile",
        ],
        PLUS,
        Terminal,
    ),
    known(
        &["nano", "pico", "rnano"],
        &["+{line},{column}", "{file}"],
        Terminal,
    ),
    known(&["micro"], &["+{line}:{column}", "{file}"], Terminal),
    known(&["kak"], &["+{line}:{column}", "{file}"], Terminal),
    known(&["hx", "helix"], COLON, Terminal),
    known(
        &["joe", "jmacs", "jpico", "jstar", "ne", "jed", "less", "moe"],
        PLUS,
        Terminal,
    ),
    known(&["mcedit"], &["{file}:{line}"], Terminal),
    // Where they open no window: `window_of`.
    known(
        &["emacs", "emacsclient"],
        &["+{line}:{column}", "{file}"],
        Own,
    ),
    known(
        &[
            "gvim",
            "mvim",
            "gedit",
            "gnome-text-editor",
            "geany",
            "bbedit",
            "mousepad",
        ],
        PLUS,
        Own,
    ),
    known(
        &[
            "code",
            "code-insiders",
            "codium",
            "vscodium",
            "code-oss",
            "cursor",
            "windsurf",
            "positron",
        ],
        &["--goto", "{file}:{line}:{column}"],
        Own,
    ),
    known(
        &[
            "zed",
            "zeditor",
            "zedit",
            "subl",
            "sublime_text",
            "lapce",
            "pulsar",
            "atom",
        ],
        COLON,
        Own,
    ),
    known(
        &[
            "idea",
            "clion",
            "rustrover",
            "fleet",
            "goland",
            "pycharm",
            "webstorm",
            "rider",
            "idea.sh",
            "clion.sh",
            "rustrover.sh",
            "kate",
            "kwrite",
            "mate",
            "studio",
        ],
        OPTION,
        Own,
    ),
    known(&["xed"], &["--line", "{line}", "{file}"], Own),
];

/// What is known of a program, by its name without folders.
pub(super) fn find(program: &str) -> Option<&'static Known> {
    let name = program.rsplit('/').next().unwrap_or(program);
    EDITORS.iter().find(|known| known.names.contains(&name))
}

/// Where a command shows itself; `windows` says whether there is a desktop to open one on.
pub(super) fn window_of(command: &[String], windows: bool) -> Window {
    let Some((program, options)) = command.split_first() else {
        return Terminal;
    };
    let window = find(program).map_or(Terminal, |known| known.window);
    let has = |names: &[&str]| {
        options
            .iter()
            .any(|option| names.contains(&option.as_str()))
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    match name {
        "emacs" | "emacsclient" => {
            let terminal = ["-nw", "-t", "--tty", "--no-window-system"];
            if has(&terminal) || !windows {
                Terminal
            } else {
                Own
            }
        }
        "vim" | "vi" | "nvim" if has(&["-g"]) => Own,
        _ => window,
    }
}
