//! Who may read `/metrics`: numbers, and the functions and places that are to blame.
//!
//! Whoever may look may read it, as far as they may see names. Beside them those whom the
//! application lets read it and nothing else: Prometheus runs as a user of its own, often on
//! another machine.

use super::refusal::Refusal;
use super::{Peer, Permission, Policy, User, judge};

/// Who may read `/metrics` beside those who may look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scrapers {
    /// Users of this machine.
    pub(crate) users: Vec<u32>,
    pub(crate) reach: Reach,
}

/// Who needs not show who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nobody.
    #[default]
    Nobody,
    /// Every user of this machine, as far as the kernel sees that it is one.
    Machine,
    /// Everybody who can connect.
    Anybody,
}

/// What somebody may see of `/metrics`: numbers alone, or names as well.
pub(crate) fn judge_scrape(
    policy: &Policy,
    own: u32,
    peer: Peer,
    shown: Option<&[u8]>,
) -> Result<Permission, Refusal> {
    let scrapers = &policy.scrapers;
    let is_let_in = match (peer.user, scrapers.reach) {
        (_, Reach::Anybody) | (User::Known(_) | User::Unmapped, Reach::Machine) => true,
        (User::Known(uid), Reach::Nobody) => scrapers.users.contains(&uid),
        _ => false,
    };
    if is_let_in {
        return Ok(Permission::Names);
    }
    judge(policy, own, peer, shown).map(|permission| permission.min(Permission::Names))
}

#[cfg(test)]
mod tests {
    use super::super::token::Token;
    use super::*;

    #[test]
    fn who_may_scrape_and_what_they_see() {
        use Permission::{Names, Numbers};
        const OWN: u32 = 1000;
        let policy = |users: &[u32], reach, guests| Policy {
            token: Some(Token::new("correct-horse-battery").expect("a token")),
            guests,
            scrapers: Scrapers {
                users: users.to_vec(),
                reach,
            },
            ..Policy::default()
        };
        let by_default = policy(&[], Reach::Nobody, Names);
        let numbers = policy(&[], Reach::Nobody, Numbers);
        let prometheus = policy(&[120], Reach::Nobody, Numbers);
        let machine = policy(&[], Reach::Machine, Numbers);
        let anybody = policy(&[], Reach::Anybody, Numbers);
        let known = User::Known;
        let (token, none) = (Some("correct-horse-battery"), None);
        let asks = |user| Err(Refusal::NoToken(user));
        for (policy, user, shown, expected) in [
            (&by_default, known(OWN), none, Ok(Names)),
            (&by_default, known(120), none, asks(known(120))),
            (&by_default, User::Remote, none, asks(User::Remote)),
            (&by_default, User::Remote, token, Ok(Names)),
            (&by_default, known(120), Some("x"), Err(Refusal::WrongToken)),
            (&numbers, known(OWN), none, Ok(Names)),
            (&numbers, User::Remote, token, Ok(Numbers)),
            (&prometheus, known(120), none, Ok(Names)),
            (&prometheus, known(121), none, asks(known(121))),
            (&prometheus, User::Unseen, none, asks(User::Unseen)),
            (&machine, known(121), none, Ok(Names)),
            (&machine, User::Unmapped, none, Ok(Names)),
            (&machine, User::Unseen, none, asks(User::Unseen)),
            (&machine, User::Remote, none, asks(User::Remote)),
            (&anybody, User::Remote, none, Ok(Names)),
        ] {
            let peer = Peer {
                user,
                certified: false,
            };
            let judged = judge_scrape(policy, OWN, peer, shown.map(str::as_bytes));
            assert_eq!(judged, expected, "{policy:?} {user:?} {shown:?}");
        }
    }
}
