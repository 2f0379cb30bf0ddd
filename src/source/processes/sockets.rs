//! Agents by the sockets in this user's folders: also where no procfs says who listens,
//! or where it shows another's processes.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::join_all;
use looptop_wire::socket;
use tokio::net::UnixStream;

use super::{
    ask::{self, Answer},
    process::Instrument,
    row::{At, Row},
};
use crate::source::target::Target;

/// How long a socket has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A line for each agent in this user's folders whose socket is none of `known`, and is
/// not of a process that is `stopped`.
pub(super) async fn rows(known: &HashSet<PathBuf>, stopped: &HashSet<u32>) -> Vec<Row> {
    let uid = nix::unistd::geteuid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let folders = socket::folders(uid.as_raw(), runtime.as_ref().map(Path::new));
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    let found = folders
        .iter()
        .flat_map(|folder| socket::sockets(folder, uid.as_raw()))
        .filter(|path| !known.contains(path))
        .filter(|path| pid(path).is_none_or(|pid| !stopped.contains(&pid)));
    let rows = found.map(|path| row(path, &user));
    join_all(rows).await.into_iter().flatten().collect()
}

/// The process in a socket's name: `4211.sock`, `4211-1.sock`.
fn pid(path: &Path) -> Option<u32> {
    let name = path.file_stem()?.to_str()?;
    name.split('-').next()?.parse().ok()
}

async fn row(path: PathBuf, user: &str) -> Option<Row> {
    if is_left_behind(&path).await {
        // By a process of this user that has ended: the folder is this user's alone.
        let _ = fs::remove_file(&path);
        return None;
    }
    let target = Target::Unix(path);
    match ask::ask(&target, PATIENCE).await? {
        Answer::Agent {
            name, console, pid, ..
        } => Some(Row {
            pid,
            name,
            arguments: String::new(),
            user: user.to_owned(),
            instrument: if console {
                format!("{} + console", Instrument::Agent)
            } else {
                Instrument::Agent.to_string()
            },
            threads: 0,
            cpu: None,
            at: At::Target(target),
        }),
        Answer::Console | Answer::WantsToken | Answer::Closed => None,
    }
}

async fn is_left_behind(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    socket::is_old(path) && UnixStream::connect(path).await.is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets_hold_the_process() {
        for (path, expected) in [
            ("/run/user/1/looptop/4211.sock", Some(4_211)),
            ("/tmp/looptop-0/4211-1.sock", Some(4_211)),
            ("/tmp/looptop-0/app.sock", None),
            ("/", None),
        ] {
            assert_eq!(pid(Path::new(path)), expected, "{path}");
        }
    }
}
