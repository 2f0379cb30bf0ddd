//! The applications in this folder, as processes.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

mod stripped;

use std::{
    fs::Permissions,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running application; killed when dropped.
pub struct App {
    pub child: Child,
    pub address: String,
    /// What it was started from, where that is no longer needed afterwards.
    file: Option<tempfile::TempPath>,
}

impl App {
    /// Starts one, which prints its address and ends with its standard input.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::run(&build(program), arguments)
    }

    /// The same of a copy whose functions have no names.
    pub fn start_stripped(program: &str, arguments: &[&str]) -> Self {
        let mut bytes = std::fs::read(build(program)).unwrap();
        stripped::strip(&mut bytes);
        let mut copy = tempfile::Builder::new().prefix(program).tempfile().unwrap();
        copy.write_all(&bytes).unwrap();
        copy.as_file()
            .set_permissions(Permissions::from_mode(0o700))
            .unwrap();
        let file = copy.into_temp_path();
        let mut app = Self::run(&file, arguments);
        app.file = Some(file);
        app
    }

    /// Starts one in a directory, into which the kernel writes its core dump, where it
    /// writes dumps to plain files.
    pub fn start_with_dumps(program: &str, arguments: &[&str], directory: &Path) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""])
            .arg(build(program))
            .current_dir(directory);
        Self::spawn(command, arguments)
    }

    fn run(program: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(program), arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let command = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A new file may be open for writing in a process that another test starts just now.
        let mut started = command.spawn();
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = &started
            && error.kind() == ErrorKind::ExecutableFileBusy
            && Instant::now() < deadline
        {
            started = command.spawn();
        }
        let mut child = started.unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        let address = address.trim().into();
        Self {
            child,
            address,
            file: None,
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example's path. `cargo test --test NAME` alone does not build it.
pub fn build(program: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    // As `cargo test --workspace` builds it: with its features nothing is left to do.
    build.args(["build", "--quiet", "--workspace", "--example", program]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    profile.join("examples").join(program)
}
