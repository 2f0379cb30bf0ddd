//! Function names as a person would write them.

mod short;

pub use short::{MAX_SHORT, is_async, short_future, short_future_of};

/// The full path without generics, closures and trait decoration:
/// `<alloc::vec::Vec<T> as core::iter::Extend<T>>::extend::{{closure}}` becomes
/// `alloc::vec::Vec::extend`.
pub fn clean(name: &str) -> String {
    let cleaned = simplify(without_hash(name.trim()));
    if cleaned.is_empty() {
        name.to_owned()
    } else {
        cleaned
    }
}

/// The clean path as a user of the crate writes it, always with its crate:
/// `std::thread::functions::sleep` is `std::thread::sleep` to everybody.
pub fn shown(name: &str) -> String {
    let full = clean(name);
    if let Some(call) = on_a_socket(&full) {
        return call.to_owned();
    }
    for (private, public) in REEXPORTS {
        let Some(rest) = full.strip_prefix(private) else {
            continue;
        };
        // A bare `lock` belongs to a type that is not known.
        if private.ends_with("functions::") || rest.starts_with(char::is_uppercase) {
            return format!("{public}{rest}");
        }
    }
    full
}

/// A call on a socket, of which kind only the socket itself knows: to read from a
/// `TcpStream` and a `UnixStream` and to receive by a `UdpSocket` and a
/// `UnixDatagram` are one and the same code in the standard library, which the
/// compiler has merged under one of the names.
pub const RECV: &str = "recv on a socket";
/// The same for writing and sending.
pub const SEND: &str = "send on a socket";

fn on_a_socket(full: &str) -> Option<&'static str> {
    const SOCKETS: [&str; 4] = [
        "std::net::tcp::",
        "std::net::udp::",
        "std::os::unix::net::stream::",
        "std::os::unix::net::datagram::",
    ];
    const TYPES: [&str; 4] = ["TcpStream", "UdpSocket", "UnixStream", "UnixDatagram"];
    let rest = SOCKETS
        .iter()
        .find_map(|socket| full.strip_prefix(socket))?;
    let method = match rest.split_once("::") {
        // Line tables name no more than the function and its file.
        None => rest,
        Some((of, method)) if TYPES.contains(&of) => method,
        Some(_) => return None,
    };
    match method {
        "read" | "recv" | "peek" => Some(RECV),
        "write" | "send" => Some(SEND),
        _ => None,
    }
}

/// Private modules, and the public ones that show what is in them.
const REEXPORTS: &[(&str, &str)] = &[
    ("std::thread::functions::", "std::thread::"),
    ("std::thread::join_handle::", "std::thread::"),
    ("std::thread::lifecycle::", "std::thread::"),
    ("std::sync::poison::mutex::", "std::sync::"),
    ("std::sync::poison::rwlock::", "std::sync::"),
    ("std::sync::poison::condvar::", "std::sync::"),
    ("std::sync::poison::once::", "std::sync::"),
    ("std::sync::barrier::", "std::sync::"),
    ("std::io::stdio::", "std::io::"),
    ("std::net::tcp::", "std::net::"),
    ("std::net::udp::", "std::net::"),
    ("std::net::socket_addr::", "std::net::"),
    ("std::os::unix::net::stream::", "std::os::unix::net::"),
    ("std::os::unix::net::listener::", "std::os::unix::net::"),
    ("std::os::unix::net::datagram::", "std::os::unix::net::"),
    ("tokio::runtime::runtime::", "tokio::runtime::"),
    ("tokio::runtime::handle::", "tokio::runtime::"),
];

/// The crates that may have written a function, by its name: of
/// `<app::Job as core::future::Future>::poll` both, of `poll` none.
pub(super) fn crates(name: &str) -> Vec<&str> {
    let name = without_hash(name.trim());
    let parts = split(name);
    let Some(first) = parts.first().copied() else {
        return Vec::new();
    };
    if let Some(inner) = first.strip_prefix('<') {
        let inner = inner.strip_suffix('>').unwrap_or(inner);
        let inner = inner.strip_prefix("impl ").unwrap_or(inner);
        let (one, other) = match find(inner, " as ") {
            Some(place) => (&inner[..place], &inner[place + 4..]),
            None => match find(inner, " for ") {
                Some(place) => (&inner[place + 5..], &inner[..place]),
                None => (inner, ""),
            },
        };
        return [one, other].into_iter().filter_map(crate_of).collect();
    }
    if parts.len() < 2 {
        return Vec::new();
    }
    crate_of(name).into_iter().collect()
}

/// The crate of a type; `None` of `T`, `u8`, `[T]`.
fn crate_of(path: &str) -> Option<&str> {
    let path = bare_type(path);
    let parts = split(path);
    if path.starts_with('[') || parts.len() < 2 {
        return None;
    }
    let first = parts[0];
    match first.strip_prefix('<') {
        Some(inner) => crate_of(self_type(inner.strip_suffix('>').unwrap_or(inner))),
        None => Some(&first[..first.find('<').unwrap_or(first.len())]),
    }
}

/// A type without references, pointers and `dyn`.
fn bare_type(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let shorter = ["&", "*", "mut ", "const ", "(", "dyn "]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        match shorter {
            Some(shorter) => text = shorter.trim_start(),
            None => return text,
        }
    }
}

/// The arguments of the last part that has some: of `a::poll::<F, S>` and of
/// `poll<F, S>` the two.
#[cfg(feature = "lines")]
pub(super) fn arguments(name: &str) -> Vec<&str> {
    let parts = split(name);
    let found = parts.iter().rev().find_map(|part| {
        let (start, part) = (part.find('<')?, *part);
        let inner = part[start + 1..].strip_suffix('>')?;
        // A `<T as Trait>` in front is the type, not its arguments.
        (find(inner, " as ").is_none()).then_some(inner)
    });
    found.map_or_else(Vec::new, list)
}

/// Splits at commas outside of brackets.
#[cfg(feature = "lines")]
fn list(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    for (place, depth) in depths(text) {
        if depth == 0 && text[place..].starts_with(',') {
            items.push(text[start..place].trim());
            start = place + 1;
        }
    }
    items.push(text[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

/// "an async fn" where line tables name no more than that, and its module:
/// `app::server::{async_fn#0}`.
pub(super) fn kind_of_closure(name: &str) -> Option<&'static str> {
    let last = name.rsplit("::").next().unwrap_or(name);
    let outer = name.rsplit("::").nth(1).unwrap_or_default();
    match last {
        _ if outer.starts_with('{') => None,
        _ if last.starts_with("{async_fn#") => Some("an async fn"),
        _ if last.starts_with("{async_block#") => Some("an async block"),
        _ if last.starts_with("{async_closure#") => Some("an async closure"),
        _ => None,
    }
}

/// Whether a function is a closure, as the body of an async fn or block is.
#[cfg(feature = "lines")]
pub(super) fn is_closure(name: &str) -> bool {
    let last = without_hash(name).rsplit("::").next().unwrap_or(name);
    last.starts_with('{') && (last.contains("closure") || last.contains("async"))
}

/// A path for a name that debug information gives bare (`lock`), from the file
/// that it stands in: `std/src/sync/poison/mutex.rs` makes it
/// `std::sync::poison::mutex::lock`.
#[cfg(feature = "lines")]
pub(super) fn qualify(name: &str, file: &str) -> String {
    if split(name).len() > 1 || name.starts_with('<') || name == "main" {
        return name.to_owned();
    }
    let Some(file) = file.strip_suffix(".rs") else {
        return name.to_owned();
    };
    let (before, inside) = match file.rsplit_once("/src/") {
        Some((before, inside)) => (before, inside),
        None => match file.strip_prefix("src/") {
            Some(inside) => ("", inside),
            None => return name.to_owned(),
        },
    };
    let package = before.rsplit('/').next().unwrap_or_default();
    let package = without_version(package).replace('-', "_");
    let mut parts = inside.split('/').peekable();
    let mut path: Vec<String> = Vec::new();
    // Each file in `src/bin` is a crate of its own.
    if parts.peek() == Some(&"bin") && inside != "bin" {
        parts.next();
    } else if !package.is_empty() {
        path.push(package);
    }
    path.extend(
        parts
            .filter(|part| !matches!(*part, "mod" | "lib" | "main"))
            .map(|part| part.replace('-', "_")),
    );
    path.push(name.to_owned());
    path.join("::")
}

/// The path of a closure of which only `module::{closure#0}` is known, if `outer`,
/// a function with type parameters, mentions its type, `PATH::{closure_env#0}`:
/// `PATH::{{closure}}`, as symbols have it.
#[cfg(feature = "lines")]
pub(super) fn closure_path(function: &str, outer: &str) -> Option<String> {
    let (module, closure) = function.rsplit_once("::").unwrap_or(("", function));
    let closure = closure
        .split('<')
        .next()
        .filter(|name| name.starts_with('{'))?;
    let environment = closure.replace('#', "_env#");
    // The module by its file begins with a directory, which need not be
    // the crate's name.
    let module = module.split_once("::").map_or("", |(_, inside)| inside);
    outer.match_indices(&environment).find_map(|(end, _)| {
        let is_path = |c: char| c.is_alphanumeric() || "_:{}#".contains(c);
        let start = outer[..end].rfind(|c| !is_path(c)).map_or(0, |place| {
            place + outer[place..].chars().next().map_or(1, char::len_utf8)
        });
        let path = outer[start..end].trim_end_matches(':');
        let same_module = module.is_empty() || path.contains(&format!("::{module}::"));
        (same_module && !path.is_empty()).then(|| format!("{path}::{{{{closure}}}}"))
    })
}

/// `tokio-1.54.1` without its version.
pub(super) fn without_version(package: &str) -> &str {
    match package.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            // A pre-release has a dash of its own: `x-1.0.0-rc.1`.
            name
        }
        Some((name, _)) => match name.rsplit_once('-') {
            Some((shorter, version))
                if version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.') =>
            {
                shorter
            }
            _ => package,
        },
        None => package,
    }
}

/// Cuts `::h0123456789abcdef`.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((before, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            before
        }
        _ => name,
    }
}

fn simplify(name: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (position, part) in split(name).into_iter().enumerate() {
        if part.starts_with('{') {
            // {{closure}}, {closure#0}, {async_block#1}, {shim:vtable#0}, {impl#2}
            continue;
        }
        if let Some(inner) = part.strip_prefix('<') {
            let inner = inner.strip_suffix('>').unwrap_or(inner);
            // Arguments behind `::` say nothing here, a type in front does; a
            // block `<impl [T]>` behind a module neither.
            if position == 0 {
                parts.push(type_name(self_type(inner)));
            } else if let Some(place) = find(inner, " for ") {
                parts.push(last_part(&type_name(&inner[place + 5..])));
            }
            continue;
        }
        let end = part.find('<').unwrap_or(part.len());
        let ident = part[..end].trim();
        if !ident.is_empty() {
            parts.push(ident.to_owned());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("::")
}

/// The type of `T as Trait`, `impl Trait for T`, `impl T`, `T`.
fn self_type(inner: &str) -> &str {
    if let Some(block) = inner.strip_prefix("impl ") {
        return match find(block, " for ") {
            Some(place) => &block[place + 5..],
            None => block,
        };
    }
    match find(inner, " as ") {
        Some(place) => &inner[..place],
        None => inner,
    }
}

fn type_name(text: &str) -> String {
    let text = bare_type(text);
    let text = text.strip_suffix(')').unwrap_or(text);
    if text.starts_with('[') {
        return "slice".to_owned();
    }
    let text = find(text, " + ").map_or(text, |place| &text[..place]);
    simplify(text)
}

fn last_part(path: &str) -> String {
    path.rsplit("::").next().unwrap_or(path).to_owned()
}

/// Splits at `::` outside of brackets.
fn split(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (place, depth) in depths(name) {
        if depth == 0 && place >= start && name[place..].starts_with("::") {
            parts.push(&name[start..place]);
            start = place + 2;
        }
    }
    parts.push(&name[start..]);
    parts
}

/// First place of `needle` outside of brackets.
fn find(text: &str, needle: &str) -> Option<usize> {
    depths(text)
        .find(|&(place, depth)| depth == 0 && text[place..].starts_with(needle))
        .map(|(place, _)| place)
}

/// Every character's place, and how many brackets are open before it.
fn depths(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    text.char_indices().map(move |(place, character)| {
        let before = depth;
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            // The head of an arrow closes nothing.
            '>' if previous == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        previous = character;
        (place, before)
    })
}
