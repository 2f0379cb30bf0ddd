//! What ended programs must not leave: processes, stopped and traced threads.

use std::time::Duration;

use crate::{
    processes::{self, ProcessId, Thread},
    scene::{Problem, Scene},
};

/// An ended program's children may be ending.
const TO_END: Duration = Duration::from_secs(10);
/// A viewer stops a thread for less than a millisecond: what is so at each of some looks
/// is left.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(60);

pub(super) fn find(scene: &Scene) -> Vec<Problem> {
    let lasting = scene.lasting();
    processes(scene, &lasting)
        .into_iter()
        .chain(threads(&lasting))
        .collect()
}

/// Processes that belong to nobody any more.
fn processes(scene: &Scene, lasting: &[ProcessId]) -> Vec<Problem> {
    let mark = scene.place.mark();
    let strays = || {
        let mut all = processes::marked(&mark);
        all.retain(|(pid, _)| !lasting.contains(pid));
        all
    };
    processes::until(TO_END, || strays().is_empty());
    let text = |(pid, command)| format!("process {pid} is left: {command}");
    let strays = strays().into_iter();
    strays
        .map(|stray| Problem::new("process", text(stray)))
        .collect()
}

/// Threads of what lives on that stand still or are traced.
fn threads(lasting: &[ProcessId]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pid in lasting {
        let mut left = processes::threads(*pid);
        for _ in 1..LOOKS {
            std::thread::sleep(BETWEEN_LOOKS);
            let now = processes::threads(*pid);
            keep_what_stays(&mut left, &now);
        }
        let stopped = left.iter().filter(|t| is_stopped(t));
        let stopped: Vec<String> = stopped.map(|t| t.tid.to_string()).collect();
        if !stopped.is_empty() {
            let text = format!("{} of process {pid} stand still", stopped.join(", "));
            problems.push(Problem::new("stopped", text));
        }
        if let Some(traced) = left.iter().find(|thread| thread.tracer != 0) {
            let text = format!(
                "thread {} of process {pid} is traced by {}",
                traced.tid, traced.tracer
            );
            problems.push(Problem::new("traced", text));
        }
    }
    problems
}

fn is_stopped(thread: &Thread) -> bool {
    matches!(thread.state, 'T' | 't')
}

/// Keeps threads that are stopped, or traced by the same, in both.
fn keep_what_stays(left: &mut Vec<Thread>, now: &[Thread]) {
    left.retain_mut(|before| {
        let Some(now) = now.iter().find(|now| now.tid == before.tid) else {
            return false;
        };
        if now.tracer != before.tracer {
            before.tracer = 0;
        }
        if !is_stopped(now) {
            before.state = now.state;
        }
        is_stopped(before) || before.tracer != 0
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: ProcessId, state: char, tracer: ProcessId) -> Thread {
        Thread { tid, state, tracer }
    }

    #[test]
    fn only_what_stays_is_left() {
        let mut left = vec![
            thread(1, 'T', 0),
            thread(2, 't', 9),
            thread(3, 'S', 9),
            thread(4, 'T', 0),
            thread(5, 'T', 0),
        ];
        keep_what_stays(
            &mut left,
            &[
                thread(1, 'T', 0),
                thread(2, 'S', 0),
                thread(3, 'R', 9),
                thread(4, 'R', 0),
            ],
        );
        assert_eq!(left, [thread(1, 'T', 0), thread(3, 'R', 9)]);
    }
}
