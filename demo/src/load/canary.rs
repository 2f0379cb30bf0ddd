//! The canary: one tiny request every 100 ms. Starvation is other people's pain.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    figures::{CANARY_INTERVAL, Recorder},
    phase::Phase,
    service,
};

/// A request that takes longer counts as this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the thread. It is a plain one with blocking I/O, so that nothing the
/// lab starves can delay its clock. Ends soon after `stop` is set.
pub(crate) fn watch(
    target: SocketAddr,
    phase: Phase,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name("lab-canary".into())
        .spawn(move || {
            let mut connection = None;
            while !stop.load(Ordering::Relaxed) {
                let number = phase.number();
                let sent = Instant::now();
                recorder.canary_sent();
                let answer = ask(&mut connection, target);
                let latency = sent.elapsed();
                match answer {
                    Ok(()) => recorder.canary_back(number, Some(latency)),
                    Err(error) => {
                        connection = None;
                        // A read that timed out waited so long at least.
                        let waited = error.kind() == io::ErrorKind::WouldBlock;
                        recorder.canary_back(number, waited.then_some(latency));
                    }
                }
                thread::sleep(CANARY_INTERVAL.saturating_sub(sent.elapsed()));
            }
        })
}

fn ask(connection: &mut Option<TcpStream>, target: SocketAddr) -> io::Result<()> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(connect(target)?),
    };
    let request = format!("GET {} HTTP/1.1\r\nhost: canary\r\n\r\n", service::CANARY);
    stream.write_all(request.as_bytes())?;
    // The whole answer is far smaller than one segment.
    let mut answer = [0; 1024];
    match stream.read(&mut answer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
