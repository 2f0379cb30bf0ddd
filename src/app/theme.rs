//! The names of the themes; how they look is `ui::theme`'s.

use std::{fmt, str::FromStr};

/// A theme that the screen can switch to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThemeId {
    /// Blue and orange, on the terminal's own background.
    #[default]
    ColourBlind,
    /// Green, yellow and red on a dark background.
    Dark,
    /// The same on a light one.
    Light,
    /// Black, white and full colours.
    HighContrast,
    /// The file that the configuration or the command line names.
    Own,
}

impl ThemeId {
    /// Those that need no file.
    pub const BUILT_IN: [Self; 4] = [
        Self::ColourBlind,
        Self::Dark,
        Self::Light,
        Self::HighContrast,
    ];

    /// What the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ColourBlind => "colour-blind",
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::Own => "of the file",
        }
    }

    /// The one after it, round and round; a file's only where there is one.
    #[must_use]
    pub fn next(self, has_own: bool) -> Self {
        match self {
            Self::ColourBlind => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::HighContrast,
            Self::HighContrast if has_own => Self::Own,
            Self::HighContrast | Self::Own => Self::ColourBlind,
        }
    }
}

impl fmt::Display for ThemeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ThemeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::BUILT_IN.into_iter();
        // As others spell it.
        let text = text.replace("color", "colour");
        all.find(|id| id.name() == text).ok_or(())
    }
}
