use super::*;

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn names_of_calls() {
    let cases: &[(&str, &str)] = &[
        // Each as seen in a build of its own: by default, with one unit, with
        // link-time optimisation, where calls became jumps.
        ("std::thread::functions::sleep", "std::thread::sleep"),
        ("std::thread::sleep", "std::thread::sleep"),
        ("std::sys::thread::unix::sleep", "std::thread::sleep"),
        (
            "std::sys::pal::unix::thread::Thread::sleep",
            "std::thread::sleep",
        ),
        ("clock_nanosleep", "nanosleep"),
        ("std::fs::read_to_string::inner", "std::fs"),
        ("<std::fs::File as std::io::Read>::read", "std::fs"),
        ("<&std::fs::File as std::io::Write>::write", "std::fs"),
        ("std::sys::fs::unix::File::open_c", "std::fs"),
        (
            "std::sync::poison::mutex::Mutex<T>::lock",
            "std::sync::Mutex::lock",
        ),
        ("std::sync::poison::mutex::lock", "std::sync::Mutex::lock"),
        (
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "std::sync::Mutex::lock",
        ),
        (
            "std::sync::poison::rwlock::RwLock<T>::read",
            "std::sync::RwLock::read",
        ),
        (
            "std::sync::poison::rwlock::RwLock<T>::write",
            "std::sync::RwLock::write",
        ),
        (
            "std::sys::sync::rwlock::futex::RwLock::write_contended",
            "std::sync::RwLock",
        ),
        (
            "std::sync::poison::condvar::Condvar::wait",
            "std::sync::Condvar::wait",
        ),
        (
            "std::sys::sync::condvar::futex::Condvar::wait_optional_timeout",
            "std::sync::Condvar::wait",
        ),
        (
            "std::thread::functions::yield_now",
            "std::thread::yield_now",
        ),
        ("__sched_yield", "std::thread::yield_now"),
        ("regex::regex::string::Regex::is_match", "regex"),
        ("regex_automata::meta::strategy::Core::search", "regex"),
        (
            "regex_syntax::hir::translate::Translator::translate",
            "regex",
        ),
        ("r2d2::Pool<M>::get_timeout", "r2d2 (pool of connections)"),
        ("zip::read::ZipArchive<R>::by_index", "zip (archive)"),
        // Waking is not waiting.
        ("std::sync::poison::condvar::Condvar::notify_one", ""),
        ("std::sys::sync::condvar::futex::Condvar::notify_one", ""),
        ("tokio::sync::notify::Notify::notify_one", ""),
        (
            "std::sync::barrier::Barrier::wait",
            "std::sync::Barrier::wait",
        ),
        (
            "std::sync::mpsc::Receiver<T>::recv",
            "std::sync::mpsc::Receiver::recv",
        ),
        (
            "std::sync::mpsc::Receiver<T>::recv_timeout",
            "std::sync::mpsc::Receiver::recv",
        ),
        (
            "<str as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs",
            "ToSocketAddrs",
        ),
        ("getaddrinfo", "getaddrinfo"),
        ("std::net::tcp::TcpStream::connect", "std::net connect"),
        // The linker kept one name for the code of all of these.
        (
            "<&std::net::tcp::TcpStream as std::io::Read>::read",
            "recv on a socket",
        ),
        ("std::net::tcp::TcpStream::peek", "recv on a socket"),
        ("std::net::udp::UdpSocket::recv", "recv on a socket"),
        (
            "<std::os::unix::net::stream::UnixStream as std::io::Read>::read",
            "recv on a socket",
        ),
        (
            "std::os::unix::net::datagram::UnixDatagram::send",
            "send on a socket",
        ),
        (
            "<std::net::tcp::TcpStream as std::io::Write>::write",
            "send on a socket",
        ),
        // These have code of their own.
        ("std::net::udp::UdpSocket::recv_from", "std::net"),
        ("std::net::tcp::TcpStream::set_nodelay", "std::net"),
        (
            "reqwest::blocking::client::Client::get",
            "reqwest::blocking",
        ),
        ("rusqlite::statement::Statement::query", "rusqlite"),
        ("sqlite3_step", "SQLite"),
        ("unixSleep", "SQLite's busy handler"),
        ("pollster::block_on", "pollster::block_on"),
        (
            "futures_executor::local_pool::block_on",
            "futures::executor::block_on",
        ),
        (
            "tokio::runtime::runtime::Runtime::block_on",
            "tokio's block_on",
        ),
        (
            "tokio::runtime::park::CachedParkThread::block_on",
            "tokio's block_on",
        ),
        ("std::thread::park", "std::thread::park"),
        (
            "std::sys::sync::thread_parking::futex::Parker::park",
            "std::thread::park",
        ),
        (
            "std::thread::JoinHandle<T>::join",
            "std::thread::JoinHandle::join",
        ),
        (
            "std::thread::lifecycle::JoinInner<T>::join",
            "std::thread::JoinHandle::join",
        ),
        (
            "<std::sys::thread::unix::Thread>::join",
            "std::thread::JoinHandle::join",
        ),
        (
            "std::sys::pal::unix::thread::Thread::join",
            "std::thread::JoinHandle::join",
        ),
        ("__pthread_clockjoin_ex", "pthread_join"),
        (
            "std::process::Command::output",
            "std::process::Command::output",
        ),
        (
            "std::sys::process::unix::common::read_output",
            "std::process",
        ),
        (
            "std::sys::pal::unix::pipe::read2",
            "std::process::Command::output",
        ),
        ("std::process::Child::wait", "std::process::Child::wait"),
        ("waitid", "waitid"),
        (
            "std::sync::mpsc::Sender<T>::send",
            "std::sync::mpsc::Sender::send",
        ),
        (
            "std::sync::mpsc::SyncSender<T>::send",
            "std::sync::mpsc::SyncSender::send",
        ),
        (
            "std::sync::mpmc::list::Channel<T>::recv",
            "std::sync::mpsc::Receiver::recv",
        ),
        (
            "<std::io::pipe::PipeReader as std::io::Read>::read",
            "std::io::pipe",
        ),
        (
            "<std::process::ChildStderr as std::io::Read>::read",
            "std::io::pipe",
        ),
        ("tracing_core::event::Event::dispatch", "tracing::event!"),
        (
            "<tracing_subscriber::fmt::fmt_layer::Layer<S,N,E,W> as X>::on_event",
            "tracing::event!",
        ),
        ("std::io::stdio::_print", "println!"),
        (
            "<&std::io::stdio::Stdout as std::io::Write>::write_all",
            "std::io::stdout",
        ),
        ("std::io::stdio::Stdin::read_line", "std::io::stdin"),
        (
            "event_listener::EventListener<T>::wait",
            "event_listener::Listener::wait",
        ),
        (
            "crossbeam_channel::channel::Receiver<T>::recv",
            "crossbeam_channel::Receiver::recv",
        ),
        (
            "crossbeam_channel::context::Context::wait_until",
            "crossbeam_channel",
        ),
        ("dashmap::lock::RawRwLock::lock_shared_slow", "dashmap"),
        (
            "parking_lot::raw_mutex::RawMutex::lock_slow",
            "parking_lot::Mutex::lock",
        ),
        ("parking_lot::condvar::Condvar::notify_one_slow", ""),
        (
            "tokio::sync::watch::Receiver<T>::borrow",
            "tokio::sync::watch::Receiver::borrow",
        ),
        (
            "tokio::sync::watch::Sender<T>::send_replace",
            "tokio::sync::watch::Sender::send",
        ),
        (
            "rayon_core::registry::Registry::in_worker_cold",
            "rayon (waits for its pool)",
        ),
        ("core::slice::sort::stable::drift::sort", "sort"),
        ("app::render", ""),
        ("core::ptr::drop_in_place", ""),
    ];
    for (function, expected) in cases {
        let found = classify(function).map_or("", |(_, name)| name);
        assert_eq!(found, *expected, "{function}");
    }
}

#[test]
fn every_pattern_can_be_reached() {
    for (position, (pattern, ..)) in CALLS.iter().enumerate() {
        let example = pattern.replace('*', "x");
        let first = CALLS
            .iter()
            .position(|(other, ..)| matches(other, &example));
        assert_eq!(
            first,
            Some(position),
            "{pattern} is hidden by an earlier line"
        );
    }
}
