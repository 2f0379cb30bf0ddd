//! Planted defects are in no program that people build: all of them are behind a feature
//! that nobody else switches on.

use std::{collections::BTreeSet, fs, path::Path};

use super::{manifest, packages};

/// The feature, and what a defect reads to know whether it is switched on.
const FEATURE: &str = "planted";
const VARIABLE: &str = "LOOPTOP_PLANTED";
/// Before each defect.
const GUARD: &str = "#[cfg(feature = \"planted\")]";
/// A guard stands so many lines before its variable at most.
const NEAR: usize = 4;

/// Packages with defects, or with a way to switch on those of others.
const PACKAGES: &[&str] = &["", "agent", "demo", "diagnosis", "outside"];

/// Features of a manifest, other than the one, that lead to it in any package.
fn leads(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let features = manifest.get("features").and_then(toml::Value::as_table);
    let features = features.into_iter().flatten();
    let leads = features.filter(|(name, of)| {
        let of = of.as_array().into_iter().flatten();
        let mut of = of.filter_map(toml::Value::as_str);
        *name != FEATURE && of.any(|on| on == FEATURE || on.ends_with(&format!("/{FEATURE}")))
    });
    let mut found: Vec<String> = leads.map(|(name, _)| name.clone()).collect();
    // A dependency with the feature has it always.
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(table).and_then(toml::Value::as_table);
        for (name, dependency) in table.into_iter().flatten() {
            let features = dependency.get("features").and_then(toml::Value::as_array);
            let mut features = features.into_iter().flatten();
            if features.any(|feature| feature.as_str() == Some(FEATURE)) {
                found.push(name.clone());
            }
        }
    }
    found
}

/// Lines of a source that read the variable without the guard.
fn unguarded(code: &str) -> Vec<usize> {
    let lines: Vec<&str> = code.lines().collect();
    let reads = |at: &usize| lines[*at].contains(VARIABLE);
    let is_guarded = |at: &usize| {
        let before = &lines[at.saturating_sub(NEAR)..*at];
        before.iter().any(|line| line.trim() == GUARD)
    };
    let all = 0..lines.len();
    all.filter(|at| reads(at) && !is_guarded(at)).collect()
}

#[test]
fn no_other_feature_plants_defects() {
    let workspace: toml::Table = manifest("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let mut with = BTreeSet::new();
    for member in members {
        let folder = member.as_str().unwrap().trim_start_matches('.');
        let path = Path::new(folder).join("Cargo.toml");
        let text = manifest(path.to_str().unwrap());
        assert_eq!(leads(&text), [""; 0], "{folder}");
        let table: toml::Table = text.parse().unwrap();
        let features = table.get("features").and_then(toml::Value::as_table);
        if features.is_some_and(|features| features.contains_key(FEATURE)) {
            with.insert(folder.to_owned());
        }
    }
    let expected: BTreeSet<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(with, expected);
}

#[test]
fn every_defect_is_behind_its_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for package in PACKAGES {
        let mut files = Vec::new();
        packages::sources(&root.join(package).join("src"), &mut files);
        for path in files {
            let code = fs::read_to_string(&path).unwrap();
            found += code.matches(VARIABLE).count();
            assert_eq!(unguarded(&code), [0; 0], "{}", path.display());
        }
    }
    // Five, one of them in two places.
    assert_eq!(found, 6);
}

#[test]
fn a_way_around_the_feature_is_found() {
    assert_eq!(
        leads("[features]\ndefault = [\"planted\"]\nplanted = [\"a/planted\"]"),
        ["default"]
    );
    assert_eq!(leads("[features]\nx = [\"a?/planted\"]"), ["x"]);
    assert_eq!(
        leads("[dependencies]\na = { workspace = true, features = [\"planted\"] }"),
        ["a"]
    );
    let read = format!("if std::env::var_os(\"{VARIABLE}\").is_some() {{}}");
    assert_eq!(unguarded(&format!("fn f() {{\n{read}\n}}")), [1]);
    assert_eq!(unguarded(&format!("{GUARD}\n{read}")), [0; 0]);
}
