//! Which descriptor tokio's driver knows by which address, and by which it is woken.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use looptop_interpret::Events;

use crate::Subject;

/// Descriptors of a process that it waits for by `epoll`, by the numbers that it gave them:
/// those of tokio are addresses of what it has for each.
#[derive(Debug, Clone, Default)]
pub struct Sockets {
    by_address: HashMap<u64, i32>,
    events: Events,
}

/// Those that are taken.
const MAX_SOCKETS: usize = 1 << 20;
/// Each runtime has one.
const MAX_EVENTS: usize = 4_096;

impl Sockets {
    /// Of a process of whose descriptors nothing is known: a core file's.
    pub fn unknown() -> Self {
        Self {
            by_address: HashMap::new(),
            events: Events::OfAny,
        }
    }

    /// As the kernel knows them now: some 100 bytes of text for each.
    pub fn of_process(subject: &Subject) -> Self {
        let process = subject.process();
        let mut by_address = HashMap::new();
        let mut events = Vec::new();
        let all = std::fs::read_dir(process.path("fd"));
        for entry in all.into_iter().flatten().flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else {
                continue;
            };
            let name = entry.file_name();
            match target.as_os_str().as_encoded_bytes() {
                b"anon_inode:[eventfd]" if events.len() < MAX_EVENTS => {
                    events.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
                }
                b"anon_inode:[eventpoll]" => {
                    let Ok(file) = std::fs::File::open(process.path("fdinfo").join(name)) else {
                        continue;
                    };
                    let lines = BufReader::new(file).lines().map_while(Result::ok);
                    let left = MAX_SOCKETS.saturating_sub(by_address.len());
                    by_address.extend(lines.filter_map(|line| line_of(&line)).take(left));
                }
                _ => {}
            }
        }
        Self {
            by_address,
            events: Events::Of(events),
        }
    }

    /// The descriptor that is known by an address.
    pub(super) fn of(&self, address: u64) -> Option<i32> {
        self.by_address.get(&address).copied()
    }

    /// Nothing is known of any descriptor.
    pub(super) fn are_unknown(&self) -> bool {
        self.events == Events::OfAny
    }

    /// Those by which drivers are woken.
    pub(super) fn events(&self) -> &Events {
        &self.events
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
