//! Where a line of the sources is on GitHub, at the commit that is checked.

use std::fmt::Write;

/// The commit that a workflow of GitHub's runs for, as its environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// `https://github.com/owner/name/blob/SHA`.
    base: String,
}

impl Commit {
    /// From variables as GitHub sets them: `GITHUB_SERVER_URL`, `GITHUB_REPOSITORY` and
    /// `GITHUB_SHA`; `None` where one is missing, or is not what it should be.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let get = |name| get(name).filter(|value| !value.is_empty());
        let server = get("GITHUB_SERVER_URL")?;
        let (repository, sha) = (get("GITHUB_REPOSITORY")?, get("GITHUB_SHA")?);
        let (owner, name) = repository.split_once('/')?;
        let is_name = |text: &str| {
            let is_part = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !text.is_empty() && text.bytes().all(is_part)
        };
        let is_web = server.starts_with("https://") || server.starts_with("http://");
        let is_sha = sha.bytes().all(|b| b.is_ascii_hexdigit());
        let is_plain = !server.contains(|c: char| c.is_whitespace() || c.is_control());
        (is_web && is_plain && is_sha && is_name(owner) && is_name(name)).then(|| Self {
            base: format!("{}/{owner}/{name}/blob/{sha}", server.trim_end_matches('/')),
        })
    }

    /// The address of `file:line`; `None` for what is not in the repository: dependencies,
    /// the standard library.
    pub(super) fn link(&self, location: &str) -> Option<String> {
        let (file, line) = location.rsplit_once(':')?;
        let line: u32 = line.parse().ok()?;
        let is_inside = !file.is_empty()
            && !file.starts_with('/')
            && !file.contains(':')
            && file.split('/').all(|part| !matches!(part, "" | "." | ".."));
        is_inside.then(|| format!("{}/{}#L{line}", self.base, encoded(file)))
    }
}

/// A path in an address.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(server: &str, repository: &str, sha: &str) -> Option<Commit> {
        Commit::from_environment(|name| {
            Some(match name {
                "GITHUB_SERVER_URL" => server.to_owned(),
                "GITHUB_REPOSITORY" => repository.to_owned(),
                "GITHUB_SHA" => sha.to_owned(),
                _ => return None,
            })
        })
    }

    #[test]
    fn lines_of_the_repository_have_an_address() {
        let commit = commit("https://github.com", "acme/shop", "0a1b2c").expect("all is set");
        for (location, expected) in [
            (
                "src/shop.rs:12",
                Some("https://github.com/acme/shop/blob/0a1b2c/src/shop.rs#L12"),
            ),
            (
                "my src/a#b.rs:1",
                Some("https://github.com/acme/shop/blob/0a1b2c/my%20src/a%23b.rs#L1"),
            ),
            ("src/shop.rs", None),
            ("/home/me/shop.rs:12", None),
            ("../other/a.rs:1", None),
            ("C:/a.rs:1", None),
        ] {
            assert_eq!(commit.link(location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn what_is_not_set_or_makes_no_sense_gives_none() {
        assert!(commit("https://git.acme.test/", "acme/shop", "0a1b").is_some());
        for (server, repository, sha) in [
            ("", "acme/shop", "0a1b"),
            ("https://github.com", "", "0a1b"),
            ("https://github.com", "acme/shop", ""),
            ("https://github.com", "acme", "0a1b"),
            ("https://github.com", "acme/shop", "main"),
            ("https://github.com", "acme/sh op", "0a1b"),
            ("https://a b", "acme/shop", "0a1b"),
            ("ftp://github.com", "acme/shop", "0a1b"),
        ] {
            assert_eq!(
                commit(server, repository, sha),
                None,
                "{server} {repository} {sha}"
            );
        }
    }
}
