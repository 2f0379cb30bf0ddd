//! Who may look: the same user and root, others by name or token, each at what it may
//! see; and nobody takes more than its share.
//!
//! Calls of another user are made by this program again, as user 65534, which only root
//! can start: without that those tests say so and end.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod viewer;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use looptop_agent::{Agent, Permission, StartError};
use looptop_wire::proto::agent_client::AgentClient;
use looptop_wire::proto::{self, CapabilityKind};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use viewer::{Viewer, alone, client_runtime, hello, level0, until};

const NOBODY: u32 = 65_534;
const TOKEN: &str = "correct-horse-battery-staple";
/// Where a child of this program calls, and with which token.
const CALLS: &str = "LOOPTOP_TEST_CALLS";
const SHOWS: &str = "LOOPTOP_TEST_SHOWS";

async fn at_port(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it listens")
}

async fn at_socket(path: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower_connector(path);
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await
}

/// A connector for one Unix socket.
fn tower_connector(path: PathBuf) -> Connector {
    Connector(path)
}

#[derive(Clone)]
struct Connector(PathBuf);

impl tower::Service<http::Uri> for Connector {
    type Response = hyper_util::rt::TokioIo<tokio::net::UnixStream>;
    type Error = std::io::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>,
    >;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok(hyper_util::rt::TokioIo::new(stream))
        })
    }
}

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn greet(channel: Channel, token: Option<&str>) -> Result<proto::HelloResponse, Status> {
    let request = with_token(proto::HelloRequest::default(), token);
    let hello = AgentClient::new(channel).hello(request).await;
    hello.map(tonic::Response::into_inner)
}

/// What a child of this program does: one call, whose answer it prints.
fn call(address: &str) {
    let token = std::env::var(SHOWS).ok();
    client_runtime().block_on(async {
        let channel = match address.strip_prefix("unix:") {
            Some(path) => match at_socket(path.into()).await {
                Ok(channel) => channel,
                Err(error) => return println!("[cannot connect] {error:?}"),
            },
            None => at_port(address.parse().expect("an address")).await,
        };
        match greet(channel, token.as_deref()).await {
            Ok(hello) => println!("[{:?}]", hello.permission()),
            Err(status) => println!("[{:?}] {}", status.code(), status.message()),
        }
    });
}

/// The line that says how a call as another user was answered.
fn as_nobody(address: &str, token: Option<&str>) -> String {
    let me = std::env::current_exe().expect("this test's binary");
    let mut command = Command::new(me);
    command.args(["calls_of_a_child", "--exact", "--nocapture"]);
    command.env(CALLS, address).uid(NOBODY).gid(NOBODY);
    if let Some(token) = token {
        command.env(SHOWS, token);
    }
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| {
        let at = line.find('[')?;
        Some(line[at..].to_owned())
    });
    line.unwrap_or_else(|| {
        panic!(
            "no answer: {text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[test]
fn calls_of_a_child() {
    if let Ok(address) = std::env::var(CALLS) {
        call(&address);
    }
}

/// Whether another user's calls can be made.
fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").expect("procfs").uid() == 0;
    if !root {
        eprintln!("skipped: only root can call as another user");
    }
    root
}

/// A folder that every user may enter.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir_in("/tmp").expect("a folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("ours");
    folder
}

fn open_socket(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, open).expect("ours");
}

#[test]
fn another_user_is_refused_with_a_sentence_and_counted() {
    if !is_root() {
        return;
    }
    let _alone = alone();
    let folder = open_folder();
    let path = folder.path().join("app.sock");
    let by_socket = Agent::builder()
        .bind(format!("unix:{}", path.display()))
        .install_subscriber(false)
        .start();
    open_socket(&path);
    let by_port = level0().start();
    let port = by_port.local_addr().expect("a TCP port");
    let socket = format!("unix:{}", path.display());
    for address in [port.to_string(), socket] {
        let answer = as_nobody(&address, None);
        assert!(
            answer.starts_with("[PermissionDenied] user 65534 may not look")
                && answer.contains("LOOPTOP_ALLOW=65534"),
            "{address}: {answer}"
        );
        // A token where none is set opens nothing.
        let answer = as_nobody(&address, Some(TOKEN));
        assert!(answer.starts_with("[PermissionDenied]"), "{answer}");
    }
    let loss = hello(port).loss.expect("losses");
    assert_eq!(loss.refused_viewers, 2);
    assert_eq!(hello(port).permission(), proto::Permission::Memory);
    by_port.shutdown();
    by_socket.shutdown();
}

#[test]
fn users_by_name_and_tokens_may_look_at_names() {
    if !is_root() {
        return;
    }
    let _alone = alone();
    let allowed = level0().allow_user("65534").start();
    let address = allowed.local_addr().expect("a TCP port").to_string();
    assert_eq!(as_nobody(&address, None), "[Names]");
    allowed.shutdown();
    let agent = level0().token(TOKEN).start();
    let address = agent.local_addr().expect("a TCP port");
    let text = address.to_string();
    assert_eq!(as_nobody(&text, Some(TOKEN)), "[Names]");
    let missing = as_nobody(&text, None);
    assert!(
        missing.starts_with("[Unauthenticated] user 65534 may not look without a token"),
        "{missing}"
    );
    let wrong = as_nobody(&text, Some("correct-horse-battery-stable"));
    assert!(
        wrong.starts_with("[Unauthenticated] the token is not"),
        "{wrong}"
    );
    assert!(!wrong.contains("horse"), "{wrong}");
    // The same user needs none.
    assert_eq!(hello(address).permission(), proto::Permission::Memory);
    agent.shutdown();
}

#[test]
fn the_token_alone_counts_where_nobody_is_trusted() {
    let _alone = alone();
    let agent = level0().token(TOKEN).allow_user("none").start();
    let address = agent.local_addr().expect("a TCP port");
    client_runtime().block_on(async {
        for (token, code) in [
            (None, Some(Code::Unauthenticated)),
            (Some("wrong"), Some(Code::Unauthenticated)),
            (Some(TOKEN), None),
        ] {
            let answer = greet(at_port(address).await, token).await;
            assert_eq!(answer.as_ref().err().map(Status::code), code, "{token:?}");
            if let Ok(hello) = answer {
                assert_eq!(hello.permission(), proto::Permission::Names);
            }
        }
    });
    agent.shutdown();
}

#[test]
fn who_may_see_numbers_sees_no_names() {
    let _alone = alone();
    let agent = level0()
        .token(TOKEN)
        .allow_user("none")
        .permit(Permission::Numbers)
        .start();
    let address = agent.local_addr().expect("a TCP port");
    client_runtime().block_on(async {
        let channel = at_port(address).await;
        let hello = greet(channel.clone(), Some(TOKEN)).await.expect("it may");
        assert_eq!(hello.permission(), proto::Permission::Numbers);
        assert_eq!((hello.exe.as_str(), hello.hostname.as_str()), ("", ""));
        let stacks = hello.capabilities.iter();
        let mut stacks = stacks.filter(|c| c.kind() == CapabilityKind::Stacks);
        let stacks = stacks.next().expect("it is listed");
        assert!(!stacks.available && stacks.reason.contains("LOOPTOP_PERMIT"));
        let mut client = AgentClient::new(channel);
        let watch = proto::WatchRequest {
            interval_ns: 20_000_000,
            ..proto::WatchRequest::default()
        };
        let frames = client.watch(with_token(watch, Some(TOKEN))).await;
        let mut frames = frames.expect("it may").into_inner();
        for number in 0..3 {
            let frame = frames.message().await.expect("a stream").expect("a frame");
            // Threads that have not run since are not sent again.
            assert!(frame.process.is_some() && (number > 0 || !frame.threads.is_empty()));
            assert!(frame.strings.is_empty() && frame.modules.is_empty());
            assert!(frame.threads.iter().all(|thread| thread.name == 0));
        }
        let resolve = with_token(proto::ResolveFramesRequest::default(), Some(TOKEN));
        let refused = client.resolve_frames(resolve).await.expect_err("names");
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    });
    agent.shutdown();
}

#[test]
fn what_other_machines_reach_is_refused_at_the_start() {
    let _alone = alone();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let started = level0().bind(address).try_start();
        let error = match started {
            Err(error @ StartError::Access(_)) => error.to_string(),
            // No IPv6 here.
            Err(StartError::Bind { .. }) => continue,
            other => panic!("{address}: {other:?}"),
        };
        assert!(
            error.contains("other machines") && error.contains("LOOPTOP_TOKEN_FILE"),
            "{error}"
        );
    }
    let short = level0().token("hunter2").try_start();
    let error = short.expect_err("too short").to_string();
    assert!(error.contains("fewer than 16") && !error.contains("hunter2"));
    let agent = level0().bind("0.0.0.0:0").token(TOKEN).start();
    assert!(agent.is_running());
    agent.shutdown();
}

#[test]
fn a_socket_is_there_for_the_user_alone_and_goes_with_the_agent() {
    let _alone = alone();
    let without = level0().socket(false).start();
    assert_eq!(without.socket_path(), None);
    without.shutdown();
    let agent = level0().start();
    let path = agent.socket_path().expect("a socket").to_owned();
    let folder = path.parent().expect("in a folder");
    assert_eq!(
        std::fs::metadata(folder).expect("there").mode() & 0o777,
        0o700
    );
    client_runtime().block_on(async {
        let channel = at_socket(path.clone()).await.expect("it listens");
        let hello = greet(channel, None).await.expect("the same user");
        assert_eq!(hello.permission(), proto::Permission::Memory);
        assert_eq!(hello.pid, std::process::id());
    });
    // The port alone is off.
    let alone = Agent::builder()
        .bind("off")
        .install_subscriber(false)
        .start();
    assert_eq!(alone.local_addr(), None);
    let second = alone.socket_path().expect("another socket");
    assert_ne!(second, path);
    alone.shutdown();
    agent.shutdown();
    until("the socket is removed", || !path.exists());
    let neither = Agent::builder().bind("off").socket(false).try_start();
    assert!(matches!(neither, Err(StartError::Access(_))));
}

/// Connections that say nothing, that stop within their handshake, and that announce
/// what nobody reads.
#[test]
fn who_says_nothing_takes_nobodys_place() {
    let _alone = alone();
    let agent = level0().start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    viewer.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    let before = resident_bytes();
    let mut open = Vec::new();
    for number in 0..1_000 {
        let Ok(mut stream) = TcpStream::connect(address) else {
            break;
        };
        let bytes: &[u8] = match number % 3 {
            0 => b"",
            1 => b"PRI * HTTP/2.0\r\n",
            // A frame of 16 MiB, the most that its length can say.
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        };
        // Some are closed by then.
        drop(stream.write_all(bytes));
        open.push(stream);
    }
    assert!(open.len() > 500, "{} connections", open.len());
    // Somebody new is served at once, and whoever was there is served on.
    let began = Instant::now();
    let loss = hello(address).loss.expect("losses");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(loss.refused_connections > 0);
    let frames = viewer.look(|seen| seen.frames.len());
    viewer.until("more frames", |seen| {
        (seen.frames.len() > frames + 5).then_some(())
    });
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    // All that wait are closed in the end, by the agent.
    for stream in open.iter_mut().rev().take(3) {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("set");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let in_time = !matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(in_time, "still open: {ended:?}");
    }
    agent.shutdown();
}

#[test]
fn a_request_over_the_limit_is_refused_and_the_viewer_served_on() {
    let _alone = alone();
    let agent = level0().start();
    let address = agent.local_addr().expect("a TCP port");
    let viewer = Viewer::attach(address);
    client_runtime().block_on(async {
        let request = proto::HelloRequest {
            protocol: 1,
            viewer: "x".repeat(64 << 20),
        };
        let answer = AgentClient::new(at_port(address).await)
            .hello(request)
            .await;
        let status = answer.expect_err("64 MiB");
        // Where the agent ends the stream the client may see that first.
        let refused = [
            Code::ResourceExhausted,
            Code::OutOfRange,
            Code::Internal,
            Code::Cancelled,
        ];
        assert!(refused.contains(&status.code()), "{status:?}");
    });
    let frames = viewer.look(|seen| seen.frames.len());
    viewer.until("more frames", |seen| {
        (seen.frames.len() > frames).then_some(())
    });
    agent.shutdown();
}

#[test]
fn so_many_viewers_are_served_and_the_next_gets_a_sentence() {
    let _alone = alone();
    let agent = level0().start();
    let address = agent.local_addr().expect("a TCP port");
    let first = Viewer::attach(address);
    first.until("a frame", |seen| (!seen.frames.is_empty()).then_some(()));
    client_runtime().block_on(async {
        let mut client = AgentClient::new(at_port(address).await);
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        for number in 0..100 {
            if number % 20 == 0 {
                client = AgentClient::new(at_port(address).await);
            }
            match client.watch(proto::WatchRequest::default()).await {
                Ok(frames) => served.push(frames),
                Err(status) => refused.push(status),
            }
        }
        assert_eq!((served.len(), refused.len()), (7, 93));
        for status in &refused {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.message().contains("8 viewers"), "{status}");
        }
    });
    let frames = first.look(|seen| seen.frames.len());
    first.until("more frames", |seen| {
        (seen.frames.len() > frames + 3).then_some(())
    });
    // Their places become free.
    until("a place", || {
        client_runtime().block_on(async {
            let mut client = AgentClient::new(at_port(address).await);
            client.watch(proto::WatchRequest::default()).await.is_ok()
        })
    });
    assert!(hello(address).loss.expect("losses").refused_calls >= 93);
    agent.shutdown();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1_024
}
