//! A root that is not `/proc`, with what no kernel would write; and this process itself.

use std::fs;
use std::path::Path;

use looptop_procfs::{Listening, Procfs, SchedState, SyscallState};

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

const STAT: &str = "7 (a) name) S 1 7 7 0 -1 0 0 0 0 0 30 20 0 0 20 0 2 0 500 0 0";

#[test]
fn a_process_is_read_below_any_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(root, "7/stat", STAT.as_bytes());
    write(root, "7/status", b"Tgid:\t7\nVmRSS:\t2 kB\n");
    write(root, "7/comm", b"app\n");
    write(root, "7/cmdline", b"/bin/app\0--flag\0");
    write(
        root,
        "7/maps",
        b"1000-2000 r-xp 00000000 00:01 5 /bin/app\n",
    );
    write(
        root,
        "7/net/tcp",
        b"header\n0: 0100007F:1A0D 0:0 0A 0:0 0:0 0 0 0 42\n",
    );
    write(root, "7/task/8/stat", STAT.as_bytes());
    write(root, "7/task/8/schedstat", b"1 2 3\n");
    write(
        root,
        "7/task/8/syscall",
        b"0 0x0 0x0 0x0 0x0 0x0 0x0 0x10 0x20\n",
    );
    write(root, "7/task/8/wchan", b"futex_wait_queue");
    write(root, "7/task/8/comm", b"worker\n");
    write(root, "7/task/8/status", &status_of_many_cpus());
    write(root, "7/task/none/comm", b"");
    write(root, "meminfo", b"MemTotal: 4 kB\nMemAvailable: 1 kB\n");
    write(root, "uptime", b"10.5 1\n");
    write(root, "loadavg", b"1.25 0 0\n");

    let procfs = Procfs::at(root);
    assert_eq!(procfs.pids().collect::<Vec<_>>(), [7]);
    assert_eq!(procfs.memory(), Some((4096, 1024)));
    assert_eq!(procfs.load_1m(), Some(1.25));
    assert_eq!(procfs.uptime().map(|up| up.as_millis()), Some(10_500));

    let process = procfs.process(7);
    let stat = process.stat().unwrap();
    assert_eq!((stat.name.as_str(), stat.start_ticks), ("a) name", 500));
    assert_eq!(process.status().unwrap().bytes("VmRSS"), Some(2048));
    assert_eq!(process.name().as_deref(), Some("app"));
    assert_eq!(process.command().as_deref(), Some("/bin/app"));
    assert_eq!(process.mappings().unwrap()[0].inode, 5);
    if cfg!(target_endian = "little") {
        let address = "127.0.0.1:6669".parse().unwrap();
        assert_eq!(process.listeners(), [(Listening::Tcp(address), 42)]);
    }

    assert_eq!(process.tids().unwrap().collect::<Vec<_>>(), [8]);
    let thread = process.thread(8);
    assert_eq!(thread.stat().unwrap().state, SchedState::Sleeping);
    assert_eq!(thread.schedstat().unwrap().slices, 3);
    assert_eq!(thread.syscall().blocked_at(), Some((0x10, 0x20)));
    assert_eq!(thread.wchan().as_deref(), Some("futex_wait_queue"));
    assert_eq!(thread.name().as_deref(), Some("worker"));
    assert_eq!(thread.switches(), Some((5, 6)));
}

/// The kernel writes the switches last, behind masks of all CPUs.
fn status_of_many_cpus() -> Vec<u8> {
    let masks = "0".repeat(4096);
    let switches = "voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
    format!("Cpus_allowed:\t{masks}\n{switches}").into_bytes()
}

/// Files that are empty, cut, no text, or not there.
#[test]
fn hostile_content_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (pid, content) in [
        (1, &b""[..]),
        (2, b"\xff\xfe\0\n"),
        (3, b"-1 -1 -1 -1 -1 -1 -1 -1 -1"),
        (
            4,
            b"99999999999999999999999999 (x) S 99999999999999999999 : -",
        ),
    ] {
        for name in ["stat", "status", "maps", "cgroup", "net/tcp", "net/unix"] {
            write(root, &format!("{pid}/{name}"), content);
        }
        for name in ["stat", "schedstat", "syscall", "status"] {
            write(root, &format!("{pid}/task/5/{name}"), content);
        }
        for name in ["stat", "meminfo", "loadavg", "uptime"] {
            write(root, name, content);
        }
        let procfs = Procfs::at(root);
        let process = procfs.process(pid);
        assert_eq!(process.stat(), None, "{pid}");
        let status = process.status().unwrap_or_default();
        assert_eq!((status.process(), status.cpus()), (None, None), "{pid}");
        assert_eq!(process.mappings().unwrap(), [], "{pid}");
        assert_eq!(process.listeners(), [], "{pid}");
        assert_eq!(process.throttled_ns(), None, "{pid}");
        assert!(process.listening().is_err(), "{pid}");
        let thread = process.thread(5);
        assert_eq!(thread.stat(), None, "{pid}");
        assert_eq!(thread.schedstat(), None, "{pid}");
        assert_eq!(thread.switches(), None, "{pid}");
        let unknown = matches!(
            thread.syscall(),
            SyscallState::Unknown | SyscallState::Outside { .. }
        );
        assert!(unknown, "{pid}: {:?}", thread.syscall());
        assert_eq!(thread.wchan(), None, "{pid}");
        assert_eq!(procfs.cpu_times(), None, "{pid}");
        assert_eq!(procfs.memory(), None, "{pid}");
        assert_eq!(procfs.uptime(), None, "{pid}");
    }
    let nobody = Procfs::at(root.join("nowhere"));
    assert_eq!(nobody.pids().count(), 0);
    let process = nobody.process(1);
    assert!(process.tids().is_err() && process.mappings().is_err() && process.files().is_err());
    assert_eq!(process.program(), None);
    assert!(process.thread(1).open("stat").is_none());
}

#[test]
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
fn this_process_is_read() {
    let procfs = Procfs::default();
    let own = procfs.own();
    let pid = std::process::id();
    assert!(procfs.pids().any(|other| other == pid));
    assert_eq!(own.status().unwrap().process(), Some(pid));
    assert_eq!(own.program(), std::env::current_exe().ok());
    assert!(own.status().unwrap().cpus().unwrap() > 0);
    assert!(own.open_files().unwrap() > 0);
    assert!(own.shares("net", &procfs.process(pid)));
    assert!(own.tids().unwrap().any(|tid| tid == u64::from(pid)));
    let code = own_code();
    let mapping = own.mappings().unwrap().into_iter();
    let mapping = mapping.filter(|mapping| mapping.range.contains(&code));
    let mapping: Vec<_> = mapping.collect();
    assert!(mapping.len() == 1 && mapping[0].execute && !mapping[0].write);
    // The thread that looks runs.
    let link = fs::read_link("/proc/thread-self").unwrap();
    let tid = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let syscall = own.thread(tid).open("syscall").unwrap();
    let state = syscall.parse(SyscallState::parse);
    assert!(matches!(
        state,
        Some(SyscallState::Running | SyscallState::In { .. })
    ));
    assert!(own.thread(tid).schedstat().unwrap().slices > 0);
    assert!(procfs.process(u32::MAX).stat().is_none());
}

#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
fn own_code() -> u64 {
    own_code as fn() -> u64 as usize as u64
}

#[test]
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
fn sockets_that_listen_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a socket");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let listening = Procfs::default().own().listening().unwrap();
    let address = tcp.local_addr().unwrap();
    assert!(
        listening.contains(&Listening::Tcp(address)),
        "{listening:?}"
    );
    assert!(listening.contains(&Listening::Unix(path)), "{listening:?}");
}
