//! The agent source against a scripted agent.

use looptop::source::{Event, ProblemKind, SourceKind};
use looptop_wire::proto::{Frame, InternedString, Tasks};
use prost::Message;

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
