//! Which process listens on a socket.

use std::{fs, net::IpAddr, path::Path};

use looptop_procfs::{Listening, Procfs};

use super::Unseen;
use crate::source::Target;

/// The id of the process that listens on `target`, or that it names. Scans all processes:
/// some milliseconds.
pub(super) fn find(procfs: &Procfs, target: &Target) -> Result<u32, Unseen> {
    if !target.is_local() {
        return Err(Unseen::NotLocal);
    }
    if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        return Err(Unseen::NoProcfs);
    }
    if let Target::Process(pid) = target {
        return Ok(*pid);
    }
    let listeners = procfs.own().listeners();
    let inode = match (target.tcp(), target) {
        (Some((host, port)), _) => listening(&listeners, host.parse().ok(), port),
        (None, Target::Unix(path)) => unix_inode(&listeners, path),
        (None, _) => None,
    };
    let inode = inode.ok_or(Unseen::NotFound)?;
    let link = format!("socket:[{inode}]");
    let mut forbidden = false;
    let mut pids: Vec<u32> = procfs.pids().collect();
    pids.sort_unstable();
    for pid in pids {
        match procfs.process(pid).files() {
            Ok(mut files) => {
                if files.any(|found| found.as_os_str() == link.as_str()) {
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

/// The inode of the socket that listens on `port` for `ip`; any loopback address for a
/// name.
fn listening(listeners: &[(Listening, u64)], ip: Option<IpAddr>, port: u16) -> Option<u64> {
    let wanted = |bound: IpAddr| {
        bound.is_unspecified()
            || ip.map_or(bound.is_loopback(), |ip| bound == ip || ip.is_unspecified())
    };
    listeners.iter().find_map(|(socket, inode)| match socket {
        Listening::Tcp(at) if at.port() == port && wanted(at.ip()) => Some(*inode),
        _ => None,
    })
}

fn unix_inode(listeners: &[(Listening, u64)], path: &Path) -> Option<u64> {
    let canonical = fs::canonicalize(path).ok();
    let ours = |bound: &Path| bound == path || Some(bound) == canonical.as_deref();
    listeners.iter().find_map(|(socket, inode)| match socket {
        Listening::Unix(bound) if ours(bound) => Some(*inode),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_one_that_answers_at_an_address() {
        let tcp = |address: &str, inode| (Listening::Tcp(address.parse().unwrap()), inode);
        let listeners = [
            tcp("127.0.0.2:6669", 12),
            tcp("127.0.0.1:6669", 13),
            tcp("0.0.0.0:80", 14),
            (Listening::Unix("/run/app.sock".into()), 15),
        ];
        let ip = |text: &str| Some(text.parse().unwrap());
        assert_eq!(listening(&listeners, ip("127.0.0.1"), 6669), Some(13));
        assert_eq!(listening(&listeners, ip("127.0.0.2"), 6669), Some(12));
        assert_eq!(listening(&listeners, None, 6669), Some(12));
        assert_eq!(listening(&listeners, ip("127.0.0.1"), 80), Some(14));
        assert_eq!(listening(&listeners, ip("127.0.0.1"), 81), None);
        let unix = |path| unix_inode(&listeners, Path::new(path));
        assert_eq!(unix("/run/app.sock"), Some(15));
        assert_eq!(unix("/run/other.sock"), None);
    }
}
