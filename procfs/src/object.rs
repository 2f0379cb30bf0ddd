//! What a blocked call works on: a file, a socket and its peer, a lock's address.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::Process;
use crate::syscalls::{Kind, kind, takes_fd};

/// What a call works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A sentence fragment such as `fd 7 /var/log/x`.
    File(String),
    /// The address of the futex.
    Lock(u64),
}

impl Object {
    /// The object of call `number` with `args`, in which a thread of `process` is. Some
    /// microseconds, and as long as `socket` takes to say what the socket with this
    /// descriptor and this inode is.
    pub fn of(
        process: &Process,
        number: u64,
        args: &[u64; 6],
        socket: impl FnOnce(i32, u64) -> Option<Socket>,
    ) -> Option<Self> {
        if kind(number, args) == Kind::Lock {
            return Some(Self::Lock(args[0]));
        }
        if !takes_fd(number) {
            return None;
        }
        // The kernel takes the lower half of the argument.
        #[allow(clippy::cast_possible_truncation, reason = "as the kernel does")]
        let fd = i32::try_from(args[0] as u32).ok()?;
        let link = fs::read_link(process.path(&format!("fd/{fd}"))).ok()?;
        let target = match inode(&link) {
            Some(inode) => match socket(fd, inode) {
                Some(socket) => socket.to_string(),
                None => "socket".to_owned(),
            },
            None => link.to_string_lossy().into_owned(),
        };
        Some(Self::File(format!("fd {fd} {target}")))
    }
}

/// The inode of a descriptor that refers to a socket.
fn inode(link: &Path) -> Option<u64> {
    let text = link.to_str()?.strip_prefix("socket:[")?;
    text.strip_suffix(']')?.parse().ok()
}

/// A socket, and who is at its other end: the kind of a call on one is known from here
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Its peer, where it has one.
    Tcp(Option<SocketAddr>),
    /// Likewise.
    Udp(Option<SocketAddr>),
    /// One of this machine.
    Unix,
    /// One of this machine, for datagrams.
    UnixDatagram,
}

impl fmt::Display for Socket {
    /// `tcp 127.0.0.1:80`, `unix socket`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, peer) = match self {
            Self::Tcp(peer) => ("tcp", peer),
            Self::Udp(peer) => ("udp", peer),
            Self::Unix => return f.write_str("unix socket"),
            Self::UnixDatagram => return f.write_str("unix datagram socket"),
        };
        match peer {
            Some(peer) => write!(f, "{protocol} {peer}"),
            None => write!(f, "{protocol} socket, not connected"),
        }
    }
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;
    use crate::{Procfs, syscalls};

    /// What a read of a descriptor works on, by the tables of procfs alone.
    fn object(fd: RawFd) -> Object {
        let read = syscalls::number("read").expect("known");
        let own = Procfs::default().own();
        let args = [u64::try_from(fd).unwrap(), 0, 0, 0, 0, 0];
        Object::of(&own, read, &args, |_, inode| own.socket(inode)).expect("a descriptor")
    }

    fn file(fd: RawFd, text: &str) -> Object {
        Object::File(format!("fd {fd} {text}"))
    }

    #[test]
    fn files_pipes_and_locks() {
        let null = File::open("/dev/null").expect("on every Linux");
        let fd = null.as_raw_fd();
        assert_eq!(object(fd), file(fd, "/dev/null"));
        drop(null);
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let fd = reader.as_raw_fd();
        let Object::File(text) = object(fd) else {
            panic!("a pipe is a file");
        };
        assert!(text.starts_with(&format!("fd {fd} pipe:[")), "{text}");
        let own = Procfs::default().own();
        let of = |name, args| {
            let number = syscalls::number(name).expect("known");
            Object::of(&own, number, &args, |_, _| None)
        };
        let lock = of("futex", [0x1000, 0, 0, 0, 0, 0]);
        assert_eq!(lock, Some(Object::Lock(0x1000)));
        assert_eq!(
            of("clock_nanosleep", [0; 6]),
            None,
            "its 0 is no descriptor"
        );
        assert_eq!(of("read", [u64::MAX, 0, 0, 0, 0, 0]), None);
        assert_eq!(of("read", [999_999, 0, 0, 0, 0, 0]), None, "not open");
    }

    #[test]
    fn the_peers_of_real_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("listening");
        let fd = client.as_raw_fd();
        assert_eq!(object(fd), file(fd, &format!("tcp {address}")));
        let fd = listener.as_raw_fd();
        assert_eq!(object(fd), file(fd, "tcp socket, not connected"));

        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let fd = socket.as_raw_fd();
        assert_eq!(object(fd), file(fd, "udp socket, not connected"));
        socket.connect(address).expect("any address will do");
        assert_eq!(object(fd), file(fd, &format!("udp {address}")));

        let (one, _other) = UnixStream::pair().expect("a pair");
        let fd = one.as_raw_fd();
        assert_eq!(object(fd), file(fd, "unix socket"));
        let alone = UnixDatagram::unbound().expect("no name is needed");
        let fd = alone.as_raw_fd();
        assert_eq!(object(fd), file(fd, "unix datagram socket"));
    }
}
