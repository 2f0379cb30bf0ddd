//! The programs of `tests/field` through `looptop check`.

mod field_cases;

use field_cases::{Case, Launch, Level, brief, build};

/// One row for an engineer: LOOPTOP_FIELD_CASE names the program,
/// LOOPTOP_FIELD_LEVEL and LOOPTOP_FIELD_BUILD how it is built.
#[test]
#[ignore = "prints what is found in one case: an engineer's tool"]
fn one_case() {
    let set = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let program = set("LOOPTOP_FIELD_CASE", "std_command");
    let profile = set("LOOPTOP_FIELD_BUILD", "release");
    let level = Level::ALL[set("LOOPTOP_FIELD_LEVEL", "0").parse::<usize>().unwrap()];
    build(level, &profile, &[&program]).unwrap();
    let launch = Launch {
        program: &program,
        profile: &profile,
        level,
        arguments: &[],
        environment: &[],
    };
    let case = Case::start(&launch);
    let outcome = case.check(&["--for", "6s", "--warmup", "2s"]);
    assert!(
        outcome.report.is_object(),
        "{}\n{}",
        outcome.stderr,
        case.said()
    );
    println!("exit {:?}\n{}", outcome.code, outcome.words());
    for finding in outcome.findings() {
        println!("  {}", brief(finding));
    }
}
