//! What the agent's flight recorder leaves behind is a recording like any other.
#![cfg(feature = "demo")]

mod lab;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use lab::check;

/// Keeps its worker for so long that it is worth a recording.
#[inline(never)]
fn block_for_long() {
    std::thread::sleep(Duration::from_millis(1_500));
}

fn recordings(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_critical_stall_leaves_a_recording() {
    let directory = tempfile::tempdir().unwrap();
    let flights = directory.path().join("flights");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let agent = looptop_agent::Agent::builder()
        .bind("127.0.0.1:0")
        .runtime("main", runtime.handle())
        .install_subscriber(true)
        .flight_recorder(&flights, 1 << 20)
        .start();
    assert!(agent.is_running());
    runtime.block_on(async {
        // Healthy for a while, so that the recording has something before it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::spawn(async { block_for_long() }).await.unwrap();
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let written = loop {
        let whole = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|m| m.len() > 1_000);
        if let Some(path) = recordings(&flights).into_iter().find(whole) {
            break path;
        }
        assert!(Instant::now() < deadline, "no recording");
        std::thread::sleep(Duration::from_millis(50));
    };
    let name = written.to_str().unwrap();
    assert!(name.ends_with("-stall.looptop"), "{name}");
    agent.shutdown();

    let (report, code) = check(name, &[]);
    assert_eq!(code, 1, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let blocked = findings.iter().find(|f| f["rule"] == "blocked-worker");
    let blocked = blocked.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(blocked["severity"], "critical");
    let function = blocked["function"].as_str().unwrap_or_default();
    assert!(function.ends_with("block_for_long"), "{report}");
}
