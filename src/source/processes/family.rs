//! A process, and those that it has started.

use std::collections::{HashMap, VecDeque};

use looptop_outside::access::ThisKernel;
use tokio::task::spawn_blocking;

use super::process::Scan;

/// A process and those that it has started, looked at until there is tokio among them.
#[derive(Debug)]
pub struct Family {
    pid: u32,
    /// `None` while a look that nobody waits for any more still has it.
    scan: Option<Scan<ThisKernel>>,
}

impl Family {
    /// Of the process with this id.
    pub fn of(pid: u32) -> Self {
        Self { pid, scan: None }
    }

    /// The first tokio program among them: the process itself, those that it has
    /// started, those that they have started. Reads a file of each process of the
    /// machine: some milliseconds.
    pub async fn tokio(&mut self) -> Option<u32> {
        let mut scan = self.scan.take().unwrap_or_default();
        let pid = self.pid;
        let looked = spawn_blocking(move || {
            let family = descendants(pid, &scan.parents());
            let found = family.into_iter().find(|pid| scan.is_observable(*pid));
            (scan, found)
        });
        let (scan, found) = looked.await.ok()?;
        self.scan = Some(scan);
        found
    }

    /// Whether an agent or console-subscriber in the process with this id answers.
    pub async fn listens(&self, pid: u32) -> bool {
        super::listens_at(pid).await.is_some()
    }
}

/// A process and its descendants, nearer ones first, of pairs of a process and its parent.
fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (child, parent) in parents {
        children.entry(*parent).or_default().push(*child);
    }
    let mut found = Vec::new();
    let mut left = VecDeque::from([pid]);
    while let Some(next) = left.pop_front() {
        found.push(next);
        // Taken out, as ids that are given anew could lead in a circle.
        left.extend(children.remove(&next).unwrap_or_default());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_come_after_their_parents() {
        let parents = [(2, 1), (3, 1), (4, 2), (5, 4), (9, 8), (1, 0)];
        assert_eq!(descendants(2, &parents), [2, 4, 5]);
        assert_eq!(descendants(1, &parents), [1, 2, 3, 4, 5]);
        assert_eq!(descendants(7, &parents), [7]);
        // Read while ids were given anew.
        assert_eq!(descendants(2, &[(3, 2), (2, 3)]), [2, 3, 2]);
    }
}
