//! Large letters for a room: five rows high, of full blocks, which `--ascii`
//! turns into `#`.

/// Rows of a letter.
pub(super) const HEIGHT: u16 = 5;

/// Cells side by side that make one dot: a cell is about twice as high as wide.
pub(super) type Dot = u16;

/// The letters and digits that words and figures on screen need.
const GLYPHS: &[(char, [&str; 5])] = &[
    (' ', ["  ", "  ", "  ", "  ", "  "]),
    ('A', [".##.", "#..#", "####", "#..#", "#..#"]),
    ('B', ["###.", "#..#", "###.", "#..#", "###."]),
    ('C', [".###", "#...", "#...", "#...", ".###"]),
    ('D', ["###.", "#..#", "#..#", "#..#", "###."]),
    ('E', ["####", "#...", "###.", "#...", "####"]),
    ('F', ["####", "#...", "###.", "#...", "#..."]),
    ('G', [".###", "#...", "#.##", "#..#", ".###"]),
    ('H', ["#..#", "#..#", "####", "#..#", "#..#"]),
    ('I', ["###", ".#.", ".#.", ".#.", "###"]),
    ('K', ["#..#", "#.#.", "##..", "#.#.", "#..#"]),
    ('L', ["#...", "#...", "#...", "#...", "####"]),
    ('M', ["#...#", "##.##", "#.#.#", "#...#", "#...#"]),
    ('N', ["#...#", "##..#", "#.#.#", "#..##", "#...#"]),
    ('O', [".##.", "#..#", "#..#", "#..#", ".##."]),
    ('P', ["###.", "#..#", "###.", "#...", "#..."]),
    ('R', ["###.", "#..#", "###.", "#.#.", "#..#"]),
    ('S', [".###", "#...", ".##.", "...#", "###."]),
    ('T', ["#####", "..#..", "..#..", "..#..", "..#.."]),
    ('U', ["#..#", "#..#", "#..#", "#..#", ".##."]),
    ('V', ["#...#", "#...#", "#...#", ".#.#.", "..#.."]),
    ('W', ["#...#", "#...#", "#.#.#", "##.##", "#...#"]),
    ('Y', ["#...#", ".#.#.", "..#..", "..#..", "..#.."]),
    ('0', ["###", "#.#", "#.#", "#.#", "###"]),
    ('1', [".#.", "##.", ".#.", ".#.", "###"]),
    ('2', ["###", "..#", "###", "#..", "###"]),
    ('3', ["###", "..#", "###", "..#", "###"]),
    ('4', ["#.#", "#.#", "###", "..#", "..#"]),
    ('5', ["###", "#..", "###", "..#", "###"]),
    ('6', ["###", "#..", "###", "#.#", "###"]),
    ('7', ["###", "..#", "..#", "..#", "..#"]),
    ('8', ["###", "#.#", "###", "#.#", "###"]),
    ('9', ["###", "#.#", "###", "..#", "###"]),
    ('.', [".", ".", ".", ".", "#"]),
    ('–', ["...", "...", "###", "...", "..."]),
    ('k', ["#..", "#.#", "##.", "#.#", "#.#"]),
    ('m', [".....", "##.#.", "#.#.#", "#.#.#", "#.#.#"]),
    ('h', ["#..", "#..", "##.", "#.#", "#.#"]),
    ('d', ["..#", "..#", ".##", "#.#", ".##"]),
];

/// What stands for a character that has no letter here.
const OTHER: [&str; 5] = ["###", "..#", ".#.", "...", ".#."];

fn glyph(c: char) -> &'static [&'static str; 5] {
    let found = GLYPHS.iter().find(|(known, _)| *known == c);
    found.map_or(&OTHER, |(_, rows)| rows)
}

/// Columns that `text` takes.
pub(super) fn width(text: &str, dot: Dot) -> u16 {
    let dots = |c| glyph(c)[0].chars().count() + 1;
    let all: usize = text.chars().map(dots).sum();
    u16::try_from(all.saturating_sub(1))
        .unwrap_or(u16::MAX)
        .saturating_mul(dot)
}

/// The rows of `text`.
pub(super) fn rows(text: &str, dot: Dot) -> [String; 5] {
    std::array::from_fn(|row| {
        let mut line = String::new();
        for c in text.chars() {
            for cell in glyph(c)[row].chars() {
                let cell = if cell == '#' { '█' } else { ' ' };
                line.extend(std::iter::repeat_n(cell, usize::from(dot)));
            }
            line.extend(std::iter::repeat_n(' ', usize::from(dot)));
        }
        line.truncate(line.trim_end().len());
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Level;

    #[test]
    fn every_glyph_is_a_rectangle() {
        for (c, rows) in GLYPHS {
            let width = rows[0].chars().count();
            assert!(rows.iter().all(|r| r.chars().count() == width), "{c}");
        }
    }

    #[test]
    fn every_word_and_figure_on_screen_has_its_letters_and_fits_80_columns() {
        let words = Level::ALL.map(Level::word);
        for text in
            words
                .into_iter()
                .chain(["NO DATA", "READING", "NO CONNECTION", "0123456789.k–"])
        {
            let known = |c: char| GLYPHS.iter().any(|(g, _)| *g == c);
            assert!(text.chars().all(known), "{text}");
            assert!(width(text, 1) <= 76, "{text}");
            for row in rows(text, 2) {
                assert!(row.chars().count() <= usize::from(width(text, 2)), "{text}");
            }
        }
        // The longest is written with small dots.
        assert!(words.iter().all(|w| width(w, 2) <= 76 || w.len() > 10));
    }
}
