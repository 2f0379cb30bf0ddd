//! `net/tcp`, `net/tcp6`, `net/udp`, `net/udp6` and `net/unix`: who listens, what a
//! socket is, and whose a connection is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::{Process, Socket};

/// `st` of a connected and of a listening TCP socket, and the flag of a listening Unix
/// socket.
const TCP_ESTABLISHED: &str = "01";
pub(crate) const TCP_LISTEN: &str = "0A";
const UNIX_LISTEN: &str = "00010000";
/// The type of a Unix socket for datagrams.
const UNIX_DATAGRAM: &str = "0002";
/// So much of a table is read for one socket at most, some 27,000 of them: the tables
/// hold those of the whole network namespace.
const MAX_TABLE: u64 = 4 << 20;

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
    let rows = table.lines().skip(1).filter_map(inet_row);
    let listening = rows.filter(|row| row.state == TCP_LISTEN);
    listening.filter_map(|row| Some((parse_socket(row.local)?, row.inode)))
}

/// A socket of the internet, as it stands in a table.
pub(crate) struct InetRow<'a> {
    pub(crate) local: &'a str,
    pub(crate) remote: &'a str,
    pub(crate) state: &'a str,
    pub(crate) inode: u64,
}

pub(crate) fn inet_row(line: &str) -> Option<InetRow<'_>> {
    let mut columns = line.split_ascii_whitespace();
    let (local, remote) = (columns.nth(1)?, columns.next()?);
    Some(InetRow {
        local,
        remote,
        state: columns.next()?,
        // Between are queues, timers, the user.
        inode: columns.nth(5)?.parse().ok()?,
    })
}

/// What the socket with this inode is, by the tables of its network namespace; `None`
/// where it is in none of them, or too far behind.
pub(crate) fn socket(process: &Process, inode: u64) -> Option<Socket> {
    let inet = |line: &str| {
        let row = inet_row(line).filter(|row| row.inode == inode)?;
        let peer = parse_socket(row.remote)?;
        Some(Some(peer).filter(|peer| peer.port() != 0))
    };
    let unix = |line: &str| {
        let kind = unix_row(line).filter(|row| row.inode == inode)?.kind;
        let datagrams = kind == UNIX_DATAGRAM;
        Some([Socket::Unix, Socket::UnixDatagram][usize::from(datagrams)])
    };
    let among = |tables: [&str; 2]| {
        let mut tables = tables.into_iter();
        tables.find_map(|table| find_row(process, table, inet))
    };
    among(["net/tcp", "net/tcp6"])
        .map(Socket::Tcp)
        .or_else(|| find_row(process, "net/unix", unix))
        .or_else(|| among(["net/udp", "net/udp6"]).map(Socket::Udp))
}

/// What `find` makes of the first line of a table of which it makes anything.
fn find_row<T>(process: &Process, table: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut found = None;
    until(process, table, |line| {
        found = find(line);
        found.is_some()
    });
    found
}

/// Each line of a table, up to the bound.
pub(crate) fn for_rows(process: &Process, table: &str, mut row: impl FnMut(&str)) {
    until(process, table, |line| {
        row(line);
        false
    });
}

/// The lines of a table, up to the one of which `is_last` says so.
fn until(process: &Process, table: &str, mut is_last: impl FnMut(&str) -> bool) {
    let Ok(file) = File::open(process.path(table)) else {
        return;
    };
    let mut rows = BufReader::with_capacity(64 << 10, file.take(MAX_TABLE));
    let mut line = Vec::new();
    while matches!(rows.read_until(b'\n', &mut line), Ok(1..)) {
        // The path of a Unix socket may be any bytes.
        if is_last(&String::from_utf8_lossy(&line)) {
            return;
        }
        line.clear();
    }
}

/// The two ends of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The end that is looked for.
    pub end: SocketAddr,
    /// The end that asks.
    pub other: SocketAddr,
}

/// Whose a TCP connection is, by the open files `net/tcp` and `net/tcp6` of this
/// process's network namespace. They stay open, so that it is known also when no
/// descriptor is left.
#[derive(Debug)]
pub struct TcpOwners {
    tables: Vec<File>,
}

impl TcpOwners {
    /// Opens the tables that there are.
    pub fn open() -> Self {
        let files = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let tables = files.iter().filter_map(|path| File::open(path).ok());
        Self {
            tables: tables.collect(),
        }
    }

    /// The user id of the socket at the end that is looked for; `None` where it is not in
    /// this network namespace, is connected no more, or the tables cannot be read. Reads
    /// up to all of the tables: about 1 µs for each connection of the machine.
    pub fn uid(&self, connection: Connection) -> Option<u32> {
        let of = |table| uid_in(table, connection).ok().flatten();
        self.tables.iter().find_map(of)
    }
}

fn uid_in(mut table: &File, connection: Connection) -> io::Result<Option<u32>> {
    table.rewind()?;
    let mut lines = BufReader::with_capacity(1 << 15, table);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(uid) = tcp_uid(&line, connection) {
            return Ok(Some(uid));
        }
    }
}

/// The user id in a line of `net/tcp` or `net/tcp6`, if it is that of the end that is
/// looked for. A socket that its process has closed has no owner any more, and the
/// kernel prints 0 for it, which is root's: only a connected one with an inode counts.
fn tcp_uid(line: &str, connection: Connection) -> Option<u32> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let end = parse_socket(columns.next()?)?;
    let other = parse_socket(columns.next()?)?;
    if (end, other) != (canonical(connection.end), canonical(connection.other)) {
        return None;
    }
    let state = columns.next()?;
    let uid = columns.nth(3)?.parse().ok()?;
    let inode: u64 = columns.nth(1)?.parse().ok()?;
    (state == TCP_ESTABLISHED && inode != 0).then_some(uid)
}

/// An address of IPv4 as such, also where it came within one of IPv6.
fn canonical(socket: SocketAddr) -> SocketAddr {
    SocketAddr::new(socket.ip().to_canonical(), socket.port())
}

/// Paths and inodes of the sockets in the text of `net/unix` that listen and have a
/// path; one in the abstract namespace has none.
pub fn unix_listeners(table: &str) -> impl Iterator<Item = (&Path, u64)> {
    table.lines().filter_map(unix_listener)
}

fn unix_listener(line: &str) -> Option<(&Path, u64)> {
    let row = unix_row(line)?;
    let named = !row.path.is_empty() && !row.path.starts_with('@');
    (row.flags == UNIX_LISTEN && named).then_some((Path::new(row.path), row.inode))
}

/// A Unix socket, as it stands in the table.
pub(crate) struct UnixRow<'a> {
    flags: &'a str,
    kind: &'a str,
    pub(crate) inode: u64,
    /// Empty where it has none.
    pub(crate) path: &'a str,
}

pub(crate) fn unix_row(line: &str) -> Option<UnixRow<'_>> {
    // Address, references, protocol, flags, type, state, inode, path; the path
    // may hold spaces.
    let mut rest = line.trim_end_matches('\n');
    let mut columns = [""; 7];
    for column in &mut columns {
        let from = rest.trim_start();
        (*column, rest) = from.split_once(' ').unwrap_or((from, ""));
    }
    let [_, _, _, flags, kind, _, inode] = columns;
    Some(UnixRow {
        flags,
        kind,
        inode: inode.parse().ok()?,
        path: rest,
    })
}

/// `0100007F:1A0D`.
pub(crate) fn parse_socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(parse_address(address)?, port))
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
    #[cfg(target_endian = "little")]
    fn a_connection_is_whose_socket_it_is() {
        let line = |ends: &str, state: &str, uid: &str, inode: &str| {
            format!(
                "  0: {ends} {state} 00000000:00000000 00:00000000 00000000  {uid}  0 {inode} 1\n"
            )
        };
        let v4 = "0100007F:C350 0100007F:1A0D";
        let mapped = "0000000000000000FFFF00000100007F:C350 0000000000000000FFFF00000100007F:1A0D";
        let v6 = "00000000000000000000000001000000:C350 00000000000000000000000001000000:1A0D";
        let ours = "0100007F:1A0D 0100007F:C350";
        let of = |end: &str, other: &str| Connection {
            end: end.parse().unwrap(),
            other: other.parse().unwrap(),
        };
        let loopback = of("127.0.0.1:50000", "127.0.0.1:6669");
        let as_v6 = of("[::ffff:127.0.0.1]:50000", "[::ffff:127.0.0.1]:6669");
        let in_v6 = of("[::1]:50000", "[::1]:6669");
        let cases = [
            (line(v4, "01", "1000", "11"), loopback, Some(1000)),
            (line(v4, "01", "0", "11"), loopback, Some(0)),
            (line(v4, "01", "1000", "11"), as_v6, Some(1000)),
            (line(mapped, "01", "1000", "11"), as_v6, Some(1000)),
            (line(mapped, "01", "1000", "11"), loopback, Some(1000)),
            (line(v6, "01", "65534", "11"), in_v6, Some(65_534)),
            // The agent's own end of it, and another connection.
            (line(ours, "01", "1000", "11"), loopback, None),
            (line(v4, "01", "1000", "11"), in_v6, None),
            // Closed, hence without an owner, for which the kernel prints root.
            (line(v4, "01", "0", "0"), loopback, None),
            (line(v4, "06", "0", "0"), loopback, None),
            (line(v4, "08", "1000", "11"), loopback, None),
            (line(v4, "0A", "1000", "11"), loopback, None),
            ("garbage\n".to_owned(), loopback, None),
            (format!("0: {v4} 01 a b c -1 0 11"), loopback, None),
        ];
        for (line, connection, uid) in cases {
            assert_eq!(tcp_uid(&line, connection), uid, "{line}");
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    fn a_connection_of_this_process_is_its_own() {
        use std::net::{TcpListener, TcpStream};
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (served, _) = listener.accept().unwrap();
            let connection = Connection {
                end: served.peer_addr().unwrap(),
                other: served.local_addr().unwrap(),
            };
            let owners = TcpOwners::open();
            let own = crate::Procfs::default().own().status().unwrap();
            assert_eq!(owners.uid(connection), own.effective_uid());
            // Read again from the start; and a closed end has no owner.
            assert_eq!(owners.uid(connection), own.effective_uid());
            drop(client);
            assert_eq!(owners.uid(connection), None);
        }
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
