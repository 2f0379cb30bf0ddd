//! `net/tcp`, `net/tcp6` and `net/unix`: who listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// `st` of a listening TCP socket, and the flag of a listening Unix socket.
const TCP_LISTEN: &str = "0A";
const UNIX_LISTEN: &str = "00010000";

/// A socket at which a process listens, as it bound it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// A TCP address of its network namespace.
    Tcp(SocketAddr),
    /// A path as it sees it, relative to its working directory or not.
    Unix(PathBuf),
}

/// Addresses and inodes of the sockets in the text of `net/tcp` or `net/tcp6` that
/// listen.
pub fn tcp_listeners(table: &str) -> impl Iterator<Item = (SocketAddr, u64)> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = columns.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let socket = SocketAddr::new(parse_address(address)?, port);
        let inode = columns.get(9)?.parse().ok()?;
        (*columns.get(3)? == TCP_LISTEN).then_some((socket, inode))
    };
    table.lines().skip(1).filter_map(row)
}

/// Paths and inodes of the sockets in the text of `net/unix` that listen and have a
/// path; one in the abstract namespace has none.
pub fn unix_listeners(table: &str) -> impl Iterator<Item = (&Path, u64)> {
    table.lines().filter_map(unix_listener)
}

fn unix_listener(line: &str) -> Option<(&Path, u64)> {
    // Address, references, protocol, flags, type, state, inode, path; the path
    // may hold spaces.
    let mut rest = line;
    let mut columns = [""; 7];
    for column in &mut columns {
        (*column, rest) = rest.trim_start().split_once(' ')?;
    }
    let [_, _, _, flags, _, _, inode] = columns;
    let named = !rest.is_empty() && !rest.starts_with('@');
    let inode = inode.parse().ok()?;
    (flags == UNIX_LISTEN && named).then_some((Path::new(rest), inode))
}

/// An address as procfs prints it: words of the machine's byte order in
/// hexadecimal.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(at)?);
    }
    Some(Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_have_an_address_and_an_inode() {
        let table = "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1A0D 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 11 1\n\
            1: 0200007F:1A0D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1\n\
            2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 14 1\n\
            3: 00000000000000000000000001000000:0051 0:0 0A 0:0 0:0 0 1000 0 15 1\n\
            garbage\n\
            4: 00000000:10050 0:0 0A 0:0 0:0 0 1000 0 16 1\n\
            5: \u{e9}0000000:0050 0:0 0A 0:0 0:0 0 1000 0 17 1\n";
        let found: Vec<_> = tcp_listeners(table)
            .map(|(address, inode)| (address.to_string(), inode))
            .collect();
        let expected = [("127.0.0.2:6669", 12), ("0.0.0.0:80", 14), ("[::1]:81", 15)];
        assert_eq!(
            found,
            expected.map(|(text, inode)| (text.to_owned(), inode))
        );
        assert_eq!(parse_address("0000"), None);
    }

    #[test]
    fn listening_unix_sockets_have_a_path() {
        let listener = |rest: &str| {
            let line = format!("0000000000000000: 00000002 00000000 {rest}");
            unix_listener(&line).map(|(path, inode)| (path.to_owned(), inode))
        };
        let cases = [
            (
                "00010000 0001 01 41 /run/a b.sock",
                Some(("/run/a b.sock", 41)),
            ),
            ("00010000 0001 01 42 app.sock", Some(("app.sock", 42))),
            ("00000000 0001 03 43 /run/app.sock", None),
            ("00010000 0001 01 44 @/tmp/.X11-unix/X0", None),
            ("00000000 0001 03 45", None),
        ];
        for (rest, expected) in cases {
            let expected = expected.map(|(path, inode)| (PathBuf::from(path), inode));
            assert_eq!(listener(rest), expected, "{rest}");
        }
        let header = "Num       RefCount Protocol Flags    Type St Inode Path";
        assert_eq!(unix_listener(header), None);
    }
}
