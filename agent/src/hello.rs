//! The agent's answer to "who are you, and what can you supply?"

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use looptop_wire::proto::{self, CapabilityKind};

use crate::access::{Permission, reduced};
use crate::clock::now_ns;
use crate::ids::Tid;
use crate::level::Levels;
use crate::procfs;
use crate::shared::Shared;
use crate::thread_clock::{current_tid, thread_cpu_ns};
use crate::waits;

/// What does not change while the process lives.
struct Identity {
    started_unix_ns: u64,
    process_started_unix_ns: Option<u64>,
    exe: String,
    build_id: Vec<u8>,
    hostname: String,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let exe = std::env::current_exe().ok();
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ns = unix_ns.map_or(0, |d| d.as_nanos() as u64);
        Identity {
            started_unix_ns: unix_ns.saturating_sub(now_ns()),
            process_started_unix_ns: crate::sample::started_unix_ns(),
            build_id: build_id().unwrap_or_default(),
            exe: exe
                .map(|p| p.to_string_lossy().into_owned())
                .unwrap_or_default(),
            hostname: crate::sample::hostname().unwrap_or_default(),
        }
    })
}

/// The build id of the running binary, read from the file in pieces.
fn build_id() -> Option<Vec<u8>> {
    let id = looptop_symbols::elf::build_id(Path::new("/proc/self/exe"))?;
    Some(id).filter(|id| !id.is_empty())
}

/// The answer to somebody who may see so much.
pub(crate) fn response(shared: &Arc<Shared>, permission: Permission) -> proto::HelloResponse {
    let whole = whole(shared, permission);
    match permission {
        Permission::Numbers => reduced::hello(whole),
        Permission::Names | Permission::Memory => whole,
    }
}

fn whole(shared: &Arc<Shared>, permission: Permission) -> proto::HelloResponse {
    let identity = identity();
    let config = &shared.config;
    let file_name = || {
        identity
            .exe
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    proto::HelloResponse {
        protocol: looptop_wire::PROTOCOL,
        session: format!("{}-{:x}", std::process::id(), identity.started_unix_ns),
        name: config.name.clone().unwrap_or_else(file_name),
        pid: std::process::id(),
        exe: identity.exe.clone(),
        build_id: identity.build_id.clone(),
        hostname: identity.hostname.clone(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
        started_unix_ns: identity.started_unix_ns,
        now_ns: now_ns(),
        process_started_unix_ns: identity.process_started_unix_ns,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        tokio_version: String::new(),
        capabilities: capabilities(shared, permission),
        stall_threshold_ns: config.stall_threshold_ns(),
        watchdog_interval_ns: config.watchdog_interval_ns(),
        time_scale: config.time_scale,
        permission: permission.to_wire().into(),
        loss: Some(shared.loss()),
        core_dump: false,
    }
}

const NEEDS_UNSTABLE: &str =
    "tokio reports this only when built with RUSTFLAGS=\"--cfg tokio_unstable\"";
const CONSOLE_IS_OFF: &str = "console-subscriber's service is off while a token is set, which \
    tokio-console cannot send: LOOPTOP_CONSOLE=on where the application starts allows it";
const NEEDS_LINUX: &str = "the agent reads this from /proc, which only Linux has";

fn capabilities(shared: &Shared, permission: Permission) -> Vec<proto::Capability> {
    let runtime = match shared.runtimes.revision() {
        0 => Err(
            "no runtime is registered: call looptop_agent::init() inside #[tokio::main], or register_current() in each runtime",
        ),
        _ => Ok(()),
    };
    let linux = if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        Ok(())
    } else {
        Err(NEEDS_LINUX)
    };
    let unstable = if cfg!(tokio_unstable) {
        Ok(())
    } else {
        Err(NEEDS_UNSTABLE)
    };
    let levels = Levels::now(crate::subscriber::state());
    let capture = shared.capture.as_ref().copied().map_err(String::as_str);
    let console = if cfg!(feature = "console") && !shared.config.policy.serves_console() {
        Err(CONSOLE_IS_OFF)
    } else if cfg!(feature = "console") {
        levels.traced.as_ref().copied().map_err(String::as_str)
    } else {
        Err("the application enables looptop-agent without its feature `console`")
    };
    let resources = Err(if cfg!(feature = "console") {
        "console-subscriber reports these, on this port: a viewer that reads the agent alone, as \
         this one does, has none"
    } else {
        "console-subscriber reports these: enable looptop-agent's feature `console`, which serves \
         it on this port"
    });
    let stalls = if linux.is_ok() { linux } else { runtime };
    let fixed: [(CapabilityKind, Result<(), &str>); 11] = [
        (CapabilityKind::Workers, runtime),
        (CapabilityKind::WorkerThreads, linux),
        (CapabilityKind::Threads, linux),
        (CapabilityKind::Stalls, stalls),
        (CapabilityKind::Cause, linux.and_then(|()| evidence())),
        (CapabilityKind::Stacks, capture),
        (CapabilityKind::WorkerPolls, unstable),
        (CapabilityKind::BlockingPool, unstable),
        (CapabilityKind::Lag, runtime),
        (CapabilityKind::Console, console),
        (CapabilityKind::Resources, resources),
    ];
    let fixed = fixed.map(|(kind, known)| capability(kind, known.map_err(str::to_owned)));
    let waits = waits::know(shared, permission);
    let waits = capability(CapabilityKind::Waits, waits);
    let changing = changing(shared, &levels);
    fixed.into_iter().chain([waits]).chain(changing).collect()
}

/// What can be known of tasks, and of runtimes that nobody registered, now; it may
/// change while the application runs.
pub(crate) fn changing_capabilities(shared: &Shared) -> Vec<proto::Capability> {
    changing(shared, &Levels::now(crate::subscriber::state())).collect()
}

fn changing(shared: &Shared, levels: &Levels) -> impl Iterator<Item = proto::Capability> {
    // The symbols of the binary are read some time after the start.
    let coverage = shared.capture.clone().and_then(|()| strangers());
    let coverage = capability(CapabilityKind::Coverage, coverage);
    of_tasks(levels).chain([coverage])
}

fn of_tasks(levels: &Levels) -> impl Iterator<Item = proto::Capability> {
    let kinds = [
        CapabilityKind::Tasks,
        CapabilityKind::TaskNames,
        CapabilityKind::Wakes,
        CapabilityKind::ScheduleLatency,
        CapabilityKind::Wakers,
    ];
    kinds
        .into_iter()
        .map(|kind| capability(kind, levels.know(kind)))
}

fn capability(kind: CapabilityKind, known: Result<(), String>) -> proto::Capability {
    proto::Capability {
        kind: kind.into(),
        available: known.is_ok(),
        reason: known.err().unwrap_or_default(),
    }
}

/// Whether threads of unregistered runtimes can be distinguished from others.
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn strangers() -> Result<(), String> {
    crate::watchdog::strangers::can_tell()
}

#[cfg(not(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn strangers() -> Result<(), String> {
    Err(NEEDS_LINUX.into())
}

/// Whether this kernel and its policies let the agent read what a cause is
/// decided from.
fn evidence() -> Result<(), &'static str> {
    static EVIDENCE: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *EVIDENCE.get_or_init(|| {
        let tid = current_tid().unwrap_or(Tid(0));
        if thread_cpu_ns(tid).is_none() {
            return Err("this system gives no CPU clock for a thread");
        }
        match procfs::open(tid, "syscall") {
            Some(_) => Ok(()),
            None => Err(
                "/proc/self/task/TID/syscall cannot be read here, so what blocks a thread is unknown",
            ),
        }
    })
}
