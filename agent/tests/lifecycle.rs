//! Starting, failing to start, and ending: the application always goes on.

mod viewer;

use std::time::Duration;

use looptop_agent::{Agent, Builder, StartError};
use looptop_wire::proto::{CapabilityKind, Thread as ThreadRecord, ThreadRole};
use viewer::{Viewer, alone, level0, until};

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn a_taken_port_is_an_error_with_advice_and_no_more() {
    let _alone = alone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let started = Agent::builder()
        .bind(&address)
        .install_subscriber(false)
        .try_start();
    let error = started.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        error.contains(&address) && error.contains("LOOPTOP_BIND"),
        "{error}"
    );
    let agent = Agent::builder()
        .bind(address)
        .install_subscriber(false)
        .start();
    assert!(!agent.is_running());
    assert_eq!(agent.local_addr(), None);
    assert!(!agent.register_runtime("x", runtime().handle()));
    agent.shutdown();
    let nonsense = Agent::builder().bind("no where").try_start();
    assert!(matches!(nonsense, Err(StartError::Address(_))));
}

#[test]
fn a_runtime_may_come_later_and_go_before() {
    let _alone = alone();
    let agent = level0().start();
    let address = agent.local_addr().expect("a TCP port");
    let workers = |hello: &looptop_wire::proto::HelloResponse| {
        let mut kinds = hello.capabilities.iter();
        let workers = kinds.find(|c| c.kind() == CapabilityKind::Workers);
        workers.map(|c| (c.available, c.reason.clone()))
    };
    let (available, reason) = workers(&viewer::hello(address)).expect("it is listed");
    assert!(
        !available && reason.contains("register_current"),
        "{reason}"
    );

    let viewer = Viewer::attach(address);
    let runtime = runtime();
    assert!(agent.register_runtime("later", runtime.handle()));
    assert_eq!(
        workers(&viewer::hello(address)),
        Some((true, String::new()))
    );
    viewer.until("its workers and its name", |seen| {
        let record = seen.runtimes.get(&0)?;
        (seen.workers.len() == 2 && seen.text(record.name) == "later").then_some(())
    });
    viewer.until("a lag sample", |seen| seen.lag.first().copied());
    runtime.shutdown_timeout(Duration::from_secs(20));
    viewer.until("it is gone", |seen| {
        seen.runtimes.get(&0)?.gone.then_some(())
    });
    viewer.look(|seen| assert!(seen.stalls.is_empty(), "{:?}", seen.stalls));
    assert!(agent.is_running());
    agent.shutdown();
}

#[test]
fn the_bound_of_the_pools_does_not_depend_on_the_order_of_calls() {
    let _alone = alone();
    let runtime = runtime();
    let named = |builder: Builder| builder.runtime("test", runtime.handle());
    for builder in [
        named(level0()).max_blocking_threads(7),
        named(level0().max_blocking_threads(7)),
    ] {
        let agent = builder.start();
        let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
        let bound = viewer.until("the runtime", |seen| {
            Some(seen.runtimes.get(&0)?.max_blocking_threads)
        });
        assert_eq!(bound, Some(7));
        agent.shutdown();
    }
}

#[test]
fn shutting_down_frees_the_port_and_disconnects_viewers() {
    let _alone = alone();
    let runtime = runtime();
    let agent = level0().runtime("test", runtime.handle()).start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    viewer.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    agent.shutdown();
    assert!(!agent.is_running());
    until("the port is free", || {
        std::net::TcpListener::bind(address).is_ok()
    });
    let again = level0().bind(address.to_string()).start();
    assert_eq!(again.local_addr(), Some(address));
    again.shutdown();
}

#[test]
fn frames_hold_process_host_threads_and_gauges() {
    let _alone = alone();
    let runtime = runtime();
    let agent = level0()
        .name("my service")
        .runtime("test", runtime.handle())
        .start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    looptop_agent::gauge("queue", 41.0);
    looptop_agent::gauge("queue", 42.0);
    viewer.until("the gauge", |seen| {
        seen.gauges
            .iter()
            .find(|(name, v)| seen.text(**name) == "queue" && **v > 41.5)?;
        Some(())
    });
    viewer.until("the host", |seen| {
        seen.host.filter(|h| h.cpus > 0 && h.total_memory_bytes > 0)
    });
    let process = viewer.look(|seen| seen.process).expect("beside the host");
    assert!(process.resident_bytes > 0 && process.cpu_ns > 0);
    if cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        viewer.until("the agent's own threads", |seen| {
            // The kernel cuts names at 15 bytes.
            let own = |t: &&ThreadRecord| {
                t.role() == ThreadRole::Agent && seen.text(t.name).starts_with("looptop-")
            };
            (seen.threads.values().filter(own).count() == 2).then_some(())
        });
        assert!(process.agent_cpu_ns < process.cpu_ns);
    }
    let hello = viewer::hello(address);
    assert_eq!(hello.name, "my service");
    assert_eq!(hello.stall_threshold_ns, 10_000_000);
    assert!(hello.exe.contains("lifecycle") && hello.now_ns > 0);
    viewer.look(|seen| {
        let first = seen.frames.iter().position(|f| f.snapshot_complete);
        assert_eq!(first, Some(0), "the state comes first");
        let sequences = seen.frames.iter().map(|f| f.sequence);
        assert!(sequences.eq(1..=seen.frames.len() as u64));
    });
    agent.shutdown();
}

#[test]
#[cfg(unix)]
fn a_unix_socket_is_served_and_removed() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.sock");
    let agent = level0().bind(format!("unix:{}", path.display())).start();
    assert!(agent.is_running() && agent.local_addr().is_none());
    until("it accepts", || {
        std::os::unix::net::UnixStream::connect(&path).is_ok()
    });
    agent.shutdown();
    until("the socket is removed", || !path.exists());
}
