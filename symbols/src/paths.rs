//! Paths of sources as a reader knows them: from the workspace on, or the package.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::origin::{self, Place};

/// What was found on this disk of the directories of sources.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// The workspace of a source directory.
    workspaces: HashMap<PathBuf, Option<PathBuf>>,
    /// The package of a source directory.
    packages: HashMap<PathBuf, Option<Package>>,
}

/// A package whose sources are on this disk.
#[derive(Debug, Clone)]
struct Package {
    directory: PathBuf,
    name: String,
}

impl Paths {
    /// C is the application's own only where its file is in a workspace here.
    pub(crate) fn is_own_c(&mut self, file: &str) -> bool {
        matches!(origin::place(file), Place::Workspace)
            && Path::new(file).is_absolute()
            && self.workspace(file).is_some()
    }

    /// The path of a source from its package's name on, for the paths of functions.
    pub(crate) fn crate_path(&mut self, file: &str) -> String {
        if origin::place(file) == Place::Workspace
            && let Some(package) = self.package(file)
            && let Ok(inside) = Path::new(file).strip_prefix(&package.directory)
        {
            return format!("{}/{}", package.name, inside.display());
        }
        self.shown_path(file)
    }

    /// The package that a source belongs to, where it is on this disk.
    fn package(&mut self, file: &str) -> Option<Package> {
        let directory = Path::new(file).parent()?;
        let find = || {
            let mut above = directory.ancestors().filter(|above| above.is_absolute());
            above.find_map(|above| {
                let manifest = fs::read_to_string(above.join("Cargo.toml")).ok()?;
                Some(Package {
                    directory: above.to_path_buf(),
                    name: package_name(&manifest)?,
                })
            })
        };
        if let Some(known) = self.packages.get(directory) {
            return known.clone();
        }
        let found = find();
        self.packages.insert(directory.to_path_buf(), found.clone());
        found
    }

    /// A source path without what is the same for every reader.
    pub(crate) fn shown_path(&mut self, file: &str) -> String {
        match origin::place(file) {
            Place::Standard(path) | Place::Package(path) => path.to_owned(),
            Place::Generated => file.rsplit('/').next().unwrap_or(file).to_owned(),
            Place::Workspace => self.in_workspace(file),
        }
    }

    /// The path from the workspace on: the outermost directory above the file that
    /// has a `Cargo.lock`, or where the sources are not on this machine, the
    /// directory that has `src`.
    fn in_workspace(&mut self, file: &str) -> String {
        let root = self.workspace(file);
        let path = Path::new(file);
        if let Some(inside) = root.as_ref().and_then(|root| path.strip_prefix(root).ok()) {
            return inside.to_string_lossy().into_owned();
        }
        guess_relative(file).to_owned()
    }

    fn workspace(&mut self, file: &str) -> Option<PathBuf> {
        let directory = Path::new(file).parent()?;
        let root = self
            .workspaces
            .entry(directory.to_path_buf())
            .or_insert_with(|| {
                let above = directory.ancestors().filter(|above| above.is_absolute());
                above
                    .filter(|above| above.join("Cargo.lock").is_file())
                    .last()
                    .map(Path::to_path_buf)
            });
        root.clone()
    }
}

/// The name in the `[package]` of a manifest.
fn package_name(manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().map(str::trim);
    lines.find(|line| *line == "[package]")?;
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then_some(value)
    })?;
    let name = value.trim().strip_prefix('"')?;
    Some(name.split('"').next()?.to_owned())
}

/// The part of an absolute path from the package's directory on.
fn guess_relative(file: &str) -> &str {
    for part in ["/src/", "/tests/", "/examples/", "/benches/"] {
        if let Some((before, _)) = file.split_once(part) {
            let start = before.rfind('/').map_or(0, |slash| slash + 1);
            return &file[start..];
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_sources_that_are_elsewhere() {
        let cases = [
            ("/build/ws/demo/src/a/b.rs", "demo/src/a/b.rs"),
            ("/build/app/src/main.rs", "app/src/main.rs"),
            ("/build/app/examples/x.rs", "app/examples/x.rs"),
            ("/odd/main.rs", "/odd/main.rs"),
        ];
        for (path, expected) in cases {
            assert_eq!(guess_relative(path), expected);
        }
    }
}
