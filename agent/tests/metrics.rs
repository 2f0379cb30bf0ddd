//! `/metrics` by HTTP/1.1: beside gRPC, on a port of its own, and to whom it is shown.

mod viewer;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use looptop_agent::Permission;
use viewer::http::{self, Application, ask, connect};
use viewer::{PATIENCE, Viewer, alone, level0};

const TOKEN: &str = "correct-horse-battery-staple";

fn get(address: SocketAddr, more: &str) -> (String, String) {
    let (head, body) = http::get(address, "/metrics", more);
    (head, String::from_utf8(body).expect("text"))
}

/// The page, once it has a line that begins so.
fn until(address: SocketAddr, what: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = connect(address);
    loop {
        // The connection is used again and again.
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let (head, body) = ask(&mut stream, &request);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let body = String::from_utf8(body).expect("text");
        if body.lines().any(&what) {
            return body;
        }
        assert!(Instant::now() < deadline, "{body}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[inline(never)]
fn holds_up_the_worker() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_stall_is_counted_with_the_function_that_is_to_blame() {
    let _alone = alone();
    let application = Application::new(level0().metrics_at("127.0.0.1:0"));
    let own = application.agent.metrics_addr().expect("a port of its own");
    assert_ne!(own, application.port());
    // Somebody scrapes before there is anything to see.
    until(application.port(), |line| {
        line == "tokio_workers{runtime=\"main\"} 2"
    });
    application.runtime.spawn(async { holds_up_the_worker() });
    let symbols = cfg!(feature = "symbols");
    let counted = |line: &str| {
        line.starts_with("looptop_stalls_total{cause=\"sleeping\"")
            && (!symbols || line.contains("holds_up_the_worker"))
            && line.ends_with(" 1")
    };
    let page = until(application.port(), counted);
    assert!(
        page.contains("# TYPE looptop_stalls_total counter\n"),
        "{page}"
    );
    // The same at the port of its own, and gRPC beside it.
    until(own, counted);
    let viewer = Viewer::attach(application.port());
    viewer.until("a worker", |seen| (!seen.workers.is_empty()).then_some(()));
}

#[test]
fn what_is_no_scrape_is_refused() {
    let _alone = alone();
    let application = Application::new(level0().metrics_at("127.0.0.1:0"));
    let own = application.agent.metrics_addr().expect("a port of its own");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("nothing\r\n\r\n", "400"),
    ] {
        let (head, _) = ask(&mut connect(own), request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {head}"
        );
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let (head, _) = ask(&mut connect(application.port()), &long);
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[test]
fn it_is_off_where_the_application_says_so() {
    let _alone = alone();
    let application = Application::new(level0().metrics(false));
    let mut stream = connect(application.port());
    drop(stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n"));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    assert!(!answer.contains("tokio_workers"), "{answer}");
}

#[test]
fn who_may_see_numbers_alone_gets_no_names() {
    let _alone = alone();
    let builder = level0();
    let builder = builder.allow_user("none").token(TOKEN);
    let application = Application::new(builder.permit(Permission::Numbers));
    let (head, body) = get(application.port(), "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(body.contains("LOOPTOP_METRICS_ALLOW"), "{body}");
    let (head, body) = get(
        application.port(),
        &format!("Authorization: Bearer {TOKEN}\r\n"),
    );
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.contains("tokio_workers{runtime=\"0\"} 2\n"), "{body}");
    assert!(!body.contains("main"), "{body}");
    // Who is let in to scrape sees which function is to blame.
    let builder = level0().allow_user("none").token(TOKEN);
    let builder = builder.permit(Permission::Numbers).allow_metrics("machine");
    let application = Application::new(builder);
    let (_, body) = get(application.port(), "");
    assert!(
        body.contains("tokio_workers{runtime=\"main\"} 2\n"),
        "{body}"
    );
}
