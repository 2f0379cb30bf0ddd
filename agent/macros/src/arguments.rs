//! What is written in the brackets of the attribute.

use std::time::Duration;

use proc_macro::{Delimiter, Span, TokenStream, TokenTree};

use crate::Refusal;

/// Which scheduler the test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// The arguments, checked.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    flavor: Option<Flavor>,
    pub(crate) workers: Option<usize>,
    pub(crate) start_paused: Option<bool>,
    /// The path of tokio.
    pub(crate) tokio: Option<String>,
    pub(crate) max_poll: Option<Duration>,
    pub(crate) leak: Option<bool>,
    pub(crate) deadlock: Option<bool>,
    pub(crate) allow: Vec<String>,
}

impl Arguments {
    pub(crate) fn flavor(&self) -> Flavor {
        self.flavor.unwrap_or(Flavor::CurrentThread)
    }
}

const KNOWN: &str = "`flavor`, `worker_threads`, `start_paused`, `crate`, `max_poll`, `leak`, \
    `deadlock` and `allow`";

pub(crate) fn parse(attribute: TokenStream) -> Result<Arguments, Refusal> {
    let mut arguments = Arguments::default();
    let mut seen: Vec<String> = Vec::new();
    let (mut flavor_at, mut workers_at, mut paused_at) = (None, None, None);
    let mut tokens = attribute.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(name) = &token else {
            return Err(Refusal::new(
                token.span(),
                format!("here the name of an argument is expected: {KNOWN}"),
            ));
        };
        let (text, at) = (name.to_string(), name.span());
        match tokens.next() {
            Some(TokenTree::Punct(sign)) if sign.as_char() == '=' => {}
            _ => {
                return Err(Refusal::new(
                    at,
                    format!("`{text}` needs a value: `{text} = ...`"),
                ));
            }
        }
        let Some(value) = tokens.next().map(crate::opened) else {
            return Err(Refusal::new(at, format!("`{text} =` has no value")));
        };
        if seen.contains(&text) {
            return Err(Refusal::new(at, format!("`{text}` is set twice")));
        }
        match text.as_str() {
            "flavor" => {
                arguments.flavor = Some(flavor(&value)?);
                flavor_at = Some(value.span());
            }
            "worker_threads" => {
                arguments.workers = Some(workers(&value)?);
                workers_at = Some(at);
            }
            "start_paused" => {
                arguments.start_paused = Some(truth(&text, &value)?);
                paused_at = Some(at);
            }
            "crate" => arguments.tokio = Some(path(&value)?),
            "max_poll" => arguments.max_poll = Some(duration(&value)?),
            "leak" => arguments.leak = Some(truth(&text, &value)?),
            "deadlock" => arguments.deadlock = Some(truth(&text, &value)?),
            "allow" => arguments.allow = names(&value)?,
            _ => {
                return Err(Refusal::new(
                    at,
                    format!("unknown argument `{text}`; there are {KNOWN}"),
                ));
            }
        }
        seen.push(text);
        match tokens.next() {
            None => break,
            Some(TokenTree::Punct(sign)) if sign.as_char() == ',' => {}
            Some(other) => {
                return Err(Refusal::new(other.span(), "a comma is expected here"));
            }
        }
    }
    let single = arguments.flavor() == Flavor::CurrentThread;
    if let (true, Some(at)) = (single, workers_at) {
        return Err(Refusal::new(
            at,
            "`worker_threads` needs the multi-thread scheduler: `flavor = \"multi_thread\"`",
        ));
    }
    if let (false, Some(true), Some(at)) = (single, arguments.start_paused, paused_at) {
        return Err(Refusal::new(
            flavor_at.unwrap_or(at),
            "`start_paused` needs the current-thread scheduler: leave `flavor` out",
        ));
    }
    Ok(arguments)
}

/// The text of a string literal; escapes are not understood, and none of the arguments needs
/// one.
fn string(value: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = value else {
        return None;
    };
    let text = literal.to_string();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then(|| inner.to_owned())
}

fn flavor(value: &TokenTree) -> Result<Flavor, Refusal> {
    match string(value).as_deref() {
        Some("current_thread") => Ok(Flavor::CurrentThread),
        Some("multi_thread") => Ok(Flavor::MultiThread),
        _ => Err(Refusal::new(
            value.span(),
            "`flavor` is \"current_thread\" or \"multi_thread\"",
        )),
    }
}

fn workers(value: &TokenTree) -> Result<usize, Refusal> {
    let number = value.to_string().replace('_', "").parse();
    number
        .ok()
        .filter(|workers| *workers > 0)
        .ok_or_else(|| Refusal::new(value.span(), "`worker_threads` is a number from 1 on"))
}

fn truth(name: &str, value: &TokenTree) -> Result<bool, Refusal> {
    match value.to_string().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::new(
            value.span(),
            format!("`{name}` is true or false"),
        )),
    }
}

fn path(value: &TokenTree) -> Result<String, Refusal> {
    let is_path = |text: &String| {
        text.trim_start_matches("::")
            .split("::")
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    string(value).filter(is_path).ok_or_else(|| {
        Refusal::new(
            value.span(),
            "`crate` is the path of tokio as a string: `crate = \"other::tokio\"`",
        )
    })
}

fn duration(value: &TokenTree) -> Result<Duration, Refusal> {
    let parsed = string(value).as_deref().and_then(parse_duration);
    parsed.ok_or_else(|| {
        Refusal::new(
            value.span(),
            "`max_poll` is a duration such as \"50ms\" or \"1s\", of at least 1 ms",
        )
    })
}

/// A number with `us`, `ms` or `s`, from 1 ms to an hour.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "us" | "µs" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    (1e-3..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// A list of paths of functions.
fn names(value: &TokenTree) -> Result<Vec<String>, Refusal> {
    let wrong = |at: Span| {
        Refusal::new(
            at,
            "`allow` is a list of functions: `allow = [\"module::function\"]`",
        )
    };
    let TokenTree::Group(list) = value else {
        return Err(wrong(value.span()));
    };
    if list.delimiter() != Delimiter::Bracket {
        return Err(wrong(list.span()));
    }
    let mut names = Vec::new();
    let mut tokens = list.stream().into_iter();
    while let Some(token) = tokens.next() {
        let token = crate::opened(token);
        let name = string(&token).filter(|name| !name.is_empty());
        names.push(name.ok_or_else(|| wrong(token.span()))?);
        match tokens.next() {
            None => break,
            Some(TokenTree::Punct(sign)) if sign.as_char() == ',' => {}
            Some(other) => return Err(wrong(other.span())),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("50ms", Some(50)),
            ("1s", Some(1_000)),
            ("1.5s", Some(1_500)),
            ("2000us", Some(2)),
            ("0ms", None),
            ("50", None),
            ("ms", None),
            ("1h", None),
            ("", None),
            ("-1s", None),
            ("5000s", None),
        ] {
            let expected = millis.map(Duration::from_millis);
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
