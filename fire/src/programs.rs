//! The programs that are attacked.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) looptop: PathBuf,
    pub(crate) demo: PathBuf,
    /// This one.
    pub(crate) own: PathBuf,
}

/// What programs with planted defects hold, and no others.
pub(crate) const PLANTED: &str = "LOOPTOP_PLANTED";

/// The packages that have both.
pub(crate) const PACKAGES: [&str; 2] = ["looptop", "looptop-demo"];

impl Programs {
    /// Those in `directory`, otherwise those beside this program, which cargo builds if
    /// they are not there. Defects must be planted in them if `planted`, and else not.
    pub(crate) fn find(directory: Option<&Path>, planted: bool) -> anyhow::Result<Self> {
        let own = env::current_exe().context("this program's own path cannot be had")?;
        let beside = own.parent().context("this program is in no directory")?;
        let folder = directory.unwrap_or(beside).to_owned();
        let [looptop, demo] = PACKAGES.map(|name| folder.join(name));
        if !(looptop.is_file() && demo.is_file()) {
            if directory.is_some() {
                bail!(
                    "{} does not have both `looptop` and `looptop-demo`",
                    folder.display()
                );
            }
            build(&folder, &[])?;
        }
        for program in [&looptop, &demo] {
            let code = std::fs::read(program)
                .with_context(|| format!("{} cannot be read", program.display()))?;
            let is_planted = memchr::memmem::find(&code, PLANTED.as_bytes()).is_some();
            match (planted, is_planted) {
                (false, true) => bail!(
                    "{} was built with planted defects (the feature `planted`); build it again \
                     without: cargo build -p looptop -p looptop-demo",
                    program.display()
                ),
                (true, false) => bail!(
                    "{} has no planted defects; `looptop-fire planted` builds it with them",
                    program.display()
                ),
                _ => {}
            }
        }
        Ok(Self { looptop, demo, own })
    }
}

/// Has cargo build both into `folder`, which is that of a profile, with `options`.
pub(crate) fn build(folder: &Path, options: &[&str]) -> anyhow::Result<()> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", profile, "--manifest-path"]);
    command.arg(manifest);
    if let Some(target) = folder.parent() {
        command.arg("--target-dir").arg(target);
    }
    command.args(PACKAGES.iter().flat_map(|package| ["-p", *package]));
    command.args(["--bins"]).args(options);
    println!("building the programs: {command:?}");
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("the programs could not be built: cargo ended with {status}");
    }
    Ok(())
}
