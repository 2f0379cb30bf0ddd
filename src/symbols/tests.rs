//! Names, origins and presentation by tables; resolution by this very binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

#[test]
fn names() {
    let cases = [
        (
            "app::report::render",
            "app::report::render",
            "report::render",
        ),
        (
            "app::report::render::h0123456789abcdef",
            "app::report::render",
            "report::render",
        ),
        (
            "app::handler::{{closure}}::{{closure}}",
            "app::handler",
            "app::handler",
        ),
        (
            "app::handler::{async_fn#0}::{closure#1}",
            "app::handler",
            "app::handler",
        ),
        (
            "<alloc::vec::Vec<T> as core::iter::traits::collect::Extend<T>>::extend",
            "alloc::vec::Vec::extend",
            "Vec::extend",
        ),
        (
            "<&std::fs::File as std::io::Read>::read",
            "std::fs::File::read",
            "File::read",
        ),
        (
            "core::slice::<impl [T]>::sort_by",
            "core::slice::sort_by",
            "slice::sort_by",
        ),
        (
            "<app::Job as core::future::future::Future>::poll",
            "app::Job::poll",
            "Job::poll",
        ),
        (
            "<F as core::ops::function::FnOnce<(fn(u8) -> u8,)>>::call_once",
            "F::call_once",
            "F::call_once",
        ),
        (
            "<alloc::boxed::Box<dyn core::ops::FnOnce() -> u8 + Send> as X>::call",
            "alloc::boxed::Box::call",
            "Box::call",
        ),
        (
            "core::iter::Iterator::fold::<u32, u64>",
            "core::iter::Iterator::fold",
            "Iterator::fold",
        ),
        (
            "app::<impl app::Trait for app::Job>::run",
            "app::Job::run",
            "Job::run",
        ),
        ("main", "main", "main"),
        ("{closure#0}", "{closure#0}", "{closure#0}"),
        ("", "", ""),
        ("<<<", "<<<", "<<<"),
    ];
    for (raw, clean, short) in cases {
        assert_eq!(name::clean(raw), clean, "clean name of {raw}");
        assert_eq!(name::short(raw), short, "short name of {raw}");
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
    assert_eq!(found.as_deref(), Some("demo::cpu::render::{async_fn#0}"));
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
fn origins() {
    let registry = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
    let cases = [
        (
            "app::render",
            Some("/w/app/src/main.rs".to_owned()),
            Origin::User,
        ),
        (
            "core::ptr::drop_in_place<app::Job>",
            Some("/rustc/5980/library/core/src/ptr/mod.rs".to_owned()),
            Origin::Plumbing,
        ),
        (
            "tokio::task::poll",
            Some(format!("{registry}/tokio-1.54.1/src/task/mod.rs")),
            Origin::Plumbing,
        ),
        (
            "serde_json::to_string",
            Some(format!("{registry}/serde_json-1.0.1/src/ser.rs")),
            Origin::Dependency,
        ),
        (
            "own::x",
            Some("/home/u/.cargo/git/checkouts/own-1a2b/3c4d/own/src/lib.rs".to_owned()),
            Origin::Dependency,
        ),
        (
            "app::pb::x",
            Some("/w/target/debug/build/app-1a/out/pb.rs".to_owned()),
            Origin::Dependency,
        ),
        (
            "looptop_agent::layer::on_enter",
            Some("/w/agent/src/layer.rs".to_owned()),
            Origin::Plumbing,
        ),
        ("app::render", None, Origin::User),
        ("tokio::runtime::park", None, Origin::Plumbing),
        (
            "<tokio::time::Sleep as core::future::Future>::poll",
            None,
            Origin::Plumbing,
        ),
        ("rusqlite::row", None, Origin::Dependency),
        (
            "sqlite3_step",
            Some("/b/sqlite3.c".to_owned()),
            Origin::Dependency,
        ),
        ("_start", None, Origin::System),
    ];
    let program = Path::new("/w/target/release/app");
    for (function, file, expected) in cases {
        assert_eq!(
            origin::origin(Some(function), file.as_deref(), Some(program)),
            expected,
            "{function} at {file:?}"
        );
    }
    let library = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    assert_eq!(
        origin::origin(Some("read"), Some("read.c"), Some(library)),
        Origin::System
    );
    assert_eq!(
        origin::origin(None, None, Some(Path::new("[vdso]"))),
        Origin::System
    );
    assert_eq!(origin::origin(None, None, None), Origin::System);
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
            "functions::sleep",
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
            Some(("statement::step", "x.rs:3", Some("rusqlite"))),
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
            "local_pool::block_on",
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

#[test]
fn the_folded_stack_counts_what_it_hides() {
    let frames = stack(&format!(
        "sys read\nstd std::sys::fs::read\nstd std::fs::read_to_string\n\
         user app::load src/a.rs:2\nuser app::handler src/a.rs:9\nstd axum::call{POLL}"
    ));
    assert_eq!(
        shown(&frames),
        "(2) < fs::read_to_string < app::load < app::handler < axum::call < (2)"
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
    assert_eq!(answer.problems, Vec::<String>::new());
    let frame = answer.frames.last().expect("a frame");
    assert_eq!(frame.label(), "tests::a_function_to_find");
    assert_eq!(frame.origin, Origin::User);
    assert!(
        frame
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with("src/symbols/tests.rs"))
    );
    assert!(frame.line.is_some_and(|found| found.abs_diff(line) <= 1));
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
        cases.push((stripped, own.build_id.clone(), "is stripped of names"));
    }
    for (path, build_id, expected) in cases {
        let mut resolver = Resolver::new(None);
        let address = CodeAddress {
            binary: Some(Arc::new(Binary { path, build_id })),
            offset: 0x1234,
        };
        let (frames, problems) = resolver.resolve(std::slice::from_ref(&address));
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
        let tell = |address: &CodeAddress| match address.offset {
            0x10 => vec![function("app::inner", 7), function("app::outer", 9)],
            _ => Vec::new(),
        };
        Ok(addresses.iter().map(tell).collect())
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
        let (frames, problems) = resolver.resolve(&[at(0x10), at(0x20)]);
        let labels: Vec<String> = frames.iter().map(Frame::label).collect();
        assert_eq!(labels, ["app::inner", "app::outer", "app+0x20"]);
        assert_eq!(frames[0].location().unwrap(), "app/src/main.rs:7");
        assert!(frames[0].inlined && !frames[1].inlined);
        assert!(problems[0].contains("could not read /nowhere/app"));
    }
    assert_eq!(ASKED.load(Relaxed), 2, "an answer is not asked for again");

    let silent: Remote = Box::new(|_| Err("the agent tells no names".to_owned()));
    let mut resolver = Resolver::with_remote(None, Some(silent));
    let (_, problems) = resolver.resolve(&[at(0x10)]);
    assert_eq!(problems[1], "the agent tells no names");
    assert_eq!(problems.len(), 2);
}
