//! Several processes, a row for each, the one that suffers most first.
//!
//! ```text
//!  looptop  3 processes              ■ 1 STARVED  ✖ 1 NO DATA  ✓ 1 HEALTHY
//!   VERDICT         PROCESS                  LAG BUSY STALLS WORST CULPRIT
//! ▶ ■ STARVED       shop 10.0.0.7:6669    812 ms  97%     12 print::wait (src/print.rs:42)
//!   ✖ NO CONNECTION 10.0.0.9:6669              –    –      – connection refused: nothing …
//!   ✓ HEALTHY       shop 10.0.0.8:6669    0.1 ms   4%      0
//! ─ shop 10.0.0.7:6669  pid 4211  ● LIVE ────────────────────────────────────
//!  worker 2 blocked 843 ms in print::wait (src/print.rs:42); 57 tasks wait
//!  → move it to spawn_blocking
//!  Enter go in  / filter  ? help  y copy  q quit
//! ```

use std::borrow::Cow;

use ratatui::{Frame, layout::Rect};

use crate::{
    app::{
        Tone,
        bindings::key_of,
        front::Parts,
        page::wrap,
        quantity::{self, UNKNOWN},
        several::{COLUMNS, HELP_NAMES, HelpLine, Pain, Process, Several, Summary},
    },
    diagnose::Level,
    escape,
};

use super::{
    Painter, Theme, ascii,
    front::{self, GUTTER, Wish},
    header,
    painter::{columns, shortened},
    verdict,
};

/// Draws the page.
pub fn render(page: &Several, theme: &Theme, frame: &mut Frame<'_>) {
    let size = frame.area().as_size();
    let parts = page.parts_of(size);
    let (area, text) = (frame.area(), theme.style(Tone::Text));
    frame.buffer_mut().set_style(area, text);
    let mut painter = Painter {
        buffer: frame.buffer_mut(),
        theme,
    };
    top(page, parts.header, &mut painter);
    let body = Rect {
        y: parts.heads.y,
        height: parts.heads.height + parts.rows.height + parts.about.height,
        ..parts.rows
    };
    if let Some(lines) = page.help() {
        help(&lines, body, &mut painter);
    } else if page.all().is_empty() {
        for (line, y) in wrap(page.nothing, usize::from(body.width).saturating_sub(2))
            .iter()
            .zip(body.y..body.bottom())
        {
            painter.put(1, y, body.width.saturating_sub(1), line, Tone::Text);
        }
    } else {
        table(page, &parts, &mut painter);
        about(page, &parts, &mut painter);
    }
    footer(page, parts.footer, &mut painter);
    if theme.ascii {
        ascii::replace(frame.buffer_mut());
    }
}

/// What is said of a process in one word, as on its own screen.
fn word(process: &Process) -> (&'static str, &'static str, Tone) {
    if let Some((word, _)) = verdict::in_the_way(&process.connection, process.is_core) {
        return match word {
            verdict::READING => ("◌", word, Tone::Dim),
            _ => ("✖", word, Tone::Critical),
        };
    }
    let level = process.current().map(|summary| summary.verdict.level);
    if let Some(level) = level {
        let (glyph, tone) = verdict::level(level);
        return (glyph, level.word(), tone);
    }
    ("◌", "CONNECTING", Tone::Dim)
}

/// How many are in each state, the worst first.
fn counts(page: &Several) -> Vec<(String, Tone)> {
    let mut counts: Vec<(Pain, &str, &str, Tone, u64)> = Vec::new();
    for process in page.all() {
        let (glyph, word, tone) = word(process);
        match counts.iter_mut().find(|(_, _, known, _, _)| *known == word) {
            Some((.., n)) => *n += 1,
            None => counts.push((process.pain(), glyph, word, tone, 1)),
        }
    }
    counts.sort_by_key(|(pain, ..)| std::cmp::Reverse(*pain));
    let counts = counts.into_iter();
    counts
        .map(|(_, glyph, word, tone, n)| (format!("{glyph} {n} {word}"), tone))
        .collect()
}

fn top(page: &Several, area: Rect, painter: &mut Painter<'_>) {
    let many = page.all().len() as u64;
    let noun = if many == 1 { "process" } else { "processes" };
    let used = painter.pieces(
        area,
        [
            (" looptop".into(), Tone::Title),
            (format!("  {many} {noun}").into(), Tone::Strong),
        ],
    );
    let room = usize::from(area.width.saturating_sub(used)).saturating_sub(2);
    if let Some(notice) = page.notice() {
        let notice = format!(" {} ", escape::escaped(notice));
        let shown = super::painter::fit(&notice, room, crate::app::column::Cut::End);
        painter.right(area, &shown, Tone::BadgeFrozen);
        return;
    }
    let mut pieces = counts(page);
    let width = |pieces: &[(String, Tone)]| -> usize {
        pieces.iter().map(|(text, _)| columns(text) + 2).sum()
    };
    // What matters least goes first on a narrow screen.
    while width(&pieces) > room {
        pieces.pop();
    }
    let x = area.right().saturating_sub(width(&pieces) as u16);
    let rest = Rect {
        x: x.max(area.x),
        width: area.right().saturating_sub(x),
        ..area
    };
    let pieces = pieces
        .into_iter()
        .flat_map(|(text, tone)| [(Cow::from(text), tone), ("  ".into(), Tone::Text)]);
    painter.pieces(rest, pieces);
}

/// A column: its name, what is in it, and how wide it is.
struct Column {
    title: &'static str,
    cell: fn(&Process) -> (String, Tone),
    width: usize,
    right: bool,
    /// The higher, the sooner it goes on a narrow screen.
    rank: u8,
}

/// A figure of what is seen now.
fn figure(process: &Process, show: fn(&Summary) -> Option<String>) -> (String, Tone) {
    match process.current().and_then(show) {
        Some(text) => (text, Tone::Text),
        None => (UNKNOWN.to_owned(), Tone::Dim),
    }
}

const TABLE: [Column; 6] = [
    Column {
        title: COLUMNS[0].0,
        cell: |process| {
            let (glyph, word, tone) = word(process);
            (format!("{glyph} {word}"), tone)
        },
        width: 15,
        right: false,
        rank: 0,
    },
    Column {
        title: COLUMNS[1].0,
        cell: |process| (process.name(), Tone::Strong),
        width: 36,
        right: false,
        rank: 0,
    },
    Column {
        title: COLUMNS[2].0,
        cell: |process| figure(process, |s| s.lag.map(quantity::duration)),
        width: 7,
        right: true,
        rank: 2,
    },
    Column {
        title: COLUMNS[3].0,
        cell: |process| figure(process, |s| s.busy.map(quantity::percent)),
        width: 4,
        right: true,
        rank: 3,
    },
    Column {
        title: COLUMNS[4].0,
        cell: |process| figure(process, |s| Some(quantity::count(s.stalls))),
        width: 6,
        right: true,
        rank: 4,
    },
    Column {
        title: COLUMNS[5].0,
        cell: |process| {
            if let Some(problem) = process.problem() {
                return (problem.to_owned(), Tone::Dim);
            }
            let summary = process.current();
            let sentence = |s: &Summary| match s.verdict.level {
                Level::NotObserving => Some(s.verdict.sentence.clone()),
                _ => None,
            };
            let said = summary.and_then(|s| s.culprit().or_else(|| sentence(s)));
            (said.unwrap_or_default(), Tone::Text)
        },
        width: 200,
        right: false,
        rank: 1,
    },
];

/// Columns that leave less of the last one go.
const LEAST_LAST: usize = 24;

/// The columns that fit, each with its width; the last one takes what is left.
fn placed(visible: &[&Process], width: u16) -> Vec<(&'static Column, u16)> {
    let names = visible.iter().map(|process| {
        let name = process.name();
        columns(&escape::escaped(&name))
    });
    let widest = names.max().unwrap_or_default();
    let wishes = TABLE.iter().map(|column| Wish {
        width: match column.title {
            title if title == COLUMNS[1].0 => widest.clamp(12, column.width),
            _ => column.width,
        },
        rank: column.rank,
    });
    let placed = front::placed(wishes, LEAST_LAST, width);
    let column = |(number, width)| (&TABLE[number], width);
    placed.into_iter().map(column).collect()
}

fn table(page: &Several, parts: &Parts, painter: &mut Painter<'_>) {
    let shown = page.shown();
    let (cursor, first) = page.cursor();
    let visible: Vec<&Process> = shown
        .iter()
        .skip(first)
        .take(usize::from(parts.rows.height))
        .copied()
        .collect();
    let placed = placed(&visible, parts.rows.width);
    if parts.heads.height > 0 {
        let mut x = GUTTER;
        for (column, width) in &placed {
            let (y, right) = (parts.heads.y, column.right);
            let area = Rect::new(x, y, *width, 1);
            front::cell(painter, area, column.title, Tone::Title, right);
            x += width + 1;
        }
    }
    for ((at, process), y) in (first..).zip(&visible).zip(parts.rows.y..) {
        let mut x = GUTTER;
        for (column, width) in &placed {
            let (text, tone) = (column.cell)(process);
            let place = process.current().and_then(|s| s.worst.as_ref());
            let place = place.map_or("", |finding| finding.location.as_str());
            let text = shortened(&text, place, usize::from(*width));
            let area = Rect::new(x, y, *width, 1);
            front::cell(painter, area, &text, tone, column.right);
            x += width + 1;
        }
        if at == cursor {
            front::cursor(painter, y, parts.rows.width);
        }
    }
    if shown.is_empty() {
        let back = key_of(&page.keys, "back");
        let text = format!("no process matches the filter; {back} clears it");
        painter.put(GUTTER, parts.rows.y, parts.rows.width, &text, Tone::Dim);
    }
}

fn about(page: &Several, parts: &Parts, painter: &mut Painter<'_>) {
    let area = parts.about;
    let Some(process) = page.under_cursor() else {
        return;
    };
    let has_rule = parts.has_rule();
    if has_rule {
        let pid = process.summary.as_ref().and_then(|summary| summary.pid);
        let said = |pid: &u32| process.target == format!("pid:{pid}");
        let pid = pid.filter(|pid| !said(pid));
        let pid = pid.map_or_else(String::new, |pid| format!("  pid {pid}"));
        let (badge, tone) = header::standing(&process.connection, process.is_core, page.now);
        painter.rule(
            area,
            [
                (
                    escape::escaped(&process.name()).into_owned().into(),
                    Tone::Title,
                ),
                (pid.into(), Tone::Text),
                ("  ".into(), Tone::Text),
                (badge, tone),
            ],
        );
    }
    let rows = usize::from(area.height) - usize::from(has_rule && area.height > 0);
    let (sentence, remedy) = page.about(painter.buffer.area.as_size());
    let lead = |at: usize| if at == 0 { "→ " } else { "  " };
    // Where there is not room for both, what to do keeps half of it.
    let of_remedy = remedy
        .len()
        .min(rows.saturating_sub(sentence.len()).max(rows / 2));
    let sentence = cut(sentence, rows - of_remedy);
    let remedy = cut(remedy, of_remedy);
    let sentence = sentence.into_iter().map(|line| (line, Tone::Text));
    let remedy = remedy.into_iter().enumerate();
    let remedy = remedy.map(|(at, line)| (format!("{}{line}", lead(at)), Tone::Strong));
    let y = area.y + u16::from(has_rule);
    for ((line, tone), y) in sentence.chain(remedy).zip(y..area.bottom()) {
        painter.put(1, y, area.width.saturating_sub(1), &line, tone);
    }
}

/// The first of the lines, with a mark where more were left out.
fn cut(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

fn help(lines: &[HelpLine], area: Rect, painter: &mut Painter<'_>) {
    let names = HELP_NAMES as u16;
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        let text = match line {
            HelpLine::Keys(keys, text) => {
                painter.put(1, y, names - 1, keys, Tone::Key);
                text
            }
            HelpLine::Column(title, text) => {
                painter.put(1, y, names - 1, title, Tone::Title);
                text
            }
            HelpLine::More(text) => text,
            HelpLine::Text(text) => {
                painter.put(1, y, area.width.saturating_sub(1), text, Tone::Text);
                continue;
            }
        };
        let x = 1 + names;
        painter.put(x, y, area.width.saturating_sub(x), text, Tone::Text);
    }
}

fn footer(page: &Several, area: Rect, painter: &mut Painter<'_>) {
    if area.height == 0 {
        return;
    }
    let key = |name| key_of(&page.keys, name);
    let (filter, typing) = page.filter();
    if !page.shows_help() && (typing || !filter.is_empty()) {
        super::picker::filter(filter, typing, &page.keys, area, painter);
        return;
    }
    let is_open = page.shows_help();
    let any = !page.all().is_empty() && !is_open;
    let keys = [
        (key("open"), "go in", any),
        (key("back"), "back", is_open),
        (key("quit"), "quit", true),
        (key("help"), "help", true),
        (key("filter"), "filter", any),
        (key("copy"), "copy", any),
        (key("theme-next"), "theme", true),
    ];
    super::picker::keys(&keys, area, painter);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::{Terminal, backend::TestBackend, layout::Size};

    use super::*;
    use crate::{
        app::{Key, bindings::Keymap, several::tests::page},
        ui::{Depth, tests::text},
    };

    fn screen(page: &mut Several, width: u16, height: u16, ascii: bool) -> String {
        page.size = Size::new(width, height);
        let theme = Theme::new(Depth::None, ascii);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(page, &theme, frame)).unwrap();
        text(terminal.backend().buffer())
    }

    const SIZES: [(u16, u16); 5] = [(80, 24), (120, 40), (200, 50), (60, 15), (40, 10)];

    #[test]
    fn processes_of_each_kind() {
        for (width, height) in SIZES {
            let mut page = page(width, height);
            let shown = screen(&mut page, width, height, false);
            insta::assert_snapshot!(format!("processes_{width}x{height}"), shown);
        }
    }

    #[test]
    fn one_that_gives_no_data() {
        let mut page = page(80, 24);
        page.key(Key::Down);
        insta::assert_snapshot!("no_data_80x24", screen(&mut page, 80, 24, false));
        insta::assert_snapshot!("no_data_ascii_80x24", screen(&mut page, 80, 24, true));
    }

    #[test]
    fn a_filter_a_notice_and_the_smallest_screen() {
        let mut page = page(80, 24);
        for key in "/10.0".chars() {
            page.key(Key::Char(key));
        }
        insta::assert_snapshot!("filter_80x12", screen(&mut page, 80, 12, false));
        page.key(Key::Esc);
        page.notify("2 came: 10.0.0.11:6669, evil\u{1b}[2J; 1 went: 10.0.0.9:6669".into());
        let shown = screen(&mut page, 100, 24, false);
        let first = shown.lines().next().unwrap();
        assert!(
            first.contains("2 came: 10.0.0.11:6669, evil\\u{1b}[2J; 1 went"),
            "{first}"
        );
        insta::assert_snapshot!("processes_20x5", screen(&mut page, 20, 5, false));
    }

    #[test]
    fn the_help_scrolls_to_its_end() {
        let mut page = page(80, 24);
        page.key(Key::Char('?'));
        insta::assert_snapshot!("help_80x24", screen(&mut page, 80, 24, false));
        for _ in 0..100 {
            page.key(Key::Down);
        }
        let end = screen(&mut page, 80, 24, false);
        assert!(end.contains("show once you go into it"), "{end}");
        page.key(Key::Up);
        let before = screen(&mut page, 80, 24, false);
        assert_ne!(end, before, "a step back shows at once");
    }

    #[test]
    fn no_process_at_all() {
        let mut page = Several::new(
            Size::new(80, 24),
            Keymap::default(),
            std::time::Instant::now(),
        );
        page.nothing = "There is no process to watch.";
        let shown = screen(&mut page, 80, 24, false);
        assert!(
            shown.contains("0 processes") && shown.contains("There is no process"),
            "{shown}"
        );
        assert!(!shown.contains("go in"), "{shown}");
    }

    #[test]
    fn nothing_raw_reaches_the_screen() {
        let mut page = page(200, 50);
        for _ in 0..7 {
            let shown = screen(&mut page, 200, 50, false);
            assert!(
                shown.chars().all(|c| c == '\n' || !c.is_control()),
                "{shown:?}"
            );
            assert!(!shown.contains('\u{202e}'), "{shown:?}");
            page.key(Key::Down);
        }
    }

    proptest! {
        #[test]
        fn any_size_is_drawn(width in 1_u16..200, height in 1_u16..60, help: bool) {
            let mut page = page(width, height);
            if help {
                page.key(Key::Char('?'));
            }
            screen(&mut page, width, height, false);
            page.key(Key::End);
            screen(&mut page, width, height, true);
        }
    }
}
