//! What the agent does not watch, as the watchdog's census finds it; and the
//! threads that the application hides.

use std::collections::HashMap;
use std::sync::Mutex;

use looptop_symbols::scheduler::Kind;
use looptop_wire::proto;

use crate::ids::Tid;
use crate::sync::lock;
use crate::thread_clock::current_tid;

/// The newest census.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) strangers: Vec<Stranger>,
    /// Threads whose stacks could not be read so far.
    pub(crate) unread: u32,
    /// Threads over the bound.
    pub(crate) skipped: u32,
}

/// A thread that runs tokio although no registered runtime has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stranger {
    pub(crate) tid: Tid,
    pub(crate) kind: Kind,
    pub(crate) since_ns: u64,
    /// CPU that it has used since then.
    pub(crate) cpu_ns: Option<u64>,
    /// One long poll of it is distinguished from many short ones.
    pub(crate) polls_distinguished: bool,
}

impl Coverage {
    pub(crate) fn to_wire(&self) -> proto::Coverage {
        let stranger = |s: &Stranger| proto::Stranger {
            tid: s.tid.0,
            kind: match s.kind {
                Kind::Worker => proto::StrangerKind::Worker,
                Kind::CurrentThread => proto::StrangerKind::CurrentThread,
                Kind::BlockOn => proto::StrangerKind::BlockOn,
            }
            .into(),
            since_ns: s.since_ns,
            cpu_ns: s.cpu_ns,
            polls_distinguished: s.polls_distinguished,
        };
        proto::Coverage {
            strangers: self.strangers.iter().map(stranger).collect(),
            unread_threads: self.unread,
            skipped_threads: self.skipped,
        }
    }

    /// Threads that drive a runtime which nobody registered.
    pub(crate) fn unregistered(&self) -> impl Iterator<Item = Tid> + '_ {
        let strangers = self.strangers.iter().filter(|s| s.kind != Kind::BlockOn);
        strangers.map(|s| s.tid)
    }
}

/// Threads within [`unobserved`](crate::unobserved), and how often they are.
static HIDDEN: Mutex<Option<HashMap<Tid, u32>>> = Mutex::new(None);

/// Leaves the calling thread out of the census while it lives.
pub(crate) struct Hidden(Option<Tid>);

impl Hidden {
    pub(crate) fn current_thread() -> Self {
        let tid = current_tid();
        if let Some(tid) = tid {
            let mut hidden = lock(&HIDDEN);
            *hidden.get_or_insert_default().entry(tid).or_default() += 1;
        }
        Self(tid)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let Some(tid) = self.0 else { return };
        if let Some(hidden) = lock(&HIDDEN).as_mut()
            && let Some(times) = hidden.get_mut(&tid)
        {
            *times -= 1;
            if *times == 0 {
                hidden.remove(&tid);
            }
        }
    }
}

/// The threads that are hidden now.
pub(crate) fn hidden() -> Vec<Tid> {
    let hidden = lock(&HIDDEN);
    hidden.iter().flat_map(HashMap::keys).copied().collect()
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_hidden_as_long_as_it_says() {
        let me = current_tid().expect("Linux has thread ids");
        let is_hidden = || hidden().contains(&me);
        {
            let _outer = Hidden::current_thread();
            drop(Hidden::current_thread());
            assert!(is_hidden());
        }
        assert!(!is_hidden());
    }

    #[test]
    fn a_thread_in_block_on_drives_no_runtime() {
        let stranger = |tid, kind| Stranger {
            tid: Tid(tid),
            kind,
            since_ns: 5,
            cpu_ns: None,
            polls_distinguished: false,
        };
        let coverage = Coverage {
            strangers: vec![
                stranger(1, Kind::Worker),
                stranger(2, Kind::BlockOn),
                stranger(3, Kind::CurrentThread),
            ],
            ..Coverage::default()
        };
        let tids: Vec<_> = coverage.unregistered().collect();
        assert_eq!(tids, [Tid(1), Tid(3)]);
        assert_eq!(coverage.to_wire().strangers.len(), 3);
    }
}
