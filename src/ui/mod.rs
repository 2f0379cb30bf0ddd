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
mod front;
mod header;
pub mod links;
mod page;
mod painter;
mod palette;
pub mod picker;
pub mod picture;
mod presenter;
pub mod several;
mod small;
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

use ratatui::{Frame, buffer::Buffer};

use crate::app::{Mode, Screen, State, Tone};

use painter::Painter;
pub use theme::{ColorChoice, Depth, Theme, ThemeError, Themes};

/// Draws the state. [`State::prepare`] must have been called since it changed.
pub fn render(state: &State, theme: &Theme, frame: &mut Frame<'_>) {
    paint(state, theme, frame.buffer_mut());
}

/// The same without a terminal.
pub fn paint(state: &State, theme: &Theme, buffer: &mut Buffer) {
    let area = buffer.area;
    buffer.set_style(area, theme.style(Tone::Text));
    let mut painter = Painter {
        buffer: &mut *buffer,
        theme,
    };
    match Screen::new(area.as_size()) {
        Some(screen) => whole(state, &screen, &mut painter),
        None => small::render(state, &mut painter),
    }
    if theme.ascii {
        ascii::replace(buffer);
    }
}

fn whole(state: &State, screen: &Screen, painter: &mut Painter<'_>) {
    header::render(state, screen.header, painter);
    if state.below_palette() == Mode::Presenter {
        presenter::render(state, painter);
        return palette::render(state, screen.body, screen.footer, painter);
    }
    verdict::render(state, screen.verdict, painter);
    tabs::render(state, screen.tabs, painter);
    if crate::app::page::is_open(state) {
        page::render(state, screen.body, painter);
    } else {
        views::render(state, screen.body, painter);
    }
    footer::render(state, screen.footer, painter);
    palette::render(state, screen.body, screen.footer, painter);
}
