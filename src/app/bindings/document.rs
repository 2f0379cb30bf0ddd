//! `docs/keys.md`, made from the registries.

use std::fmt::Write as _;

use crate::app::{
    picker,
    tables::{self, TableId},
};

use super::{FILTERS, names, sections};

/// Keys, columns and the filter.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Keys, columns, filter\n\n\
         Generated from the registries of keys, views and tables (`src/app/bindings/`,\n\
         `src/app/views/`, `src/app/tables/`); a test keeps this file current. On screen: `?`.\n\n\
         ## Keys\n\n",
    );
    for section in sections() {
        let title = section.title;
        let _ = write!(text, "### {title}\n\n| key | what it does |\n|---|---|\n");
        for binding in section.bindings {
            let keys = names(binding).replace('|', "\\|");
            let keys = keys.replace(' ', "` `");
            let _ = writeln!(text, "| `{keys}` | {} |", binding.help);
        }
        text.push('\n');
    }
    text.push_str(
        "### What runs here\n\nBefore there is a target.\n\n| key | what it does |\n|---|---|\n",
    );
    for bound in picker::KEYS {
        let keys: Vec<String> = bound.keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(text, "| {} | {} |", keys.join(" "), bound.help);
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
