//! The machine, for whoever reads the figures.

use std::{env, fs, path::Path, process::Command};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// What the figures depend on.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// Names and versions out of the lock file.
    pub(crate) packages: Vec<(String, String)>,
}

const PACKAGES: [&str; 5] = [
    "tokio",
    "looptop-agent",
    "console-subscriber",
    "dial9-tokio-telemetry",
    "axum",
];

impl Machine {
    pub(crate) fn describe() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let rustc = Command::new(rustc).arg("--version").output();
        Self {
            cpu: model
                .map_or("unknown CPU", |(_, name)| name.trim())
                .to_owned(),
            cpus: cpus(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            rustc: rustc.map_or_else(
                |_| "unknown rustc".to_owned(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
            packages: packages(),
        }
    }
}

/// CPUs that this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Average number of processes that wanted a CPU in the last minute: how quiet
/// the machine was.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Keeps this process on one CPU.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

fn packages() -> Vec<(String, String)> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let version = |package: &str| {
        let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        let (version, _) = rest.split_once('"')?;
        Some((package.to_owned(), version.to_owned()))
    };
    PACKAGES.into_iter().filter_map(version).collect()
}
