//! Accepts every connection on a thread that nothing can starve, answers the
//! lab's own requests there and hands all others to the observed service.
//!
//! A connection belongs to the control or to the service by its first request:
//! the front peeks at the request line without taking it. The control closes its
//! connections after one answer, so that a client never asks the service by way
//! of the control.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::observed::Observed;

/// A client that says nothing for so long is the service's to wait for.
const SILENCE: Duration = Duration::from_secs(2);

/// Accepts until it is dropped.
pub(crate) async fn run(
    listener: TcpListener,
    control: Router,
    service: mpsc::Sender<std::net::TcpStream>,
    observed: Arc<Observed>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, as a rule: some will be free soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (control, service) = (control.clone(), service.clone());
        let observed = Arc::clone(&observed);
        tokio::spawn(async move {
            let own = tokio::time::timeout(SILENCE, is_for_control(&stream)).await;
            match own {
                Ok(Ok(true)) => answer(stream, control).await,
                Ok(Ok(false)) | Err(_) => hand_over(stream, &service, &observed),
                Ok(Err(_)) => {}
            }
        });
    }
}

/// Waits for the path of the first request without taking it.
async fn is_for_control(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; 32];
    let mut before = 0;
    loop {
        let length = stream.peek(&mut seen).await?;
        let text = String::from_utf8_lossy(&seen[..length]).into_owned();
        match text.split_once(' ') {
            Some((_, path)) if path.len() >= "/lab".len() => {
                let rest = path.strip_prefix("/lab");
                let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
                return Ok(rest.is_some_and(ends));
            }
            _ if length >= seen.len() || length == 0 || text.contains('\n') => return Ok(false),
            _ => {}
        }
        if length == before {
            // What is there stays readable, so waiting for more is a poll.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        before = length;
    }
}

async fn answer(stream: TcpStream, control: Router) {
    let service = TowerToHyperService::new(control);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().keep_alive(false);
    // The peer sees the same error; nobody else wants to know.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn hand_over(stream: TcpStream, service: &mpsc::Sender<std::net::TcpStream>, observed: &Observed) {
    let Ok(stream) = stream.into_std() else {
        return;
    };
    // A full queue means a service that has stood still for long: the connection
    // is closed, as a full accept queue would.
    observed.enter(|| drop(service.try_send(stream)));
}
