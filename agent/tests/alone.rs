//! A program without any subscriber: plain `init()` shows its tasks.
//!
//! No harness: the program itself is the test, since what it holds decides. Nothing
//! here may use tracing-subscriber.

#[cfg(not(all(
    target_os = "linux",
    not(looptop_elsewhere),
    tokio_unstable,
    feature = "tracing",
    not(feature = "console")
)))]
fn main() {}

#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    tokio_unstable,
    feature = "tracing",
    not(feature = "console")
))]
mod viewer;

#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    tokio_unstable,
    feature = "tracing",
    not(feature = "console")
))]
fn main() {
    match std::env::var("LOOPTOP_TEST_CASE").as_deref() {
        Ok("stripped") => program::stripped(),
        Ok("late") => program::late(),
        _ => {
            program::certain();
            program::child(&std::env::current_exe().expect("this program"), "late");
            let folder = tempfile::tempdir().expect("a folder");
            let copy = folder.path().join("stripped");
            program::strip(&copy);
            program::child(&copy, "stripped");
            println!("ok: a program without a subscriber");
        }
    }
}

#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    tokio_unstable,
    feature = "tracing",
    not(feature = "console")
))]
mod program {
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::process::Command;

    use looptop_agent::Agent;
    use looptop_wire::columns::Row;
    use looptop_wire::proto::CapabilityKind;

    use crate::viewer::{Viewer, hello};

    pub(crate) fn child(program: &Path, case: &str) {
        let mut command = Command::new(program);
        command.env("LOOPTOP_TEST_CASE", case);
        let status = command.status().expect("it starts");
        assert!(status.success(), "{case}: {status}");
    }

    /// This program, without a table of sections, hence without symbols.
    pub(crate) fn strip(to: &Path) {
        std::fs::copy("/proc/self/exe", to).expect("room for a copy");
        let file = std::fs::File::options().write(true).open(to);
        // e_shoff and e_shnum of the header.
        let file = file.expect("it is ours");
        file.write_all_at(&[0; 8], 40).expect("written");
        file.write_all_at(&[0; 2], 60).expect("written");
    }

    fn in_a_runtime(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(work);
    }

    fn start() -> Agent {
        let agent = Agent::builder().bind("127.0.0.1:0").start();
        assert!(agent.is_running());
        agent
    }

    fn tasks(agent: &Agent) -> (bool, String) {
        let address = agent.local_addr().expect("a TCP port");
        let greeting = std::thread::spawn(move || hello(address)).join();
        let capabilities = greeting.expect("no panic").capabilities;
        let tasks = capabilities
            .into_iter()
            .find(|c| c.kind() == CapabilityKind::Tasks);
        let tasks = tasks.expect("it is listed");
        (tasks.available, tasks.reason)
    }

    fn until_seen(agent: &Agent, names: &[&str]) {
        let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
        for name in names {
            viewer.until(name, |seen| {
                let tasks = seen.frames.iter().filter_map(|f| f.tasks.as_ref());
                let this = |row: Row<'_>| seen.text(row.name()?).eq(*name).then_some(());
                tasks.flat_map(Row::all).find_map(this)
            });
        }
    }

    fn spawn(name: &str) {
        let task = tokio::task::Builder::new().name(name);
        drop(task.spawn(std::future::pending::<()>()).expect("a runtime"));
    }

    /// The first task is seen, and what other threads spawn.
    pub(crate) fn certain() {
        in_a_runtime(async {
            let agent = start();
            spawn("the first");
            let nested = tokio::spawn(async { spawn("on a worker") });
            nested.await.expect("it does not panic");
            let handle = tokio::runtime::Handle::current();
            let other = std::thread::spawn(move || {
                let _inside = handle.enter();
                spawn("on another thread");
            });
            other.join().expect("it does not panic");
            until_seen(&agent, &["the first", "on a worker", "on another thread"]);
            assert_eq!(tasks(&agent), (true, String::new()));
            agent.shutdown();
        });
    }

    /// Threads come by tokio's callsites before there is a subscriber.
    pub(crate) fn late() {
        in_a_runtime(async {
            for _ in 0..20 {
                let early = tokio::spawn(tokio::task::yield_now());
                early.await.expect("it does not panic");
            }
            let agent = start();
            let nested = tokio::spawn(async { spawn("on a worker") });
            nested.await.expect("it does not panic");
            until_seen(&agent, &["on a worker"]);
        });
    }

    /// Without symbols it cannot be known.
    pub(crate) fn stripped() {
        in_a_runtime(async {
            let agent = start();
            spawn("unseen");
            let (available, reason) = tasks(&agent);
            assert!(!available && reason.contains("no symbols"), "{reason}");
            assert!(reason.contains("LOOPTOP_TASKS=on"), "{reason}");
        });
    }
}
