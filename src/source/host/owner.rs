//! Which process listens on a socket.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{Unseen, procfs};
use crate::source::Target;

/// `st` of a listening TCP socket, and the flag of a listening Unix socket.
const TCP_LISTEN: &str = "0A";
const UNIX_LISTEN: &str = "00010000";

/// The id of the process that listens on `target`. Scans all processes:
/// some milliseconds.
pub(super) fn find(target: &Target) -> Result<u32, Unseen> {
    if !target.is_local() {
        return Err(Unseen::NotLocal);
    }
    if !cfg!(target_os = "linux") {
        return Err(Unseen::NoProcfs);
    }
    let inode = match (target.tcp(), target) {
        (Some((host, port)), _) => tcp_inode(host, port),
        (None, Target::Unix(path)) => unix_inode(path),
        (None, _) => None,
    };
    let inode = inode.ok_or(Unseen::NotFound)?;
    let link = format!("socket:[{inode}]");
    let mut forbidden = false;
    let mut pids: Vec<u32> = entries("/proc").collect();
    pids.sort_unstable();
    for pid in pids {
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(files) => {
                let mut links = files.flatten().filter_map(|f| fs::read_link(f.path()).ok());
                if links.any(|found| found.as_os_str() == link.as_str()) {
                    return Ok(pid);
                }
            }
            Err(error) => forbidden |= error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    Err(if forbidden {
        Unseen::Forbidden
    } else {
        Unseen::NotFound
    })
}

/// The names in a directory of procfs that are numbers.
pub(in crate::source) fn entries<T: std::str::FromStr>(directory: &str) -> impl Iterator<Item = T> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether a signal or a debugger has stopped the process.
pub(in crate::source) fn is_stopped(pid: u32) -> bool {
    procfs::stat(pid).is_some_and(|stat| stat.is_stopped())
}

/// A socket at which a process listens, as it bound it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Listening {
    /// A TCP address of its network namespace.
    Tcp(SocketAddr),
    /// A path as it sees it, relative to its working directory or not.
    Unix(PathBuf),
}

/// The sockets at which a process listens, save those of Unix without a path.
/// An error where this user may not look.
pub(in crate::source) fn listening_at(pid: u32) -> io::Result<Vec<Listening>> {
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let sockets: Vec<u64> = links
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|link| socket_inode(link.to_str()?))
        .collect();
    let table = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).ok();
    let tcp = ["tcp", "tcp6"].into_iter().filter_map(table);
    let tcp = tcp.flat_map(|table| listeners(&table));
    let tcp = tcp.map(|(address, inode)| (Listening::Tcp(address), inode));
    let unix = table("unix").unwrap_or_default();
    let unix = unix.lines().filter_map(unix_listener);
    let unix = unix.map(|(path, inode)| (Listening::Unix(path.to_owned()), inode));
    let own = tcp.chain(unix).filter(|(_, inode)| sockets.contains(inode));
    Ok(own.map(|(socket, _)| socket).collect())
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Addresses and inodes of the sockets in `table` that listen.
fn listeners(table: &str) -> Vec<(SocketAddr, u64)> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = columns.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let socket = SocketAddr::new(parse_address(address)?, port);
        let inode = columns.get(9)?.parse().ok()?;
        (*columns.get(3)? == TCP_LISTEN).then_some((socket, inode))
    };
    table.lines().skip(1).filter_map(row).collect()
}

fn tcp_inode(host: &str, port: u16) -> Option<u64> {
    let ip = host.parse::<IpAddr>().ok();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|table| listening(&table, ip, port))
}

/// The inode of the socket in `table` that listens on `port` for `ip`; any
/// loopback address for a name.
fn listening(table: &str, ip: Option<IpAddr>, port: u16) -> Option<u64> {
    let wanted = |bound: IpAddr| {
        bound.is_unspecified()
            || ip.map_or(bound.is_loopback(), |ip| bound == ip || ip.is_unspecified())
    };
    let mut sockets = listeners(table).into_iter();
    let found = sockets.find(|(socket, _)| socket.port() == port && wanted(socket.ip()));
    found.map(|(_, inode)| inode)
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

fn unix_inode(path: &Path) -> Option<u64> {
    let table = fs::read_to_string("/proc/self/net/unix").ok()?;
    let canonical = fs::canonicalize(path).ok();
    let ours = |bound: &Path| bound == path || Some(bound) == canonical.as_deref();
    let mut listeners = table.lines().filter_map(unix_listener);
    let found = listeners.find(|(bound, _)| ours(bound));
    found.map(|(_, inode)| inode)
}

/// Path and inode of a socket that listens, out of a line of `/proc/net/unix`;
/// `None` for one without a path, also in the abstract namespace.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listening_sockets_are_told_by_address_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1A0D 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 11 1\n\
            1: 0200007F:1A0D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1\n\
            2: 0100007F:1A0D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 13 1\n\
            3: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 14 1\n\
            garbage\n";
        let ip = |text: &str| Some(text.parse().unwrap());
        assert_eq!(listening(table, ip("127.0.0.1"), 6669), Some(13));
        assert_eq!(listening(table, ip("127.0.0.2"), 6669), Some(12));
        assert_eq!(listening(table, None, 6669), Some(12));
        assert_eq!(listening(table, ip("127.0.0.1"), 80), Some(14));
        assert_eq!(listening(table, ip("127.0.0.1"), 81), None);
        let six = "00000000000000000000000001000000";
        assert_eq!(parse_address(six), ip("::1"));
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
