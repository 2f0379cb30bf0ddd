//! Types of futures in a few words.
//!
//! The type of a real server's future has thousands of characters. What a person knows it
//! by is its outermost function, and what of the application's own is within:
//! `actix_server::service::call + miniserve::errors::error_page_middleware`.

use std::collections::HashSet;
use std::fmt::Write;

use crate::Crates;
use crate::origin::is_own_crate;

/// Characters of a short name at most.
pub const MAX_SHORT: usize = 120;

/// Bytes of a name that are looked at.
const MAX_TEXT: usize = 64 << 10;
/// Paths of a name that are looked at.
const MAX_PATHS: usize = 4_096;
/// Parts of a path that are kept.
const MAX_PARTS: usize = 64;
/// Brackets within brackets that are looked into.
const MAX_DEPTH: usize = 512;
/// What wraps a future is looked through so often.
const MAX_WRAPPERS: usize = 64;
/// Of the application's own within a future so many are shown.
const MAX_WITHIN: usize = 3;

/// The type of a future (or the path of an async fn) in [`MAX_SHORT`] characters at most:
/// the outermost function without its generics, and the application's own types and
/// functions within. What wraps a future is looked through: of
/// `Timeout<app::fetch::{{closure}}>` comes `app::fetch in a timeout`.
///
/// Whose a crate is is not known here: all but the well-known ones are the application's.
/// Takes time in proportion to the name.
pub fn short_future(name: &str) -> String {
    short_future_of(name, &Crates::default())
}

/// A place in a file, which stands for the name of what has none: `miniserve+0x1a2b30`.
fn is_address(name: &str) -> bool {
    let digits = name.rsplit_once("+0x").map(|(_, digits)| digits);
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A line of a source, which stands for the name of an async fn: `src/main.rs:10`.
fn is_place(name: &str) -> bool {
    let Some((file, line)) = name.rsplit_once(':') else {
        return false;
    };
    let is_line = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
    let extension = std::path::Path::new(file).extension();
    is_line && extension.is_some_and(|extension| extension == "rs")
}

/// The same where it is known which crates are the application's own.
pub fn short_future_of(name: &str, crates: &Crates) -> String {
    let name = &name[..name.floor_char_boundary(MAX_TEXT)];
    if is_address(name) {
        return cut(name, MAX_SHORT);
    }
    if is_place(name) {
        let over = characters(name).saturating_sub(MAX_SHORT);
        // The end says most.
        return name.chars().skip(over).collect();
    }
    let paths = Parser::new(name).paths();
    let Some(Outermost {
        path: outer,
        suffix,
        ..
    }) = outermost(&paths)
    else {
        return cut(name, MAX_SHORT);
    };
    let mut text = shown(&paths[outer]);
    if text.is_empty() {
        text = cut(name, MAX_SHORT);
    }
    let mut text = cut(&text, MAX_SHORT - suffix.len());
    let within = within(&paths, outer, crates);
    let count = within.len();
    let mut used = 0;
    for path in within.iter().take(MAX_WITHIN) {
        let separator = if used == 0 { " + " } else { ", " };
        // Room for "and 99 more".
        if characters(&text) + characters(separator) + characters(path) + suffix.len() + 12
            > MAX_SHORT
        {
            break;
        }
        text.push_str(separator);
        text.push_str(path);
        used += 1;
    }
    if used > 0 && count > used && count - used < 100 {
        let _ = write!(text, " and {} more", count - used);
    }
    text.push_str(suffix);
    text
}

/// Whether a type is the future of an async fn or block, by itself or in what only wraps
/// it.
pub fn is_async(name: &str) -> bool {
    let name = &name[..name.floor_char_boundary(MAX_TEXT)];
    let paths = Parser::new(name).paths();
    outermost(&paths).is_some_and(|found| paths[found.path].is_code && found.only_wrapped)
}

/// A path in a type: `app::orders::fetch`.
#[derive(Debug, Default)]
struct Path<'a> {
    parts: Vec<&'a str>,
    /// The path whose argument it is, or a part of it.
    parent: Option<usize>,
    /// Which argument.
    argument: usize,
    /// A closure, or the body of an async fn or block.
    is_code: bool,
    is_dyn: bool,
    is_trait: bool,
}

fn shown(path: &Path<'_>) -> String {
    let of = if path.is_dyn { "dyn " } else { "" };
    let parts = match path.parts.as_slice() {
        // The one trait object that every reader knows.
        [.., last @ "Future"] if path.is_dyn => std::slice::from_ref(last).to_vec(),
        parts => parts.to_vec(),
    };
    format!("{of}{}", parts.join("::"))
}

/// What only passes the poll on: the path's beginning and its type, which argument is the
/// future, and what to say of it.
const WRAPPERS: &[(&str, &str, usize, &str)] = &[
    ("core::pin", "Pin", 0, ""),
    ("alloc::boxed", "Box", 0, ""),
    ("core::panic", "AssertUnwindSafe", 0, ""),
    ("core::mem", "ManuallyDrop", 0, ""),
    ("core::mem", "MaybeUninit", 0, ""),
    ("core::cell", "UnsafeCell", 0, ""),
    ("core::option", "Option", 0, ""),
    ("core::future", "GenFuture", 0, ""),
    ("core::future", "PollFn", 0, ""),
    ("core::future", "IntoFuture", 0, ""),
    ("tracing", "Instrumented", 0, ""),
    ("tracing", "WithDispatch", 0, ""),
    ("tracing_futures", "Instrumented", 0, ""),
    ("tracing_futures", "WithDispatch", 0, ""),
    ("tokio", "Timeout", 0, " in a timeout"),
    ("tokio", "Unconstrained", 0, ""),
    ("tokio", "Coop", 0, ""),
    ("tokio", "TaskLocalFuture", 1, ""),
    ("tokio", "RunUntil", 0, ""),
    ("tokio", "InstrumentedAsyncOp", 0, ""),
    ("tokio", "BlockingTask", 0, " on a blocking thread"),
    ("tokio_util", "TrackedFuture", 0, ""),
    ("tokio_util", "RunUntilCancelledFuture", 0, ""),
    ("tokio_util", "RunUntilCancelledFutureOwned", 0, ""),
    ("tokio_util", "WithCancellationTokenFuture", 0, ""),
    ("futures_util", "Abortable", 0, ""),
    ("futures_util", "Map", 0, ""),
    ("futures_util", "Then", 0, ""),
    ("futures_util", "Fuse", 0, ""),
    ("futures_util", "CatchUnwind", 0, ""),
    ("futures_util", "Shared", 0, ""),
    ("futures_util", "Remote", 0, ""),
    ("futures_util", "Inspect", 0, ""),
    ("futures_util", "Flatten", 0, ""),
    ("futures_util", "MapInto", 0, ""),
    ("futures_util", "UnitErrorFuture", 0, ""),
    ("futures_util", "NeverErrorFuture", 0, ""),
    ("futures_util", "AndThen", 0, ""),
    ("futures_util", "OrElse", 0, ""),
    ("futures_util", "MapOk", 0, ""),
    ("futures_util", "MapErr", 0, ""),
    ("futures_util", "MapOkOrElse", 0, ""),
    ("futures_util", "IntoFuture", 0, ""),
    ("futures_util", "PollFn", 0, ""),
    ("hyper", "UpgradeableConnection", 0, ""),
];

/// The future within what wraps it.
struct Outermost {
    path: usize,
    /// What the wrappers say.
    suffix: &'static str,
    /// No wrapper polls anything else.
    only_wrapped: bool,
}

/// Of what wraps a future those that poll another after it.
const WITH_ANOTHER: &[&str] = &["Then", "AndThen", "OrElse", "Flatten"];

/// The outermost path that is no wrapper of a future.
fn outermost(paths: &[Path<'_>]) -> Option<Outermost> {
    let mut at = 0;
    let mut suffix = "";
    let mut only_wrapped = true;
    paths.first()?;
    for _ in 0..MAX_WRAPPERS {
        let path = &paths[at];
        let (Some(krate), Some(last)) = (path.parts.first(), path.parts.last()) else {
            break;
        };
        let wrapper = WRAPPERS.iter().find(|(start, kind, ..)| {
            let mut parts = start.split("::");
            last == kind
                && parts.next() == Some(krate)
                && parts
                    .next()
                    .is_none_or(|module| path.parts.get(1) == Some(&module))
        });
        let Some((_, kind, argument, says)) = wrapper.filter(|_| !path.is_code) else {
            break;
        };
        let inner = paths[at + 1..]
            .iter()
            .position(|inner| inner.parent == Some(at) && inner.argument == *argument);
        let Some(inner) = inner.filter(|inner| !paths[at + 1 + inner].parts.is_empty()) else {
            break;
        };
        if suffix.is_empty() {
            suffix = says;
        }
        only_wrapped &= !WITH_ANOTHER.contains(kind);
        at += 1 + inner;
    }
    Some(Outermost {
        path: at,
        suffix,
        only_wrapped,
    })
}

/// The application's own within a path: functions first, then types; `main` says least.
fn within(paths: &[Path<'_>], outer: usize, crates: &Crates) -> Vec<String> {
    let mut inside = vec![false; paths.len()];
    inside[outer] = true;
    let mut found = Vec::new();
    for at in outer + 1..paths.len() {
        let path = &paths[at];
        inside[at] = path.parent.is_some_and(|parent| inside[parent]);
        let own = |krate: &&str| is_own_crate(krate, crates);
        let is_own = path.parts.len() > 1 && path.parts.first().is_some_and(own);
        if inside[at] && is_own && !path.is_trait && path.parts != paths[outer].parts {
            found.push(path);
        }
    }
    found.sort_by_key(|path| match path.parts.last() {
        Some(&"main") => 2,
        Some(last) if path.is_code || last.starts_with(char::is_lowercase) => 0,
        _ => 1,
    });
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(&path.parts));
    found.into_iter().map(shown).collect()
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

/// The text in that many characters.
fn cut(text: &str, most: usize) -> String {
    if characters(text) <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most - 2).collect();
    format!("{start}..")
}

/// What an open bracket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// The arguments of a path.
    Arguments,
    /// `<T as Trait>` or `<impl Trait for T>`, of which the path goes on.
    Qualified,
    /// Of a tuple, a slice, or a function's parameters.
    Round,
}

/// A bracket that is open.
struct Open {
    bracket: Bracket,
    /// The path that it belongs to.
    path: Option<usize>,
    /// Commas so far.
    argument: usize,
    /// `as` was seen: what follows is the trait; `for`: what follows is the type.
    after: After,
    /// In `<impl Trait for T>`, and of `<T as Trait>`, the type.
    of: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    As,
    Impl,
}

/// Reads a type once, from left to right, without calling itself.
struct Parser<'a> {
    text: &'a str,
    paths: Vec<Path<'a>>,
    open: Vec<Open>,
    /// Brackets that are open beyond those that are looked into.
    beyond: usize,
    /// The path that is being read.
    current: Option<usize>,
    /// `::` was just read.
    joined: bool,
    is_dyn: bool,
    /// The trait object whose associated types may follow.
    object: Option<usize>,
    /// What follows is one of them.
    is_associated: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            paths: Vec::new(),
            open: Vec::new(),
            beyond: 0,
            current: None,
            joined: false,
            is_dyn: false,
            object: None,
            is_associated: false,
        }
    }

    fn paths(mut self) -> Vec<Path<'a>> {
        let text = self.text;
        let mut rest = text.char_indices().peekable();
        while let Some((at, character)) = rest.next() {
            let next = rest.peek().map(|(_, next)| *next);
            match character {
                ':' if next == Some(':') => {
                    rest.next();
                    self.joined = true;
                }
                '{' => {
                    let mut depth = 1_usize;
                    let mut end = text.len();
                    for (place, inner) in rest.by_ref() {
                        match inner {
                            '{' => depth += 1,
                            '}' => depth -= 1,
                            _ => {}
                        }
                        if depth == 0 {
                            end = place;
                            break;
                        }
                    }
                    self.braces(&text[at..end]);
                }
                '<' => self.open_angle(text[at + 1..].starts_with("impl ")),
                '(' | '[' => self.push(Bracket::Round, None),
                '-' if next == Some('>') => {
                    rest.next();
                    self.end();
                }
                '>' => self.close_angle(),
                ')' | ']' => self.close_round(),
                '=' => {
                    self.end();
                    self.is_associated = self.object.is_some();
                }
                ',' => {
                    self.end();
                    self.object = None;
                    if let Some(open) = self.open.last_mut().filter(|_| self.beyond == 0) {
                        open.argument += 1;
                    }
                }
                _ if is_word(character) => {
                    let mut end = at + character.len_utf8();
                    while let Some((place, inner)) = rest.peek().copied() {
                        if !is_word(inner) {
                            break;
                        }
                        end = place + inner.len_utf8();
                        rest.next();
                    }
                    self.word(&text[at..end]);
                }
                // A lifetime is no word of a path.
                '\'' => {
                    while rest.peek().is_some_and(|(_, inner)| is_word(*inner)) {
                        rest.next();
                    }
                }
                _ => self.end(),
            }
        }
        self.paths
    }

    fn end(&mut self) {
        self.current = None;
        self.joined = false;
    }

    fn word(&mut self, word: &'a str) {
        if self.beyond > 0 {
            return;
        }
        if let (Some(path), true) = (self.current, self.joined) {
            if self.paths[path].parts.len() < MAX_PARTS {
                self.paths[path].parts.push(word);
            }
            self.joined = false;
            return;
        }
        self.end();
        match word {
            "dyn" => self.is_dyn = true,
            "as" | "for" | "impl" => {
                if let Some(open) = self.open.last_mut() {
                    open.after = match word {
                        "as" => After::As,
                        "impl" => After::Impl,
                        _ => After::Nothing,
                    };
                }
            }
            "mut" | "const" | "fn" | "unsafe" | "extern" => {}
            _ => {
                self.begin(word);
            }
        }
    }

    /// Begins a path, with a word or with none yet.
    fn begin(&mut self, word: &'a str) -> Option<usize> {
        if self.paths.len() >= MAX_PATHS {
            return None;
        }
        let number = self.paths.len();
        let parent = self.open.iter().rev().find(|open| open.path.is_some());
        let mut path = Path {
            parent: parent.and_then(|open| open.path),
            argument: parent.map_or(0, |open| open.argument),
            is_dyn: std::mem::take(&mut self.is_dyn),
            ..Path::default()
        };
        if !word.is_empty() {
            path.parts.push(word);
        }
        if std::mem::take(&mut self.is_associated) && self.object.is_some() {
            path.parent = self.object;
        }
        if path.is_dyn {
            self.object = Some(number);
        }
        if let Some(open) = self.open.last_mut()
            && open.bracket == Bracket::Qualified
        {
            path.is_trait = open.after != After::Nothing;
            if !path.is_trait {
                open.of = Some(number);
            } else if open.after == After::Impl && open.of.is_none() {
                // `<impl T>` has no trait.
                open.of = Some(number);
            }
        }
        self.paths.push(path);
        self.current = Some(number);
        Some(number)
    }

    /// `{{closure}}`, `{closure#0}`, `{async_fn_env#0}`, `{impl#2}`, `{shim:vtable#0}`.
    fn braces(&mut self, inner: &str) {
        let is_code = inner.contains("closure") || inner.contains("async");
        if let Some(path) = self.current.filter(|_| self.beyond == 0) {
            self.paths[path].is_code |= is_code;
        }
        self.joined = false;
    }

    fn open_angle(&mut self, is_impl: bool) {
        if self.beyond > 0 {
            self.beyond += 1;
            return;
        }
        match self.current {
            Some(path) if is_impl && self.joined => self.push(Bracket::Qualified, Some(path)),
            Some(path) => self.push(Bracket::Arguments, Some(path)),
            None => {
                let path = self.begin("");
                self.push(Bracket::Qualified, path);
            }
        }
    }

    fn push(&mut self, bracket: Bracket, path: Option<usize>) {
        self.object = None;
        if self.beyond > 0 || self.open.len() >= MAX_DEPTH {
            self.beyond += 1;
            return;
        }
        self.open.push(Open {
            bracket,
            path,
            argument: 0,
            after: After::Nothing,
            of: None,
        });
        self.end();
    }

    fn close_angle(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        self.end();
        let Some(open) = self.open.pop_if(|open| open.bracket != Bracket::Round) else {
            return;
        };
        self.current = open.path;
        if open.bracket == Bracket::Qualified
            && let (Some(path), Some(of)) = (open.path, open.of)
        {
            // Of a block in a module the type's own name is enough.
            let parts = if self.paths[path].parts.is_empty() {
                self.paths[of].parts.clone()
            } else {
                self.paths[of].parts.last().copied().into_iter().collect()
            };
            self.paths[path].parts.extend(parts);
            // It is the path itself now.
            self.paths[of].is_trait = true;
        }
    }

    fn close_round(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        self.end();
        self.open.pop_if(|open| open.bracket == Bracket::Round);
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || "_$.#@".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_keeps_its_address() {
        assert_eq!(short_future("miniserve+0x1a2b30"), "miniserve+0x1a2b30");
        assert!(!is_address("app::a+0x") && !is_address("a+0x1g"));
    }

    #[test]
    fn what_has_no_name_keeps_its_place() {
        for place in ["src/main.rs:10", "mini-redis-0.4.1/src/server.rs:276"] {
            assert_eq!(short_future(place), place);
        }
        let long = format!("{}/src/main.rs:10", "directory/".repeat(20));
        let short = short_future(&long);
        assert_eq!(characters(&short), MAX_SHORT);
        assert!(short.ends_with("/src/main.rs:10"), "{short}");
        for name in [
            "app::run",
            "app::run::{closure#0}",
            "src/main.rs",
            "a.rs:",
            "a.c:1",
        ] {
            assert!(!is_place(name), "{name}");
        }
    }
}
