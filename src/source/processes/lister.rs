//! What can be attached to, looked at again and again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use looptop_outside::access::ThisKernel;
use looptop_procfs::TICK_NS;
use tokio::task::spawn_blocking;

use super::{
    process::{Process, Scan, Sockets, Way},
    row::{At, Place, Row, places},
};
use crate::source::target::Target;

/// Lists what can be attached to, and remembers what need not be asked twice: what is
/// in executables, which sockets have answered, how much CPU was used.
#[derive(Debug, Default)]
pub struct Lister {
    /// `None` while a listing that nobody waits for any more still has it.
    scan: Option<Scan<ThisKernel>>,
    answered: HashMap<Identity, Vec<Place>>,
    cpu: HashMap<Identity, (u64, Instant)>,
}

/// A process, by its id and its start: ids are given anew.
type Identity = (u32, u64);

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// By process id.
    pub rows: Vec<Row>,
    /// Executables that were not read, as that would have taken too long. The next
    /// listing reads on.
    pub unread: usize,
}

impl Lister {
    /// Looks. As long as the slowest answer of an agent that was not asked before, at
    /// most two seconds; nothing on other systems than Linux.
    pub async fn list(&mut self) -> Listing {
        if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
            let rows = sockets_beside(&[]).await;
            return Listing { rows, unread: 0 };
        }
        let mut scan = self.scan.take().unwrap_or_default();
        let scanned = spawn_blocking(move || {
            let found = scan.all();
            (scan, found)
        });
        let Ok((scan, (processes, unread))) = scanned.await else {
            return Listing::default();
        };
        self.scan = Some(scan);
        let asked = processes.iter().map(|process| self.places(process));
        let found: Vec<Vec<Place>> = join_all(asked).await;
        self.remember(&processes, &found);
        let now = Instant::now();
        let rows = processes.iter().zip(found).flat_map(|(process, places)| {
            let cpu = self.cpu(process, now);
            let row = |place: Place| row(process, cpu, place);
            places.into_iter().map(row).collect::<Vec<_>>()
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.extend(sockets_beside(&processes).await);
        let used = |process: &Process| (identity(process), (process.cpu_ticks, now));
        self.cpu = processes.iter().map(used).collect();
        Listing { rows, unread }
    }

    /// Asks anew also where something has answered.
    pub fn forget_answers(&mut self) {
        self.answered.clear();
    }

    async fn places(&self, process: &Process) -> Vec<Place> {
        match self.answered.get(&identity(process)) {
            Some(known) => known.clone(),
            None => places(process).await,
        }
    }

    /// What has answered, of the processes that still are.
    fn remember(&mut self, processes: &[Process], found: &[Vec<Place>]) {
        let answered = processes.iter().zip(found).filter(|(process, places)| {
            matches!(process.way, Way::Within(..))
                && places.iter().any(|place| matches!(place.at, At::Target(_)))
        });
        self.answered = answered
            .map(|(process, places)| (identity(process), places.clone()))
            .collect();
    }

    fn cpu(&self, process: &Process, now: Instant) -> Option<f64> {
        let (before, at) = self.cpu.get(&identity(process))?;
        let used = process.cpu_ticks.saturating_sub(*before);
        share(used, now.saturating_duration_since(*at))
    }
}

/// Share of one CPU; `None` where too little time has passed for ticks of 10 ms.
fn share(ticks: u64, time: Duration) -> Option<f64> {
    let used = ticks.saturating_mul(TICK_NS) as f64;
    (time >= Duration::from_millis(100)).then(|| used / time.as_nanos() as f64)
}

/// Agents in this user's folders that are none of these processes.
#[cfg(unix)]
async fn sockets_beside(processes: &[Process]) -> Vec<Row> {
    let sockets = processes.iter().filter_map(|process| match &process.way {
        Way::Within(_, Sockets::Seen(sockets)) => Some(sockets),
        _ => None,
    });
    let paths = sockets.flatten().filter_map(|socket| match &socket.target {
        Target::Unix(path) => Some(path.clone()),
        _ => None,
    });
    // These would not answer.
    let stopped = processes.iter().filter_map(|process| match &process.way {
        Way::Within(_, Sockets::Stopped) => Some(process.pid),
        _ => None,
    });
    super::sockets::rows(&paths.collect(), &stopped.collect()).await
}

#[cfg(not(unix))]
async fn sockets_beside(_: &[Process]) -> Vec<Row> {
    Vec::new()
}

fn identity(process: &Process) -> Identity {
    (process.pid, process.start_ticks)
}

fn row(process: &Process, cpu: Option<f64>, place: Place) -> Row {
    Row {
        pid: process.pid,
        name: place.name,
        arguments: process.arguments.clone(),
        user: process.user.clone(),
        instrument: place.instrument,
        threads: process.threads,
        cpu,
        at: place.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_cpu() {
        let second = Duration::from_secs(1);
        assert_eq!(share(50, second), Some(0.5));
        assert_eq!(share(0, second), Some(0.0));
        assert_eq!(share(400, second), Some(4.0));
        assert_eq!(share(1, Duration::from_millis(20)), None);
        assert!(share(u64::MAX, second).is_some());
    }
}
