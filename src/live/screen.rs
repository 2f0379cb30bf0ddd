//! A target on the screen: the options become a state, a theme and a feed.

use std::{path::PathBuf, time::Instant};

use super::{
    feed::LiveFeed,
    run::{self, RunError},
    terminal::MouseUse,
};
use crate::{
    app::{Lab, Options, State},
    cli,
    naming::AgentSymbols,
    source::{self, Pace, Source, Target},
    ui::{ColorChoice, Depth, Theme, ThemeError},
};

/// Why there is no screen.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The theme file cannot be read.
    #[error("could not read the theme {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// The theme file makes no sense.
    #[error("the theme {path} cannot be used: {error}")]
    Theme {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ThemeError,
    },
    /// The terminal, or a signal handler.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Shows `target`, which the user called `name`, until the user quits; a
/// recording is played at `pace`. Must run
/// on the thread that is to draw, which the panic hook knows by.
pub fn show(
    target: Target,
    name: &str,
    screen: &cli::Screen,
    lab: Option<Lab>,
    pace: Pace,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), ScreenError> {
    let theme = theme(screen)?;
    let mouse = if screen.no_mouse {
        MouseUse::Leave
    } else {
        MouseUse::Take
    };
    let options = Options {
        target: name.trim_start_matches("http://").to_owned(),
        lab,
        columns: screen.columns.clone(),
    };
    #[cfg(feature = "demo")]
    let link = crate::lab::client::spawn(target.clone(), runtime.handle());
    let how = source::Options {
        pace,
        ..source::Options::default()
    };
    let symbols = AgentSymbols {
        target: target.clone(),
        runtime: runtime.handle().clone(),
    };
    let source: Source = source::spawn(target, how, runtime.handle());
    let state = State::new(options, Instant::now());
    let feed = LiveFeed::new(source).with_symbols(symbols);
    #[cfg(feature = "demo")]
    let feed = feed.with_lab(link);
    Ok(runtime.block_on(run::run(state, &theme, mouse, feed))?)
}

fn theme(screen: &cli::Screen) -> Result<Theme, ScreenError> {
    let choice = match screen.color {
        cli::ColorChoice::Auto => ColorChoice::Auto,
        cli::ColorChoice::Always => ColorChoice::Always,
        cli::ColorChoice::Never => ColorChoice::Never,
    };
    let depth = Depth::detect(choice, |name| std::env::var(name).ok());
    let Some(path) = screen.theme.clone() else {
        return Ok(Theme::new(depth, screen.ascii));
    };
    let text = std::fs::read_to_string(&path).map_err(|error| ScreenError::Read {
        path: path.clone(),
        error,
    })?;
    Theme::with(&text, depth, screen.ascii).map_err(|error| ScreenError::Theme { path, error })
}
