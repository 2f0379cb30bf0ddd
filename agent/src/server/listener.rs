//! Where the agent listens: a port, and a Unix socket beside it.

use std::io;
use std::net::SocketAddr;

use crate::access::settings::check_address;
use crate::agent::StartError;
use crate::config::{Bind, Config};

/// A bound socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

impl Listener {
    /// Binds the address.
    fn bind(bind: &Bind) -> io::Result<Self> {
        match bind {
            Bind::Off => Err(io::ErrorKind::Unsupported.into()),
            Bind::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            #[cfg(unix)]
            Bind::Unix(path) => {
                remove_stale_socket(path);
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
            #[cfg(not(unix))]
            Bind::Unix(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "Unix sockets exist on Unix only",
            )),
        }
    }

    /// The address of a TCP socket, with the port that it really got.
    fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }

    /// The path of a Unix socket.
    #[cfg(unix)]
    fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, SocketFile(path)) => Some(path),
        }
    }
}

/// All of them, at least one.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) all: Vec<Listener>,
    /// The address of the port, if there is one.
    pub(crate) address: Option<SocketAddr>,
    /// The path of the Unix socket, if there is one.
    pub(crate) path: Option<std::path::PathBuf>,
    /// The port at which there is `/metrics` alone.
    #[cfg(feature = "metrics")]
    pub(crate) metrics: Option<std::net::TcpListener>,
}

/// Listens where the application asked for. The Unix socket that a user's viewers find by
/// themselves is there beside a port unless it is switched off; where it cannot be made,
/// that is said and the port alone serves. A port that is taken is an error where
/// somebody asked for it, and only said where nobody did.
pub(crate) fn listen(config: &Config) -> Result<Listeners, StartError> {
    let bind: Bind = config.bind.parse()?;
    let policy = &config.policy;
    let bound = |bind: &Bind| {
        Listener::bind(bind).map_err(|source| StartError::Bind {
            address: bind.to_string(),
            source,
        })
    };
    let mut all = Vec::new();
    let wants_socket = match (config.access.socket, &bind) {
        (Some(wanted), _) => wanted,
        (None, Bind::Tcp(_) | Bind::Off) => cfg!(unix),
        (None, Bind::Unix(_)) => false,
    };
    if wants_socket {
        match own_socket() {
            Ok(socket) => all.push(socket),
            Err(sentence) => crate::complain(&sentence),
        }
    }
    if bind != Bind::Off {
        match bound(&bind) {
            Ok(port) => {
                if let Some(at) = port.local_addr() {
                    let checked = check_address(at.ip(), policy, &config.access.tls);
                    checked.map_err(|error| StartError::Access(error.to_string()))?;
                }
                all.push(port);
            }
            Err(error) if config.bind_is_default && !all.is_empty() => {
                crate::complain(&format!("{error}; its socket is there: `looptop ls`"));
            }
            Err(error) => return Err(error),
        }
    }
    if all.is_empty() {
        return Err(StartError::Access(
            "the port and the socket are both switched off (LOOPTOP_BIND, LOOPTOP_SOCKET); \
             LOOPTOP=off switches all of it off"
                .into(),
        ));
    }
    let address = all.iter().find_map(Listener::local_addr);
    let encrypted = config.access.tls.is_asked_for();
    if let Some(notice) = address.and_then(|got| bind.notice(got, encrypted)) {
        crate::complain(&notice);
    }
    #[cfg(unix)]
    let path = all.iter().find_map(Listener::path).map(Into::into);
    #[cfg(not(unix))]
    let path = None;
    #[cfg(feature = "metrics")]
    let metrics = config.metrics.bind.as_deref().map(|at| metrics(at, config));
    #[cfg(not(feature = "metrics"))]
    if config.metrics.bind.is_some() {
        crate::complain(
            "LOOPTOP_METRICS names a port, and the application enables looptop-agent without its \
             feature `metrics`",
        );
    }
    Ok(Listeners {
        all,
        address,
        path,
        #[cfg(feature = "metrics")]
        metrics: metrics.transpose()?,
    })
}

/// The port of its own for `/metrics`.
#[cfg(feature = "metrics")]
fn metrics(at: &str, config: &Config) -> Result<std::net::TcpListener, StartError> {
    use crate::access::settings::check_metrics_address;

    let bind: Bind = at.parse()?;
    let bound = match Listener::bind(&bind) {
        Ok(Listener::Tcp(listener)) => listener.local_addr().map(|got| (listener, got)),
        #[cfg(unix)]
        Ok(Listener::Unix(..)) => Err(io::ErrorKind::Unsupported.into()),
        Err(error) => Err(error),
    };
    let (listener, got) = bound.map_err(|source| StartError::Metrics {
        address: bind.to_string(),
        source,
    })?;
    let checked = check_metrics_address(got.ip(), &config.policy, &config.access.tls);
    checked.map_err(|error| StartError::Access(error.to_string()))?;
    if matches!(&bind, Bind::Tcp(asked) if asked.ends_with(":0")) {
        crate::complain(&format!("serves /metrics at {got}"));
    }
    Ok(listener)
}

/// The socket at which a user's viewers look by themselves, in the first folder that is
/// this user's alone; otherwise the sentence why there is none.
#[cfg(unix)]
fn own_socket() -> Result<Listener, String> {
    use std::path::Path;

    use looptop_wire::socket;

    /// Agents of one process, and processes of one id in other namespaces.
    const NAMES: usize = 8;
    let uid = crate::access::uid::own();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let folders = socket::folders(uid, runtime.as_ref().map(Path::new));
    let mut why = String::new();
    for folder in folders {
        let failed = |error: &io::Error| {
            format!(
                "no Unix socket in {}: {error}; the port alone serves",
                folder.display()
            )
        };
        if let Err(error) = socket::make(&folder, uid) {
            why = failed(&error);
            continue;
        }
        let pid = std::process::id();
        for number in 0..NAMES {
            let name = match number {
                0 => format!("{pid}.{}", socket::EXTENSION),
                n => format!("{pid}-{n}.{}", socket::EXTENSION),
            };
            match Listener::bind(&Bind::Unix(folder.join(name))) {
                Ok(listener) => return Ok(listener),
                Err(error) => why = failed(&error),
            }
        }
    }
    Err(why)
}

#[cfg(not(unix))]
fn own_socket() -> Result<Listener, String> {
    Err("Unix sockets exist on Unix only".into())
}

/// The file of a Unix socket; removed when the agent ends.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct SocketFile(pub(crate) std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// A socket that a process of this user left behind, to which nobody listens any more.
/// Another user's is not touched, not even to ask: its owner might never answer.
#[cfg(unix)]
fn remove_stale_socket(path: &std::path::Path) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let own = crate::access::uid::own();
    let is_ours = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && found.uid() == own);
    if is_ours && is_refused(&std::os::unix::net::UnixStream::connect(path)) {
        drop(std::fs::remove_file(path));
    }
}

#[cfg(unix)]
fn is_refused<T>(connected: &io::Result<T>) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    connected.as_ref().is_err_and(refused)
}

/// Removes the sockets beside `path` that ended processes left behind, of those that
/// are old.
#[cfg(unix)]
pub(crate) async fn remove_stale_beside(
    path: &std::path::Path,
    is_old: impl Fn(&std::path::Path) -> bool,
) {
    let Some(folder) = path.parent() else { return };
    for socket in looptop_wire::socket::sockets(folder, crate::access::uid::own()) {
        if socket != path
            && is_old(&socket)
            && is_refused(&tokio::net::UnixStream::connect(&socket).await)
        {
            drop(std::fs::remove_file(&socket));
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_left_behind_is_removed_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder.path(), own).expect("ours");
        let [left, used, file] = ["1.sock", "2.sock", "3.sock"].map(|n| folder.path().join(n));
        drop(UnixListener::bind(&left).expect("bound"));
        let _listens = UnixListener::bind(&used).expect("bound");
        std::fs::write(&file, "no socket").expect("written");
        for path in [&left, &used, &file] {
            remove_stale_socket(path);
        }
        let there = [&left, &used, &file].map(|path| path.exists());
        assert_eq!(there, [false, true, true]);
        // As the server does it, for all of its folder.
        drop(UnixListener::bind(&left).expect("bound"));
        let own = folder.path().join("4.sock");
        drop(UnixListener::bind(&own).expect("bound"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        runtime.block_on(remove_stale_beside(&own, |_| false));
        assert!(left.exists());
        runtime.block_on(remove_stale_beside(&own, |_| true));
        let there = [&left, &used, &file, &own].map(|path| path.exists());
        assert_eq!(there, [false, true, true, true]);
    }
}
