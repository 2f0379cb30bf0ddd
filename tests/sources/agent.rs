//! The agent source against a scripted agent.

use console_api::{
    Id, Location,
    async_ops::{self, AsyncOpUpdate},
    field::{Name, Value},
    instrument::{Update, instrument_server::InstrumentServer},
    resources::{self, ResourceUpdate},
    tasks::{Task, TaskUpdate},
};
use looptop::{
    model::{Capability as Kind, Model},
    source::{Event, ProblemKind, SourceKind},
};
use looptop_wire::{
    proto::{Capability, Frame, InternedString, Tasks},
    recorded::{History, NamedStack},
};
use prost::Message;
use tokio::sync::mpsc;

use crate::console_scripts::OldServer;
use crate::script::{
    ScriptedAgent, attach, serve, until, until_connected, until_frame, until_lost, until_silent,
};

fn frame(sequence: u64) -> Frame {
    Frame {
        sequence,
        ..Frame::default()
    }
}

#[tokio::test]
async fn a_frame_has_the_bytes_in_which_it_came() {
    let (agent, mut watchers) = ScriptedAgent::new("first");
    let mut source = attach(&serve(agent.router()).await);
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(frame(7))).await.unwrap();
    let received = until(&mut source, |event| match event {
        Event::Frame(frame) => Some(frame),
        _ => None,
    })
    .await;
    let encoded = received.encoded().unwrap();
    assert_eq!(encoded, frame(7).encode_to_vec());
    assert_eq!(Frame::decode(encoded).unwrap(), *received);
}

#[tokio::test]
async fn frames_pass_and_a_new_process_is_a_new_session() {
    let (agent, mut watchers) = ScriptedAgent::new("first");
    let mut source = attach(&serve(agent.router()).await);
    let watcher = watchers.recv().await.unwrap();
    let (hello, kind) = until(&mut source, |event| match event {
        Event::Connected { hello, kind } => Some((hello, kind)),
        _ => None,
    })
    .await;
    assert_eq!((hello.session.as_str(), kind), ("first", SourceKind::Agent));
    for sequence in 1..=3 {
        watcher.send(Ok(frame(sequence))).await.unwrap();
        assert_eq!(until_frame(&mut source).await, frame(sequence));
    }

    // The stream ends, and the same process answers again.
    drop(watcher);
    let (problem, retry_in) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Closed, "{problem}");
    assert_eq!(retry_in.unwrap().as_millis(), 100, "after data, at once");
    assert_eq!(until_connected(&mut source).await.session, "first");

    // The stream fails, and another process answers.
    let watcher = watchers.recv().await.unwrap();
    agent.hello.lock().unwrap().session = "second".into();
    let status = tonic::Status::resource_exhausted("too many \x1b viewers");
    watcher.send(Err(status)).await.unwrap();
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Rejected);
    assert!(
        problem.what.ends_with("too many \\u{1b} viewers"),
        "{problem}"
    );
    assert_eq!(until_connected(&mut source).await.session, "second");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_told_and_goes_on() {
    let (agent, mut watchers) = ScriptedAgent::new("a");
    let mut source = attach(&serve(agent.router()).await);
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(frame(1))).await.unwrap();
    until_frame(&mut source).await;
    for sequence in 2..4 {
        let problem = until_silent(&mut source).await;
        assert_eq!(problem.kind, ProblemKind::NoAnswer);
        assert!(problem.what.contains("though the connection stands"));
        watcher.send(Ok(frame(sequence))).await.unwrap();
        assert_eq!(until_frame(&mut source).await.sequence, sequence);
    }
}

#[tokio::test]
async fn a_frame_over_the_bound() {
    let (agent, mut watchers) = ScriptedAgent::new("a");
    let mut source = attach(&serve(agent.router()).await);
    let large = Frame {
        strings: vec![InternedString {
            id: 1,
            text: "x".repeat(5 << 20),
        }],
        ..Frame::default()
    };
    watchers
        .recv()
        .await
        .unwrap()
        .send(Ok(large))
        .await
        .unwrap();
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::TooLarge);
    assert!(
        problem.what.contains("5.0 MiB where 4 MiB is the limit"),
        "{problem}"
    );
}

#[tokio::test]
async fn columns_that_do_not_match() {
    let (agent, mut watchers) = ScriptedAgent::new("a");
    let mut source = attach(&serve(agent.router()).await);
    let tasks = Tasks {
        id: vec![1, 2],
        wakes: vec![1],
        ..Tasks::default()
    };
    let crooked = Frame {
        tasks: Some(tasks),
        ..Frame::default()
    };
    watchers
        .recv()
        .await
        .unwrap()
        .send(Ok(crooked))
        .await
        .unwrap();
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Malformed);
    assert!(
        problem.what.contains("`wakes` has 1 entries for 2 tasks"),
        "{problem}"
    );
}

#[tokio::test]
async fn what_only_recordings_hold_is_refused() {
    let (agent, mut watchers) = ScriptedAgent::new("a");
    let mut source = attach(&serve(agent.router()).await);
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(frame(1))).await.unwrap();
    assert_eq!(until_frame(&mut source).await.sequence, 1);
    let recorded = Frame {
        history: Some(History::default()),
        names: vec![NamedStack::default()],
        ..frame(2)
    };
    watcher.send(Ok(recorded)).await.unwrap();
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Malformed);
    let why = "2 parts of a frame that only recordings hold";
    assert!(problem.what.contains(why), "{problem}");
}

#[cfg(unix)]
#[tokio::test]
async fn an_agent_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (agent, mut watchers) = ScriptedAgent::new("a");
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    tokio::spawn(agent.router().serve_with_incoming(incoming));
    let mut source = attach(&format!("unix:{}", path.display()));
    assert_eq!(until_connected(&mut source).await.session, "a");
    watchers
        .recv()
        .await
        .unwrap()
        .send(Ok(frame(1)))
        .await
        .unwrap();
    assert_eq!(until_frame(&mut source).await.sequence, 1);
}

/// A semaphore that tokio's task 5, which console-subscriber calls 77, waits for.
fn semaphore() -> Update {
    let id = |id| Some(Id { id });
    let field = console_api::Field {
        name: Some(Name::StrName("task.id".into())),
        value: Some(Value::U64Val(5)),
        metadata_id: None,
    };
    let task = Task {
        id: id(77),
        fields: vec![field],
        ..Task::default()
    };
    let resource = resources::Resource {
        id: id(8),
        concrete_type: "Semaphore".into(),
        location: Some(Location {
            file: Some("src/pool.rs".into()),
            line: Some(7),
            ..Location::default()
        }),
        ..resources::Resource::default()
    };
    let op = async_ops::AsyncOp {
        id: id(9),
        source: "Semaphore::acquire".into(),
        resource_id: id(8),
        ..async_ops::AsyncOp::default()
    };
    let op_stats = async_ops::Stats {
        task_id: id(77),
        ..async_ops::Stats::default()
    };
    Update {
        task_update: Some(TaskUpdate {
            new_tasks: vec![task],
            ..TaskUpdate::default()
        }),
        resource_update: Some(ResourceUpdate {
            new_resources: vec![resource],
            dropped_events: 3,
            ..ResourceUpdate::default()
        }),
        async_op_update: Some(AsyncOpUpdate {
            new_async_ops: vec![op],
            stats_update: [(9, op_stats)].into(),
            ..AsyncOpUpdate::default()
        }),
        ..Update::default()
    }
}

#[tokio::test]
async fn resources_come_from_console_subscriber_on_the_same_port() {
    let (agent, mut watchers) = ScriptedAgent::new("both");
    let missing = Capability {
        kind: Kind::Resources.into(),
        available: false,
        reason: "the agent has none".into(),
    };
    let console = Capability {
        kind: Kind::Console.into(),
        available: true,
        reason: String::new(),
    };
    agent.hello.lock().unwrap().capabilities = vec![missing, console];
    let (updates, mut update_watchers) = mpsc::channel(1);
    let instrument = InstrumentServer::new(OldServer { watchers: updates });
    let mut source = attach(&serve(agent.router().add_service(instrument)).await);

    let console = update_watchers.recv().await.unwrap();
    let hello = until_connected(&mut source).await;
    let mut model = Model::new(&hello);
    assert!(model.session.has(Kind::Resources), "{hello:?}");
    let watcher = watchers.recv().await.unwrap();
    let from_agent = Frame {
        now_ns: 500,
        strings: vec![InternedString {
            id: 1,
            text: "the agent's".into(),
        }],
        ..frame(1)
    };
    watcher.send(Ok(from_agent)).await.unwrap();
    model.apply(&until_frame(&mut source).await).unwrap();
    console.send(Ok(semaphore())).await.unwrap();
    let beside = until_frame(&mut source).await;
    assert_eq!((beside.sequence, beside.now_ns), (1, 500));
    model.apply(&beside).unwrap();
    // An agent knows nothing of what console-subscriber dropped.
    let lossless = Frame {
        loss: Some(looptop_wire::proto::Loss::default()),
        ..frame(2)
    };
    watcher.send(Ok(lossless)).await.unwrap();
    model.apply(&until_frame(&mut source).await).unwrap();
    assert_eq!(model.loss.console_events, 3);

    let ops: Vec<_> = model.resources.ops_of(looptop::model::TaskId(5)).collect();
    assert_eq!(ops.len(), 1, "of the agent's task");
    assert_eq!(model.text(ops[0].source), "Semaphore::acquire");
    let resource = model.resources.get(ops[0].resource.unwrap()).unwrap();
    assert_eq!(model.text(resource.type_name), "Semaphore");
    let place = model.location(resource.location).unwrap();
    assert_eq!(place.to_string(), "src/pool.rs:7");
    let first = looptop::model::TextId(1);
    assert_eq!(model.text(Some(first)), "the agent's");

    // Its end is said, and is not the agent's.
    drop(console);
    let end = until_frame(&mut source).await;
    model.apply(&end).unwrap();
    assert!(!model.session.has(Kind::Resources));
    let why = model.session.missing(Kind::Resources).unwrap_or_default();
    assert!(why.contains("it ended the stream"), "{why}");
    watcher.send(Ok(frame(3))).await.unwrap();
    assert_eq!(until_frame(&mut source).await, frame(3));
}
