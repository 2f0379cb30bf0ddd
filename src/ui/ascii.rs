//! `--ascii`: every glyph of the screen has a stand-in, and one place knows them.

use ratatui::buffer::Buffer;

/// Replaces what is not ASCII in a finished screen. What the target sent and
/// has no stand-in becomes a question mark for each column.
pub(super) fn replace(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            cell.set_symbol(stand_in(cell.symbol()));
        }
    }
}

fn stand_in(symbol: &str) -> &'static str {
    match symbol {
        "▁" => "_",
        "▂" | "·" | "…" => ".",
        "▃" | "─" | "–" => "-",
        "▄" | "═" => "=",
        "▅" | "◌" | "≈" => "~",
        "▆" | "✚" => "+",
        "▇" | "●" => "*",
        "█" | "■" => "#",
        "▲" | "↑" => "^",
        "▼" | "↓" | "✓" => "v",
        "◆" => "!",
        "○" => "o",
        "✖" | "×" => "x",
        "÷" => "/",
        "→" | "▶" | "≥" => ">",
        "←" => "<",
        "│" | "‖" | "├" => "|",
        "└" => "`",
        "⟲" => "@",
        "µ" => "u",
        _ => "?",
    }
}
