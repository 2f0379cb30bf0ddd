//! Why somebody may not look: one sentence, which says what would change it.

use std::fmt;

use super::User;

/// Why somebody may not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not the application's user, and no token is set.
    NotAllowed(User),
    /// A token is set, and none was shown.
    NoToken(User),
    /// One was shown, and it is another.
    WrongToken,
    /// Who may see numbers asks for names.
    NumbersAlone,
    /// Who may see names asks for what is read in memory.
    #[cfg_attr(not(feature = "waits"), allow(dead_code))]
    NoMemory,
    /// console-subscriber's service, beside a token.
    #[cfg_attr(not(feature = "console"), allow(dead_code))]
    ConsoleIsOff,
    /// The kernel was asked who asks too often in this second.
    Crowd,
}

impl Refusal {
    /// Whether showing a token might change it: gRPC's `UNAUTHENTICATED`, otherwise
    /// `PERMISSION_DENIED`.
    pub(crate) fn wants_token(self) -> bool {
        matches!(self, Self::NoToken(_) | Self::WrongToken)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed(User::Known(uid)) => write!(
                f,
                "user {uid} may not look at this application: whoever starts it can allow it by \
                 LOOPTOP_ALLOW={uid} or a token (LOOPTOP_TOKEN_FILE)"
            ),
            Self::NotAllowed(user) => write!(
                f,
                "{}, so a token is needed, and this application has none: whoever starts it can \
                 set LOOPTOP_TOKEN_FILE",
                Who(*user)
            ),
            Self::NoToken(User::Known(uid)) => write!(
                f,
                "user {uid} may not look without a token: give the application's to looptop by \
                 LOOPTOP_TOKEN or LOOPTOP_TOKEN_FILE"
            ),
            Self::NoToken(user) => write!(
                f,
                "{}, so the application's token is needed: give it to looptop by LOOPTOP_TOKEN or \
                 LOOPTOP_TOKEN_FILE",
                Who(*user)
            ),
            Self::WrongToken => f.write_str(
                "the token is not this application's: compare LOOPTOP_TOKEN or LOOPTOP_TOKEN_FILE \
                 at both ends",
            ),
            Self::NumbersAlone => f.write_str(
                "numbers alone may be seen, no names: LOOPTOP_PERMIT=names where the application \
                 starts allows them",
            ),
            Self::NoMemory => f.write_str(
                "what is read in the process's memory is shown to its own user and root on its \
                 machine: LOOPTOP_PERMIT=memory where the application starts shows it to others \
                 who may look, by a token for example",
            ),
            Self::ConsoleIsOff => f.write_str(
                "console-subscriber's service is off while a token is set, which tokio-console \
                 cannot send: LOOPTOP_CONSOLE=on where the application starts allows it to users \
                 who may look without a token",
            ),
            Self::Crowd => f.write_str("too many ask at once who they are: try again"),
        }
    }
}

/// What is known of who asks, as the beginning of a sentence.
struct Who(User);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            User::Known(uid) => write!(f, "user {uid} may not look"),
            User::Unseen => f.write_str(
                "which user asks cannot be seen (another network namespace, a forwarded port, or \
                 no Linux)",
            ),
            User::Unmapped => f.write_str(
                "which user asks cannot be seen (another user namespace: all its users look alike)",
            ),
            User::Remote => f.write_str("which user asks from another machine cannot be seen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_one_sentence_that_says_what_would_change_it() {
        let users = [
            User::Known(65_534),
            User::Unseen,
            User::Unmapped,
            User::Remote,
        ];
        let of_users = users.map(|user| [Refusal::NotAllowed(user), Refusal::NoToken(user)]);
        let others = [
            Refusal::WrongToken,
            Refusal::NumbersAlone,
            Refusal::NoMemory,
            Refusal::ConsoleIsOff,
        ];
        for refusal in of_users.into_iter().flatten().chain(others) {
            let sentence = refusal.to_string();
            assert!(sentence.contains("LOOPTOP_"), "{sentence}");
            assert!(!sentence.contains(['\n', '.']), "{sentence}");
            assert!(sentence.len() < 240, "{sentence}");
        }
    }

    #[test]
    fn only_a_token_changes_what_a_token_would() {
        assert!(Refusal::NoToken(User::Remote).wants_token());
        assert!(Refusal::WrongToken.wants_token());
        assert!(!Refusal::NotAllowed(User::Remote).wants_token());
        assert!(!Refusal::NumbersAlone.wants_token());
    }
}
