//! What the descriptors of a process are, asked no more often than it is worth.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_procfs::Process;

/// The share of a core that reading the tables of sockets may take: after so many times
/// as long as one took comes the next.
const REST: u32 = 50;
/// Sockets of one process that are known.
const MAX_SOCKETS: usize = 1 << 16;
/// Descriptors that are known, and for how long: a number is given anew.
const MAX_KNOWN: usize = 1 << 14;
const KEPT: Duration = Duration::from_secs(10);
/// Bytes of a name.
const MAX_NAME: usize = 256;

/// Descriptors that were asked for.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    known: HashMap<i32, (Instant, Arc<str>)>,
    /// By inode.
    sockets: HashMap<u64, Arc<str>>,
    next: Option<Instant>,
}

impl Descriptors {
    /// What a descriptor is; `None` where it is not open, or where it is a socket that came
    /// after the tables were read.
    pub(super) fn ask(&mut self, process: &Process, fd: i32) -> Option<Arc<str>> {
        let now = Instant::now();
        if let Some((asked, name)) = self.known.get(&fd)
            && now.saturating_duration_since(*asked) < KEPT
        {
            return Some(Arc::clone(name));
        }
        let link = std::fs::read_link(process.path(&format!("fd/{fd}"))).ok()?;
        let name = match inode(&link) {
            Some(inode) => self.socket(process, inode, now)?,
            None => short(&link.to_string_lossy()),
        };
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(fd, (now, Arc::clone(&name)));
        Some(name)
    }

    fn socket(&mut self, process: &Process, inode: u64, now: Instant) -> Option<Arc<str>> {
        if let Some(known) = self.sockets.get(&inode) {
            return Some(Arc::clone(known));
        }
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let files = process.files().ok()?;
        let own = files.filter_map(|link| self::inode(&link));
        let mut own: HashSet<u64> = own.take(MAX_SOCKETS).collect();
        own.insert(inode);
        let found = process.sockets(&own);
        let named = found
            .iter()
            .map(|(of, ends)| (*of, short(&ends.to_string())));
        self.sockets = named.collect();
        self.next = Some(Instant::now() + now.elapsed() * REST);
        self.sockets.get(&inode).cloned()
    }
}

fn inode(link: &Path) -> Option<u64> {
    let text = link.to_str()?.strip_prefix("socket:[")?;
    text.strip_suffix(']')?.parse().ok()
}

fn short(name: &str) -> Arc<str> {
    let end = (0..=MAX_NAME.min(name.len())).rfind(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].into()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use looptop_procfs::Procfs;

    use super::*;

    #[test]
    fn descriptors_have_names_also_those_that_come_later() {
        let own = Procfs::default().own();
        let mut descriptors = Descriptors::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let name = descriptors.ask(&own, listener.as_raw_fd());
        assert_eq!(name.as_deref(), Some(&*format!("listener {address}")));
        let client = TcpStream::connect(address).unwrap();
        let expected = format!("{address} <- {}", client.local_addr().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let name = descriptors.ask(&own, client.as_raw_fd());
            if name.as_deref() == Some(&*expected) {
                break;
            }
            assert!(name.is_none() && Instant::now() < deadline, "{name:?}");
        }
        assert_eq!(descriptors.ask(&own, i32::MAX), None);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = "\u{e9}".repeat(200);
        assert_eq!(short(&name).len(), 256);
        assert_eq!(&*short("pipe:[3]"), "pipe:[3]");
    }
}
