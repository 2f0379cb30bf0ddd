//! A target on the screen: the options become a state, a theme and a feed.

use std::{path::PathBuf, time::Instant};

use tokio::sync::oneshot::Receiver;

use super::{
    feed::LiveFeed,
    picker,
    run::{self, Left, RunError, Stage},
    terminal::MouseUse,
};
use crate::{
    app::{Lab, Options, State, ThemeId},
    cli,
    naming::AgentSymbols,
    source::{
        self, Pace, Source, Target,
        processes::{Lister, Listing},
    },
    ui::{ColorChoice, Depth, Theme, ThemeError, Themes},
};

/// Why there is no screen.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The theme file cannot be read.
    #[error(
        "could not read the theme {path}: {error}; built in are colour-blind, dark, light and high-contrast"
    )]
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

/// What is shown, and how.
pub struct Show<'a> {
    /// The target.
    pub target: Target,
    /// What the user called it.
    pub name: &'a str,
    /// The screen's options.
    pub screen: &'a cli::Screen,
    /// The lab that was started, if one was.
    pub lab: Option<Lab>,
    /// How fast a recording is played.
    pub pace: Pace,
    /// A sentence that comes once the program that was started has ended.
    pub ended: Option<Receiver<String>>,
    /// The theme of the page of several processes, where there is one to come back to.
    pub within: Option<ThemeId>,
}

impl<'a> Show<'a> {
    /// A target that the user called `name`.
    pub fn new(target: Target, name: &'a str, screen: &'a cli::Screen) -> Self {
        Self {
            target,
            name,
            screen,
            lab: None,
            pace: Pace::default(),
            ended: None,
            within: None,
        }
    }

    /// Shows it until the user quits, on `taken` where the terminal has been taken over
    /// already. Must run on the thread that is to draw, which the panic hook knows by.
    pub fn run(
        self,
        taken: Option<Stage>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(), ScreenError> {
        let _within = runtime.enter();
        // What is wrong with a theme is said before the terminal is taken over.
        let themes = themes(self.screen)?;
        let mut stage = match taken {
            Some(taken) => taken,
            None => Stage::enter(mouse(self.screen))?,
        };
        self.run_on(&mut stage, themes, runtime).map(drop)
    }

    /// The same on a terminal that stays taken over.
    pub(super) fn run_on(
        self,
        on: &mut Stage,
        (themes, theme): (Themes, ThemeId),
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Left, ScreenError> {
        let own_theme = match (theme, &self.screen.theme) {
            (ThemeId::Own, Some(path)) => path.display().to_string(),
            _ => String::new(),
        };
        let _within = runtime.enter();
        let options = Options {
            target: self.name.trim_start_matches("http://").to_owned(),
            lab: self.lab,
            columns: self.screen.columns.clone(),
            keys: self.screen.keys.clone(),
            theme: self.within.unwrap_or(theme),
            own_theme,
            several: self.within.is_some(),
        };
        #[cfg(feature = "demo")]
        let link = crate::lab::client::spawn(self.target.clone(), runtime.handle());
        let how = source::Options {
            pace: self.pace,
            ..source::Options::default()
        };
        let symbols = AgentSymbols {
            target: self.target.clone(),
            runtime: runtime.handle().clone(),
        };
        let source: Source = source::spawn(self.target, how, runtime.handle());
        let state = State::new(options, Instant::now());
        let mut feed = LiveFeed::new(source).with_symbols(symbols);
        if let Some(ended) = self.ended {
            feed = feed.with_end(ended);
        }
        #[cfg(feature = "demo")]
        let mut feed = feed.with_lab(link);
        let editing = &self.screen.editing;
        let left = runtime.block_on(run::run(state, &themes, editing, on, &mut feed));
        if !matches!(left, Ok(Left::Back(_))) {
            // Before the feed ends, which may have files to write.
            on.tui.leave();
        }
        Ok(left?)
    }
}

/// Lets the user choose a target, of those that are found on this machine; `None` where
/// the user quits. The terminal stays taken over.
pub fn choose(
    listing: Listing,
    lister: Lister,
    screen: &cli::Screen,
    runtime: &tokio::runtime::Runtime,
) -> Result<Option<(Target, Stage)>, ScreenError> {
    let (themes, theme) = themes(screen)?;
    let _within = runtime.enter();
    let mut stage = Stage::enter(mouse(screen))?;
    let picked = runtime.block_on(picker::pick(
        &mut stage,
        themes.get(theme),
        &screen.keys,
        listing,
        lister,
    ))?;
    Ok(picked.map(|target| (target, stage)))
}

pub(super) fn mouse(screen: &cli::Screen) -> MouseUse {
    if screen.no_mouse {
        MouseUse::Leave
    } else {
        MouseUse::Take
    }
}

/// All themes, and the one to begin with.
pub(super) fn themes(screen: &cli::Screen) -> Result<(Themes, ThemeId), ScreenError> {
    let choice = match screen.color {
        cli::ColorChoice::Auto => ColorChoice::Auto,
        cli::ColorChoice::Always => ColorChoice::Always,
        cli::ColorChoice::Never => ColorChoice::Never,
    };
    let depth = Depth::detect(choice, |name| std::env::var(name).ok());
    let Some(path) = screen.theme.clone() else {
        let themes = Themes::new(None, depth, screen.ascii);
        return Ok((themes, ThemeId::default()));
    };
    if let Some(Ok(built_in)) = path.to_str().map(str::parse) {
        return Ok((Themes::new(None, depth, screen.ascii), built_in));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| ScreenError::Read {
        path: path.clone(),
        error,
    })?;
    let own = Theme::with(&text, depth, screen.ascii)
        .map_err(|error| ScreenError::Theme { path, error })?;
    Ok((Themes::new(Some(own), depth, screen.ascii), ThemeId::Own))
}
