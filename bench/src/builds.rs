//! Builds the program once per configuration, by calling cargo.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{child::Program, configuration::Configuration};

const PROGRAM: &str = "looptop-bench-program";

/// The binary of each configuration.
pub(crate) struct Builds {
    directory: PathBuf,
}

impl Builds {
    /// Builds what is not up to date, and checks that each binary is what it
    /// should be.
    pub(crate) fn make(configurations: &[Configuration]) -> anyhow::Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = manifest.join("target");
        let builds = Self {
            directory: target.join("programs"),
        };
        fs::create_dir_all(&builds.directory)?;
        for &configuration in configurations {
            eprintln!("building {configuration}");
            let built = build(manifest, &target, configuration)?;
            let kept = builds.path(configuration);
            // Not over a file that may still run.
            if kept.exists() {
                fs::remove_file(&kept)?;
            }
            fs::copy(&built, &kept).with_context(|| format!("cannot keep {}", built.display()))?;
            check(&kept, configuration)?;
        }
        Ok(builds)
    }

    pub(crate) fn path(&self, configuration: Configuration) -> PathBuf {
        self.directory.join(configuration.name())
    }
}

/// Builds with the same flags share a target directory; what differs by
/// features has another hash there.
fn build(manifest: &Path, target: &Path, configuration: Configuration) -> anyhow::Result<PathBuf> {
    let (directory, flags) = if configuration.unstable() {
        ("unstable", "--cfg tokio_unstable")
    } else {
        ("stable", "")
    };
    let directory = target.join(directory);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(manifest)
        .args(["build", "--release", "--quiet", "-p", PROGRAM])
        .args(["--features", configuration.name()])
        .arg("--target-dir")
        .arg(&directory)
        // Set even where empty: it beats any configuration file's flags.
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo could not build the configuration {configuration}");
    }
    Ok(directory.join("release").join(PROGRAM))
}

fn check(binary: &Path, configuration: Configuration) -> anyhow::Result<()> {
    let about = Program::new(binary).argument("about").results()?;
    let flag = about.get("tokio_unstable")?;
    ensure!(
        (flag > 0.5) == configuration.unstable() && about.get("debug_assertions")? < 0.5,
        "the build of {configuration} has other flags than it should have"
    );
    Ok(())
}
