//! A file of the target's source code on this machine.

use std::path::{Path, PathBuf};

use crate::app::{SourceMap, leads_below};

/// The file that the target calls `file`: by the map of folders, as it is where it is
/// absolute, otherwise below one of `roots`. It is absolute and a file that exists; where
/// there is none, the sentence says what to do.
pub(in crate::live) fn find(
    file: &str,
    map: &[SourceMap],
    roots: &[PathBuf],
) -> Result<PathBuf, String> {
    if file.chars().any(char::is_control) {
        return Err("the file's name holds control characters: it is not opened".to_owned());
    }
    let path = Path::new(file);
    let mapped = map.iter().filter_map(|map| map.map(file));
    let as_it_is = path.is_absolute().then(|| path.to_owned());
    let below = leads_below(path);
    let below = roots.iter().filter(|_| below).map(|root| root.join(path));
    let mut places = mapped.chain(as_it_is).chain(below);
    let found = places.find_map(|place| {
        // What it really is: absolute, and without a link on the way.
        let place = std::fs::canonicalize(place).ok()?;
        place.is_file().then_some(place)
    });
    found.ok_or_else(|| {
        format!(
            "{file} is not on this machine, or not where looptop looks; say where with \
             [[source_map]] in the configuration"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_where_they_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let write = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let main = write("app/src/main.rs");
        let secret = write("secret.rs");
        let option = write("app/-c.rs");
        let roots = [root.join("app/target/release"), root.join("app")];
        let map = [SourceMap {
            from: "/build".into(),
            to: root.join("app"),
        }];
        for (file, expected) in [
            ("src/main.rs", Some(&main)),
            ("/build/src/main.rs", Some(&main)),
            (main.to_str().unwrap(), Some(&main)),
            ("-c.rs", Some(&option)),
            (secret.to_str().unwrap(), Some(&secret)),
            ("../secret.rs", None),
            ("/build/../secret.rs", None),
            ("src", None),
            ("src/other.rs", None),
            ("src/main.rs\n", None),
            ("", None),
        ] {
            let found = find(file, &map, &roots);
            assert_eq!(found.as_ref().ok(), expected, "{file}");
            if let Ok(path) = found {
                assert!(path.is_absolute());
            }
        }
        let said = find("src/other.rs", &map, &roots).unwrap_err();
        assert!(said.contains("[[source_map]]"), "{said}");
    }
}
