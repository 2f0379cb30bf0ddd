//! The program while it runs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use looptop_outside::Subject;
use looptop_procfs::SyscallState;

/// The program, with what it says of itself.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Their names, by id.
    pub(crate) tasks: HashMap<u64, String>,
    pub(crate) descriptors: HashMap<i32, String>,
    /// With their addresses and sizes, by the former.
    pub(crate) resources: Vec<(u64, u64, String)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts a program, with so many tasks more and so many sets of all tasks, and waits
    /// until it is ready.
    pub(crate) fn start(program: &Path, more: u32, sets: u32) -> Self {
        let child = Command::new(program)
            .args([more.to_string(), sets.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut running = Self {
            child: child.unwrap(),
            tasks: HashMap::new(),
            descriptors: HashMap::new(),
            resources: Vec::new(),
        };
        let output = running.child.stdout.take().unwrap();
        for line in BufReader::new(output).lines() {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["task", name, id] => {
                    running.tasks.insert(id.parse().unwrap(), name.to_owned());
                }
                ["fd", name, fd] => {
                    running
                        .descriptors
                        .insert(fd.parse().unwrap(), name.to_owned());
                }
                ["resource", name, address, size] => {
                    let address = address.strip_prefix("0x").unwrap();
                    let address = u64::from_str_radix(address, 16).unwrap();
                    let size = size.parse().unwrap();
                    running.resources.push((address, size, name.to_owned()));
                }
                ["ready"] => break,
                _ => panic!("{line}"),
            }
        }
        running.resources.sort_unstable();
        running
    }
}

/// Where the stacks of its threads are, by their ids.
pub(crate) fn stack_pointers(subject: &Subject) -> Vec<(u64, u64)> {
    let process = subject.process();
    let pointer = |tid| match process.thread(tid).syscall() {
        SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
        _ => None,
    };
    process.tids().unwrap().filter_map(pointer).collect()
}
