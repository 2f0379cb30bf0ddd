//! Users by their ids.

use std::sync::OnceLock;

use super::User;

pub(crate) const ROOT: u32 = 0;

/// As which a user namespace shows each user whom it does not map.
const OVERFLOW: u32 = 65_534;

/// The user of this process now: it may give up root's rights after its start.
#[cfg(unix)]
#[allow(unsafe_code)]
pub(crate) fn own() -> u32 {
    // SAFETY: takes no argument, cannot fail, touches no memory of ours.
    unsafe { libc::geteuid() }
}

/// Not known on other systems, and nobody has it.
#[cfg(not(unix))]
pub(crate) fn own() -> u32 {
    u32::MAX
}

/// What an id that the kernel reports means here.
pub(crate) fn user(uid: u32) -> User {
    static MAPS_ALL: OnceLock<bool> = OnceLock::new();
    let maps_all = *MAPS_ALL.get_or_init(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map");
        map.map_or(true, |map| maps_all(&map))
    });
    reported(uid, maps_all)
}

fn reported(uid: u32, maps_all: bool) -> User {
    if uid == OVERFLOW && !maps_all {
        return User::Unmapped;
    }
    User::Known(uid)
}

/// Whether a user namespace with this `uid_map` maps every user.
fn maps_all(map: &str) -> bool {
    let mut lines = map.lines();
    let whole = lines.next().map(|line| line.split_ascii_whitespace());
    whole.is_some_and(|numbers| numbers.eq(["0", "0", "4294967295"])) && lines.next().is_none()
}

/// The id of a user: a number, or a name in the text of `/etc/passwd`.
pub(crate) fn of_name(name: &str, passwd: &str) -> Option<u32> {
    if let Ok(uid) = name.parse() {
        return Some(uid);
    }
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        found.then_some(uid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmapped_user_is_nobody_in_particular() {
        let whole = "         0          0 4294967295\n";
        for (map, all) in [
            (whole, true),
            ("0 1000 1\n", false),
            ("0 100000 65536\n", false),
            ("0 1000 1\n1 100000 65536\n", false),
            ("", false),
        ] {
            assert_eq!(maps_all(map), all, "{map}");
        }
        assert_eq!(reported(65_534, true), User::Known(65_534));
        assert_eq!(reported(65_534, false), User::Unmapped);
        assert_eq!(reported(1000, false), User::Known(1000));
    }

    #[test]
    fn users_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n\
            broken\nbob:x:-1:0::/:\n";
        for (name, uid) in [
            ("root", Some(0)),
            ("alice", Some(1000)),
            ("1001", Some(1001)),
            ("bob", None),
            ("broken", None),
            ("ali", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(of_name(name, passwd), uid, "{name}");
        }
    }
}
