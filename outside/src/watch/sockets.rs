//! What the sockets of the process are, asked no more often than it is worth.

use std::time::{Duration, Instant};

use looptop_procfs::{Process, Socket};

/// The share of a core that reading the tables of sockets may take: after so many times
/// as long as one took comes the next.
const REST: u32 = 50;
/// Sockets that are remembered; an inode is given anew, but not soon.
const MAX_KNOWN: usize = 64;
/// For so long.
const KEPT: Duration = Duration::from_secs(10);

/// Sockets that were asked for.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    known: Vec<(u64, Instant, Option<Socket>)>,
    next: Option<Instant>,
}

impl Sockets {
    /// What the socket with this inode is; `None` where it is not known, or where it is
    /// not time yet to read the tables again, which hold all sockets of the host.
    pub(super) fn ask(&mut self, process: &Process, inode: u64) -> Option<Socket> {
        let now = Instant::now();
        self.known
            .retain(|(_, asked, _)| now.saturating_duration_since(*asked) < KEPT);
        let mut known = self.known.iter();
        if let Some((_, _, socket)) = known.find(|(of, _, _)| *of == inode) {
            return *socket;
        }
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let socket = process.socket(inode);
        self.next = Some(now + now.elapsed() * REST);
        if self.known.len() == MAX_KNOWN {
            self.known.remove(0);
        }
        self.known.push((inode, now, socket));
        socket
    }
}
