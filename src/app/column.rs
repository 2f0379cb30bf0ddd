//! Columns: what a table can show, sort by and filter by.
//!
//! A column is one entry in its table's list (see [`tables`](super::tables)).
//! Its [`Head`] says how it is laid out; its sort key also serves the filter,
//! under the column's id; its cell is formatted for visible rows only.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

use crate::{
    diagnose::Severity,
    model::{LocationId, Model, Moment, Span, TaskId},
};

use super::{Tone, quantity, waits::Seen};

/// What a cell or a sort key may look at.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The model shown.
    pub model: &'a Model,
    /// Tasks that a finding is about, with the worst severity.
    pub alarms: &'a BTreeMap<TaskId, Severity>,
    /// What the tasks spawned at a location run, where a stack of one named it.
    pub functions: &'a BTreeMap<LocationId, String>,
    /// What was worked out of all who wait.
    pub waits: &'a Seen,
    /// The part of time that charts show.
    pub span: Span,
    /// How deep each task is in the tree; empty where tasks are a list.
    pub depths: &'a HashMap<TaskId, u8>,
}

impl Context<'_> {
    /// The model's now.
    pub fn now(&self) -> Moment {
        self.model.now
    }
}

/// On which side a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Which end is cut off where the column is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The end, as for names.
    End,
    /// The start, as for paths.
    Start,
}

/// What a filter compares with: how `>100ms` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Text: `:` looks for a part of it.
    Text,
    /// A plain number.
    Count,
    /// Seconds.
    Time,
    /// Bytes.
    Bytes,
    /// A share of 1, shown in per cent.
    Share,
}

/// How a column is laid out and named.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Its name in a filter and in configuration.
    pub id: &'static str,
    /// Its name on screen.
    pub title: &'static str,
    /// Least width.
    pub width: u16,
    /// The width that it gets before columns of a priority from [`LUXURY`] on are
    /// shown at all.
    pub easy: u16,
    /// How much it grows where there is room; 0 for a fixed width.
    pub grow: u16,
    /// Most width.
    pub most: u16,
    /// 0 stays longest on a narrow screen.
    pub priority: u8,
    /// Where the cell stands.
    pub align: Align,
    /// Which end is cut.
    pub cut: Cut,
    /// What its values are.
    pub unit: Unit,
    /// A filter without a column name searches it.
    pub searched: bool,
    /// What it shows, for the help.
    pub help: &'static str,
    /// No row of this session can have it: it is left out, unless the configuration
    /// names it.
    pub unknown: bool,
}

impl Head {
    /// A column of text that is `width` wide and grows.
    pub const fn text(id: &'static str, title: &'static str, width: u16, priority: u8) -> Self {
        Self {
            id,
            title,
            width,
            easy: width,
            grow: 0,
            most: width,
            priority,
            align: Align::Left,
            cut: Cut::End,
            unit: Unit::Text,
            searched: false,
            help: "",
            unknown: false,
        }
    }

    /// A column of numbers.
    pub const fn number(
        id: &'static str,
        title: &'static str,
        width: u16,
        priority: u8,
        unit: Unit,
    ) -> Self {
        Self {
            align: Align::Right,
            unit,
            ..Self::text(id, title, width, priority)
        }
    }

    /// Grows up to `most` columns.
    #[must_use]
    pub const fn growing(self, grow: u16, most: u16) -> Self {
        Self { grow, most, ..self }
    }

    /// Comes before luxuries up to `easy` columns.
    #[must_use]
    pub const fn easy(self, easy: u16) -> Self {
        Self { easy, ..self }
    }

    /// Compares as `unit`, though it stands as text.
    #[must_use]
    pub const fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// Is cut at its start.
    #[must_use]
    pub const fn cut_at_start(self) -> Self {
        Self {
            cut: Cut::Start,
            ..self
        }
    }

    /// A filter without a column name searches it.
    #[must_use]
    pub const fn searched(self) -> Self {
        Self {
            searched: true,
            ..self
        }
    }

    /// What it shows.
    #[must_use]
    pub const fn help(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// Numbers start with the largest, texts with the first of the alphabet.
    pub fn starts_descending(&self) -> bool {
        self.unit != Unit::Text
    }
}

/// A column of a table whose rows are `R`.
pub struct Column<R: 'static> {
    /// How it is laid out and named.
    pub head: Head,
    /// What it sorts by, and what a filter compares with.
    pub key: for<'a> fn(&Context<'a>, &'a R) -> Key<'a>,
    /// What it shows, in so many columns.
    pub cell: for<'a> fn(&Context<'a>, &'a R, usize) -> Cell,
}

/// The value of a cell, to sort and to filter by.
#[derive(Debug, Clone, PartialEq)]
pub enum Key<'a> {
    /// Sorts last, either way; no filter matches it.
    Unknown,
    /// In the base unit: seconds, bytes, a share of 1.
    Number(f64),
    /// Sorts by the alphabet.
    Text(Cow<'a, str>),
    /// Sorts by the number and reads as the word.
    Rank(u8, &'static str),
    /// File and line.
    Place(&'a str, u32),
}

impl<'a> Key<'a> {
    /// A number where there is one.
    pub fn number(value: Option<impl Into<f64>>) -> Self {
        value.map_or(Key::Unknown, |n| Key::Number(n.into()))
    }

    /// A count where there is one.
    pub fn count(value: Option<u64>) -> Self {
        Self::number(value.map(|n| n as f64))
    }

    /// A duration in seconds where there is one.
    pub fn time(value: Option<std::time::Duration>) -> Self {
        Self::number(value.map(|d| d.as_secs_f64()))
    }

    /// A text; unknown where it is empty.
    pub fn text(value: impl Into<Cow<'a, str>>) -> Self {
        let value = value.into();
        if value.is_empty() {
            Key::Unknown
        } else {
            Key::Text(value)
        }
    }

    /// As text, for a filter.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Key::Unknown => None,
            Key::Number(n) => Some(quantity::short(*n).into()),
            Key::Text(text) => Some(Cow::Borrowed(text)),
            Key::Rank(_, word) => Some(Cow::Borrowed(word)),
            Key::Place(file, line) => Some(format!("{file}:{line}").into()),
        }
    }

    /// The order of two keys; `descending` turns it round, but the unknown
    /// stays last.
    pub fn order(&self, other: &Self, descending: bool) -> Ordering {
        let order = match (self, other) {
            (Key::Unknown, Key::Unknown) => return Ordering::Equal,
            (Key::Unknown, _) => return Ordering::Greater,
            (_, Key::Unknown) => return Ordering::Less,
            (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Rank(a, _), Key::Rank(b, _)) => a.cmp(b),
            (Key::Place(a, m), Key::Place(b, n)) => a.cmp(b).then(m.cmp(n)),
            _ => Ordering::Equal,
        };
        if descending { order.reverse() } else { order }
    }

    /// What says the same as [`Key::order`] among the keys of one column; `None` of what is
    /// no number.
    pub fn rank(&self, descending: bool) -> Option<(bool, u64)> {
        let ascending = match self {
            Key::Unknown => return Some((true, 0)),
            // The order of `total_cmp`.
            Key::Number(n) => {
                let bits = n.to_bits();
                bits ^ if n.is_sign_negative() {
                    u64::MAX
                } else {
                    1 << 63
                }
            }
            Key::Rank(n, _) => u64::from(*n),
            Key::Text(_) | Key::Place(..) => return None,
        };
        Some((false, if descending { !ascending } else { ascending }))
    }
}

/// A formatted cell: pieces of text with their meaning.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell(pub Vec<(Cow<'static, str>, Tone)>);

impl Cell {
    /// One piece.
    pub fn new(text: impl Into<Cow<'static, str>>, tone: Tone) -> Self {
        Self(vec![(text.into(), tone)])
    }

    /// Ordinary text; the dash where it is empty.
    pub fn text(text: &str) -> Self {
        if text.is_empty() {
            Self::unknown()
        } else {
            Self::new(text.to_owned(), Tone::Text)
        }
    }

    /// The dash.
    pub fn unknown() -> Self {
        Self::new(quantity::UNKNOWN, Tone::Dim)
    }

    /// What is known, or the dash.
    pub fn known<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> Self {
        value.map_or_else(Self::unknown, |v| Self::new(show(v), Tone::Text))
    }

    /// Its text alone.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_ref()).collect()
    }
}

/// A column with its place in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its index in the table's list.
    pub index: usize,
    /// Its first column on screen, from the start of the row.
    pub x: u16,
    /// Its width.
    pub width: u16,
}

/// Between two columns.
const GAP: u16 = 1;

/// From this priority on a column is worth less than names and places that can
/// be distinguished.
const LUXURY: u8 = 6;

/// Chooses the columns that fit in `width` by priority and gives them their
/// places. The first `pan` columns are passed over, except those of priority 0,
/// so that the ones which did not fit come into sight.
pub fn place(heads: &[&Head], width: u16, pan: usize) -> Vec<Placed> {
    let mut hidden = pan;
    let mut candidates: Vec<usize> = (0..heads.len())
        .filter(|i| {
            let skip = heads[*i].priority > 0 && hidden > 0;
            hidden -= usize::from(skip);
            !skip
        })
        .collect();
    candidates.sort_by_key(|i| heads[*i].priority);
    let mut free = i32::from(width) + i32::from(GAP);
    // What the columns before would like to have on top.
    let mut wishes = 0;
    let mut chosen: Vec<usize> = candidates
        .into_iter()
        .map_while(|i| {
            let head = heads[i];
            wishes += i32::from(head.easy - head.width);
            free -= i32::from(head.width + GAP);
            let left = if head.priority < LUXURY {
                free
            } else {
                free - wishes
            };
            (left >= 0 || head.priority == 0).then_some(i)
        })
        .collect();
    chosen.sort_unstable();
    let least: u16 = chosen.iter().map(|i| heads[*i].width + GAP).sum();
    let widths = grown(heads, &chosen, (width + GAP).saturating_sub(least));
    let mut x = 0;
    let mut placed = Vec::with_capacity(chosen.len());
    for (index, wanted) in chosen.into_iter().zip(widths) {
        let fits = wanted.min(width.saturating_sub(x));
        if fits == 0 {
            break;
        }
        placed.push(Placed {
            index,
            x,
            width: fits,
        });
        x += fits + GAP;
    }
    placed
}

/// Widths with `spare` columns shared out among those that grow.
fn grown(heads: &[&Head], chosen: &[usize], mut spare: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = chosen.iter().map(|i| heads[*i].width).collect();
    loop {
        let can_grow =
            |n: usize, width: u16| heads[chosen[n]].grow > 0 && width < heads[chosen[n]].most;
        let shares: u16 = (0..chosen.len())
            .filter(|n| can_grow(*n, widths[*n]))
            .map(|n| heads[chosen[n]].grow)
            .sum();
        if shares == 0 || spare == 0 {
            return widths;
        }
        let unit = (spare / shares).max(1);
        for n in 0..chosen.len() {
            if can_grow(n, widths[n]) {
                let head = heads[chosen[n]];
                let more = (head.grow * unit).min(head.most - widths[n]).min(spare);
                widths[n] += more;
                spare -= more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: [Head; 4] = [
        Head::text("name", "NAME", 10, 0).growing(1, 20),
        Head::number("polls", "POLLS", 6, 2, Unit::Count),
        Head::number("busy", "BUSY", 6, 1, Unit::Share),
        Head::text("loc", "LOCATION", 10, 3).growing(2, 100),
    ];

    #[test]
    fn a_rank_orders_as_the_key_does() {
        let numbers = [
            f64::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            1.0,
            1e300,
            f64::INFINITY,
            f64::NAN,
            -f64::NAN,
        ];
        let numbers = numbers.map(Key::Number);
        let ranks = [0, 1, u8::MAX].map(|rank| Key::Rank(rank, ""));
        for keys in [numbers.as_slice(), &ranks] {
            for a in keys.iter().chain([&Key::Unknown]) {
                for b in keys.iter().chain([&Key::Unknown]) {
                    for descending in [false, true] {
                        let ranked = a.rank(descending).cmp(&b.rank(descending));
                        assert_eq!(ranked, a.order(b, descending), "{a:?} {b:?} {descending}");
                    }
                }
            }
        }
        assert_eq!(Key::text("1").rank(false), None);
    }

    fn placed(width: u16, pan: usize) -> Vec<(&'static str, u16, u16)> {
        let heads: Vec<&Head> = HEADS.iter().collect();
        let name = |p: Placed| (HEADS[p.index].id, p.x, p.width);
        place(&heads, width, pan).into_iter().map(name).collect()
    }

    #[test]
    fn narrow_screens_drop_columns_by_priority() {
        assert_eq!(
            placed(80, 0),
            [
                ("name", 0, 20),
                ("polls", 21, 6),
                ("busy", 28, 6),
                ("loc", 35, 45)
            ]
        );
        assert_eq!(
            placed(24, 0),
            [("name", 0, 10), ("polls", 11, 6), ("busy", 18, 6)]
        );
        assert_eq!(placed(17, 0), [("name", 0, 10), ("busy", 11, 6)]);
        assert_eq!(placed(5, 0), [("name", 0, 5)]);
        assert_eq!(placed(0, 0), []);
    }

    #[test]
    fn names_come_before_luxuries() {
        let heads = [
            Head::text("name", "NAME", 10, 0).growing(1, 20).easy(14),
            Head::number("busy", "BUSY", 6, LUXURY - 1, Unit::Share),
            Head::number("polls", "POLLS", 6, LUXURY, Unit::Count),
        ];
        let widths = |width| -> Vec<u16> {
            let heads: Vec<&Head> = heads.iter().collect();
            place(&heads, width, 0).iter().map(|p| p.width).collect()
        };
        assert_eq!(widths(17), [10, 6]);
        assert_eq!(widths(24), [17, 6], "there would be room for a third");
        assert_eq!(widths(28), [14, 6, 6]);
    }

    #[test]
    fn panning_brings_hidden_columns_into_sight() {
        assert_eq!(placed(24, 1), [("name", 0, 17), ("busy", 18, 6)]);
        assert_eq!(placed(24, 2), [("name", 0, 11), ("loc", 12, 12)]);
        assert_eq!(placed(24, 9), [("name", 0, 20)]);
    }

    #[test]
    fn the_unknown_sorts_last_either_way() {
        for descending in [false, true] {
            let mut keys = [Key::Unknown, Key::Number(2.0), Key::Number(1.0)];
            keys.sort_by(|a, b| a.order(b, descending));
            assert_eq!(keys[2], Key::Unknown);
        }
        assert_eq!(
            Key::Place("a.rs", 9).order(&Key::Place("a.rs", 10), false),
            Ordering::Less
        );
    }
}
