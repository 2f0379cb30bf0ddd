//! Screens as snapshots, styles apart from text, and sizes of all kinds.

use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, layout::Size, style::Modifier};

use crate::app::{
    Action, Event, Motion, State, ViewId,
    tests::{empty_state, starving_state, type_text},
    update, view,
};

use super::{Depth, Theme, render};

fn draw(state: &mut State, width: u16, height: u16, theme: &Theme) -> Buffer {
    state.size = Size::new(width, height);
    state.prepare();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(state, theme, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut text = String::new();
    for row in buffer.content.chunks(width.max(1)) {
        let mut skip = 0;
        for cell in row {
            if skip == 0 {
                text.push_str(cell.symbol());
                skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
            }
            skip -= 1;
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

fn plain() -> Theme {
    Theme::new(Depth::None, false)
}

fn screen(state: &mut State, width: u16, height: u16) -> String {
    text(&draw(state, width, height, &plain()))
}

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (60, 15)];

#[test]
fn views() {
    for view in view::VIEWS {
        let mut state = starving_state();
        state.options.lab = Some(crate::app::Lab {
            scenario: "cpu-in-handler".into(),
            mode: "broken".into(),
            caption: "20 to 100 ms of CPU in a handler".into(),
        });
        update(&mut state, Action::Show(view.id));
        for (width, height) in SIZES {
            let name = format!("{}_{width}x{height}", view.title.to_lowercase());
            insta::assert_snapshot!(name, screen(&mut state, width, height));
        }
    }
}
