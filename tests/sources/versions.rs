//! Agents and viewers of other versions: what today's agent sends and what today's
//! viewer asks is frozen in files, which later versions must go on understanding.
//!
//! `LOOPTOP_FREEZE=1 cargo test -p looptop --test sources versions` writes the files of
//! this version where there are none. They are never written anew. Those of 0.1.0 are of
//! a lab that sleeps in a handler, before and after agents had permissions.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use looptop::{
    model::Model,
    source::{Event, SourceKind},
};
use looptop_wire::{
    PROTOCOL,
    proto::{
        CodeAddress, Frame, HelloRequest, HelloResponse, ResolveFramesRequest, WatchRequest,
        agent_client::AgentClient,
    },
};
use prost::Message;
use tonic::{Request, transport::Endpoint};

use crate::programs::App;
use crate::script::{ScriptedAgent, attach, serve, until, until_frame};

const FREEZE: &str = "LOOPTOP_FREEZE";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/versions")
}

/// The files with this ending, at least one.
fn frozen(ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .{ending} in {}", folder().display());
    files
}

/// Writes a file of this version if asked to, unless there is one.
fn freeze(name: &str, messages: impl FnOnce() -> Vec<Bytes>) {
    let path = folder().join(name);
    if std::env::var_os(FREEZE).is_none() || path.exists() {
        return;
    }
    let mut bytes = Vec::new();
    for message in messages() {
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
    }
    fs::create_dir_all(folder()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The messages of a frozen file: each behind its length.
fn messages(path: &PathBuf) -> Vec<Bytes> {
    let mut rest = Bytes::from(fs::read(path).unwrap());
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = rest.split_to(4);
        let length = u32::from_be_bytes(length[..].try_into().unwrap());
        messages.push(rest.split_to(length as usize));
    }
    messages
}

/// A hello and the first frames of an application of this version.
async fn recorded() -> Vec<Bytes> {
    let app = App::start("agent_app", &["40"]);
    let endpoint = Endpoint::from_shared(format!("http://{}", app.address)).unwrap();
    let mut client = AgentClient::new(endpoint.connect().await.unwrap());
    let hello = client.hello(HelloRequest::default()).await.unwrap();
    // Paths of the machine on which it was frozen are nobody's business.
    let hello = HelloResponse {
        exe: "/usr/bin/agent_app".into(),
        hostname: "frozen".into(),
        ..hello.into_inner()
    };
    let mut messages = vec![Bytes::from(hello.encode_to_vec())];
    let watch = client.watch(WatchRequest::default()).await.unwrap();
    let mut frames = watch.into_inner();
    for _ in 0..20 {
        let frame = frames.message().await.unwrap().unwrap();
        messages.push(Bytes::from(frame.encode_to_vec()));
    }
    messages
}

#[tokio::test]
async fn what_agents_of_earlier_versions_send_is_shown() {
    let name = concat!("agent-", env!("CARGO_PKG_VERSION"), ".stream");
    if std::env::var_os(FREEZE).is_some() {
        let messages = recorded().await;
        freeze(name, || messages);
    }
    for path in frozen("stream") {
        let mut messages = messages(&path).into_iter();
        let hello = HelloResponse::decode(messages.next().unwrap()).unwrap();
        let (agent, mut watchers) = ScriptedAgent::new("frozen");
        *agent.hello.lock().unwrap() = hello.clone();
        let mut source = attach(&serve(agent.router()).await);
        let watcher = watchers.recv().await.unwrap();
        let (greeted, kind) = until(&mut source, |event| match event {
            Event::Connected { hello, kind } => Some((hello, kind)),
            _ => None,
        })
        .await;
        assert_eq!(kind, SourceKind::Agent, "{path:?}");
        let mut model = Model::new(&greeted);
        for message in messages {
            let frame = Frame::decode(message).unwrap();
            watcher.send(Ok(frame)).await.unwrap();
            model.apply(&until_frame(&mut source).await).unwrap();
        }
        assert_eq!(model.session.name, hello.name, "{path:?}");
        assert!(!model.workers.is_empty(), "{path:?}");
        assert!(!model.threads.is_empty(), "{path:?}");
        assert!(!model.runtimes.is_empty(), "{path:?}");
    }
}

/// Everything that this viewer asks of an agent.
fn requests() -> Vec<Bytes> {
    let hello = HelloRequest {
        protocol: PROTOCOL,
        viewer: concat!("looptop ", env!("CARGO_PKG_VERSION")).into(),
    };
    let watch = WatchRequest {
        interval_ns: 50_000_000,
        ..WatchRequest::default()
    };
    let resolve = ResolveFramesRequest {
        frames: vec![CodeAddress::default()],
    };
    [
        hello.encode_to_vec(),
        watch.encode_to_vec(),
        resolve.encode_to_vec(),
    ]
    .map(Bytes::from)
    .to_vec()
}

#[tokio::test]
async fn what_viewers_of_earlier_versions_ask_is_answered() {
    let name = concat!("viewer-", env!("CARGO_PKG_VERSION"), ".requests");
    freeze(name, requests);
    let app = App::start("agent_app", &[]);
    for path in frozen("requests") {
        let messages = messages(&path);
        let [hello, watch, resolve] = messages.as_slice() else {
            panic!("{path:?}: {} requests", messages.len());
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", app.address)).unwrap();
        let mut client = AgentClient::new(endpoint.connect().await.unwrap());
        let hello = HelloRequest::decode(hello.clone()).unwrap();
        let asked = hello.protocol;
        let hello = client
            .hello(Request::new(hello))
            .await
            .unwrap()
            .into_inner();
        // An agent never answers in a newer protocol than it was asked in.
        assert!(hello.protocol > 0 && hello.protocol <= asked, "{path:?}");
        let watch = WatchRequest::decode(watch.clone()).unwrap();
        let mut frames = client.watch(watch).await.unwrap().into_inner();
        let frame = frames.message().await.unwrap().unwrap();
        assert_eq!(frame.sequence, 1, "{path:?}");
        let resolve = ResolveFramesRequest::decode(resolve.clone()).unwrap();
        let names = client.resolve_frames(resolve).await.unwrap().into_inner();
        assert_eq!(names.frames.len(), 1, "{path:?}");
    }
}
