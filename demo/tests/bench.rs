//! The bench measures every table, at a small scale; what it measures is not
//! judged, but for what no machine can get wrong.

use std::process::Command;

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_looptop-demo");

#[test]
fn every_table_is_measured() {
    let output = Command::new(PROGRAM)
        .args(["bench", "--quick", "--format", "json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let tables: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tables = tables.as_array().unwrap();
    let ids: Vec<&str> = tables
        .iter()
        .filter_map(|table| table["id"].as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "thousand-requests",
            "sync-async",
            "http-client",
            "conversations",
            "ten-awaits",
            "three-upstreams",
            "three-requests"
        ]
    );
    for table in tables {
        let rows = table["rows"].as_array().unwrap();
        assert!(rows.len() >= 2, "{table:#}");
        assert_eq!(rows[0]["ratio"], 1.0, "{table:#}");
        for row in rows {
            assert!(row["figure"].as_f64() > Some(0.0), "{row:#}");
        }
    }
    let ways = &tables[0]["rows"];
    assert!(ways[0]["memory_mib"].as_f64() > Some(1.0), "{ways:#}");
    // Ten waits in a row take ten times as long as together; half of that even
    // on a busy machine.
    assert!(
        tables[4]["rows"][1]["ratio"].as_f64() > Some(2.0),
        "{}",
        tables[4]
    );
}

#[test]
fn an_unknown_table_gets_the_nearest() {
    let output = Command::new(PROGRAM)
        .args(["bench", "--only", "tenawaits"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("did you mean \"ten-awaits\"?"), "{said}");
}
