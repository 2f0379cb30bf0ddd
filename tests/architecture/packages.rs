//! Packages of this workspace: each builds from its own files.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use syn::{ItemMod, visit::Visit};

/// Folders of the packages that are published, the viewer's last: it is around the
/// others.
const PACKAGES: &[&str] = &[
    "wire",
    "waits",
    "diagnosis",
    "procfs",
    "symbols",
    "unwind",
    "interpret",
    "outside",
    "agent/macros",
    "agent",
    "demo",
    "",
];

/// Packages that are not, and the sources of another that they may use: the models run
/// those of the agent with other atomics; what attacks the programs uses its own alone.
const NOT_PUBLISHED: &[(&str, &str)] = &[("agent/models", "agent/src"), ("fire", "fire/src")];

/// Folders of the viewer's package, beside which the other packages lie.
const VIEWER: &[&str] = &["src", "tests"];

/// Files that a source takes in by their paths: modules and what is included.
#[derive(Default)]
struct Paths(Vec<String>);

impl<'a> Visit<'a> for Paths {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        for attribute in item.attrs.iter().filter(|a| a.path().is_ident("path")) {
            if let syn::Meta::NameValue(path) = &attribute.meta
                && let syn::Expr::Lit(literal) = &path.value
                && let syn::Lit::Str(path) = &literal.lit
            {
                self.0.push(path.value());
            }
        }
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        let name = called.path.segments.last().map(|s| s.ident.to_string());
        if name.is_some_and(|name| name.starts_with("include"))
            && let Ok(path) = syn::parse2::<syn::LitStr>(called.tokens.clone())
        {
            self.0.push(path.value());
        }
        syn::visit::visit_macro(self, called);
    }
}

/// The files that the source at `file` takes in, from the root of the workspace.
fn taken_in(code: &str, file: &Path) -> Vec<PathBuf> {
    let mut paths = Paths::default();
    paths.visit_file(&syn::parse_file(code).unwrap());
    let beside = file.parent().unwrap();
    let taken = paths.0.iter().map(|path| normal(&beside.join(path)));
    taken.collect()
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if normal.pop() => {}
            part => normal.push(part),
        }
    }
    normal
}

/// The package that a file belongs to.
fn package(file: &Path) -> &'static str {
    let folders = NOT_PUBLISHED.iter().map(|(folder, _)| *folder);
    let mut folders = folders.chain(PACKAGES.iter().copied());
    folders.find(|folder| file.starts_with(folder)).unwrap()
}

/// What of another package the source at `file` takes in.
fn foreign(code: &str, file: &Path) -> Vec<PathBuf> {
    let own = package(file);
    let mut taken = taken_in(code, file);
    taken.retain(|path| {
        let allowed = NOT_PUBLISHED.iter().find(|(folder, _)| *folder == own);
        package(path) != own && !allowed.is_some_and(|(_, other)| path.starts_with(other))
    });
    taken
}

/// The sources below a folder.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_package_compiles_the_files_of_another() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = PACKAGES.iter().filter(|folder| !folder.is_empty());
    let mut found = Vec::new();
    for folder in others.chain(VIEWER) {
        sources(&root.join(folder), &mut found);
    }
    assert!(found.len() > 300, "{} sources", found.len());
    for path in found {
        let code = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(root).unwrap();
        assert_eq!(foreign(&code, file), [""; 0].map(PathBuf::from), "{file:?}");
    }
}

#[test]
fn a_file_of_another_package_is_found_however_it_is_taken_in() {
    for (file, code, expected) in [
        (
            "agent/src/lib.rs",
            "#[cfg(test)] #[path = \"../../src/model/call.rs\"] mod call;",
            &["src/model/call.rs"][..],
        ),
        (
            "agent/src/a/b.rs",
            "mod tests { #[path = \"../../../symbols/src/lib.rs\"] mod symbols; }",
            &["symbols/src/lib.rs"],
        ),
        (
            "src/lib.rs",
            "const A: &str = include_str!(\"../wire/proto/a.proto\");",
            &["wire/proto/a.proto"],
        ),
        (
            "wire/src/lib.rs",
            "fn f() { let a = include_bytes!(\"../../docs/a.png\"); }",
            &["docs/a.png"],
        ),
        (
            "agent/models/src/lib.rs",
            "#[path = \"../../src/a.rs\"] mod a; #[path = \"../../../src/a.rs\"] mod b;",
            &["src/a.rs"],
        ),
        ("agent/src/a.rs", "#[path = \"case_tests.rs\"] mod t;", &[]),
        (
            "src/lib.rs",
            "const A: &str = include_str!(\"../docs/a.md\");",
            &[],
        ),
    ] {
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(foreign(code, Path::new(file)), expected, "{code}");
    }
}

/// Each with its licences, and none that lacks what a registry asks for.
#[test]
fn every_package_is_complete() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace: toml::Table = super::manifest("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: Vec<_> = members.iter().map(|m| m.as_str().unwrap()).collect();
    for folder in PACKAGES {
        let folder = if folder.is_empty() { "." } else { folder };
        assert!(members.contains(&folder), "{folder} is no member");
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            assert!(root.join(folder).join(file).is_file(), "{folder}/{file}");
        }
        let manifest: toml::Table = super::manifest(&format!("{folder}/Cargo.toml"))
            .parse()
            .unwrap();
        let package = manifest["package"].as_table().unwrap();
        for key in ["description", "license", "repository", "readme", "keywords"] {
            assert!(package.contains_key(key), "{folder} has no {key}");
        }
    }
    let others = NOT_PUBLISHED.iter().map(|(folder, _)| *folder);
    for member in members {
        let known = PACKAGES.contains(&member.trim_start_matches('.'));
        assert!(
            known || others.clone().any(|other| other == member),
            "{member}"
        );
    }
}
