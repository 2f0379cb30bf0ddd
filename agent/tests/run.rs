//! Level 2 in one line. One test: the agent that starts first is the process's.
#![cfg(all(tokio_unstable, feature = "rt-multi-thread"))]

mod viewer;

use looptop_wire::columns::Row;
use looptop_wire::proto::CapabilityKind;
use viewer::Viewer;

#[test]
fn run_shows_tasks_without_tracing_and_returns_what_main_does() {
    let settings = looptop_agent::Agent::builder().bind("127.0.0.1:0");
    let answer = settings.run(async {
        let address = looptop_agent::init().local_addr();
        let address = address.expect("the agent of `run` is the process's");
        let line = line!() + 1;
        let task = tokio::spawn(std::future::pending::<()>());
        let watched = tokio::task::spawn_blocking(move || {
            let capabilities = viewer::hello(address).capabilities;
            let names = capabilities
                .iter()
                .find(|c| c.kind() == CapabilityKind::TaskNames);
            assert!(names.is_some_and(|c| !c.available), "no subscriber");
            let viewer = Viewer::attach(address);
            viewer.until("the task, by its line", |seen| {
                let mut rows = seen.frames.iter().filter_map(|f| f.tasks.as_ref());
                let locations = seen.frames.iter().flat_map(|f| &f.locations);
                let here = locations.clone().find(|l| l.line == line)?.id;
                rows.find_map(|tasks| Row::all(tasks).find(|row| row.location() == Some(here)))
                    .map(drop)
            });
        });
        watched.await.expect("the viewer sees it");
        task.abort();
        42
    });
    assert_eq!(answer, 42);
}
