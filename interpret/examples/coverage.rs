//! Counts which instructions of programs the interpreter knows, and names those that it
//! does not.
//!
//! `cargo run -p looptop-interpret --example coverage -- BINARY...`

use std::path::Path;

use looptop_interpret::Coverage;
use object::{Object, ObjectSection, SectionKind};

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.is_empty() {
        eprintln!("usage: coverage BINARY...");
        return;
    }
    let mut all = Coverage::default();
    for path in &paths {
        match count(Path::new(path)) {
            Ok(coverage) => {
                show(path, &coverage);
                all.add(&coverage);
            }
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
    if paths.len() > 1 {
        show("all", &all);
    }
}

fn count(path: &Path) -> Result<Coverage, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let file = object::File::parse(&*bytes)?;
    let mut coverage = Coverage::default();
    for section in file.sections() {
        if section.kind() == SectionKind::Text {
            coverage.count(section.data()?, section.address());
        }
    }
    Ok(coverage)
}

fn show(name: &str, coverage: &Coverage) {
    let unknown: u64 = coverage.unknown.values().sum();
    let known = coverage.instructions - unknown;
    println!(
        "{name}: {known} of {} instructions known, {:.4} %; {unknown} are not, {} bytes are none",
        coverage.instructions,
        known as f64 * 100.0 / coverage.instructions.max(1) as f64,
        coverage.invalid,
    );
    let names = coverage.names();
    let names: Vec<_> = names
        .iter()
        .map(|(n, count)| format!("{n} {count}"))
        .collect();
    println!("  {}", names.join(", "));
}
