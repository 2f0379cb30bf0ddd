//! Whether whoever listens at a Unix socket is believed: anybody may make one under a
//! name at which another's is looked for.

use std::path::Path;

use super::{
    super::{Problem, ProblemKind, problem::quote},
    settings,
};

const ROOT: u32 = 0;

/// Refuses the socket at `path` if another user serves it. Root and the user of this
/// viewer are believed, and those whom the user trusts; root believes everybody, since
/// it may look at everybody's applications.
#[cfg(unix)]
pub(in crate::source) fn believe(path: &Path, server: u32) -> Result<(), Problem> {
    let own = nix::unistd::geteuid().as_raw();
    let by_name = |name: &str| {
        let found = nix::unistd::User::from_name(name).ok()?;
        Some(found?.uid.as_raw())
    };
    let trusted: Vec<u32> = settings()
        .trust
        .iter()
        .filter_map(|user| user.parse().ok().or_else(|| by_name(user)))
        .collect();
    if is_believed(own, server, &trusted) {
        return Ok(());
    }
    let path = quote(&path.display().to_string());
    Err(Problem::new(
        ProblemKind::Forbidden,
        format!("the socket {path} is served by user {server}, not by you or root: it is not used"),
        format!(
            "if you know that user's application to be there, LOOPTOP_TRUST={server} allows it"
        ),
    ))
}

fn is_believed(own: u32, server: u32, trusted: &[u32]) -> bool {
    own == ROOT || server == own || server == ROOT || trusted.contains(&server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_socket_is_used() {
        for (own, server, trusted, believed) in [
            (1000, 1000, &[][..], true),
            (1000, 0, &[], true),
            (1000, 65_534, &[], false),
            (1000, 1001, &[1001], true),
            (1000, 1002, &[1001], false),
            (0, 1000, &[], true),
        ] {
            assert_eq!(
                is_believed(own, server, trusted),
                believed,
                "{own} {server}"
            );
        }
    }
}
