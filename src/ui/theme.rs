//! Themes: what each meaning looks like, for each kind of terminal.

use std::{collections::BTreeMap, str::FromStr};

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use crate::app::{ThemeId, Tone};

use super::picture::{Canvas, rgb};

/// How many colours the terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None: bold, underlined and reversed only.
    None,
    /// The 16 of old.
    Ansi16,
    /// 256.
    Ansi256,
    /// 24 bits.
    True,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// Where the terminal has them and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Whatever the environment says.
    Always,
    /// Never.
    Never,
}

impl Depth {
    /// The depth for a choice and an environment, which `var` looks up.
    pub fn detect(choice: ColorChoice, var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|v| !v.is_empty());
        let term = set("TERM").unwrap_or_default();
        let mute = set("NO_COLOR").is_some() || term == "dumb" || term.is_empty();
        if choice == ColorChoice::Never || (choice == ColorChoice::Auto && mute) {
            return Depth::None;
        }
        match set("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") => Depth::True,
            _ if term.contains("direct") || term.contains("kitty") => Depth::True,
            _ if term.contains("256") => Depth::Ansi256,
            _ => Depth::Ansi16,
        }
    }
}

/// What each meaning looks like on this terminal.
#[derive(Debug, Clone)]
pub struct Theme {
    styles: BTreeMap<Tone, Style>,
    /// Only ASCII may be drawn.
    pub ascii: bool,
}

/// Why a theme was refused.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    /// The file is not TOML, or names what a theme does not have.
    #[error("the theme is not valid: {0}")]
    Syntax(#[from] Box<toml::de::Error>),
    /// A colour that is none.
    #[error(
        "the theme's {tone} has '{text}', which is no colour: write \"#rrggbb\" in fg and bg, a name such as light-blue in fg16 and bg16"
    )]
    Color {
        /// Which meaning.
        tone: String,
        /// What was written.
        text: String,
    },
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "as a theme file has them")]
struct Look {
    fg: Option<String>,
    bg: Option<String>,
    fg16: Option<String>,
    bg16: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
    reversed: bool,
}

/// The file of a theme that needs none of the user's.
fn file(id: ThemeId) -> &'static str {
    match id {
        ThemeId::ColourBlind | ThemeId::Own => include_str!("themes/colour-blind.toml"),
        ThemeId::Dark => include_str!("themes/dark.toml"),
        ThemeId::Light => include_str!("themes/light.toml"),
        ThemeId::HighContrast => include_str!("themes/high-contrast.toml"),
    }
}

/// The themes between which the screen can switch.
#[derive(Debug, Clone)]
pub struct Themes {
    built_in: [Theme; ThemeId::BUILT_IN.len()],
    own: Option<Theme>,
}

impl Themes {
    /// Those that are built in, and `own`, that of a file.
    pub fn new(own: Option<Theme>, depth: Depth, ascii: bool) -> Self {
        Self {
            built_in: ThemeId::BUILT_IN.map(|id| Theme::built_in(id, depth, ascii)),
            own,
        }
    }

    /// The theme of this name.
    pub fn get(&self, id: ThemeId) -> &Theme {
        let place = ThemeId::BUILT_IN.iter().position(|other| *other == id);
        match (place, &self.own) {
            (Some(place), _) => &self.built_in[place],
            (None, Some(own)) => own,
            (None, None) => &self.built_in[0],
        }
    }
}

impl Theme {
    /// The default theme.
    pub fn new(depth: Depth, ascii: bool) -> Self {
        Self::built_in(ThemeId::default(), depth, ascii)
    }

    /// One that needs no file.
    pub fn built_in(id: ThemeId, depth: Depth, ascii: bool) -> Self {
        // A test reads the embedded themes, so an error cannot get this far.
        Self::layered(&[file(id)], depth, ascii).unwrap_or(Self {
            styles: BTreeMap::new(),
            ascii,
        })
    }

    /// The default theme with what `text`, a theme file, says otherwise.
    pub fn with(text: &str, depth: Depth, ascii: bool) -> Result<Self, ThemeError> {
        Self::layered(&[file(ThemeId::default()), text], depth, ascii)
    }

    fn layered(texts: &[&str], depth: Depth, ascii: bool) -> Result<Self, ThemeError> {
        let mut styles = BTreeMap::new();
        for text in texts {
            let looks: BTreeMap<Tone, Look> = toml::from_str(text).map_err(Box::new)?;
            for (tone, look) in looks {
                let style = look.style(tone, depth).map_err(|text| ThemeError::Color {
                    tone: format!("{tone:?}").to_lowercase(),
                    text,
                })?;
                styles.insert(tone, style);
            }
        }
        Ok(Self { styles, ascii })
    }

    /// What stands for the terminal's own colours in a picture.
    pub fn canvas(&self) -> Canvas {
        let text = self.style(Tone::Text);
        let color = |color: Option<Color>, otherwise| color.and_then(rgb).unwrap_or(otherwise);
        Canvas {
            text: color(text.fg, Canvas::DARK.text),
            behind: color(text.bg, Canvas::DARK.behind),
        }
    }

    /// The look of a meaning.
    pub fn style(&self, tone: Tone) -> Style {
        self.styles.get(&tone).copied().unwrap_or_default()
    }
}

impl Look {
    fn style(&self, tone: Tone, depth: Depth) -> Result<Style, String> {
        let color = |full: &Option<String>, named: &Option<String>| match depth {
            Depth::None => Ok(None),
            Depth::Ansi16 => named.as_deref().map(name).transpose(),
            Depth::Ansi256 => Ok(full.as_deref().map(hex).transpose()?.map(nearest)),
            Depth::True => {
                let rgb = full.as_deref().map(hex).transpose()?;
                Ok(rgb.map(|[r, g, b]| Color::Rgb(r, g, b)))
            }
        };
        let mut style = Style {
            fg: color(&self.fg, &self.fg16)?,
            bg: color(&self.bg, &self.bg16)?,
            ..Style::default()
        };
        let modifiers = [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.underlined, Modifier::UNDERLINED),
            // A background that is not to be had is shown by reversing, but for that of
            // the whole screen.
            (
                self.reversed || (tone != Tone::Text && self.bg.is_some() && style.bg.is_none()),
                Modifier::REVERSED,
            ),
        ];
        for (_, modifier) in modifiers.into_iter().filter(|(wanted, _)| *wanted) {
            style = style.add_modifier(modifier);
        }
        Ok(style)
    }
}

fn name(text: &str) -> Result<Color, String> {
    let named = Color::from_str(text).map_err(|_| text.to_owned())?;
    match named {
        Color::Rgb(..) | Color::Indexed(_) => Err(text.to_owned()),
        named => Ok(named),
    }
}

fn hex(text: &str) -> Result<[u8; 3], String> {
    let digits = text
        .strip_prefix('#')
        .filter(|d| d.len() == 6 && d.is_ascii());
    let part = |n: usize| u8::from_str_radix(&digits?[n..n + 2], 16).ok();
    match (part(0), part(2), part(4)) {
        (Some(r), Some(g), Some(b)) => Ok([r, g, b]),
        _ => Err(text.to_owned()),
    }
}

/// The nearest of the cube and the greys that 256 colours hold.
fn nearest(rgb: [u8; 3]) -> Color {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |v: u8| (0..6u8).min_by_key(|i| STEPS[usize::from(*i)].abs_diff(v));
    let steps = rgb.map(|v| step(v).unwrap_or(0));
    let cube = steps.map(|i| STEPS[usize::from(i)]);
    let distance = |other: [u8; 3]| -> u32 {
        let apart = other.iter().zip(rgb).map(|(a, b)| a.abs_diff(b));
        apart.map(|d| u32::from(d).pow(2)).sum()
    };
    let mean = rgb.iter().map(|v| u16::from(*v)).sum::<u16>() / 3;
    let shade = ((mean.clamp(8, 238) - 8 + 5) / 10).min(23) as u8;
    if distance([8 + shade * 10; 3]) < distance(cube) {
        Color::Indexed(232 + shade)
    } else {
        Color::Indexed(16 + 36 * steps[0] + 6 * steps[1] + steps[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_themes_name_every_meaning() {
        let depths = [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True];
        let all = depths.map(|depth| ThemeId::BUILT_IN.map(|id| (depth, id)));
        for (depth, id) in all.into_iter().flatten() {
            let theme = Theme::layered(&[file(id)], depth, false).unwrap();
            for tone in Tone::ALL {
                assert!(theme.styles.contains_key(&tone), "{tone:?}");
                let style = theme.style(tone);
                assert!(depth > Depth::None || (style.fg, style.bg) == (None, None));
            }
            assert!(
                theme.style(Tone::Selected) != theme.style(Tone::Text),
                "{depth:?} {id}"
            );
        }
    }

    /// The contrast of two colours, from 1 to 21, as WCAG 2 defines it.
    fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
        let light = |rgb: [u8; 3]| {
            let linear = rgb.map(|part| {
                let part = f64::from(part) / 255.0;
                if part <= 0.040_45 {
                    part / 12.92
                } else {
                    ((part + 0.055) / 1.055).powf(2.4)
                }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05
        };
        let (one, other) = (light(one), light(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn text_stands_out_from_what_is_behind_it() {
        for (id, least) in [
            (ThemeId::ColourBlind, 4.5),
            (ThemeId::Dark, 4.5),
            (ThemeId::Light, 4.5),
            (ThemeId::HighContrast, 7.0),
        ] {
            for depth in [Depth::Ansi256, Depth::True] {
                let theme = Theme::built_in(id, depth, false);
                let canvas = theme.canvas();
                for tone in Tone::ALL {
                    let style = theme.style(tone);
                    let text = style.fg.and_then(rgb).unwrap_or(canvas.text);
                    let behind = style.bg.and_then(rgb).unwrap_or(canvas.behind);
                    // Rules are no text.
                    let least = if tone == Tone::Border { 2.5 } else { least };
                    let seen = contrast(text, behind);
                    assert!(seen >= least, "{id} {depth:?} {tone:?}: {seen:.1}");
                }
            }
        }
    }

    #[test]
    fn the_environment_decides_how_many_colours() {
        type Case = (ColorChoice, &'static [(&'static str, &'static str)], Depth);
        let table: [Case; 8] = [
            (ColorChoice::Auto, &[("TERM", "xterm")], Depth::Ansi16),
            (
                ColorChoice::Auto,
                &[("TERM", "xterm-256color")],
                Depth::Ansi256,
            ),
            (
                ColorChoice::Auto,
                &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")],
                Depth::True,
            ),
            (
                ColorChoice::Auto,
                &[("TERM", "xterm"), ("NO_COLOR", "1")],
                Depth::None,
            ),
            (
                ColorChoice::Auto,
                &[("TERM", "xterm"), ("NO_COLOR", "")],
                Depth::Ansi16,
            ),
            (
                ColorChoice::Always,
                &[("TERM", "xterm"), ("NO_COLOR", "1")],
                Depth::Ansi16,
            ),
            (ColorChoice::Never, &[("COLORTERM", "24bit")], Depth::None),
            (ColorChoice::Auto, &[("TERM", "dumb")], Depth::None),
        ];
        for (choice, vars, depth) in table {
            let var = |name: &str| {
                vars.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Depth::detect(choice, var), depth, "{choice:?} {vars:?}");
        }
    }

    #[test]
    fn a_theme_file_changes_what_it_names_and_is_refused_with_a_reason() {
        let theme = Theme::with("good = { fg = \"#00ff00\" }", Depth::True, false).unwrap();
        assert_eq!(theme.style(Tone::Good).fg, Some(Color::Rgb(0, 255, 0)));
        assert!(theme.style(Tone::Critical).fg.is_some());
        for (text, expected) in [
            ("good = { fg = \"green\" }", "no colour"),
            ("god = {}", "unknown variant `god`"),
            ("good = { fog = 1 }", "unknown field `fog`"),
        ] {
            let error = Theme::with(text, Depth::True, false)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn colours_become_the_nearest_of_256() {
        for (text, index) in [
            ("#000000", 16),
            ("#ffffff", 231),
            ("#808080", 244),
            ("#ff0000", 196),
        ] {
            assert_eq!(nearest(hex(text).unwrap()), Color::Indexed(index), "{text}");
        }
    }
}
