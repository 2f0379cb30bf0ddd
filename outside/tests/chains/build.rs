//! Builds of the program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds of the program: what stands in its manifest, and the compiler's flags.
pub(crate) struct Build {
    pub(crate) name: &'static str,
    tokio: &'static str,
    profile: &'static str,
    flags: &'static str,
    pub(crate) has_types: bool,
    pub(crate) has_lines: bool,
}

/// What is asked of people: full debug information of their own crates.
const OWN: &str = "debug = \"full\"\n\
                   [profile.release.package.\"*\"]\ndebug = \"line-tables-only\"\n";

pub(crate) const BUILDS: &[Build] = &[
    Build {
        name: "own",
        tokio: "1.54",
        profile: OWN,
        flags: "",
        has_types: true,
        has_lines: true,
    },
    Build {
        name: "full",
        tokio: "1.54",
        profile: "debug = \"full\"\nlto = \"fat\"\ncodegen-units = 1\n",
        flags: "--cfg tokio_unstable",
        has_types: true,
        has_lines: true,
    },
    Build {
        name: "own-1.47",
        tokio: "1.47",
        profile: OWN,
        flags: "-C dwarf-version=5",
        has_types: true,
        has_lines: true,
    },
    Build {
        name: "plain",
        tokio: "1.54",
        profile: "",
        flags: "",
        has_types: false,
        has_lines: false,
    },
    Build {
        name: "stripped",
        tokio: "1.54",
        profile: "strip = true\n",
        flags: "",
        has_types: false,
        has_lines: false,
    },
    Build {
        name: "lines",
        tokio: "1.54",
        profile: "debug = \"line-tables-only\"\n",
        flags: "",
        has_types: false,
        has_lines: true,
    },
    Build {
        name: "fat",
        tokio: "1.54",
        profile: "debug = \"line-tables-only\"\nlto = \"fat\"\ncodegen-units = 1\n",
        flags: "",
        has_types: false,
        has_lines: true,
    },
    Build {
        name: "lines-1.47",
        tokio: "1.47",
        profile: "debug = \"line-tables-only\"\n",
        flags: "--cfg tokio_unstable",
        has_types: false,
        has_lines: true,
    },
    Build {
        name: "debug",
        tokio: "1.54",
        profile: "debug = \"full\"\nopt-level = 0\n",
        flags: "",
        has_types: true,
        has_lines: true,
    },
];

impl Build {
    /// Types of other crates are described as well.
    pub(crate) fn has_all_types(&self) -> bool {
        !self.profile.contains("line-tables-only")
    }

    /// Its functions have names.
    pub(crate) fn has_names(&self) -> bool {
        !self.profile.contains("strip")
    }

    /// Builds it, if that was not done.
    pub(crate) fn program(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = root.parent().unwrap().join("target/awaits").join(self.name);
        std::fs::create_dir_all(&package).unwrap();
        let manifest = format!(
            "[workspace]\n\
             [package]\nname = \"waiting\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [[bin]]\nname = \"waiting\"\npath = \"{}\"\n\
             [dependencies]\n\
             async-channel = \"2.5\"\n\
             async-stream = \"0.3\"\n\
             deadpool = {{ version = \"0.12\", default-features = false, features = [\"managed\", \"rt_tokio_1\"] }}\n\
             flume = {{ version = \"0.11\", default-features = false, features = [\"async\"] }}\n\
             futures = {{ version = \"0.3\", default-features = false, features = [\"std\", \"async-await\"] }}\n\
             parking_lot = {{ version = \"0.12\", features = [\"send_guard\"] }}\n\
             tokio = {{ version = \"~{}\", features = [\"full\"] }}\n\
             tokio-stream = {{ version = \"0.1\", features = [\"full\"] }}\n\
             tokio-util = {{ version = \"0.7\", features = [\"codec\", \"rt\", \"time\"] }}\n\
             tower = {{ version = \"0.5\", features = [\"limit\", \"timeout\", \"util\"] }}\n\
             tracing = {{ version = \"0.1\", default-features = false, features = [\"std\"] }}\n\
             [profile.release]\n{}",
            root.join("tests/waiting/program.rs").display(),
            self.tokio,
            self.profile,
        );
        let path = package.join("Cargo.toml");
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&manifest) {
            std::fs::write(&path, manifest).unwrap();
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--target-dir"])
            .arg(
                package
                    .with_file_name(self.name.replace("stripped", "plain"))
                    .join("target"),
            )
            .current_dir(&package)
            .env("RUSTFLAGS", self.flags)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .unwrap();
        assert!(built.success(), "{}", self.name);
        // Of one folder, so that what is stripped is not built once more.
        let built = package.with_file_name(self.name.replace("stripped", "plain"));
        let program = package.join(self.name);
        std::fs::copy(built.join("target/release/waiting"), &program).unwrap();
        program
    }
}
