//! The targets that are watched: few, and those that are not asked about go.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::source::Target;

use super::session::Session;

/// Targets that are watched at once; the one that was asked about longest ago makes room.
const MOST: usize = 4;
/// Watching has a price for the target: nobody pays it for what is not asked about.
const IDLE: Duration = Duration::from_mins(2);
/// Between two looks at who is idle.
const LOOK: Duration = Duration::from_secs(5);

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Arc<Mutex<Vec<Arc<Session>>>>,
}

impl Sessions {
    /// The session of `target`, which the user called `name`: the one that there is, or a
    /// new one.
    pub(super) fn of(&self, name: &str, target: &Target) -> Arc<Session> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = all.iter().find(|session| session.is_of(target)) {
            return Arc::clone(session);
        }
        while all.len() >= MOST {
            let oldest = (0..all.len()).min_by_key(|at| all[*at].used());
            all.remove(oldest.unwrap_or_default());
        }
        if all.is_empty() {
            tokio::spawn(let_idle_ones_go(Arc::downgrade(&self.all)));
        }
        let session = Arc::new(Session::begin(name, target));
        all.push(Arc::clone(&session));
        session
    }

    /// Ends a session: the next call about its target begins anew.
    pub(super) fn end(&self, session: &Arc<Session>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| !Arc::ptr_eq(other, session));
    }
}

/// Ends sessions that are not asked about, until there is none.
async fn let_idle_ones_go(all: Weak<Mutex<Vec<Arc<Session>>>>) {
    loop {
        sleep(LOOK).await;
        let Some(all) = all.upgrade() else { return };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        retain_used(&mut all, Instant::now());
        if all.is_empty() {
            return;
        }
    }
}

fn retain_used(all: &mut Vec<Arc<Session>>, now: Instant) {
    // One that a call waits for is in use, whoever has asked how long ago.
    let in_use = |session: &Arc<Session>| Arc::strong_count(session) > 1;
    all.retain(|session| in_use(session) || now.duration_since(session.used()) < IDLE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target::Tcp {
            host: "127.0.0.1".into(),
            port,
        }
    }

    fn ports(sessions: &Sessions) -> Vec<String> {
        let all = sessions.all.lock().unwrap();
        all.iter()
            .map(|session| session.name().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn few_are_kept_and_the_one_not_asked_about_goes() {
        let sessions = Sessions::default();
        for port in 1..=4 {
            sessions.of(&port.to_string(), &target(port));
        }
        let first = sessions.of("1", &target(1));
        assert_eq!(
            ports(&sessions),
            ["1", "2", "3", "4"],
            "one for each target"
        );
        sessions.of("5", &target(5));
        assert_eq!(ports(&sessions), ["2", "3", "4", "5"]);
        assert_eq!(first.name(), "1", "a call that waits keeps it");
        sessions.end(&sessions.of("3", &target(3)));
        assert_eq!(ports(&sessions), ["2", "4", "5"]);
    }

    #[tokio::test]
    async fn what_is_not_asked_about_goes() {
        let sessions = Sessions::default();
        let held = sessions.of("1", &target(1));
        sessions.of("2", &target(2));
        let mut all = sessions.all.lock().unwrap();
        retain_used(&mut all, Instant::now() + IDLE / 2);
        assert_eq!(all.len(), 2);
        retain_used(&mut all, Instant::now() + IDLE);
        assert_eq!(all.len(), 1);
        drop(held);
        retain_used(&mut all, Instant::now() + IDLE);
        assert!(all.is_empty());
    }
}
