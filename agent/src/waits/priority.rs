//! How the thread stands back.

/// Ten steps below the application's threads: a tenth of their share where a CPU is short.
/// Not the lowest: it shares the allocator's locks with them, and whoever holds one must
/// get a CPU soon.
const NICE: libc::c_int = 10;

/// Lowers the priority of the calling thread, where the kernel lets it.
#[allow(unsafe_code)]
pub(super) fn lower() {
    // SAFETY: takes a number, touches no memory of ours; on Linux it is the calling thread's
    // own. Where it fails the thread runs as others do.
    unsafe {
        libc::nice(NICE);
    }
}

#[cfg(test)]
mod tests {
    use looptop_procfs::Stat;

    #[test]
    fn this_thread_stands_back_and_no_other() {
        let nice = || {
            let text = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
            // After the name, which may hold spaces.
            let rest = text.rsplit(')').next().expect("a name").to_owned();
            let field = rest.split_ascii_whitespace().nth(16).map(str::to_owned);
            assert!(Stat::parse(&text).is_some());
            field.and_then(|nice| nice.parse::<i32>().ok())
        };
        let before = nice().expect("a number");
        let lowered = std::thread::spawn(move || {
            super::lower();
            nice()
        });
        assert_eq!(lowered.join().expect("no panic"), Some(19.min(before + 10)));
        assert_eq!(nice(), Some(before));
    }
}
