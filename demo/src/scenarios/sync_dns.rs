//! Resolving a name on the worker. The look-up is a real one over UDP, from the
//! lab's own slow name server instead of the system's.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    time::Duration,
    vec,
};

use axum::{Router, extract::State, routing::get};
use tokio::task::spawn_blocking;

use crate::{
    fixtures::resolver::{address_in, question},
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "sync-dns",
    caption: "to_socket_addrs() asks a name server and waits: DNS is blocking I/O",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/resolve/blocking",
    fixed: "/resolve/offloaded",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::SystemCall],
        function: "to_socket_addrs",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("sync_dns.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/resolve/blocking",
                get(|State(host)| task("GET /resolve/blocking", blocking(host))), // <- spawned here
            )
            .route(
                "/resolve/offloaded",
                get(|State(host)| task("GET /resolve/offloaded", offloaded(host))),
            )
            .with_state(Host {
                name: "db.example",
                port: 5432,
                server: fixtures.resolver.address(),
            }))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 8,
                pause: Duration::from_millis(10),
            },
        }]
    },
    backdrop: None,
};

/// A name to be resolved by one name server.
#[derive(Clone, Copy)]
struct Host {
    name: &'static str,
    port: u16,
    server: SocketAddr,
}

// [work]
impl ToSocketAddrs for Host {
    type Iter = vec::IntoIter<SocketAddr>;

    #[inline(never)]
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.send_to(&question(self.name), self.server)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        let address = address_in(&answer[..length])?;
        Ok(vec![SocketAddr::from((address, self.port))].into_iter())
    }
}
// [/work]

// [broken]
async fn blocking(host: Host) -> String {
    let found = host.to_socket_addrs(); // <- culprit
    format!("{:?}\n", found.map(Vec::from_iter))
}
// [/broken]

// [fixed]
async fn offloaded(host: Host) -> String {
    // What tokio::net::lookup_host does with the system's resolver.
    let found = spawn_blocking(move || host.to_socket_addrs()).await;
    format!("{:?}\n", found.map(|found| found.map(Vec::from_iter)))
}
// [/fixed]
