//! What a system call works on: a file, a socket's peer, a lock's address.

#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use looptop_procfs::{Object, Socket};

/// The object of call `number` with `args` of this process; costs some microseconds, and
/// is asked once for each stall.
pub(crate) fn object(number: u64, args: &[u64; 6]) -> Option<Object> {
    Object::of(crate::procfs::own(), number, args, |fd, _| socket(fd))
}

/// The socket itself is asked: the tables of `/proc/net` hold those of the whole host,
/// and have no end on a busy one.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
fn socket(fd: i32) -> Option<Socket> {
    let kind = option(fd, libc::SO_TYPE)?;
    match (option(fd, libc::SO_DOMAIN)?, kind) {
        (libc::AF_UNIX, libc::SOCK_DGRAM) => Some(Socket::UnixDatagram),
        (libc::AF_UNIX, _) => Some(Socket::Unix),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => Some(Socket::Tcp(peer_address(fd))),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => Some(Socket::Udp(peer_address(fd))),
        _ => None,
    }
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
fn socket(_fd: i32) -> Option<Socket> {
    None
}

/// A number that the socket says of itself.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
#[allow(unsafe_code, reason = "to call it")]
fn option(fd: i32, name: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    let (to, size) = (&raw mut value, &raw mut length);
    // SAFETY: writes at most `length` bytes to `value`; what is no socket is an error.
    let status = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, to.cast(), size) };
    (status == 0).then_some(value)
}

/// `None` where it has no peer.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
#[allow(unsafe_code, reason = "to call it, and to read what it gives")]
fn peer_address(fd: i32) -> Option<SocketAddr> {
    // SAFETY: numbers and arrays of numbers, for which zero is a value.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&storage) as libc::socklen_t;
    let to = &raw mut storage;
    // SAFETY: writes at most `length` bytes to `storage`; what is no socket is an error.
    if unsafe { libc::getpeername(fd, to.cast(), &raw mut length) } != 0 {
        return None;
    }
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: of this type by its family; the storage is as large and aligned.
            let v4 = unsafe { &*to.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: of this type by its family; the storage is as large and aligned.
            let v6 = unsafe { &*to.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical();
            Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    fn object(fd: RawFd) -> Object {
        let number = looptop_procfs::syscalls::number("recvfrom").expect("known");
        super::object(number, &[fd as u64, 0, 0, 0, 0, 0]).expect("a descriptor")
    }

    fn file(fd: RawFd, text: &str) -> Object {
        Object::File(format!("fd {fd} {text}"))
    }

    #[test]
    fn the_peer_of_a_real_socket() {
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

    /// Not every host has the family.
    #[test]
    fn the_peer_in_the_newer_family() {
        let Ok(listener) = TcpListener::bind("[::]:0") else {
            return;
        };
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect(("::1", port)).expect("listening");
        let fd = client.as_raw_fd();
        assert_eq!(object(fd), file(fd, &format!("tcp [::1]:{port}")));
        // Of the older family, as the newer one has it.
        let client = TcpStream::connect(("127.0.0.1", port)).expect("listening");
        let own = client.local_addr().expect("connected");
        let (accepted, _) = std::iter::repeat_with(|| listener.accept().expect("connected"))
            .find(|(_, from)| from.port() == own.port())
            .expect("endless");
        let fd = accepted.as_raw_fd();
        assert_eq!(object(fd), file(fd, &format!("tcp {own}")));
    }
}
