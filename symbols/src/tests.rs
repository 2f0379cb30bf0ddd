//! Names, origins and presentation by tables; resolution by this very binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn names() {
    let cases = [
        (
            "app::report::render",
            "app::report::render",
            "app::report::render",
        ),
        (
            "app::report::render::h0123456789abcdef",
            "app::report::render",
            "app::report::render",
        ),
        (
            "app::handler::{{closure}}::{{closure}}",
            "app::handler",
            "app::handler",
        ),
        (
            "std::thread::functions::sleep",
            "std::thread::functions::sleep",
            "std::thread::sleep",
        ),
        (
            "std::sync::poison::mutex::Mutex<T>::lock",
            "std::sync::poison::mutex::Mutex::lock",
            "std::sync::Mutex::lock",
        ),
        (
            "std::sync::poison::mutex::lock",
            "std::sync::poison::mutex::lock",
            "std::sync::poison::mutex::lock",
        ),
        (
            "app::handler::{async_fn#0}::{closure#1}",
            "app::handler",
            "app::handler",
        ),
        (
            "<alloc::vec::Vec<T> as core::iter::traits::collect::Extend<T>>::extend",
            "alloc::vec::Vec::extend",
            "alloc::vec::Vec::extend",
        ),
        (
            "<&std::fs::File as std::io::Read>::read",
            "std::fs::File::read",
            "std::fs::File::read",
        ),
        (
            "core::slice::<impl [T]>::sort_by",
            "core::slice::sort_by",
            "core::slice::sort_by",
        ),
        (
            "<app::Job as core::future::future::Future>::poll",
            "app::Job::poll",
            "app::Job::poll",
        ),
        (
            "<F as core::ops::function::FnOnce<(fn(u8) -> u8,)>>::call_once",
            "F::call_once",
            "F::call_once",
        ),
        (
            "<alloc::boxed::Box<dyn core::ops::FnOnce() -> u8 + Send> as X>::call",
            "alloc::boxed::Box::call",
            "alloc::boxed::Box::call",
        ),
        (
            "core::iter::Iterator::fold::<u32, u64>",
            "core::iter::Iterator::fold",
            "core::iter::Iterator::fold",
        ),
        (
            "app::<impl app::Trait for app::Job>::run",
            "app::Job::run",
            "app::Job::run",
        ),
        // One code under whichever of its names; the clean name is the symbol's.
        (
            "<&std::net::tcp::TcpStream as std::io::Read>::read",
            "std::net::tcp::TcpStream::read",
            "recv on a socket",
        ),
        (
            "std::net::udp::UdpSocket::recv",
            "std::net::udp::UdpSocket::recv",
            "recv on a socket",
        ),
        (
            "std::os::unix::net::datagram::UnixDatagram::send",
            "std::os::unix::net::datagram::UnixDatagram::send",
            "send on a socket",
        ),
        (
            "std::net::tcp::write",
            "std::net::tcp::write",
            "send on a socket",
        ),
        (
            "std::net::udp::UdpSocket::recv_from",
            "std::net::udp::UdpSocket::recv_from",
            "std::net::UdpSocket::recv_from",
        ),
        ("main", "main", "main"),
        ("{closure#0}", "{closure#0}", "{closure#0}"),
        ("", "", ""),
        ("<<<", "<<<", "<<<"),
    ];
    for (raw, clean, shown) in cases {
        assert_eq!(name::clean(raw), clean, "clean name of {raw}");
        assert_eq!(name::shown(raw), shown, "shown name of {raw}");
    }
}

#[test]
fn bare_names_get_the_path_of_their_file() {
    let cases = [
        (
            "lock",
            "std/src/sync/poison/mutex.rs",
            "std::sync::poison::mutex::lock",
        ),
        (
            "poll<T>",
            "tokio-1.54.1/src/task/mod.rs",
            "tokio::task::poll<T>",
        ),
        ("render", "demo/src/report.rs", "demo::report::render"),
        ("render", "src/report.rs", "report::render"),
        ("render", "demo/src/bin/c24.rs", "c24::render"),
        ("render", "demo/src/bin/c24/page.rs", "c24::page::render"),
        ("x", "a-b-1.0.0-rc.1/src/lib.rs", "a_b::x"),
        ("a::b", "demo/src/report.rs", "a::b"),
        ("main", "demo/src/main.rs", "main"),
        ("qsort", "stdlib/msort.c", "qsort"),
    ];
    for (bare, file, expected) in cases {
        assert_eq!(name::qualify(bare, file), expected);
    }
}

#[test]
fn closures_are_named_by_the_functions_that_poll_them() {
    let outer = "poll<demo::web::{impl#1}::serve, demo::cpu::render::{async_fn_env#0}>";
    let found = name::closure_path("demo::cpu::{async_fn#0}", outer);
    assert_eq!(found.as_deref(), Some("demo::cpu::render::{{closure}}"));
    for (function, outer) in [
        ("demo::cpu::{async_fn#1}", outer),
        ("demo::file::{async_fn#0}", outer),
        ("demo::cpu::render", outer),
        ("demo::cpu::{async_fn#0}", "poll"),
    ] {
        assert_eq!(
            name::closure_path(function, outer),
            None,
            "{function} in {outer}"
        );
    }
}

#[test]
fn the_crates_in_a_name() {
    for (name, expected) in [
        ("app::render", &["app"][..]),
        (
            "<app::Job as core::future::future::Future>::poll",
            &["app", "core"],
        ),
        (
            "<F as core::ops::function::FnOnce<()>>::call_once",
            &["core"],
        ),
        (
            "<&mut app::Job<T> as tokio::io::AsyncRead>::read",
            &["app", "tokio"],
        ),
        ("<[u8] as app::Sum>::sum", &["app"]),
        (
            "app::<impl app::Trait for alloc::vec::Vec<T>>::run",
            &["app"],
        ),
        ("<alloc::vec::Vec<app::X>>::push", &["alloc"]),
        ("core::ptr::drop_in_place<app::Job>", &["core"]),
        ("precondition_check", &[]),
        ("", &[]),
    ] {
        assert_eq!(name::crates(name), expected, "{name}");
    }
}

#[test]
fn the_arguments_in_a_name() {
    for (name, expected) in [
        (
            "tokio::runtime::task::raw::poll::<app::f::{closure#0}, alloc::sync::Arc<app::H>>",
            &["app::f::{closure#0}", "alloc::sync::Arc<app::H>"][..],
        ),
        ("tokio::runtime::task::core::Core<T,S>::poll", &["T", "S"]),
        (
            "poll<app::f::{async_fn_env#0}, u8>",
            &["app::f::{async_fn_env#0}", "u8"],
        ),
        ("<app::X as core::future::Future>::poll", &[]),
        ("app::f", &[]),
    ] {
        assert_eq!(name::arguments(name), expected, "{name}");
    }
}

const PROGRAM: &str = "/w/target/release/app";

/// Function, file (with a line where it ends in `:7`), and the binary; whose it is.
fn check_origins(cases: &[(&str, Option<&str>, &str, Origin)], crates: &Crates) {
    for (function, file, binary, expected) in cases {
        let found = origin::origin(
            origin::Seen {
                function: Some(function).filter(|name| !name.is_empty()).copied(),
                file: *file,
                binary: (!binary.is_empty()).then(|| Path::new(*binary)),
                own_c: file.is_some_and(|file| {
                    file.starts_with("/w/") && Path::new(file).extension() == Some("c".as_ref())
                }),
            },
            crates,
        );
        assert_eq!(found, *expected, "{function} at {file:?} in {binary}");
    }
}

#[test]
fn origins_by_lines() {
    const TOKIO: &str =
        "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/task/mod.rs";
    const JSON: &str =
        "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde_json-1.0.1/src/ser.rs";
    const CORE: &str = "/rustc/5980/library/core/src/ptr/mod.rs";
    const OWN_C: &str = "/w/app/native/sum.c";
    const GIT: &str = "/home/u/.cargo/git/checkouts/own-1a2b/3c4d/own/src/lib.rs";
    let (main, build) = (
        "/w/app/src/main.rs",
        "/w/target/debug/build/app-1a/out/pb.rs",
    );
    let crates = Crates::default();
    check_origins(
        &[
            ("app::render", Some(main), PROGRAM, Origin::User),
            // The user's trait for a type of std's, and a closure without a path.
            (
                "<alloc::vec::Vec<T> as app::Sum>::sum",
                Some(main),
                PROGRAM,
                Origin::User,
            ),
            ("{closure#0}", Some(main), PROGRAM, Origin::User),
            (
                "core::ptr::drop_in_place<app::Job>",
                Some(CORE),
                PROGRAM,
                Origin::Plumbing,
            ),
            ("tokio::task::poll", Some(TOKIO), PROGRAM, Origin::Plumbing),
            (
                "serde_json::to_string",
                Some(JSON),
                PROGRAM,
                Origin::Dependency,
            ),
            ("own::x", Some(GIT), PROGRAM, Origin::Dependency),
            ("app::pb::x", Some(build), PROGRAM, Origin::Dependency),
            // Those of the standard library, whatever file stands beside them.
            (
                "core::ptr::copy_nonoverlapping::precondition_check",
                Some(main),
                PROGRAM,
                Origin::Plumbing,
            ),
            (
                "std::thread::local::LocalKey<T>::with",
                Some(main),
                PROGRAM,
                Origin::Plumbing,
            ),
            (
                "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop",
                Some(main),
                PROGRAM,
                Origin::Plumbing,
            ),
            (
                "looptop_agent::layer::on_enter",
                Some("/w/agent/src/layer.rs"),
                PROGRAM,
                Origin::Plumbing,
            ),
            (
                "<looptop_agent::probe::Probe as core::future::Future>::poll",
                Some("/w/agent/src/probe.rs"),
                PROGRAM,
                Origin::Plumbing,
            ),
            ("sum_of", Some(OWN_C), PROGRAM, Origin::User),
            (
                "sqlite3_step",
                Some("/b/sqlite3.c"),
                PROGRAM,
                Origin::Dependency,
            ),
            (
                "read",
                Some("read.c"),
                "/lib/x86_64-linux-gnu/libc.so.6",
                Origin::System,
            ),
        ],
        &crates,
    );
}

#[test]
fn origins_without_lines() {
    let mut crates = Crates::default();
    crates.learn("/w/crates/web/src/lib.rs");
    for package in [
        "event-listener-5.4.1",
        "blowfish-0.9.1",
        "tempfile-3.20.0",
        "scen-2.0.0",
    ] {
        let registry = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        crates.learn(&format!("{registry}/{package}/src/lib.rs"));
    }
    check_origins(
        &[
            ("__rustc::__rust_alloc", None, PROGRAM, Origin::Plumbing),
            ("app::render", None, PROGRAM, Origin::User),
            ("web::render", None, PROGRAM, Origin::User),
            (
                "<web::Job as core::future::Future>::poll",
                None,
                PROGRAM,
                Origin::User,
            ),
            // A dependency's type with the user's trait is the user's code.
            (
                "<blowfish::Blowfish as web::Mix>::mix",
                None,
                PROGRAM,
                Origin::User,
            ),
            ("tokio::runtime::park", None, PROGRAM, Origin::Plumbing),
            (
                "<tokio::time::Sleep as core::future::Future>::poll",
                None,
                PROGRAM,
                Origin::Plumbing,
            ),
            (
                "event_listener::intrusive::Inner::park",
                None,
                PROGRAM,
                Origin::Dependency,
            ),
            (
                "blowfish::Blowfish::expand_key",
                None,
                PROGRAM,
                Origin::Dependency,
            ),
            (
                "<tempfile::dir::TempDir as core::ops::Drop>::drop",
                None,
                PROGRAM,
                Origin::Dependency,
            ),
            ("scen::x", None, PROGRAM, Origin::Dependency),
            ("rusqlite::row", None, PROGRAM, Origin::Dependency),
            (
                "core::ptr::copy_nonoverlapping::precondition_check",
                None,
                PROGRAM,
                Origin::Plumbing,
            ),
            // C, and Rust of which only the last part is known.
            ("unixSleep", None, PROGRAM, Origin::Dependency),
            ("precondition_check", None, PROGRAM, Origin::Dependency),
            ("_start", None, PROGRAM, Origin::System),
            ("", None, "[vdso]", Origin::System),
            ("", None, "", Origin::System),
        ],
        &crates,
    );
}

/// `ORIGIN function file:line`, innermost first.
fn stack(text: &str) -> Vec<Frame> {
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let origin = match words.next() {
                Some("user") => Origin::User,
                Some("dep") => Origin::Dependency,
                Some("sys") => Origin::System,
                _ => Origin::Plumbing,
            };
            let function = words.next().map(Arc::from);
            let place = words.next().and_then(|place| place.split_once(':'));
            Frame {
                function,
                file: place.map(|(file, _)| Arc::from(file)),
                source: None,
                line: place.and_then(|(_, line)| line.parse().ok()),
                inlined: false,
                origin,
                address: CodeAddress {
                    binary: None,
                    offset: 0,
                },
            }
        })
        .collect()
}

fn shown(frames: &[Frame]) -> String {
    let lines: Vec<String> = fold(frames)
        .into_iter()
        .map(|row| match row {
            Row::Frame(position) => frames[position].label(),
            Row::Hidden(count) => format!("({count})"),
        })
        .collect();
    lines.join(" < ")
}

const POLL: &str =
    "\nstd tokio::runtime::task::harness::Harness::poll\nstd tokio::runtime::scheduler::run";

#[test]
fn the_culprit_is_the_innermost_user_frame_and_what_it_calls() {
    let cases = [
        (
            "sleep in a handler",
            format!(
                "sys clock_nanosleep\nstd std::thread::functions::sleep\n\
                 user app::handler::{{{{closure}}}} src/main.rs:7\nstd axum::handler::call{POLL}"
            ),
            Some(("app::handler", "src/main.rs:7", Some("std::thread::sleep"))),
            "std::thread::sleep",
        ),
        (
            "a sort with a comparison of the user's",
            format!(
                "user app::order::{{{{closure}}}} src/main.rs:9\n\
                 std core::slice::sort::stable::quicksort\nuser app::order src/main.rs:8{POLL}"
            ),
            Some(("app::order", "src/main.rs:9", None)),
            "app::order",
        ),
        (
            "a dependency, and no user frame",
            format!("sys read\ndep rusqlite::statement::step x.rs:3{POLL}"),
            Some(("rusqlite::statement::step", "x.rs:3", Some("rusqlite"))),
            "read",
        ),
        (
            "a nested executor",
            format!(
                "sys syscall\nstd std::thread::park\nstd futures_executor::local_pool::block_on\n\
                 user app::handler src/main.rs:5{POLL}"
            ),
            Some((
                "app::handler",
                "src/main.rs:5",
                Some("futures::executor::block_on"),
            )),
            "futures_executor::local_pool::block_on",
        ),
        (
            "main drives the runtime and is not to blame",
            "sys epoll_wait\nstd tokio::runtime::runtime::Runtime::block_on\n\
             user app::main src/main.rs:3"
                .to_owned(),
            None,
            "epoll_wait",
        ),
        ("nothing", String::new(), None, ""),
    ];
    for (name, text, expected, first_shown) in cases {
        let frames = stack(&text);
        let found = culprit(&frames);
        let found = found.as_ref().map(|culprit| {
            (
                culprit.function.as_str(),
                culprit.location().unwrap_or_default(),
                culprit.blocking_call.as_ref().map(|call| call.name),
            )
        });
        let expected = expected.map(|(function, place, call)| (function, place.to_owned(), call));
        assert_eq!(found, expected, "{name}");
        let shown = shown(&frames);
        assert!(
            shown.split(" < ").any(|row| row == first_shown) || shown.is_empty(),
            "{name}: {shown}"
        );
    }
}

/// What a default release build leaves of field stacks: names, and no line. The
/// crates of a registry are known by the paths in the binary.
#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn who_blocks_and_in_what_without_lines() {
    let traced = "<tracing::instrument::Instrumented<T> as core::future::future::Future>::poll\n\
                  tokio::runtime::task::core::Core<T,S>::poll\n\
                  tokio::runtime::task::harness::Harness<T,S>::poll\n\
                  tokio::runtime::scheduler::multi_thread::worker::Context::run_task";
    // Innermost frames, the future that the poll is of, and what must be said:
    // function, call, and what of a dependency it called.
    let cases = [
        (
            "clock_nanosleep\nstd::thread::functions::sleep",
            Some("scen::culprit::{{closure}}"),
            Some("scen::culprit"),
            Some("std::thread::sleep"),
            None,
        ),
        (
            "clock_nanosleep\nstd::thread::functions::sleep",
            None,
            None,
            Some("std::thread::sleep"),
            None,
        ),
        (
            "blowfish::Blowfish::encrypt\nbcrypt::bcrypt::bcrypt\nbcrypt::hash",
            Some("cases::sign_in::{{closure}}"),
            Some("cases::sign_in"),
            Some("bcrypt (password hashing)"),
            Some("bcrypt::hash"),
        ),
        (
            "syscall\nstd::sys::sync::condvar::futex::Condvar::wait\nparking::Inner::park\n\
             event_listener::InnerListener<T,B>::wait_with_parker\n\
             event_listener::EventListener<T>::wait",
            Some("cases::wait_for_commit::{{closure}}"),
            Some("cases::wait_for_commit"),
            Some("event_listener::Listener::wait"),
            Some("event_listener::EventListener::wait"),
        ),
        (
            "syscall\nstd::thread::park\nfutures_executor::local_pool::block_on\n\
             core::ptr::drop_in_place<cases::Session>",
            Some("cases::visit::{{closure}}"),
            Some("cases::Session::drop"),
            Some("futures::executor::block_on"),
            None,
        ),
        (
            "clock_nanosleep\nnanosleep\nunixSleep\nsqliteDefaultBusyCallback\nbtreeBeginTrans\n\
             sqlite3VdbeExec\nsqlite3_step",
            Some("cases::save::{{closure}}"),
            Some("cases::save"),
            Some("SQLite's busy handler"),
            Some("sqlite3_step"),
        ),
        (
            "poll\nstd::sys::process::unix::common::read_output\nstd::process::Command::output",
            Some("cases::detect_ports::{{closure}}"),
            Some("cases::detect_ports"),
            Some("std::process::Command::output"),
            None,
        ),
        (
            "__pthread_clockjoin_ex\n<std::sys::thread::unix::Thread>::join\n\
             std::thread::lifecycle::JoinInner<T>::join\n\
             <cases::Consumer as core::ops::drop::Drop>::drop",
            Some("cases::validate::{{closure}}"),
            Some("cases::Consumer::drop"),
            Some("std::thread::JoinHandle::join"),
            None,
        ),
        (
            "syscall\nstd::thread::park\ncrossbeam_channel::flavors::list::Channel<T>::recv\n\
             crossbeam_channel::channel::Receiver<T>::recv",
            Some("cases::ask::{{closure}}"),
            Some("cases::ask"),
            Some("crossbeam_channel::Receiver::recv"),
            None,
        ),
        (
            "syscall\nstd::sys::sync::mutex::futex::Mutex::lock_contended\n\
             <&std::io::stdio::Stdout as std::io::Write>::write_all\n\
             tracing_core::event::Event::dispatch",
            Some("cases::handle_query::{{closure}}"),
            Some("cases::handle_query"),
            Some("tracing::event!"),
            None,
        ),
        (
            "__GI___libc_read\nstd::io::read_until\nstd::io::stdio::Stdin::read_line",
            Some("cases::prompt::{{closure}}"),
            Some("cases::prompt"),
            Some("std::io::stdin"),
            None,
        ),
        (
            "syscall\nparking_lot_core::parking_lot::park\n\
             dashmap::lock::RawRwLock::lock_shared_slow\ndashmap::DashMap<K,V,S>::get",
            Some("cases::look_up::{{closure}}"),
            Some("cases::look_up"),
            Some("dashmap"),
            Some("dashmap::DashMap::get"),
        ),
        // What initialises it was inlined into the standard library's closure.
        (
            "clock_nanosleep\nstd::thread::sleep\n\
             std::sync::once::Once::call_once_force::{{closure}}\n\
             std::sys::sync::once::futex::Once::call\n\
             std::sync::once_lock::OnceLock<T>::initialize",
            Some("cases::price::{{closure}}"),
            Some("cases::price"),
            Some("std::thread::sleep"),
            None,
        ),
        (
            "syscall\nstd::sys::sync::once::futex::Once::wait\n\
             std::sys::sync::once::futex::Once::call\n\
             std::sync::once_lock::OnceLock<T>::initialize",
            Some("cases::price::{{closure}}"),
            Some("cases::price"),
            Some("std::sync::Once"),
            None,
        ),
    ];
    for (inner, future, function, call, within) in cases {
        let found = named_by_remote(&format!("{inner}\n{traced}"), future);
        let culprit = culprit(&found);
        let shown = culprit.as_ref().map(|culprit| culprit.function.as_str());
        assert_eq!(shown, function, "{inner}");
        let of_culprit = culprit.as_ref().and_then(|c| c.blocking_call.clone());
        let said = of_culprit.or_else(|| innermost_call(&found));
        assert_eq!(said.map(|call| call.name), call, "{inner}");
        let called = culprit.and_then(|culprit| culprit.within);
        assert_eq!(called.as_deref(), within, "{inner}");
    }
}

/// The frames of a program that only a remote process names.
fn named_by_remote(text: &str, future: Option<&str>) -> Vec<Frame> {
    let mut names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if let Some(future) = future {
        // As the newer mangling, or line tables, have it.
        for name in names
            .iter_mut()
            .filter(|name| name.contains("::Core<T,S>::poll"))
        {
            *name = format!("tokio::runtime::task::core::Core<{future}, S>::poll");
        }
    }
    let binary = Arc::new(Binary {
        path: PathBuf::from("/nowhere/app"),
        build_id: vec![1],
    });
    let stack: Vec<CodeAddress> = (0..names.len() as u64)
        .map(|offset| CodeAddress {
            binary: Some(Arc::clone(&binary)),
            offset,
        })
        .collect();
    let remote: Remote = Box::new(move |addresses| {
        let function = |address: &CodeAddress| Function {
            name: names.get(address.offset as usize).cloned(),
            ..Function::default()
        };
        Ok(addresses
            .iter()
            .map(|address| vec![function(address)])
            .collect())
    });
    let mut resolver = Resolver::with_remote(None, Some(remote));
    for package in ["bcrypt-0.19.3", "blowfish-0.10.0", "event-listener-5.4.1"] {
        let registry = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        resolver.learn(&format!("{registry}/{package}/src/lib.rs"));
    }
    resolver.resolve(&stack).frames
}

#[test]
fn a_stack_that_was_cut_short_blames_no_dependency() {
    let frames = stack("sys clock_nanosleep\nsys nanosleep\ndep unixSleep");
    assert_eq!(culprit(&frames), None);
    let call = innermost_call(&frames).expect("a call");
    assert_eq!(
        (call.kind, call.name),
        (CallKind::Database, "SQLite's busy handler")
    );
}

#[test]
fn an_inlined_drop_is_named_by_its_type() {
    let function = |name: &str, line| Function {
        name: Some(name.to_owned()),
        file: Some("/build/app/src/main.rs".to_owned()),
        line: Some(line),
    };
    let glue = Function {
        name: Some("drop_in_place<app::Session>".to_owned()),
        file: Some("/rustc/5980/library/core/src/ptr/mod.rs".to_owned()),
        line: Some(805),
    };
    let remote: Remote = Box::new(move |_| {
        Ok(vec![vec![
            function("drop", 7),
            glue.clone(),
            function("app::visit::{{closure}}", 9),
        ]])
    });
    let mut resolver = Resolver::with_remote(None, Some(remote));
    let binary = Arc::new(Binary {
        path: PathBuf::from("/nowhere/app"),
        build_id: vec![1],
    });
    let found = resolver.resolve(&[CodeAddress {
        binary: Some(binary),
        offset: 0x10,
    }]);
    let culprit = culprit(&found.frames).expect("a culprit");
    assert_eq!(culprit.function, "app::Session::drop");
    assert_eq!(culprit.location().as_deref(), Some("app/src/main.rs:7"));
}

#[test]
fn a_worker_without_work_is_in_no_call() {
    let frames = stack(
        "sys syscall\nstd parking_lot::condvar::Condvar::wait_until_internal\n\
         std tokio::runtime::scheduler::multi_thread::park::Parker::park\n\
         std tokio::runtime::scheduler::multi_thread::worker::run\n\
         std tokio::runtime::task::raw::poll\nstd tokio::runtime::blocking::pool::Inner::run",
    );
    assert_eq!(innermost_call(&frames), None);
    assert_eq!(culprit(&frames), None);
}

#[test]
fn the_folded_stack_counts_what_it_hides() {
    let frames = stack(&format!(
        "sys read\nstd std::sys::fs::read\nstd std::fs::read_to_string\n\
         user app::load src/a.rs:2\nuser app::handler src/a.rs:9\nstd axum::call{POLL}"
    ));
    assert_eq!(
        shown(&frames),
        "(2) < std::fs::read_to_string < app::load < app::handler < axum::call < (2)"
    );
}

fn own_binary() -> Binary {
    use object::Object;
    let path = std::env::current_exe().expect("own path");
    let bytes = std::fs::read(&path).expect("readable");
    let file = object::File::parse(&*bytes).expect("an object");
    Binary {
        path,
        build_id: file.build_id().ok().flatten().unwrap_or_default().to_vec(),
    }
}

/// Address of a function of this binary, as the file counts.
fn own_address(binary: &Binary, symbol: &str) -> u64 {
    use object::{Object, ObjectSymbol};
    let bytes = std::fs::read(&binary.path).expect("readable");
    let file = object::File::parse(&*bytes).expect("an object");
    file.symbols()
        .find(|found| found.name().is_ok_and(|name| name.contains(symbol)))
        .expect("a symbol")
        .address()
}

#[inline(never)]
fn a_function_to_find() -> u32 {
    std::hint::black_box(line!())
}

#[test]
fn own_function_by_the_thread() {
    let line = a_function_to_find();
    let binary = Arc::new(own_binary());
    let offset = own_address(&binary, "a_function_to_find");
    let (answers, receiver) = std::sync::mpsc::channel();
    let symbolizer = Symbolizer::start(Some(std::process::id()), None, move |answer| {
        let _ = answers.send(answer);
    })
    .expect("a thread");
    let address = CodeAddress {
        binary: Some(binary),
        offset,
    };
    assert!(symbolizer.request(7, vec![address]));
    let answer = receiver
        .recv_timeout(std::time::Duration::from_mins(1))
        .expect("an answer");
    assert_eq!(answer.ticket, 7);
    assert_eq!(answer.found.problems, Vec::<String>::new());
    assert_eq!(answer.found.no_lines, None);
    let frame = answer.found.frames.last().expect("a frame");
    assert_eq!(frame.label(), "looptop_symbols::tests::a_function_to_find");
    assert_eq!(frame.origin, Origin::User);
    assert!(
        frame
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with("symbols/src/tests.rs"))
    );
    assert!(frame.line.is_some_and(|found| found.abs_diff(line) <= 1));
}

#[test]
fn what_was_closed_is_opened_again() {
    a_function_to_find();
    let binary = Arc::new(own_binary());
    let offset = own_address(&binary, "a_function_to_find");
    let address = |offset| CodeAddress {
        binary: Some(Arc::clone(&binary)),
        offset,
    };
    let mut resolver = Resolver::new(Some(std::process::id()));
    assert!(!resolver.is_open());
    let label = |resolver: &mut Resolver, offset| {
        let found = resolver.resolve(&[address(offset)]);
        found.frames.last().expect("a frame").label()
    };
    let first = label(&mut resolver, offset);
    assert_eq!(first, "looptop_symbols::tests::a_function_to_find");
    assert!(resolver.is_open());
    resolver.close();
    assert!(!resolver.is_open());
    assert_eq!(label(&mut resolver, offset + 1), first);
    assert!(resolver.is_open());
}

#[test]
fn binaries_without_names_say_how_to_get_them() {
    let directory = tempfile::tempdir().expect("directory");
    let own = own_binary();
    let stripped = directory.path().join("stripped");
    let status = std::process::Command::new("strip")
        .arg("-o")
        .args([&stripped, &own.path])
        .status();
    let mut cases = vec![
        (
            own.path.clone(),
            vec![1, 2, 3],
            "is not the binary that runs",
        ),
        (
            PathBuf::from("/nowhere/app"),
            own.build_id.clone(),
            "could not read /nowhere/app",
        ),
    ];
    // A machine without binutils has nothing to strip with.
    if status.is_ok_and(|status| status.success()) {
        cases.push((
            stripped,
            own.build_id.clone(),
            "no names: stripped is stripped",
        ));
    }
    for (path, build_id, expected) in cases {
        let mut resolver = Resolver::new(None);
        let address = CodeAddress {
            binary: Some(Arc::new(Binary { path, build_id })),
            offset: 0x1234,
        };
        let Resolution {
            frames, problems, ..
        } = resolver.resolve(std::slice::from_ref(&address));
        assert_eq!(frames.len(), 1);
        assert!(
            frames[0].label().ends_with("+0x1234"),
            "{}",
            frames[0].label()
        );
        assert!(
            problems.len() == 1 && problems[0].contains(expected),
            "{problems:?}"
        );
    }
}

#[test]
fn what_no_file_tells_the_process_is_asked_for_once() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let remote: Remote = Box::new(|addresses| {
        ASKED.fetch_add(addresses.len(), Relaxed);
        let function = |name: &str, line| Function {
            name: Some(name.to_owned()),
            file: Some("/build/app/src/main.rs".to_owned()),
            line: Some(line),
        };
        let name = |address: &CodeAddress| match address.offset {
            0x10 => vec![function("app::inner", 7), function("app::outer", 9)],
            _ => Vec::new(),
        };
        Ok(addresses.iter().map(name).collect())
    });
    let binary = Arc::new(Binary {
        path: PathBuf::from("/nowhere/app"),
        build_id: vec![1],
    });
    let at = |offset| CodeAddress {
        binary: Some(Arc::clone(&binary)),
        offset,
    };
    let mut resolver = Resolver::with_remote(None, Some(remote));
    for _ in 0..2 {
        let Resolution {
            frames, problems, ..
        } = resolver.resolve(&[at(0x10), at(0x20)]);
        let labels: Vec<String> = frames.iter().map(Frame::label).collect();
        assert_eq!(labels, ["app::inner", "app::outer", "app+0x20"]);
        assert_eq!(frames[0].location().unwrap(), "app/src/main.rs:7");
        assert!(frames[0].inlined && !frames[1].inlined);
        assert!(problems[0].contains("could not read /nowhere/app"));
    }
    assert_eq!(ASKED.load(Relaxed), 2, "an answer is not asked for again");

    let silent: Remote = Box::new(|_| Err("the agent sends no names".to_owned()));
    let mut resolver = Resolver::with_remote(None, Some(silent));
    let problems = resolver.resolve(&[at(0x10)]).problems;
    assert_eq!(problems[1], "the agent sends no names");
    assert_eq!(problems.len(), 2);
}

#[test]
fn no_function_is_at_the_end_of_all_addresses() {
    let lines = Lines::open(&std::env::current_exe().expect("own path")).expect("an object");
    assert_eq!(lines.functions(u64::MAX), []);
    assert_eq!(lines.functions(u64::MAX - 1), []);
}
