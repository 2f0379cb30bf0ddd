//! A secret that stands for a user who may look.

use std::fmt;

use subtle::ConstantTimeEq;

/// A shorter one is guessed.
const LEAST_BYTES: usize = 16;
/// A longer one is a mistake: a file that holds something else.
const MOST_BYTES: usize = 4_096;

/// The secret. Never shown: not by `Debug`, in a message, or on the wire.
#[derive(Clone)]
pub(crate) struct Token(Box<[u8]>);

impl Token {
    /// A token without the spaces and line ends around it.
    pub(crate) fn new(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        if text.len() < LEAST_BYTES {
            return Err(BadToken::Short);
        }
        if text.len() > MOST_BYTES {
            return Err(BadToken::Long);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken::Characters);
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Whether somebody has shown it. Takes as long wherever they differ; only the
    /// length can be learnt.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a text is no token. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("it has fewer than {LEAST_BYTES} characters; `openssl rand -hex 32` makes a good one")]
    Short,
    #[error("it has more than {MOST_BYTES} characters")]
    Long,
    #[error("it must be visible ASCII without spaces; `openssl rand -hex 32` makes a good one")]
    Characters,
}

/// The token in the value of an `authorization` header: `Bearer TOKEN`.
pub(crate) fn in_header(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_whole_of_it_and_never_shown() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn what_is_no_token_is_not_repeated() {
        for (text, error) in [
            ("", BadToken::Short),
            ("tooshort", BadToken::Short),
            ("correct horse battery", BadToken::Characters),
            ("correct-h\u{f6}rse-battery", BadToken::Characters),
        ] {
            let refused = Token::new(text).unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(text.is_empty() || !refused.to_string().contains(text));
        }
        let long = "x".repeat(5_000);
        assert_eq!(Token::new(&long).unwrap_err(), BadToken::Long);
    }

    #[test]
    fn headers() {
        assert_eq!(in_header(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(in_header(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(in_header(b"Bearer "), Some(&b""[..]));
        for other in ["", "Bearer", "Basic abc", "abc"] {
            assert_eq!(in_header(other.as_bytes()), None, "{other}");
        }
    }
}
