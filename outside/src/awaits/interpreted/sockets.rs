//! Which descriptor tokio's driver knows by which address.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use crate::Subject;

/// Descriptors of a process that it waits for by `epoll`, by the numbers that it gave them:
/// those of tokio are addresses of what it has for each.
#[derive(Debug, Clone, Default)]
pub struct Sockets(HashMap<u64, i32>);

/// Those that are taken.
const MAX_SOCKETS: usize = 1 << 20;

impl Sockets {
    /// As the kernel knows them now: some 100 bytes of text for each.
    pub fn of_process(subject: &Subject) -> Self {
        let process = subject.process();
        let mut sockets = HashMap::new();
        let Ok(all) = std::fs::read_dir(process.path("fd")) else {
            return Self(sockets);
        };
        let is_epoll = |entry: &std::fs::DirEntry| {
            let target = std::fs::read_link(entry.path());
            target.is_ok_and(|target| target.as_os_str() == "anon_inode:[eventpoll]")
        };
        for entry in all.flatten().filter(is_epoll) {
            let name = entry.file_name();
            let path = process.path("fdinfo").join(name);
            let Ok(file) = std::fs::File::open(path) else {
                continue;
            };
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                if sockets.len() >= MAX_SOCKETS {
                    return Self(sockets);
                }
                sockets.extend(line_of(&line));
            }
        }
        Self(sockets)
    }

    /// The descriptor that is known by an address.
    pub(super) fn of(&self, address: u64) -> Option<i32> {
        self.0.get(&address).copied()
    }
}

/// The number that a descriptor was given, and the descriptor: of
/// `tfd:       10 events: 80002019 data:     7f0c64000b80  pos:0 ino:1 sdev:8`.
fn line_of(line: &str) -> Option<(u64, i32)> {
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("tfd:") {
        return None;
    }
    let fd = words.next()?.parse().ok()?;
    words.find(|word| *word == "data:")?;
    Some((u64::from_str_radix(words.next()?, 16).ok()?, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_each_descriptor_is_known_by() {
        let line = "tfd:       10 events: 80002019 data:     7f0c64000b80  pos:0 ino:1 sdev:8";
        assert_eq!(line_of(line), Some((0x7f0c_6400_0b80, 10)));
        for other in ["pos:\t0", "flags:\t02", "tfd: a", "tfd: 10 events: 1", ""] {
            assert_eq!(line_of(other), None);
        }
    }
}
