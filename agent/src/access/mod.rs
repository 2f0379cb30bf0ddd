//! Who may look, and at what.
//!
//! [`judge`] decides from what is known of who is at the other end of a connection
//! ([`Peer`]) and from what the application asked for ([`Policy`]); it does no I/O.
//! `server` finds out the facts, counts and says what was refused.
//!
//! - [`token`]: the secret that stands for a user who cannot be seen,
//! - [`reading`]: who may read the process from outside, where the kernel asks for a name,
//! - [`refusal`]: why somebody may not look, as a sentence,
//! - [`scrapers`]: who may read `/metrics`, who need not be one who may look,
//! - [`settings`]: what the builder and the environment say, made into a policy,
//! - [`counts`]: what was refused so far, said once for each kind,
//! - [`reduced`]: what of a frame those see who may see numbers alone,
//! - [`uid`]: users by their ids.

pub(crate) mod counts;
pub(crate) mod reading;
pub(crate) mod reduced;
pub(crate) mod refusal;
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(crate) mod scrapers;
pub(crate) mod settings;
pub(crate) mod token;
pub(crate) mod uid;

use looptop_wire::proto;

use self::refusal::Refusal;
use self::scrapers::Scrapers;
use self::token::Token;

/// What a viewer may see; each holds those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Permission {
    /// Metrics and health: numbers of the process, its threads, runtimes, workers and
    /// stalls.
    Numbers,
    /// What a program calls things, and where they are in its code: tasks, stacks,
    /// fields, paths.
    Names,
    /// What its memory holds: where tasks wait, and tasks that were found by reading.
    Memory,
}

impl Permission {
    pub(crate) fn to_wire(self) -> proto::Permission {
        match self {
            Self::Numbers => proto::Permission::Numbers,
            Self::Names => proto::Permission::Names,
            Self::Memory => proto::Permission::Memory,
        }
    }
}

/// What the application asked for.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Users who may look beside the application's own and root.
    pub(crate) allowed: Vec<u32>,
    /// Whether the application's own user and root may look without a token.
    pub(crate) trusts_users: bool,
    /// What stands for a user who may look.
    pub(crate) token: Option<Token>,
    /// What everybody but the application's own user and root may see.
    pub(crate) guests: Permission,
    /// Whether console-subscriber's service answers although there is a token.
    #[cfg_attr(not(feature = "console"), allow(dead_code))]
    pub(crate) console: bool,
    /// Who may read `/metrics` beside those who may look.
    pub(crate) scrapers: Scrapers,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            trusts_users: true,
            token: None,
            guests: Permission::Names,
            console: false,
            scrapers: Scrapers::default(),
        }
    }
}

impl Policy {
    /// Whether console-subscriber's service answers: a viewer of its protocol cannot
    /// show a token.
    #[cfg_attr(not(feature = "console"), allow(dead_code))]
    pub(crate) fn serves_console(&self) -> bool {
        self.token.is_none() || self.console
    }
}

/// The user at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// By the kernel's word.
    Known(u32),
    /// The kernel shows no socket of this namespace at the other end, or none that is
    /// still open: another network namespace, or a system that does not say.
    Unseen,
    /// A user whom this process's user namespace does not map: all of them look alike.
    Unmapped,
    /// On another machine, as far as can be known.
    Remote,
}

/// What is known of who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) user: User,
    /// It showed a certificate that the application trusts.
    pub(crate) certified: bool,
}

/// What somebody may see.
pub(crate) fn judge(
    policy: &Policy,
    own: u32,
    peer: Peer,
    shown: Option<&[u8]>,
) -> Result<Permission, Refusal> {
    if let (User::Known(uid), true) = (peer.user, policy.trusts_users)
        && (uid == own || uid == uid::ROOT)
    {
        return Ok(Permission::Memory);
    }
    if peer.certified {
        return Ok(policy.guests);
    }
    if let User::Known(uid) = peer.user
        && policy.allowed.contains(&uid)
    {
        return Ok(policy.guests);
    }
    match (&policy.token, shown) {
        (Some(token), Some(shown)) if token.is(shown) => Ok(policy.guests),
        (Some(_), Some(_)) => Err(Refusal::WrongToken),
        (Some(_), None) => Err(Refusal::NoToken(peer.user)),
        (None, _) => Err(Refusal::NotAllowed(peer.user)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1000;
    const TOKEN: &str = "correct-horse-battery";

    fn peer(user: User) -> Peer {
        Peer {
            user,
            certified: false,
        }
    }

    #[test]
    fn who_may_look_and_at_what() {
        use Permission::{Memory, Names, Numbers};
        let plain = Policy::default();
        let token = || Some(Token::new(TOKEN).unwrap());
        let with_token = Policy {
            token: token(),
            ..Policy::default()
        };
        let token_alone = Policy {
            token: token(),
            trusts_users: false,
            ..Policy::default()
        };
        let guests = Policy {
            allowed: vec![1001],
            guests: Numbers,
            ..with_token.clone()
        };
        let generous = Policy {
            guests: Memory,
            ..guests.clone()
        };
        let (own, root) = (User::Known(OWN), User::Known(0));
        let (guest, other) = (User::Known(1001), User::Known(65_534));
        let (right, wrong) = (Some(TOKEN), Some("correct-horse-batterz"));
        let no = Refusal::NotAllowed;
        let asks = Refusal::NoToken;
        let cases = [
            // Without any setting: the same user and root, nobody else.
            (&plain, own, None, Ok(Memory)),
            (&plain, root, None, Ok(Memory)),
            (&plain, own, wrong, Ok(Memory)),
            (&plain, other, None, Err(no(other))),
            (&plain, guest, None, Err(no(guest))),
            (&plain, other, right, Err(no(other))),
            (&plain, User::Unseen, None, Err(no(User::Unseen))),
            (&plain, User::Unmapped, None, Err(no(User::Unmapped))),
            (&plain, User::Remote, right, Err(no(User::Remote))),
            // A token opens to those who have it; the same user needs none.
            (&with_token, own, None, Ok(Memory)),
            (&with_token, root, wrong, Ok(Memory)),
            (&with_token, other, right, Ok(Names)),
            (&with_token, other, None, Err(asks(other))),
            (&with_token, other, wrong, Err(Refusal::WrongToken)),
            (&with_token, User::Unseen, right, Ok(Names)),
            (&with_token, User::Unseen, None, Err(asks(User::Unseen))),
            (&with_token, User::Remote, right, Ok(Names)),
            (
                &with_token,
                User::Remote,
                Some(""),
                Err(Refusal::WrongToken),
            ),
            (&with_token, User::Unmapped, right, Ok(Names)),
            // The token alone.
            (&token_alone, own, None, Err(asks(own))),
            (&token_alone, root, None, Err(asks(root))),
            (&token_alone, own, right, Ok(Names)),
            // Users by name, who see numbers.
            (&guests, guest, None, Ok(Numbers)),
            (&guests, guest, wrong, Ok(Numbers)),
            (&guests, own, None, Ok(Memory)),
            (&guests, other, None, Err(asks(other))),
            (&guests, User::Remote, right, Ok(Numbers)),
            (&generous, guest, None, Ok(Memory)),
        ];
        for (policy, user, shown, expected) in cases {
            let judged = judge(policy, OWN, peer(user), shown.map(str::as_bytes));
            assert_eq!(judged, expected, "{policy:?} {user:?} {shown:?}");
        }
        // A certificate stands for a guest, and takes nothing from the owner.
        for (user, expected) in [(User::Remote, Numbers), (other, Numbers), (own, Memory)] {
            let certified = Peer {
                user,
                certified: true,
            };
            assert_eq!(judge(&guests, OWN, certified, None), Ok(expected));
        }
    }

    #[test]
    fn console_is_off_beside_a_token_unless_allowed() {
        let with = |token: Option<&str>, console| Policy {
            token: token.map(|token| Token::new(token).unwrap()),
            console,
            ..Policy::default()
        };
        for (token, allowed, serves) in [
            (None, false, true),
            (None, true, true),
            (Some(TOKEN), false, false),
            (Some(TOKEN), true, true),
        ] {
            assert_eq!(with(token, allowed).serves_console(), serves);
        }
    }

    #[test]
    fn permissions_hold_those_before_them() {
        assert!(Permission::Numbers < Permission::Names);
        assert!(Permission::Names < Permission::Memory);
    }
}
