//! Where an agent's Unix socket is, so that a viewer of the same user finds it without
//! any setting.
//!
//! The socket is in `looptop` within `$XDG_RUNTIME_DIR`, otherwise in
//! `/tmp/looptop-UID`. Anybody may make a folder in `/tmp`, so both ends use it only if
//! [`check`] finds it to be of that user alone.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the name of an agent's socket ends; before it stands the id of the process.
pub const EXTENSION: &str = "sock";

/// Entries of a folder that are looked at, at most.
const MOST_ENTRIES: usize = 1_024;

/// The folders in which sockets of this user may be, the preferred one first. `runtime`
/// is what `$XDG_RUNTIME_DIR` says: a service may have been started without it.
pub fn folders(uid: u32, runtime: Option<&Path>) -> Vec<PathBuf> {
    let runtime = runtime.filter(|path| path.is_absolute());
    let preferred = runtime.map(|path| path.join("looptop"));
    let fallback = PathBuf::from(format!("/tmp/looptop-{uid}"));
    preferred.into_iter().chain([fallback]).collect()
}

/// Why a folder is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsafe {
    /// It is a link, a file, or something else.
    NoFolder,
    /// It is another user's.
    Owner(u32),
    /// Others may enter or write it: its permissions.
    Open(u32),
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFolder => f.write_str("it is not a folder"),
            Self::Owner(uid) => write!(f, "it belongs to user {uid}"),
            Self::Open(mode) => write!(f, "others may use it (mode {mode:o}, must be 700)"),
        }
    }
}

impl std::error::Error for Unsafe {}

/// What is known of a folder without following a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether it is one.
    pub folder: bool,
    /// Its owner.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
}

/// Whether a folder is of this user alone.
pub fn judge(facts: Facts, uid: u32) -> Result<(), Unsafe> {
    if !facts.folder {
        return Err(Unsafe::NoFolder);
    }
    if facts.owner != uid {
        return Err(Unsafe::Owner(facts.owner));
    }
    let of_others = facts.mode & 0o077;
    match of_others {
        0 => Ok(()),
        _ => Err(Unsafe::Open(facts.mode & 0o7777)),
    }
}

/// Checks that the folder is of this user alone.
///
/// # Errors
///
/// It cannot be read, or is [`Unsafe`], which is the error's source.
pub fn check(folder: &Path, uid: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    let facts = Facts {
        folder: found.is_dir(),
        owner: found.uid(),
        mode: found.mode(),
    };
    judge(facts, uid).map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))
}

/// Makes the folder where there is none, for this user alone, and checks it.
///
/// # Errors
///
/// It cannot be made or read, or is [`Unsafe`].
pub fn make(folder: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check(folder, uid),
    }
}

/// The sockets in a folder, by their names; none where it is not of this user alone.
pub fn sockets(folder: &Path, uid: u32) -> Vec<PathBuf> {
    let entries = check(folder, uid).and_then(|()| fs::read_dir(folder));
    let entries = entries.into_iter().flatten().take(MOST_ENTRIES);
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut sockets: Vec<PathBuf> = paths.filter(|path| is_socket(path)).collect();
    sockets.sort();
    sockets
}

/// Whether a socket was made some time ago: one that is just being made does not listen
/// yet, and is not left behind.
pub fn is_old(path: &Path) -> bool {
    const YOUNG: Duration = Duration::from_secs(10);
    let made = fs::symlink_metadata(path).and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUNG))
}

/// Whether the path is that of a socket and ends as an agent's does.
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_ours = path.extension().is_some_and(|end| end == EXTENSION);
    is_ours && fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn folders_are_those_of_the_user() {
        let all = |runtime: Option<&str>| {
            let folders = folders(1000, runtime.map(Path::new));
            let text = folders.iter().map(|path| path.display().to_string());
            text.collect::<Vec<_>>()
        };
        assert_eq!(all(None), ["/tmp/looptop-1000"]);
        assert_eq!(all(Some("relative")), ["/tmp/looptop-1000"]);
        assert_eq!(
            all(Some("/run/user/1000")),
            ["/run/user/1000/looptop", "/tmp/looptop-1000"]
        );
    }

    #[test]
    fn only_a_folder_of_the_user_alone_is_used() {
        let facts = |folder, owner, mode| Facts {
            folder,
            owner,
            mode,
        };
        let cases = [
            (facts(true, 1000, 0o40_700), Ok(())),
            (facts(true, 1000, 0o40_500), Ok(())),
            (facts(false, 1000, 0o100_700), Err(Unsafe::NoFolder)),
            (facts(false, 1000, 0o120_777), Err(Unsafe::NoFolder)),
            (facts(true, 0, 0o40_700), Err(Unsafe::Owner(0))),
            (facts(true, 65_534, 0o40_700), Err(Unsafe::Owner(65_534))),
            (facts(true, 1000, 0o40_750), Err(Unsafe::Open(0o750))),
            (facts(true, 1000, 0o41_777), Err(Unsafe::Open(0o1777))),
            (facts(true, 1000, 0o40_701), Err(Unsafe::Open(0o701))),
        ];
        for (facts, expected) in cases {
            assert_eq!(judge(facts, 1000), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_folder_is_made_for_the_user_alone_and_a_planted_one_is_not_used() {
        let temporary = tempfile::tempdir().unwrap();
        let uid = fs::metadata(temporary.path()).unwrap().uid();
        let folder = temporary.path().join("looptop");
        make(&folder, uid).unwrap();
        make(&folder, uid).unwrap();
        let mode = fs::metadata(&folder).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(make(&folder, uid + 1).is_err());
        let socket = folder.join("7.sock");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::write(folder.join("8.sock"), "a file").unwrap();
        symlink(&socket, folder.join("9.sock")).unwrap();
        assert!(!is_old(&socket));
        let file = fs::File::open(folder.join("8.sock")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(is_old(&folder.join("8.sock")));
        assert!(!is_old(&folder.join("none.sock")));
        assert_eq!(sockets(&folder, uid), [socket]);
        assert_eq!(sockets(&folder, uid + 1), [""; 0].map(PathBuf::from));
        let link = temporary.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(make(&link, uid).is_err());
        assert_eq!(sockets(&link, uid), [""; 0].map(PathBuf::from));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let error = make(&folder, uid).unwrap_err().to_string();
        assert!(error.contains("mode 755"), "{error}");
    }
}
