//! The applications in this folder, as processes.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A running application; killed when dropped.
pub struct App {
    pub child: Child,
    pub address: String,
}

impl App {
    /// Starts one, which prints its address and ends with its standard input.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(build(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        let address = address.trim().into();
        Self { child, address }
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
