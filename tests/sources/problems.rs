//! Every way in which a target is not one, and what is said about it.

use std::time::Duration;

use looptop::source::{Event, Options, ProblemKind, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::script::{ScriptedAgent, attach, listen, serve, until, until_lost, until_silent};

/// Answers each connection, once something was received, with what `answer`
/// makes of that, and closes it.
async fn answering(answer: fn(&[u8]) -> &'static [u8]) -> std::net::SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 1024];
            let n = stream.read(&mut request).await.unwrap_or(0);
            let _ = stream.write_all(answer(&request[..n])).await;
            let _ = stream.shutdown().await;
            // Closing with unread bytes would reset, and lose the answer.
            while matches!(stream.read(&mut request).await, Ok(n) if n > 0) {}
        }
    });
    address
}

#[tokio::test]
async fn a_closed_port() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut source = attach(&address);
    let (problem, retry_in) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::Refused);
    let expected = format!(
        "connection refused: nothing listens on {address}; \
         is the application running, and does it call looptop_agent::init()? \
         `looptop ls` lists what can be looked at here, also without it"
    );
    assert_eq!(problem.to_string(), expected);

    // Each pause is twice the one before, up to 2 s.
    let mut pauses = vec![retry_in.unwrap().as_millis()];
    for _ in 0..5 {
        pauses.push(until_lost(&mut source).await.1.unwrap().as_millis());
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 2_000]);
}

#[tokio::test]
async fn an_unknown_host() {
    let (problem, _) = until_lost(&mut attach("no-such-host.invalid:1")).await;
    // A resolver that does not answer in time is the other possibility.
    let possible = [ProblemKind::UnknownHost, ProblemKind::Unreachable];
    assert!(possible.contains(&problem.kind), "{problem}");
    assert!(problem.to_string().contains("no-such-host.invalid"));
}

#[tokio::test]
async fn a_web_server() {
    let address = answering(|_| b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n").await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert_eq!(problem.kind, ProblemKind::OtherProtocol);
    let what = format!("{address} speaks something else (HTTP/1.1 400 Bad Request)");
    assert_eq!(problem.what, what);
}

#[tokio::test]
async fn a_web_server_that_hangs_up_on_http2() {
    let address = answering(|request| match request {
        [b'G', b'E', b'T', ..] => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        _ => b"",
    })
    .await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert!(problem.what.ends_with("(HTTP/1.1 200 OK)"), "{problem}");
}

#[tokio::test]
async fn a_hostile_greeting_is_shown_escaped() {
    let address = answering(|_| b"+OK \x1b]0;pwned\x07 \xff\r\n").await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert_eq!(problem.kind, ProblemKind::OtherProtocol);
    assert!(
        problem.what.contains("+OK \\u{1b}]0;pwned\\u{7}"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_port_that_hangs_up() {
    let address = answering(|_| b"").await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert_eq!(problem.kind, ProblemKind::Closed);
    assert!(problem.what.contains("without a word"), "{problem}");
}

#[tokio::test]
async fn a_port_that_never_answers() {
    let (_listener, address) = listen().await;
    let options = Options {
        give_up: Duration::from_secs(3),
        ..Options::default()
    };
    let target = address.to_string().parse().unwrap();
    let mut source = spawn(target, options, &tokio::runtime::Handle::current());
    let problem = until_silent(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::NoAnswer);
    assert!(problem.what.contains("accepts the connection"), "{problem}");
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::NoAnswer);
}

#[tokio::test]
async fn other_grpc_services() {
    let routes = tonic::service::Routes::default();
    let address = serve(tonic::transport::Server::builder().add_routes(routes)).await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert_eq!(problem.kind, ProblemKind::NoService, "{problem}");
}

#[tokio::test]
async fn agents_of_other_protocols() {
    let cases = [
        (99, ProblemKind::AgentTooNew),
        (0, ProblemKind::AgentTooOld),
    ];
    for (protocol, kind) in cases {
        let (agent, _watchers) = ScriptedAgent::new("a");
        agent.hello.lock().unwrap().protocol = protocol;
        let (problem, retry_in) = until_lost(&mut attach(&serve(agent.router()).await)).await;
        assert_eq!(problem.kind, kind, "{problem}");
        assert!(retry_in.is_some(), "another program may come");
    }
}

#[tokio::test]
async fn a_recording_is_not_attached_to() {
    let mut source = attach("./some.looptop");
    let (problem, retry_in) = until_lost(&mut source).await;
    assert_eq!((problem.kind, retry_in), (ProblemKind::Recording, None));
    assert!(source.recv().await.is_none());
}

#[tokio::test]
async fn attempts_are_counted() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut source = attach(&address);
    for expected in 1..=3 {
        let attempt = until(&mut source, |event| match event {
            Event::Connecting { attempt } => Some(attempt),
            _ => None,
        });
        assert_eq!(attempt.await, expected);
    }
}

#[tokio::test]
async fn a_dropped_source_lets_go() {
    let (listener, address) = listen().await;
    let source = attach(&address);
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(source);
    let closed = async { while !matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)) {} };
    let closed = tokio::time::timeout(Duration::from_mins(1), closed).await;
    assert!(closed.is_ok(), "the connection stays");
}

#[cfg(unix)]
mod unix {
    use super::*;

    #[tokio::test]
    async fn paths_that_are_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let stale = dir.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let cases = [
            (dir.path().join("missing"), ProblemKind::NoSuchPath),
            (file, ProblemKind::WrongPath),
            (stale, ProblemKind::Refused),
        ];
        for (path, kind) in cases {
            let mut source = attach(&format!("unix:{}", path.display()));
            let (problem, _) = until_lost(&mut source).await;
            assert_eq!(problem.kind, kind, "{problem}");
            assert!(problem.what.contains(path.to_str().unwrap()), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_socket_without_permission() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return; // root may do anything
        }
        let mut source = attach(&format!("unix:{}", path.display()));
        let (problem, _) = until_lost(&mut source).await;
        assert_eq!(problem.kind, ProblemKind::PermissionDenied, "{problem}");
    }
}
