//! A finished screen as text and as an SVG file: its cells with their colours, in any
//! font of equal widths. The same screen gives the same bytes.

use std::{collections::BTreeMap, fmt::Write as _};

use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};
use unicode_width::UnicodeWidthStr;

/// What stands for the terminal's own colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Of text.
    pub text: [u8; 3],
    /// Behind it.
    pub behind: [u8; 3],
}

impl Canvas {
    /// Light text on a dark background.
    pub const DARK: Self = Self {
        text: [0xd8, 0xde, 0xe9],
        behind: [0x14, 0x17, 0x1c],
    };
}

/// The size of a cell, in the units of the picture.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
/// Where letters stand in their cell.
const BASELINE: f32 = 13.5;
/// Around the screen.
const MARGIN: f32 = 12.0;

/// The screen as lines of text, without spaces at their ends.
pub fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in rows(buffer) {
        let line: String = row.iter().map(|(_, cell, _)| cell.symbol()).collect();
        text.push_str(line.trim_end_matches(' '));
        text.push('\n');
    }
    text
}

/// The screen as an SVG file; `title` is what it shows, for those who do not see it.
pub fn svg(buffer: &Buffer, canvas: Canvas, title: &str) -> String {
    let size = buffer.area;
    let width = f32::from(size.width) * WIDTH + 2.0 * MARGIN;
    let height = f32::from(size.height) * HEIGHT + 2.0 * MARGIN;
    let mut classes = Classes::default();
    let mut body = String::new();
    for (y, row) in rows(buffer).into_iter().enumerate() {
        for run in runs(&row, canvas) {
            draw(
                &run,
                y as f32 * HEIGHT + MARGIN,
                canvas,
                &mut classes,
                &mut body,
            );
        }
    }
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" role=\"img\">",
        number(width),
        number(height),
        number(width),
        number(height)
    );
    let _ = writeln!(svg, "<title>{}</title>", escaped(title));
    svg.push_str(
        "<style>text{font:14px ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,\"Liberation Mono\",monospace;white-space:pre}",
    );
    svg.push_str(&classes.css());
    svg.push_str("</style>\n");
    let _ = writeln!(
        svg,
        "<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{}\"/>",
        hex(canvas.behind)
    );
    svg.push_str(&body);
    svg.push_str("</svg>\n");
    svg
}

/// The cells of each row with their columns, and how many each takes; those that a wide
/// character covers are left out.
fn rows(buffer: &Buffer) -> Vec<Vec<(u16, &Cell, u16)>> {
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content.chunks(width);
    rows.map(|row| {
        let mut cells = Vec::new();
        let mut covered = 0;
        for (x, cell) in (0..).zip(row) {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let columns = cell.symbol().width().max(1) as u16;
            covered = columns - 1;
            cells.push((x, cell, columns));
        }
        cells
    })
    .collect()
}

/// What cells have in common that are drawn as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    text: [u8; 3],
    behind: [u8; 3],
    bold: bool,
    dim: bool,
    underlined: bool,
}

impl Look {
    fn of(cell: &Cell, canvas: Canvas) -> Self {
        let text = rgb(cell.fg).unwrap_or(canvas.text);
        let behind = rgb(cell.bg).unwrap_or(canvas.behind);
        let has = |modifier| cell.modifier.contains(modifier);
        let (text, behind) = if has(Modifier::REVERSED) {
            (behind, text)
        } else {
            (text, behind)
        };
        Self {
            text,
            behind,
            bold: has(Modifier::BOLD),
            dim: has(Modifier::DIM),
            underlined: has(Modifier::UNDERLINED),
        }
    }
}

/// Cells of one look beside each other.
#[derive(Debug)]
struct Run {
    x: u16,
    columns: u16,
    text: String,
    look: Look,
    /// How many eighths of each cell a block fills, from below, where it is one.
    block: Option<u8>,
}

fn runs(row: &[(u16, &Cell, u16)], canvas: Canvas) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (x, cell, columns) in row {
        let (look, block) = (Look::of(cell, canvas), block(cell.symbol()));
        // Only what is one column wide keeps its place within a run, in any font.
        let plain = *columns == 1 && cell.symbol().is_ascii();
        match runs.last_mut() {
            Some(run)
                if run.look == look
                    && run.block == block
                    && (block.is_some() || (plain && run.text.is_ascii())) =>
            {
                run.columns += columns;
                run.text.push_str(cell.symbol());
            }
            _ => runs.push(Run {
                x: *x,
                columns: *columns,
                text: cell.symbol().to_owned(),
                look,
                block,
            }),
        }
    }
    runs
}

/// The eighths of a block that fills its cell from below.
fn block(symbol: &str) -> Option<u8> {
    let mut chars = symbol.chars();
    match (chars.next(), chars.next()) {
        (Some(c @ '▁'..='█'), None) => Some((c as u32 - '▁' as u32 + 1) as u8),
        _ => None,
    }
}

fn draw(run: &Run, top: f32, canvas: Canvas, classes: &mut Classes, body: &mut String) {
    let x = f32::from(run.x) * WIDTH + MARGIN;
    let width = f32::from(run.columns) * WIDTH;
    let mut rect = |top: f32, height: f32, fill: [u8; 3]| {
        let _ = writeln!(
            body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
            number(x),
            number(top),
            number(width),
            number(height),
            hex(fill)
        );
    };
    if run.look.behind != canvas.behind {
        rect(top, HEIGHT, run.look.behind);
    }
    if let Some(eighths) = run.block {
        let height = HEIGHT * f32::from(eighths) / 8.0;
        return rect(top + HEIGHT - height, height, run.look.text);
    }
    let pieces = pieces(run);
    if pieces.is_empty() {
        return;
    }
    let class = classes.name(run.look);
    for (skipped, text) in pieces {
        let columns = if run.text.is_ascii() {
            text.chars().count() as f32
        } else {
            f32::from(run.columns)
        };
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{}\" y=\"{}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
            number(x + skipped as f32 * WIDTH),
            number(top + BASELINE),
            number(columns * WIDTH),
            escaped(&text)
        );
    }
}

/// What of a run is written, each with its column: wherever there are several spaces a new
/// piece begins, for not every viewer keeps them.
fn pieces(run: &Run) -> Vec<(usize, String)> {
    if run.look.underlined {
        // The line is below spaces, too.
        return vec![(0, run.text.replace(' ', "\u{a0}"))];
    }
    let mut pieces: Vec<(usize, String)> = Vec::new();
    let mut at = 0;
    for word in run.text.split(' ') {
        let columns = word.len();
        match pieces.last_mut() {
            _ if word.is_empty() => {}
            Some((begins, text)) if *begins + text.len() + 1 == at => {
                text.push(' ');
                text.push_str(word);
            }
            _ => pieces.push((at, word.to_owned())),
        }
        at += columns + 1;
    }
    pieces
}

/// The looks of a picture, each of which is a class of its style sheet.
#[derive(Debug, Default)]
struct Classes(BTreeMap<Look, usize>);

impl Classes {
    fn name(&mut self, look: Look) -> String {
        let next = self.0.len();
        // What is behind is a rectangle of its own.
        let look = Look {
            behind: [0; 3],
            ..look
        };
        format!("c{}", self.0.entry(look).or_insert(next))
    }

    fn css(&self) -> String {
        let mut css = String::new();
        for (look, number) in &self.0 {
            let _ = write!(css, "\n.c{number}{{fill:{}", hex(look.text));
            let rules = [
                (look.bold, ";font-weight:bold"),
                (look.dim, ";opacity:.6"),
                (look.underlined, ";text-decoration:underline"),
            ];
            for (_, rule) in rules.iter().filter(|(holds, _)| *holds) {
                css.push_str(rule);
            }
            css.push('}');
        }
        css
    }
}

fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// With two decimals at most, and without zeros at the end.
fn number(value: f32) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML has no way to write them.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// The steps of the cube of colours.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The colours of xterm; `None` is the terminal's own.
pub(super) fn rgb(color: Color) -> Option<[u8; 3]> {
    let index = match color {
        Color::Reset => return None,
        Color::Rgb(r, g, b) => return Some([r, g, b]),
        Color::Indexed(index) => index,
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 8,
        Color::LightRed => 9,
        Color::LightGreen => 10,
        Color::LightYellow => 11,
        Color::LightBlue => 12,
        Color::LightMagenta => 13,
        Color::LightCyan => 14,
        Color::White => 15,
    };
    Some(match index {
        0..=15 => SIXTEEN[usize::from(index)],
        16..=231 => {
            let n = usize::from(index - 16);
            [STEPS[n / 36], STEPS[n / 6 % 6], STEPS[n % 6]]
        }
        232..=255 => [8 + (index - 232) * 10; 3],
    })
}

const SIXTEEN: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::{layout::Rect, style::Style};

    use super::*;

    fn screen() -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 3));
        let red = Style::new().fg(Color::Rgb(255, 0, 16));
        buffer.set_string(0, 0, "a <b> & \"c\"", Style::new());
        buffer.set_string(0, 1, "日本", red.add_modifier(Modifier::BOLD));
        buffer.set_string(5, 1, "▁▁█", red);
        buffer.set_string(1, 2, "rev", red.add_modifier(Modifier::REVERSED));
        let dim = Modifier::DIM | Modifier::UNDERLINED;
        buffer.set_string(6, 2, "x y", Style::new().add_modifier(dim));
        buffer
    }

    #[test]
    fn cells_are_drawn_with_their_looks_and_in_their_places() {
        insta::assert_snapshot!("picture", svg(&screen(), Canvas::DARK, "a <title>"));
        assert_eq!(text(&screen()), "a <b> & \"c\"\n日本 ▁▁█\n rev  x y\n");
    }

    #[test]
    fn the_colours_of_terminals_are_known() {
        for (color, expected) in [
            (Color::Reset, None),
            (Color::Red, Some([205, 0, 0])),
            (Color::Indexed(16), Some([0, 0, 0])),
            (Color::Indexed(196), Some([255, 0, 0])),
            (Color::Indexed(231), Some([255, 255, 255])),
            (Color::Indexed(255), Some([238, 238, 238])),
        ] {
            assert_eq!(rgb(color), expected, "{color:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_on_a_screen_becomes_an_element(texts in prop::collection::vec(any::<String>(), 1..4)) {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 40, 4));
            for (y, text) in (0..4).zip(&texts) {
                buffer.set_string(0, y, text, Style::new());
            }
            let svg = svg(&buffer, Canvas::DARK, &texts[0]);
            let named = |name: &str| svg.matches(&format!("<{name}")).count();
            let elements = ["svg", "/svg", "title", "/title", "style", "/style", "rect", "text", "/text"];
            let known: usize = elements.into_iter().map(named).sum();
            // Each of them once, and nothing else that begins like one.
            prop_assert_eq!(svg.matches('<').count(), known);
            prop_assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
