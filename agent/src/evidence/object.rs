//! What a system call works on: a file, a socket's peer, a lock's address.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::syscalls::takes_fd;

/// The tables of `/proc/net` are read no further than this: a host with tens of
/// thousands of sockets must not hold the watchdog up.
const MAX_SOCKET_TABLE: u64 = 256 << 10;

/// What a call works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// A sentence fragment such as `fd 7 /var/log/x`.
    File(String),
    /// The address of the futex.
    Lock(u64),
}

impl Object {
    /// The object of call `number` with `args`; costs some microseconds, more
    /// for a socket, and is asked once for each stall.
    pub(crate) fn of(number: u64, args: &[u64; 6]) -> Option<Self> {
        if super::kind(number, args) == super::Kind::Lock {
            return Some(Self::Lock(args[0]));
        }
        if !takes_fd(number) {
            return None;
        }
        let fd = i32::try_from(args[0] as u32).ok()?;
        let link = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        let link = link.to_string_lossy();
        let target = match socket_inode(&link) {
            Some(inode) => peer(inode).unwrap_or_else(|| "socket".into()),
            None => link.into_owned(),
        };
        Some(Self::File(format!("fd {fd} {target}")))
    }
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// `tcp 127.0.0.1:80` for the socket with this inode.
fn peer(inode: u64) -> Option<String> {
    ["tcp", "tcp6", "udp", "udp6"]
        .into_iter()
        .find_map(|table| {
            let mut text = String::new();
            let file = fs::File::open(format!("/proc/self/net/{table}")).ok()?;
            file.take(MAX_SOCKET_TABLE).read_to_string(&mut text).ok()?;
            let address = find_peer(&text, inode)?;
            let protocol = &table[..3];
            Some(if address.port() == 0 {
                format!("{protocol} socket, not connected")
            } else {
                format!("{protocol} {address}")
            })
        })
}

fn find_peer(table: &str, inode: u64) -> Option<SocketAddr> {
    let line = table.lines().skip(1).find(|line| {
        let field = line.split_ascii_whitespace().nth(9);
        field.and_then(|f| f.parse().ok()) == Some(inode)
    })?;
    parse_address(line.split_ascii_whitespace().nth(2)?)
}

/// `0100007F:0050`: groups of four bytes in host order, and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for group in address.as_bytes().chunks(8) {
        let group = std::str::from_utf8(group).ok()?;
        bytes.extend(u32::from_str_radix(group, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let text = |t| parse_address(t).map(|a: SocketAddr| a.to_string());
        if cfg!(target_endian = "little") {
            assert_eq!(text("0100007F:0050").as_deref(), Some("127.0.0.1:80"));
            let v6 = "00000000000000000000000001000000:1A0B";
            assert_eq!(text(v6).as_deref(), Some("[::1]:6667"));
            let mapped = "0000000000000000FFFF00000100007F:0050";
            assert_eq!(text(mapped).as_deref(), Some("127.0.0.1:80"));
        }
        for bad in ["", ":", "01:zz", "0100007F", "é00007F:0050"] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peer_of_a_real_socket() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(address).expect("listening");
        let fd = client.as_raw_fd();
        let args = [fd as u64, 0, 0, 0, 0, 0];
        let number = super::super::syscalls::number("recvfrom").expect("known");
        assert_eq!(
            Object::of(number, &args),
            Some(Object::File(format!("fd {fd} tcp {address}")))
        );
    }
}
