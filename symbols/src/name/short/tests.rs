use super::*;

/// Types as real programs have them, and what is shown of each.
const REAL: &[(&str, &str)] = &[
    // Symbols of the older mangling: async fns and blocks.
    (
        "c02_abba::status_snapshot::{{closure}}",
        "c02_abba::status_snapshot",
    ),
    (
        "target_app::spawn_idle::{{closure}}::{{closure}}",
        "target_app::spawn_idle",
    ),
    (
        "target_app::idle::sleeper::{{closure}}",
        "target_app::idle::sleeper",
    ),
    (
        "bcrypt_login::main::{{closure}}::{{closure}}",
        "bcrypt_login::main",
    ),
    (
        "tokio::fs::metadata::metadata<&str>::{{closure}}",
        "tokio::fs::metadata::metadata",
    ),
    // What wraps them.
    (
        "tracing::instrument::Instrumented<axum::serve::private::ServeFuture>",
        "axum::serve::private::ServeFuture",
    ),
    (
        "tracing::instrument::Instrumented<core::pin::Pin<alloc::boxed::Box<dyn \
         core::future::future::Future+Output = ()+core::marker::Send>>>",
        "dyn Future",
    ),
    (
        "tracing::instrument::Instrumented<core::pin::Pin<alloc::boxed::Box<\
         looptop_agent::publish::feed::Feed::watch::{{closure}}>>>",
        "looptop_agent::publish::feed::Feed::watch",
    ),
    (
        "tracing::instrument::Instrumented<core::pin::Pin<alloc::boxed::Box<\
         futures_util::future::future::Map<looptop_demo::scenarios::huge_future::array::\
         {{closure}},core::option::Option<alloc::string::String>::Some>>>>",
        "looptop_demo::scenarios::huge_future::array",
    ),
    (
        "tracing::instrument::Instrumented<tokio::time::timeout::Timeout<\
         looptop_demo::scenarios::no_timeout::Hook::call::{{closure}}>>",
        "looptop_demo::scenarios::no_timeout::Hook::call in a timeout",
    ),
    (
        "tracing::instrument::Instrumented<tokio::time::sleep::Sleep>",
        "tokio::time::sleep::Sleep",
    ),
    (
        "tokio::time::timeout::Timeout<app::fetch::{{closure}}>",
        "app::fetch in a timeout",
    ),
    (
        "core::future::from_generator::GenFuture<app::fetch::{{closure}}>",
        "app::fetch",
    ),
    (
        "tokio_util::task::task_tracker::TrackedFuture<app::orders::refresh<u32>::{{closure}}>",
        "app::orders::refresh",
    ),
    (
        "futures_util::abortable::Abortable<app::orders::fetch::{{closure}}>",
        "app::orders::fetch",
    ),
    (
        "tokio::task::coop::unconstrained::Unconstrained<app::orders::fetch::{{closure}}>",
        "app::orders::fetch",
    ),
    (
        "tokio::task::task_local::TaskLocalFuture<app::Tenant,app::orders::fetch::{{closure}}>",
        "app::orders::fetch",
    ),
    // The application's own in what others wrote.
    (
        "tracing::instrument::Instrumented<looptop_demo::service::task<\
         looptop_demo::scenarios::sync_dns::blocking::{{closure}}>::{{closure}}>",
        "looptop_demo::service::task + looptop_demo::scenarios::sync_dns::blocking",
    ),
    (
        "tracing::instrument::Instrumented<tokio_util::sync::cancellation_token::CancellationToken\
         ::run_until_cancelled_owned<looptop_demo::scenarios::forgotten_permit::pay_returning::\
         {{closure}}>::{{closure}}>",
        "tokio_util::sync::cancellation_token::CancellationToken::run_until_cancelled_owned",
    ),
    (
        "tracing::instrument::Instrumented<looptop_demo::bench::conversations::run::\
         {{closure}}::{{closure}}<i32>>",
        "looptop_demo::bench::conversations::run",
    ),
    (
        "tracing::instrument::Instrumented<axum::serve::handle_connection<\
         tokio::net::tcp::listener::TcpListener,axum::routing::Router,axum::routing::Router>::\
         {{closure}}::{{closure}}>",
        "axum::serve::handle_connection",
    ),
    (
        "tracing::instrument::Instrumented<looptop_agent::server::with_services::incoming<\
         tokio::net::unix::listener::UnixListener>::{{closure}}>",
        "looptop_agent::server::with_services::incoming",
    ),
    (
        "hyper::proto::h2::upgrade::UpgradedSendStreamTask<bytes::bytes::Bytes>",
        "hyper::proto::h2::upgrade::UpgradedSendStreamTask",
    ),
    (
        "tracing::instrument::Instrumented<core::pin::Pin<alloc::boxed::Box<\
         tonic::transport::server::serve_connection<tonic::body::Body,\
         hyper_util::rt::tokio::TokioIo<tonic::transport::server::service::io::ServerIo<\
         tokio::net::tcp::stream::TcpStream>>,hyper_util::service::glue::TowerToHyperService<\
         tower::util::map_request::MapRequest<tower::util::boxed_clone::BoxCloneService<\
         http::request::Request<tonic::body::Body>,http::response::Response<tonic::body::Body>,\
         alloc::boxed::Box<dyn core::error::Error+core::marker::Sync+core::marker::Send>>,\
         tonic::transport::server::Server::serve_internal<tonic::service::router::Routes,\
         tokio_stream::wrappers::mpsc_bounded::ReceiverStream<core::result::Result<\
         tokio::net::tcp::stream::TcpStream,std::io::error::Error>>,core::future::ready::Ready<\
         ()>,tokio::net::tcp::stream::TcpStream,std::io::error::Error,tonic::body::Body>::\
         {{closure}}::{{closure}}>>,hyper_util::rt::tokio::TokioExecutor>::{{closure}}>>>",
        "tonic::transport::server::serve_connection",
    ),
    (
        "tracing::instrument::Instrumented<hyper::proto::h2::server::H2Stream<\
         hyper_util::service::glue::TowerToHyperServiceFuture<\
         tower::util::map_request::MapRequest<axum::routing::Router,axum::serve::\
         handle_connection<tokio::net::tcp::listener::TcpListener,axum::routing::Router,\
         axum::routing::Router>::{{closure}}::{{closure}}>,http::request::Request<\
         hyper::body::incoming::Incoming>>,axum_core::body::Body,\
         hyper_util::rt::tokio::TokioExecutor>>",
        "hyper::proto::h2::server::H2Stream",
    ),
    // In axum, hyper, actix.
    (
        "tracing::instrument::Instrumented<core::pin::Pin<alloc::boxed::Box<dyn core:\
         :future::future::Future+Output = miniaxum::orders::Order+core::marker::Send>>>",
        "dyn Future + miniaxum::orders::Order",
    ),
    (
        "tracing::instrument::Instrumented<futures_util::future::future::Map<\
         miniaxum::orders::fetch::{{closure}},miniaxum::main::{{closure}}::\
         {{closure}}>>",
        "miniaxum::orders::fetch",
    ),
    (
        "tracing::instrument::Instrumented<futures_util::future::future::Then<\
         miniaxum::orders::fetch::{{closure}},miniaxum::orders::refresh<u64>::\
         {{closure}},miniaxum::main::{{closure}}::{{closure}}>>",
        "miniaxum::orders::fetch",
    ),
    (
        "tracing::instrument::Instrumented<futures_util::future::join_all::JoinAll<\
         miniaxum::orders::fetch::{{closure}}>>",
        "futures_util::future::join_all::JoinAll + miniaxum::orders::fetch",
    ),
    (
        "tracing::instrument::Instrumented<futures_util::future::select::Select<core:\
         :pin::Pin<alloc::boxed::Box<miniaxum::orders::fetch::{{closure}}>>,core::\
         pin::Pin<alloc::boxed::Box<miniaxum::orders::refresh<i8>::{{closure}}>>>>",
        "futures_util::future::select::Select + miniaxum::orders::fetch, miniaxum::orders::refresh",
    ),
    (
        "tracing::instrument::Instrumented<futures_util::stream::stream::\
         for_each_concurrent::ForEachConcurrent<futures_util::stream::iter::Iter<\
         core::ops::range::Range<u64>>,miniaxum::main::{{closure}}::{{closure}}::\
         {{closure}},miniaxum::main::{{closure}}::{{closure}}>>",
        "futures_util::stream::stream::for_each_concurrent::ForEachConcurrent + miniaxum::main",
    ),
    (
        "tracing::instrument::Instrumented<tracing::instrument::Instrumented<tokio::\
         time::timeout::Timeout<miniaxum::orders::fetch::{{closure}}>>>",
        "miniaxum::orders::fetch in a timeout",
    ),
    (
        "tracing::instrument::Instrumented<tokio::task::coop::unconstrained::\
         Unconstrained<miniaxum::orders::fetch::{{closure}}>>",
        "miniaxum::orders::fetch",
    ),
    (
        "tracing::instrument::Instrumented<tokio::runtime::task::join::JoinHandle<()>>",
        "tokio::runtime::task::join::JoinHandle",
    ),
    (
        "tracing::instrument::Instrumented<miniaxum::orders::Poller>",
        "miniaxum::orders::Poller",
    ),
    (
        "tracing::instrument::Instrumented<miniaxum::orders::refresh<alloc::vec::Vec<\
         u64>>::{{closure}}>",
        "miniaxum::orders::refresh",
    ),
    (
        "tracing::instrument::Instrumented<actix_server::worker::ServerWorker::spawn:\
         :{{closure}}::{{closure}}::{{closure}}>",
        "actix_server::worker::ServerWorker::spawn",
    ),
    (
        "tracing::instrument::Instrumented<actix_rt::arbiter::ArbiterRunner>",
        "actix_rt::arbiter::ArbiterRunner",
    ),
    (
        "tracing::instrument::Instrumented<actix_http::date::DateService::new::\
         {{closure}}>",
        "actix_http::date::DateService::new",
    ),
    (
        include_str!("actix.txt"),
        "actix_server::service::StreamService::call + miniactix::errors::error_page_middleware, \
         miniactix::main",
    ),
    // As the newer mangling and line tables have them.
    (
        "tracing::instrument::Instrumented<app::orders::fetch::{closure#0}>",
        "app::orders::fetch",
    ),
    (
        "tracing::instrument::Instrumented<app::orders::fetch::{async_fn_env#0}>",
        "app::orders::fetch",
    ),
    (
        "tokio::time::timeout::Timeout<app::main::{async_block#0}::{async_block_env#3}>",
        "app::main in a timeout",
    ),
    // Blocking tasks.
    (
        "tokio::runtime::blocking::task::BlockingTask<c15_pool_self::read_dir_job>",
        "c15_pool_self::read_dir_job on a blocking thread",
    ),
    (
        "tokio::runtime::blocking::task::BlockingTask<bcrypt_login::sign_in::{{closure}}::\
         {{closure}}>",
        "bcrypt_login::sign_in on a blocking thread",
    ),
    (
        "tracing::instrument::Instrumented<tokio::runtime::blocking::task::BlockingTask<\
         <hyper_util::client::legacy::connect::dns::GaiResolver as tower_service::Service<\
         hyper_util::client::legacy::connect::dns::Name>>::call::{{closure}}>>",
        "hyper_util::client::legacy::connect::dns::GaiResolver::call on a blocking thread",
    ),
    (
        "tokio::runtime::blocking::task::BlockingTask<tokio::net::addr::<impl \
         tokio::net::addr::sealed::ToSocketAddrsPriv for str>::to_socket_addrs::{{closure}}>",
        "tokio::net::addr::str::to_socket_addrs on a blocking thread",
    ),
    (
        "tokio::runtime::blocking::task::BlockingTask<\
         tokio::runtime::scheduler::multi_thread::worker::Launch::launch::{{closure}}>",
        "tokio::runtime::scheduler::multi_thread::worker::Launch::launch on a blocking thread",
    ),
    (
        "tracing::instrument::Instrumented<tokio::runtime::blocking::task::BlockingTask<\
         tokio::fs::read_to_string::read_to_string<&std::path::Path>::{{closure}}::{{closure}}>>",
        "tokio::fs::read_to_string::read_to_string on a blocking thread",
    ),
];

#[test]
fn real_futures_in_a_few_words() {
    for (name, expected) in REAL {
        assert_eq!(short_future(name.trim()), *expected, "{name}");
    }
}

#[test]
fn whose_a_crate_is_decides_what_is_shown() {
    let name = "hyper::Conn<report_engine::Job, mailer::send::{{closure}}>";
    let server = "hyper::Conn<app::main::{{closure}}, app::Router, app::list<axum::Body>>";
    assert_eq!(
        short_future(server),
        "hyper::Conn + app::list, app::Router, app::main"
    );
    let mut crates = Crates::default();
    assert_eq!(
        short_future(name),
        "hyper::Conn + mailer::send, report_engine::Job"
    );
    crates.learn("/home/u/.cargo/registry/src/index.crates.io-1949/mailer-0.1.20/src/lib.rs");
    assert_eq!(
        short_future_of(name, &crates),
        "hyper::Conn + report_engine::Job"
    );
}

#[test]
fn whatever_comes_is_short() {
    let deep = |open: &str, close: &str, count: usize| {
        format!("{}app::f{}", open.repeat(count), close.repeat(count))
    };
    let hostile = [
        String::new(),
        ">>>>".into(),
        "<<<<".into(),
        "a::<b".into(),
        "{{{{".into(),
        "::".into(),
        "dyn".into(),
        "ünïcode::fütür::{{closure}}<日本::語>".into(),
        "日".repeat(60_000),
        deep("<", ">", 30_000),
        deep("a::B<", ">", 12_000),
        deep("(", ")", 30_000),
        format!(
            "{}{}{}",
            "<".repeat(500),
            "a::".repeat(20_000),
            ">".repeat(500)
        ),
        deep("tokio::time::timeout::Timeout<", ">", 2_000),
        format!("hyper::A<{}>", "app::b::C,".repeat(6_000)),
        format!("hyper::A<{}>", "app::".repeat(12_000)),
        format!("{}::f", "x".repeat(60_000)),
    ];
    for name in &hostile {
        let short = short_future(name);
        assert!(short.chars().count() <= MAX_SHORT, "{short}");
    }
    assert_eq!(
        short_future("ünïcode::fütür<日本::語>::{{closure}}"),
        "ünïcode::fütür + 日本::語"
    );
}

#[test]
fn an_async_fn_is_known_in_what_only_wraps_it() {
    for (name, expected) in [
        ("app::fetch::{{closure}}", true),
        ("app::fetch::{async_fn_env#0}", true),
        (
            "tokio::time::timeout::Timeout<app::fetch::{{closure}}>",
            true,
        ),
        ("app::Poller", false),
        (
            "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future+Output = ()>>",
            false,
        ),
        (
            "futures_util::future::future::Then<app::a::{{closure}},app::b::{{closure}},app::c>",
            false,
        ),
        (
            "futures_util::future::join_all::JoinAll<app::fetch::{{closure}}>",
            false,
        ),
    ] {
        assert_eq!(is_async(name), expected, "{name}");
    }
}

#[test]
fn many_within_are_counted() {
    let list: Vec<String> = (0..9).map(|n| format!("app::T{n}")).collect();
    let name = format!("hyper::Conn<{}>", list.join(", "));
    assert_eq!(
        short_future(&name),
        "hyper::Conn + app::T0, app::T1, app::T2 and 6 more"
    );
}
