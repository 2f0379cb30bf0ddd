//! Files that only their owner may read: recordings hold names.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// A new file, for its owner alone.
///
/// # Errors
///
/// It is there already, or cannot be made.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().create_new(true).open(path)
}

/// A file, for its owner alone, also one that others could read before; its content is
/// lost.
///
/// # Errors
///
/// It cannot be made or written.
pub fn create(path: &Path) -> io::Result<File> {
    let file = options().create(true).truncate(true).open(path)?;
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt;
        // What is not this user's stays as it is: that it may be written was asked for.
        let _ = file.set_permissions(Permissions::from_mode(OWNER_ALONE));
    }
    Ok(file)
}

/// Permissions.
#[cfg(unix)]
const OWNER_ALONE: u32 = 0o600;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, OWNER_ALONE);
    options
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let new = folder.path().join("new");
        create_new(&new).unwrap();
        assert_eq!(mode(&new), 0o600);
        assert!(create_new(&new).is_err());
        let old = folder.path().join("old");
        fs::write(&old, "before").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
        create(&old).unwrap();
        assert_eq!((mode(&old), fs::read(&old).unwrap().len()), (0o600, 0));
    }
}
