//! The filter of a table.
//!
//! ```text
//! filter  = term { " " term }              all terms must match
//! term    = [ "!" ] ( word | column ":" text | column op number | "warn" )
//! op      = ">" | ">=" | "<" | "<=" | "="
//! word    = text that the name, the location or the id contains
//! text    = part of the column's text, case aside; "quoted" to hold spaces
//! number  = 1000 | 10k | 100ms | 1.5s | 2m | 50% | 4KiB, by the column's unit
//! ```
//!
//! Columns are named by their ids, as the help overlay lists them:
//! `state:running kind:blocking loc:file.rs busy>100ms polls>1000 !ticker`.

use std::ops::Range;

use super::column::{Head, Key, Unit};

/// A filter that was understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// Any searched column contains the text.
    Word { columns: Vec<usize>, text: String },
    /// The column contains the text.
    Contains { column: usize, text: String },
    /// The column's number compares so.
    Number { column: usize, op: Op, value: f64 },
    /// The column's value is known.
    Known { column: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    More,
    AtLeast,
    Less,
    AtMost,
    Equal,
}

/// Why a filter was not understood, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// The characters that are at fault, counted from 0.
    pub at: Range<usize>,
    /// What is wrong with them and what would be right.
    pub message: String,
}

impl Filter {
    /// Reads a filter for a table with these columns: the terms that were
    /// understood, and the first error.
    pub fn read(text: &str, heads: &[&Head]) -> (Self, Option<FilterError>) {
        let (words, open_quote) = words(text);
        let mut filter = Self::default();
        let mut error = None;
        for word in words {
            match term(&word, heads) {
                Ok(term) => filter.terms.push(term),
                Err(wrong) => error = error.or(Some(wrong)),
            }
        }
        (filter, error.or(open_quote))
    }

    /// It lets every row pass.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a row passes whose values `key` returns by column.
    pub fn matches<'a>(&self, key: impl Fn(usize) -> Key<'a>) -> bool {
        self.terms
            .iter()
            .all(|term| term.test.passes(&key) != term.negated)
    }
}

impl Test {
    fn passes<'a>(&self, key: &impl Fn(usize) -> Key<'a>) -> bool {
        let contains = |column: usize, text: &str| {
            key(column)
                .as_text()
                .is_some_and(|value| contains(&value, text))
        };
        match self {
            Test::Word { columns, text } => columns.iter().any(|c| contains(*c, text)),
            Test::Contains { column, text } => contains(*column, text),
            Test::Known { column } => key(*column) != Key::Unknown,
            Test::Number { column, op, value } => match key(*column) {
                Key::Number(n) => op.holds(n, *value),
                _ => false,
            },
        }
    }
}

impl Op {
    fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Op::More => a > b,
            Op::AtLeast => a >= b,
            Op::Less => a < b,
            Op::AtMost => a <= b,
            Op::Equal => (a - b).abs() <= b.abs() * 1e-9,
        }
    }
}

/// Case aside; `needle` is lower case.
fn contains(text: &str, needle: &str) -> bool {
    if !needle.is_ascii() {
        return text.to_lowercase().contains(needle);
    }
    needle.is_empty()
        || text
            .as_bytes()
            .windows(needle.len())
            .any(|part| part.eq_ignore_ascii_case(needle.as_bytes()))
}

/// A word of the filter: its characters without quotes, and where it stood.
struct Word {
    text: String,
    at: Range<usize>,
    /// It began with a quote, so that nothing in it is special.
    quoted: bool,
}

fn words(text: &str) -> (Vec<Word>, Option<FilterError>) {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    for (n, c) in text.chars().enumerate() {
        if c.is_whitespace() && quote.is_none() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| Word {
            text: String::new(),
            at: n..n,
            quoted: c == '"',
        });
        word.at.end = n + 1;
        match (c, quote) {
            ('"', Some(_)) => quote = None,
            ('"', None) => quote = Some(n),
            _ => word.text.push(c),
        }
    }
    words.extend(word);
    let open_quote = quote.map(|at| FilterError {
        at: at..at + 1,
        message: "this quote is not closed".to_owned(),
    });
    (words, open_quote)
}

fn term(word: &Word, heads: &[&Head]) -> Result<Term, FilterError> {
    let stripped = word.text.strip_prefix('!').filter(|_| !word.quoted);
    let (negated, text) = match stripped {
        Some(rest) => (true, rest),
        None => (false, word.text.as_str()),
    };
    if text.is_empty() {
        let message = "nothing follows here: write !text or column:text".to_owned();
        return Err(FilterError {
            at: word.at.clone(),
            message,
        });
    }
    let start = word.at.start + usize::from(negated);
    let condition = match split(text).filter(|_| !word.quoted) {
        Some(parts) => comparison(&parts, start, word.at.end, heads)?,
        None => bare(text, heads),
    };
    Ok(Term {
        negated,
        test: condition,
    })
}

fn bare(text: &str, heads: &[&Head]) -> Test {
    if let Some(column) = heads.iter().position(|h| h.id == "warn" && text == "warn") {
        return Test::Known { column };
    }
    Test::Word {
        columns: (0..heads.len()).filter(|i| heads[*i].searched).collect(),
        text: text.to_lowercase(),
    }
}

/// `column op value`, if the text has that shape. `http::conn` and `file.rs:42`
/// have not: a column's id holds neither dots nor digits, and `::` is a path.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphabetic() || "%-".contains(c)))?;
    let (column, rest) = text.split_at(end);
    let op = [">=", "<=", ">", "<", "=", ":"]
        .into_iter()
        .find(|op| rest.starts_with(op))?;
    let value = &rest[op.len()..];
    let path = op == ":" && value.starts_with(':');
    (!column.is_empty() && !path).then_some((column, op, value))
}

fn comparison(
    (column, op, value): &(&str, &str, &str),
    start: usize,
    end: usize,
    heads: &[&Head],
) -> Result<Test, FilterError> {
    let (column, op, value) = (*column, *op, *value);
    let op_at = start + column.chars().count();
    let value_at = op_at + op.len()..end.max(op_at + op.len() + 1);
    let index = find(column, heads).map_err(|message| FilterError {
        at: start..op_at,
        message,
    })?;
    let head = heads[index];
    let fail = |at: Range<usize>, message: String| Err(FilterError { at, message });
    if value.is_empty() {
        return fail(
            op_at..op_at + op.len(),
            format!("a value is missing after {column}{op}"),
        );
    }
    let op = match (op, head.unit) {
        (":" | "=", Unit::Text) => {
            return Ok(Test::Contains {
                column: index,
                text: value.to_lowercase(),
            });
        }
        (_, Unit::Text) => {
            return fail(
                op_at..op_at + op.len(),
                format!("{column} is a text: write {column}:{value}"),
            );
        }
        (":" | "=", _) => Op::Equal,
        (">", _) => Op::More,
        (">=", _) => Op::AtLeast,
        ("<", _) => Op::Less,
        _ => Op::AtMost,
    };
    match number(value, head.unit) {
        Ok(value) => Ok(Test::Number {
            column: index,
            op,
            value,
        }),
        Err(message) => fail(value_at, message),
    }
}

fn find(column: &str, heads: &[&Head]) -> Result<usize, String> {
    if let Some(index) = heads.iter().position(|h| h.id.eq_ignore_ascii_case(column)) {
        return Ok(index);
    }
    let nearest = heads
        .iter()
        .map(|h| (strsim::damerau_levenshtein(h.id, column), h.id))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    Err(if let Some((_, id)) = nearest {
        format!("no column '{column}' here; did you mean {id}?")
    } else {
        let ids: Vec<&str> = heads.iter().map(|h| h.id).collect();
        format!("no column '{column}' here; there are {}", ids.join(" "))
    })
}

/// A number in the unit's base: seconds, bytes, a share of 1.
fn number(text: &str, unit: Unit) -> Result<f64, String> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let example = match unit {
        Unit::Time => "100ms, 1.5s or 2m",
        Unit::Share => "50%",
        Unit::Bytes => "4096 or 4KiB",
        Unit::Count | Unit::Text => "1000 or 10k",
    };
    let wrong = || format!("'{text}' is no such value: write {example}");
    let value: f64 = digits.parse().map_err(|_| wrong())?;
    let factor = match (unit, suffix.to_lowercase().as_str()) {
        (Unit::Time, "ns") => 1e-9,
        (Unit::Time, "us" | "µs") => 1e-6,
        (Unit::Time, "ms") => 1e-3,
        (Unit::Time, "m" | "min") => 60.0,
        (Unit::Time, "h") => 3_600.0,
        (Unit::Time, "") => return Err(format!("which unit? write {text}ms or {text}s")),
        (Unit::Share, "%" | "") => 0.01,
        (Unit::Bytes, "b" | "") | (Unit::Count | Unit::Text, "") | (Unit::Time, "s") => 1.0,
        (Unit::Bytes, "k" | "kb" | "kib") => 1_024.0,
        (Unit::Bytes, "m" | "mb" | "mib") => 1_048_576.0,
        (Unit::Bytes, "g" | "gb" | "gib") => 1_073_741_824.0,
        (Unit::Count | Unit::Text, "k") => 1e3,
        (Unit::Count | Unit::Text, "m") => 1e6,
        _ => return Err(wrong()),
    };
    Ok(value * factor)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    const HEADS: [Head; 6] = [
        Head::text("warn", "!", 1, 0),
        Head::text("name", "NAME", 4, 0).searched(),
        Head::text("loc", "LOC", 4, 0).searched(),
        Head::number("busy", "BUSY", 4, 0, Unit::Time),
        Head::number("polls", "POLLS", 4, 0, Unit::Count),
        Head::number("busy%", "BUSY%", 4, 0, Unit::Share),
    ];

    fn parse(text: &str) -> Result<Filter, FilterError> {
        let (filter, error) = Filter::read(text, &HEADS.iter().collect::<Vec<_>>());
        error.map_or(Ok(filter), Err)
    }

    fn row(column: usize) -> Key<'static> {
        match column {
            1 => Key::Text(Cow::Borrowed("http::Conn pool")),
            2 => Key::Place("src/service.rs", 42),
            3 => Key::Number(0.25),
            4 => Key::Number(12_000.0),
            _ => Key::Unknown,
        }
    }

    #[test]
    fn what_matches() {
        let table = [
            ("", true),
            ("conn", true),
            ("CONN", true),
            ("http::conn", true),
            ("service.rs:42", true),
            ("service.rs:43", false),
            ("!ticker", true),
            ("!conn", false),
            ("conn pool", true),
            ("\"conn pool\"", true),
            ("\"pool conn\"", false),
            ("name:\"n p\" loc:SERVICE", true),
            ("name:service", false),
            ("busy>100ms", true),
            ("busy>=250ms busy<=0.25s busy=250ms", true),
            ("busy>1s", false),
            ("!busy>1s", true),
            ("polls>10k polls<12001", true),
            ("busy%>1%", false),
            ("!busy%>1%", true),
            ("warn", false),
            ("!warn", true),
        ];
        for (text, expected) in table {
            let filter = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filter.matches(row), expected, "{text}");
        }
    }

    #[test]
    fn errors_point_at_the_spot() {
        let table = [
            (
                "bussy>1s",
                0..5,
                "no column 'bussy' here; did you mean busy?",
            ),
            (
                "x zebra:1",
                2..7,
                "no column 'zebra' here; there are warn name loc busy polls busy%",
            ),
            ("conn busy>100", 10..13, "which unit? write 100ms or 100s"),
            (
                "!busy>fast",
                6..10,
                "'fast' is no such value: write 100ms, 1.5s or 2m",
            ),
            ("polls>", 5..6, "a value is missing after polls>"),
            ("polls>1x", 6..8, "'1x' is no such value: write 1000 or 10k"),
            ("name>a", 4..5, "name is a text: write name:a"),
            (
                "a !",
                2..3,
                "nothing follows here: write !text or column:text",
            ),
            ("a \"b", 2..3, "this quote is not closed"),
        ];
        for (text, at, message) in table {
            let error = parse(text).expect_err(text);
            assert_eq!((error.at, error.message.as_str()), (at, message), "{text}");
        }
    }

    #[test]
    fn what_is_understood_holds_beside_what_is_not() {
        let heads: Vec<&Head> = HEADS.iter().collect();
        let (filter, error) = Filter::read("ticker polls>", &heads);
        assert!(error.is_some() && !filter.matches(row));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_its_bounds(text in any::<String>()) {
            match parse(&text) {
                Ok(filter) => { filter.matches(row); }
                Err(e) => prop_assert!(e.at.start <= text.chars().count() && e.at.start < e.at.end),
            }
        }
    }
}
