//! What was found on this machine, to choose from.
//!
//! ```text
//!  looptop  what runs here                                          3 programs
//!    PID NAME              USER     WITH           THREADS   CPU ATTACH
//! ▶ 4211 mini-redis-server me       tokio 1.54.1         9  124% pid:4211
//!    812 billing           postgres tokio 1.47.0         9    0% needs user postgres or root
//! ───────────────────────────────────────────────────────────────────────────
//!  Enter looks at it from outside: nothing in it is changed
//!  Enter attach  / filter  r look again  q quit
//! ```

use ratatui::{Frame, layout::Rect};

use crate::{
    app::{
        Tone,
        bindings::{Keymap, key_of},
        front::Parts,
        page::wrap,
        picker::{Candidate, Picker, Way},
        quantity::UNKNOWN,
    },
    escape,
};

use super::{
    Painter, Theme, ascii,
    front::{self, GUTTER, Wish},
    painter::columns,
};

/// Draws the picker.
pub fn render(picker: &Picker, theme: &Theme, frame: &mut Frame<'_>) {
    let size = frame.area().as_size();
    let parts = picker.parts_of(size);
    let (area, text) = (frame.area(), theme.style(Tone::Text));
    frame.buffer_mut().set_style(area, text);
    let mut painter = Painter {
        buffer: frame.buffer_mut(),
        theme,
    };
    header(picker, parts.header, &mut painter);
    if picker.count() == 0 {
        let all = Rect {
            y: parts.heads.y,
            height: parts.heads.height + parts.rows.height + parts.about.height,
            ..parts.rows
        };
        nothing(picker, all, &mut painter);
    } else {
        table(picker, &parts, &mut painter);
        about(picker, &parts, picker.about(size), &mut painter);
    }
    footer(picker, parts.footer, &mut painter);
    if theme.ascii {
        ascii::replace(frame.buffer_mut());
    }
}

fn header(picker: &Picker, area: Rect, painter: &mut Painter<'_>) {
    let used = painter.pieces(
        area,
        [
            (" looptop".into(), Tone::Title),
            ("  what runs here".into(), Tone::Strong),
        ],
    );
    let count = match (picker.count(), picker.has_looked()) {
        (_, false) => "looking …".to_owned(),
        (0, true) => String::new(),
        (1, true) => "1 program ".to_owned(),
        (n, true) => format!("{n} programs "),
    };
    if columns(&count) + usize::from(used) + 2 <= usize::from(area.width) {
        painter.right(area, &count, Tone::Dim);
    }
}

/// A column: its name, what is in it, and how wide it may be.
struct Column {
    title: &'static str,
    text: fn(&Candidate) -> String,
    widest: usize,
    right: bool,
    /// The higher, the sooner it goes on a narrow screen.
    rank: u8,
}

const COLUMNS: [Column; 7] = [
    Column {
        title: "PID",
        text: |c| c.pid.to_string(),
        widest: 10,
        right: true,
        rank: 0,
    },
    Column {
        title: "NAME",
        text: |c| c.name.clone(),
        widest: 32,
        right: false,
        rank: 0,
    },
    Column {
        title: "USER",
        text: |c| c.user.clone(),
        widest: 12,
        right: false,
        rank: 5,
    },
    Column {
        title: "WITH",
        text: |c| c.instrument.clone(),
        widest: 24,
        right: false,
        rank: 2,
    },
    Column {
        title: "THREADS",
        text: |c| c.threads.to_string(),
        widest: 7,
        right: true,
        rank: 4,
    },
    Column {
        title: "CPU",
        text: |c| {
            c.cpu.map_or_else(
                || UNKNOWN.to_owned(),
                |share| format!("{:.0}%", share * 100.0),
            )
        },
        widest: 5,
        right: true,
        rank: 3,
    },
    Column {
        title: "ATTACH",
        text: |c| c.place().to_owned(),
        widest: 48,
        right: false,
        rank: 1,
    },
];

/// Columns that leave less of the last one go.
const LEAST_LAST: usize = 12;

/// The columns that fit, each with its width; the last one takes what is left.
fn placed(shown: &[&Candidate], width: u16) -> Vec<(&'static Column, u16)> {
    let wishes = COLUMNS.iter().map(|column| {
        let cells = shown
            .iter()
            .map(|candidate| columns(&escape::escaped(&(column.text)(candidate))));
        let widest = cells.chain([column.title.len()]).max().unwrap_or_default();
        Wish {
            width: widest.min(column.widest.max(column.title.len())),
            rank: column.rank,
        }
    });
    let placed = front::placed(wishes, LEAST_LAST, width);
    let column = |(number, width)| (&COLUMNS[number], width);
    placed.into_iter().map(column).collect()
}

fn table(picker: &Picker, parts: &Parts, painter: &mut Painter<'_>) {
    let shown = picker.shown();
    let placed = placed(&shown, parts.rows.width);
    let mut x = GUTTER;
    if parts.heads.height > 0 {
        for (column, width) in &placed {
            let area = Rect::new(x, parts.heads.y, *width, 1);
            front::cell(painter, area, column.title, Tone::Title, column.right);
            x += width + 1;
        }
    }
    let (cursor, first) = picker.cursor();
    for (at, y) in (first..shown.len()).zip(parts.rows.y..parts.rows.bottom()) {
        let candidate = shown[at];
        let mut x = GUTTER;
        for (column, width) in &placed {
            let tone = match (column.title, &candidate.way) {
                ("NAME", _) => Tone::Strong,
                ("ATTACH", Way::Closed { .. }) => Tone::Warning,
                (_, Way::Closed { .. }) | ("USER", _) => Tone::Dim,
                _ => Tone::Text,
            };
            let text = (column.text)(candidate);
            let area = Rect::new(x, y, *width, 1);
            front::cell(painter, area, &text, tone, column.right);
            x += width + 1;
        }
        if at == cursor {
            front::cursor(painter, y, parts.rows.width);
        }
    }
    if shown.is_empty() {
        let back = key_of(&picker.keys, "back");
        let text = format!("no program matches the filter; {back} clears it");
        painter.put(GUTTER, parts.rows.y, parts.rows.width, &text, Tone::Dim);
    }
}

fn about(picker: &Picker, parts: &Parts, mut lines: Vec<String>, painter: &mut Painter<'_>) {
    let area = parts.about;
    let under = picker.under_cursor();
    let has_rule = parts.has_rule();
    if has_rule {
        // What distinguishes two of one name.
        let title = under.into_iter().flat_map(|candidate| {
            let arguments = match candidate.arguments.as_str() {
                "" => String::new(),
                arguments => format!("  {arguments}"),
            };
            [
                (escape::escaped(&candidate.name), Tone::Title),
                (escape::escaped(&arguments).into_owned().into(), Tone::Dim),
            ]
        });
        painter.rule(area, title.collect::<Vec<_>>());
    }
    let rows = area.y + u16::from(has_rule)..area.bottom();
    if lines.len() > rows.len() {
        lines.truncate(rows.len());
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    for (line, y) in lines.iter().zip(rows) {
        painter.put(1, y, area.width.saturating_sub(1), line, Tone::Text);
    }
}

/// What there is to do where there is nothing to choose from.
const WAYS: [(&str, &str); 4] = [
    ("looptop run -- CMD", "starts a program and looks at it"),
    ("looptop demo", "starts the lab, and shows it"),
    ("looptop HOST:PORT", "attaches to an agent elsewhere"),
    ("sudo looptop", "sees the programs of all users"),
];

/// What to do where there is nothing.
fn nothing(picker: &Picker, area: Rect, painter: &mut Painter<'_>) {
    if !picker.has_looked() {
        return;
    }
    let room = usize::from(area.width).saturating_sub(2);
    let sentence = "No tokio program of this user runs here. One that starts appears here.";
    let mut rows = area.y + u16::from(area.height > 8)..area.bottom();
    for line in wrap(sentence, room) {
        let Some(y) = rows.next() else { return };
        painter.put(1, y, area.width.saturating_sub(1), &line, Tone::Text);
    }
    if area.height > 8 {
        rows.next();
    }
    for (command, what) in WAYS {
        let Some(y) = rows.next() else { return };
        painter.put(3, y, area.width.saturating_sub(3), command, Tone::Key);
        if room >= 60 {
            painter.put(24, y, area.width.saturating_sub(24), what, Tone::Dim);
        }
    }
}

fn footer(picker: &Picker, area: Rect, painter: &mut Painter<'_>) {
    if area.height == 0 {
        return;
    }
    let key = |name| key_of(&picker.keys, name);
    let (filter, typing) = picker.filter();
    if typing || !filter.is_empty() {
        self::filter(filter, typing, &picker.keys, area, painter);
        return;
    }
    let attach = picker
        .under_cursor()
        .is_some_and(|candidate| candidate.target().is_some());
    let keys = [
        (key("open"), "attach", attach),
        (key("quit"), "quit", true),
        (key("filter"), "filter", picker.count() > 1),
        (picker.look_key(), "look again", true),
    ];
    self::keys(&keys, area, painter);
}

/// The line where a filter is typed.
pub(super) fn filter(
    filter: &str,
    typing: bool,
    keymap: &Keymap,
    area: Rect,
    painter: &mut Painter<'_>,
) {
    let key = |name| key_of(keymap, name);
    let x = painter.put(0, area.y, area.width, " / ", Tone::Key);
    let x = x + painter.put(x, area.y, area.width.saturating_sub(x), filter, Tone::Input);
    let (mark, hint) = if typing {
        (
            "█",
            format!(
                "{} applies, {} clears",
                key("filter-apply"),
                key("filter-clear")
            ),
        )
    } else {
        ("", format!("{} clears", key("back")))
    };
    let x = x + painter.put(x, area.y, 1, mark, Tone::Input) + 2;
    if usize::from(x) + hint.len() <= usize::from(area.width) {
        painter.put(x, area.y, area.width - x, &hint, Tone::Dim);
    }
}

/// Keys with a word each, of those that hold, as many as fit.
pub(super) fn keys(keys: &[(String, &str, bool)], area: Rect, painter: &mut Painter<'_>) {
    let mut x = 1;
    for (key, label, _) in keys.iter().filter(|(_, _, holds)| *holds) {
        let width = (columns(key) + label.len() + 1) as u16;
        if x + width > area.width {
            break;
        }
        x += painter.put(x, area.y, width, key, Tone::Key) + 1;
        x += painter.put(x, area.y, width, label, Tone::Dim) + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::{Terminal, backend::TestBackend, layout::Size};

    use super::*;
    use crate::{
        app::{Key, picker::tests::picker},
        ui::{Depth, tests::text},
    };

    fn screen(picker: &mut Picker, width: u16, height: u16, ascii: bool) -> String {
        picker.size = Size::new(width, height);
        let theme = Theme::new(Depth::None, ascii);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| render(picker, &theme, frame))
            .unwrap();
        text(terminal.backend().buffer())
    }

    const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (200, 50), (40, 10)];

    #[test]
    fn programs_to_choose_from() {
        for (width, height) in SIZES {
            let mut picker = picker(width, height);
            let shown = screen(&mut picker, width, height, false);
            insta::assert_snapshot!(format!("programs_{width}x{height}"), shown);
        }
    }

    #[test]
    fn one_that_cannot_be_attached_to() {
        for (width, height) in SIZES {
            let mut picker = picker(width, height);
            picker.key(Key::End);
            let shown = screen(&mut picker, width, height, false);
            insta::assert_snapshot!(format!("closed_{width}x{height}"), shown);
        }
    }

    #[test]
    fn nothing_to_choose_from() {
        for (width, height) in SIZES {
            let mut picker = Picker::default();
            let looking = screen(&mut picker, width, height, false);
            assert!(looking.contains("looking"), "{looking}");
            picker.found(Vec::new(), 0);
            let shown = screen(&mut picker, width, height, false);
            insta::assert_snapshot!(format!("nothing_{width}x{height}"), shown);
        }
    }

    #[test]
    fn a_filter_and_the_smallest_screen() {
        let mut picker = picker(80, 24);
        for key in "/redis".chars() {
            picker.key(Key::Char(key));
        }
        let typed = screen(&mut picker, 80, 12, true);
        insta::assert_snapshot!("filter_ascii_80x12", typed);
        picker.key(Key::Enter);
        picker.found(crate::app::picker::tests::programs(), 3);
        let unread = screen(&mut picker, 80, 24, false);
        let words: Vec<&str> = unread.split_whitespace().collect();
        let words = words.join(" ");
        assert!(
            words.contains("3 more programs are being looked at"),
            "{unread}"
        );
        picker.key(Key::Esc);
        insta::assert_snapshot!("programs_20x5", screen(&mut picker, 20, 5, false));
    }

    proptest! {
        #[test]
        fn any_size_is_drawn(width in 1_u16..200, height in 1_u16..60, full: bool) {
            let mut picker = if full { picker(width, height) } else { Picker::default() };
            screen(&mut picker, width, height, false);
            picker.key(Key::End);
            screen(&mut picker, width, height, true);
        }
    }
}
