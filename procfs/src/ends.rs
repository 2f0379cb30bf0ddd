//! What the sockets of a process are, with both of their ends: the tables of its network
//! namespace, read once for all of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use crate::Process;
use crate::net::{InetRow, TCP_LISTEN, for_rows, inet_row, parse_socket, unix_row};

/// A socket, and where its ends are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// One that listens at this address.
    Listens(SocketAddr),
    /// A connection of TCP.
    Tcp {
        /// The end that was connected to.
        server: SocketAddr,
        /// The end that connected.
        client: SocketAddr,
    },
    /// One of TCP that is connected to nobody.
    Unconnected,
    /// One of UDP.
    Udp {
        /// Its own address.
        local: SocketAddr,
        /// Whom it sends to, where that is one.
        peer: Option<SocketAddr>,
    },
    /// One of this machine, with its path; empty where it has none.
    Unix(String),
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listens(address) => write!(f, "listener {address}"),
            Self::Tcp { server, client } => write!(f, "{server} <- {client}"),
            Self::Unconnected => f.write_str("tcp socket, not connected"),
            Self::Udp {
                local,
                peer: Some(peer),
            } => write!(f, "udp {peer} <- {local}"),
            Self::Udp { local, peer: None } => write!(f, "udp {local}"),
            Self::Unix(path) if path.is_empty() => f.write_str("unix socket"),
            Self::Unix(path) => write!(f, "unix socket {path}"),
        }
    }
}

/// The sockets of these inodes: as long as it takes to read the tables of all sockets of
/// the process's network namespace, 4 MiB of each at most.
pub(crate) fn ends(process: &Process, wanted: &HashSet<u64>) -> HashMap<u64, Ends> {
    let mut tcp = Vec::new();
    let mut ports = HashSet::new();
    for table in ["net/tcp", "net/tcp6"] {
        for_rows(process, table, |line| {
            let Some(row) = inet_row(line) else { return };
            let Some(row) = Row::of(&row) else { return };
            if row.listens {
                ports.insert(row.local.port());
            }
            if wanted.contains(&row.inode) {
                tcp.push(row);
            }
        });
    }
    let tcp = tcp.into_iter().map(|row| (row.inode, row.tcp(&ports)));
    let mut found: HashMap<u64, Ends> = tcp.collect();
    for table in ["net/udp", "net/udp6"] {
        for_rows(process, table, |line| {
            let row = inet_row(line).and_then(|row| Row::of(&row));
            if let Some(row) = row.filter(|row| wanted.contains(&row.inode)) {
                let (local, peer) = (row.local, row.remote);
                found.insert(row.inode, Ends::Udp { local, peer });
            }
        });
    }
    for_rows(process, "net/unix", |line| {
        if let Some(row) = unix_row(line).filter(|row| wanted.contains(&row.inode)) {
            found.insert(row.inode, Ends::Unix(row.path.to_owned()));
        }
    });
    found
}

struct Row {
    local: SocketAddr,
    /// `None` where it has no peer.
    remote: Option<SocketAddr>,
    listens: bool,
    inode: u64,
}

impl Row {
    fn of(row: &InetRow<'_>) -> Option<Self> {
        let remote = parse_socket(row.remote)?;
        Some(Self {
            local: parse_socket(row.local)?,
            remote: Some(remote).filter(|remote| remote.port() != 0),
            listens: row.state == TCP_LISTEN,
            inode: row.inode,
        })
    }

    /// Whoever has the port of a listener was connected to.
    fn tcp(&self, listeners: &HashSet<u16>) -> Ends {
        match self.remote {
            _ if self.listens => Ends::Listens(self.local),
            None => Ends::Unconnected,
            Some(remote) => {
                let accepted = listeners.contains(&self.local.port())
                    && !(listeners.contains(&remote.port()) && remote.port() < self.local.port());
                let (server, client) = if accepted {
                    (self.local, remote)
                } else {
                    (remote, self.local)
                };
                Ends::Tcp { server, client }
            }
        }
    }
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::Procfs;

    fn inode(fd: RawFd) -> u64 {
        let own = Procfs::default().own();
        let link = std::fs::read_link(own.path(&format!("fd/{fd}"))).unwrap();
        let text = link.to_str().unwrap().to_owned();
        let text = text.strip_prefix("socket:[").unwrap();
        text.strip_suffix(']').unwrap().parse().unwrap()
    }

    #[test]
    fn both_ends_of_real_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let (served, _) = listener.accept().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let (pair, _other) = UnixStream::pair().unwrap();
        let connection = format!("{address} <- {}", client.local_addr().unwrap());
        let expected = [
            (listener.as_raw_fd(), format!("listener {address}")),
            (client.as_raw_fd(), connection.clone()),
            (served.as_raw_fd(), connection),
            (
                udp.as_raw_fd(),
                format!("udp {}", udp.local_addr().unwrap()),
            ),
            (unix.as_raw_fd(), format!("unix socket {}", path.display())),
            (pair.as_raw_fd(), "unix socket".to_owned()),
        ];
        let wanted: HashSet<u64> = expected.iter().map(|(fd, _)| inode(*fd)).collect();
        let found = Procfs::default().own().sockets(&wanted);
        assert_eq!(found.len(), wanted.len(), "nobody else's: {found:?}");
        for (fd, text) in expected {
            assert_eq!(found[&inode(fd)].to_string(), text);
        }
    }
}
