//! The screen: a function of the state.
//!
//! ```text
//! header    looptop  lab 127.0.0.1:6669  pid 4211  up 02:13   ● LIVE   4 workers
//! verdict    ▲ STARVED  worker 2 blocked 843 ms computing in report::render (cpu.rs:42)
//! remedy     → heavy CPU: move it to a dedicated pool (rayon)
//! tabs       1 Overview  2 Tasks  3 Workers  4 Stalls  5 Resources  6 Threads  8 Waits
//! body      a view, or a page of details, explanation or help
//! footer    keys, or the line where a filter is typed
//! ```
//!
//! A panel is a file. Nothing here changes the state, does I/O or asks a clock;
//! only rows that are visible are formatted.

mod ascii;
mod block_letters;
mod chart;
mod footer;
mod header;
mod page;
mod painter;
pub mod picker;
mod presenter;
mod table;
mod tabs;
mod theme;
mod timeline;
mod verdict;
mod views;

#[cfg(test)]
mod activity_tests;
#[cfg(test)]
mod lab_tests;
#[cfg(test)]
mod outside_tests;
#[cfg(test)]
mod repeat_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waits_tests;

use ratatui::Frame;

use crate::app::{Mode, Screen, State, Tone, screen::LEAST};

use painter::Painter;
pub use theme::{ColorChoice, Depth, Theme, ThemeError};

/// Draws the state. [`State::prepare`] must have been called since it changed.
pub fn render(state: &State, theme: &Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut painter = Painter {
        buffer: frame.buffer_mut(),
        theme,
    };
    match Screen::new(area.as_size()) {
        Some(screen) => whole(state, &screen, &mut painter),
        None => too_small(&mut painter),
    }
    if theme.ascii {
        ascii::replace(frame.buffer_mut());
    }
}

fn whole(state: &State, screen: &Screen, painter: &mut Painter<'_>) {
    header::render(state, screen.header, painter);
    if state.mode() == Mode::Presenter {
        return presenter::render(state, painter);
    }
    verdict::render(state, screen.verdict, painter);
    tabs::render(state, screen.tabs, painter);
    if crate::app::page::is_open(state) {
        page::render(state, screen.body, painter);
    } else {
        views::render(state, screen.body, painter);
    }
    footer::render(state, screen.footer, painter);
}

fn too_small(painter: &mut Painter<'_>) {
    let area = painter.buffer.area;
    let text = format!(
        "looptop needs {}x{}; this terminal is {}x{}",
        LEAST.width, LEAST.height, area.width, area.height
    );
    let lines = crate::app::page::wrap(&text, usize::from(area.width));
    for (y, line) in (area.y..area.bottom()).zip(lines) {
        painter.put(area.x, y, area.width, &line, Tone::Text);
    }
}
