//! `docs/keys.md`, made from the registries.

use std::fmt::Write as _;

use crate::app::{
    Key, picker, several,
    tables::{self, TableId},
};

use super::{FILTERS, Keymap, names, sections};

/// Keys, columns and the filter.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Keys, columns, filter\n\n\
         Generated from the registries of keys, views and tables (`src/app/bindings/`,\n\
         `src/app/views/`, `src/app/tables/`); a test keeps this file current. On screen: `?`.\n\n\
         ## Keys\n\n\
         The name of an action is that in the configuration (`looptop config path`), which binds\n\
         it to another key, to several, or to none:\n\n\
         ```toml\n[keys]\nhelp = [\"?\", \"F1\", \"H\"]\nfreeze = \"Ctrl-S\"\nrecord = []\n```\n\n\
         A key is a character, Space, Enter, Esc, Tab, Shift-Tab, Backspace, Up, Down, Left, Right,\n\
         PgUp, PgDn, Home, End, F1 to F12, or Ctrl- with a letter. What is bound so has these keys\n\
         and no others. Two actions of one key, where both can be meant, are an error that names\n\
         both and the line; help and footer show the keys in force.\n\n",
    );
    for section in sections() {
        let title = section.title;
        let _ = write!(
            text,
            "### {title}\n\n| key | action | what it does |\n|---|---|---|\n"
        );
        for binding in section.bindings {
            let keys = names(&Keymap::default(), binding).replace('|', "\\|");
            let keys = keys.replace(' ', "` `");
            let keys = if keys.is_empty() {
                String::new()
            } else {
                format!("`{keys}`")
            };
            let _ = writeln!(text, "| {keys} | `{}` | {} |", binding.name, binding.help);
        }
        text.push('\n');
    }
    text.push_str(
        "### What runs here\n\nBefore there is a target. What has a name of above has its keys, where the configuration\n\
         binds them.\n\n| key | action | what it does |\n|---|---|---|\n",
    );
    for bound in picker::KEYS {
        row(&mut text, bound.name, bound.keys, bound.help);
    }
    text.push_str(
        "\n### Several processes\n\nOn the page of several targets (`docs/several.md`).\n\n\
         | key | action | what it does |\n|---|---|---|\n",
    );
    for bound in several::KEYS {
        row(&mut text, bound.name, bound.keys, bound.help);
    }
    text.push_str(
        "\n## Columns\n\nThe name in the first column is the one for a filter. Narrow screens drop\n\
         columns, the highest priority number first.\n",
    );
    for table in TableId::ALL.iter().copied() {
        let _ = write!(
            text,
            "\n### {table:?}\n\n| name | heading | priority | meaning |\n|---|---|---|---|\n"
        );
        for head in tables::heads(table) {
            let (id, title, help) = (head.id, head.title, head.help);
            let _ = writeln!(text, "| `{id}` | {title} | {} | {help} |", head.priority);
        }
    }
    text.push_str(
        "\n## Filter\n\nTerms are separated by spaces, and all must match; `!` turns one round.\n\n\
         | term | matches rows |\n|---|---|\n",
    );
    for (example, meaning) in FILTERS {
        let _ = writeln!(text, "| `{example}` | {meaning} |");
    }
    text
}

fn row(text: &mut String, name: &str, keys: &[Key], help: &str) {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    let _ = writeln!(text, "| {} | `{name}` | {help} |", keys.join(" "));
}
