//! Acts on the stream between agent and viewer, and on ports.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use fastrand::Rng;

use super::between;
use crate::{
    proxy::Fault,
    scene::{Scene, Undo},
};

/// Connections that say nothing.
const SILENT: usize = 1_000;
/// The loopback answers at once, unless the queue of a frozen listener is full.
const TO_CONNECT: Duration = Duration::from_millis(100);
/// In all, for many connections.
const TO_CONNECT_ALL: Duration = Duration::from_secs(2);

fn fault(scene: &mut Scene, rng: &mut Rng, fault: Fault) -> String {
    let window = between(rng, 300, 3_000);
    scene.proxy.set(fault);
    scene.undo_in(window, Undo::Proxy);
    format!("for {window:?}: {fault:?}")
}

pub(super) fn cut(scene: &mut Scene, _: &mut Rng) -> anyhow::Result<String> {
    Ok(format!("{} connections", scene.proxy.cut()))
}

pub(super) fn delay(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let delay = between(rng, 10, 1_500);
    Ok(fault(scene, rng, Fault::Delay(delay)))
}

pub(super) fn halve(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    Ok(fault(scene, rng, Fault::Halve))
}

pub(super) fn garble(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let one_in = *rng.choice(&[3, 100, 1_000, 10_000]).unwrap_or(&100);
    Ok(fault(scene, rng, Fault::Garble(one_in)))
}

pub(super) fn flood(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let times = rng.u32(2..200);
    Ok(fault(scene, rng, Fault::Flood(times)))
}

pub(super) fn mute(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    Ok(fault(scene, rng, Fault::Mute))
}

pub(super) fn slow_viewer(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let window = between(rng, 2_000, 5_000);
    scene.witness.pause(true);
    scene.undo_in(window, Undo::Witness);
    Ok(format!("does not read for {window:?}"))
}

/// Every port that something of the scene listens on.
fn ports(scene: &Scene) -> Vec<SocketAddr> {
    let labs = [&scene.agented, &scene.bare]
        .into_iter()
        .chain(&scene.victims);
    let labs = labs.flat_map(|lab| [Some(lab.http), lab.agent]);
    labs.flatten().chain([scene.proxy.address]).collect()
}

/// What other programs say first, and what breaks HTTP/2 in the middle.
fn openings(rng: &mut Rng) -> Vec<(&'static str, Vec<u8>)> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let with = |parts: &[&[u8]]| [&preface[..], &settings[..], &parts.concat()].concat();
    let mut random = vec![0; rng.usize(1..8_192)];
    rng.fill(&mut random);
    let frame = random.clone();
    // A frame that says it is of 16 MiB, a header block that never ends, a window of 0.
    let huge = [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1];
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(2_000);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    vec![
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        (
            "half of HTTP/1.1",
            b"POST /lab/x/broken HTTP/1.1\r\nContent-Length: 99999".to_vec(),
        ),
        ("a long request", long.into_bytes()),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f".to_vec()),
        ("HTTP/2 that ends", preface.clone()),
        ("HTTP/2 with a huge frame", with(&[&huge])),
        ("HTTP/2 with open headers", with(&[&headers])),
        ("HTTP/2 with a window of 0", with(&[&window])),
        ("HTTP/2 with 2,000 pings", with(&[&pings])),
        ("HTTP/2 with garbage", with(&[&frame])),
        ("garbage", random),
        ("zeros", vec![0; 100_000]),
    ]
}

pub(super) fn protocols(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let window = between(rng, 0, 3_000);
    let (name, bytes) = {
        let mut openings = openings(rng);
        openings.swap_remove(rng.usize(..openings.len()))
    };
    let ports = ports(scene);
    let mut connections = Vec::new();
    for port in &ports {
        let Ok(mut stream) = TcpStream::connect_timeout(port, TO_CONNECT) else {
            continue;
        };
        stream.set_write_timeout(Some(TO_CONNECT))?;
        // It may be closed in the middle.
        drop(stream.write_all(&bytes));
        connections.push(stream);
    }
    scene.undo_in(window, Undo::Close(connections));
    Ok(format!(
        "{name} to {} ports, closed after {window:?}",
        ports.len()
    ))
}

pub(super) fn silence(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let window = between(rng, 500, 4_000);
    let ports = ports(scene);
    let port = ports[rng.usize(..1 << 16) % ports.len()];
    let began = std::time::Instant::now();
    let mut connections = Vec::new();
    while connections.len() < SILENT && began.elapsed() < TO_CONNECT_ALL {
        match TcpStream::connect_timeout(&port, TO_CONNECT) {
            Ok(stream) => connections.push(stream),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    let n = connections.len();
    scene.undo_in(window, Undo::Close(connections));
    Ok(format!("{n} connections to {port} for {window:?}"))
}
