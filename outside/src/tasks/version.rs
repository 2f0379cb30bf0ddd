//! The version of tokio that a program was built with.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A version of tokio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1, or 0 before 2020.
    pub major: u16,
    /// The release.
    pub minor: u16,
    /// The release's correction.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Bytes that a version needs after where it begins.
pub(super) const LONGEST: usize = 32;

/// The newest version whose sources the constants in `bytes` name: a panic's location
/// in a crate that came from a registry is `.../tokio-1.54.1/src/...`.
pub(super) fn version(bytes: &[u8]) -> Option<Version> {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("/tokio-"));
    let found = NAME.find_iter(bytes);
    found.filter_map(|at| parse(&bytes[at + 7..])).max()
}

/// The version that stands before `/src`.
fn parse(bytes: &[u8]) -> Option<Version> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let end = bytes.iter().position(|byte| *byte == b'/')?;
    if !bytes[end..].starts_with(b"/src") {
        return None;
    }
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut numbers = text.split(['.', '-', '+']).map(str::parse);
    let mut number = || numbers.next()?.ok();
    Some(Version {
        major: number()?,
        minor: number()?,
        patch: number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_paths() {
        for (text, expected) in [
            (
                "/root/.cargo/registry/src/x-1/tokio-1.54.1/src/runtime/park.rs",
                Some("1.54.1"),
            ),
            (
                "/tokio-1.38.0/src/a.rs/x/tokio-1.9.10/src/b.rs",
                Some("1.38.0"),
            ),
            ("/x/tokio-0.2.25/src/lib.rs", Some("0.2.25")),
            ("/x/tokio-1.40.0-rc.1/src/lib.rs", Some("1.40.0")),
            ("/x/tokio-util-0.7.1/src/lib.rs", None),
            ("/x/mytokio-1.2.3/src/lib.rs", None),
            ("/x/tokio-1.2.3/tests/lib.rs", None),
            ("/x/tokio-1.2/src/lib.rs", None),
            ("/x/tokio-99999.2.1/src/lib.rs", None),
            ("/x/tokio-1.54.1", None),
            ("/tokio-", None),
        ] {
            let found = version(text.as_bytes()).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
