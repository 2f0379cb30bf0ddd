//! The blocking pool, by the jobs that are awaited.

use super::*;

/// What threads of the pool do.
#[derive(Clone, Copy)]
enum Pool {
    /// Nothing that is seen.
    Unseen,
    /// They run jobs that somebody awaits.
    Awaited,
    /// They are in a function of the application's.
    Within,
    /// In that function they wait for jobs that have not begun.
    Waits,
    /// All but one do.
    OneDoesNot,
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn a_pool_is_full_whose_jobs_are_awaited_and_have_not_begun() {
    use JobState::{Queued, Running, Unknown};
    use Pool::{Awaited, OneDoesNot, Unseen, Waits, Within};
    let full = |jobs| {
        format!("the blocking pool is full: at least {jobs} jobs wait for 4 threads, up to ")
    };
    let them = "; they are awaited by 20 tasks in shop::load";
    let within = "; those that run are in shop::export; they are awaited by 20 tasks in shop::load";
    // What is known of the jobs that tasks await, for how many looks they stay so, what the
    // pool's threads do, how the title ends, and how grave that is.
    for (what, job, looks, pool, expected) in [
        (
            "jobs queue",
            Queued,
            10,
            Unseen,
            Some((them, Severity::Warning)),
        ),
        (
            "who awaits those that run is known",
            Queued,
            10,
            Awaited,
            Some((
                "; those that run are awaited by 4 tasks in shop::sync; they are awaited by 20 \
                 tasks in shop::load",
                Severity::Warning,
            )),
        ),
        (
            "where those are that run",
            Queued,
            10,
            Within,
            Some((within, Severity::Warning)),
        ),
        (
            "they wait for the pool",
            Queued,
            10,
            Waits,
            Some((
                ", whose jobs in shop::export wait for jobs of the pool themselves (block_on), and \
                 never end; they are awaited by 20 tasks in shop::load",
                Severity::Critical,
            )),
        ),
        (
            "one of them may end",
            Queued,
            10,
            OneDoesNot,
            Some((within, Severity::Warning)),
        ),
        ("not for long", Queued, 3, Within, None),
        ("they have begun", Running, 10, Within, None),
        ("tasks of a runtime unknown", Unknown, 10, Within, None),
    ] {
        let mut hello = fixtures::outside_hello();
        for capability in &mut hello.capabilities {
            capability.available &= capability.kind() != crate::model::Capability::BlockingPool;
        }
        let mut program = Program::of(&hello);
        let load = waits("shop::load::{async_fn#0}", 12);
        let sync = waits("shop::sync::{async_fn#0}", 31);
        let mut tasks: Vec<Task> = (1..=20)
            .map(|id| task(id, &load, &[(1, Job(1_000 + id, job))], &[]))
            .collect();
        if let Awaited = pool {
            let running =
                (21..=24).map(|id| task(id, &sync, &[(1, Job(2_000 + id, Running))], &[]));
            tasks.extend(running);
        }
        let job_at = |n: u64| proto::Want {
            task: Some(3_000 + n),
            kind: WantKind::Task.into(),
            job: Queued.into(),
            ..proto::Want::default()
        };
        for _ in 0..looks {
            let mut frame = program.frame(&[], &tasks);
            frame.threads = (1..=4)
                .map(|n| proto::Thread {
                    tid: 90 + n,
                    role: proto::ThreadRole::Blocking.into(),
                    ..proto::Thread::default()
                })
                .collect();
            let export = program.interner.string("shop::export");
            frame.thread_waits = (1..=4)
                .map(|n| proto::ThreadWait {
                    tid: 90 + n,
                    want: match pool {
                        Waits => Some(job_at(n)),
                        OneDoesNot if n > 1 => Some(job_at(n)),
                        _ => None,
                    },
                    task: Some(2_020 + n),
                    function: match pool {
                        Within | Waits | OneDoesNot => export,
                        Unseen | Awaited => 0,
                    },
                    since_ns: 1_000 * MS,
                    ..proto::ThreadWait::default()
                })
                .filter(|_| !matches!(pool, Unseen))
                .collect();
            program.send(&mut frame);
            program.session.run(400, |_| Frame::default());
        }
        let found = program.session.engine.findings();
        let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
        let expected_rules: &[&str] = match expected {
            Some(_) => &["blocking-pool-full"],
            None => &[],
        };
        assert_eq!(rules, expected_rules, "{what}");
        if let Some((end, severity)) = expected {
            let finding = &found[0];
            let title = &finding.title;
            let jobs = match pool {
                Unseen | Awaited | Within => 20,
                OneDoesNot => 23,
                Waits => 24,
            };
            assert!(
                title.starts_with(&full(jobs)) && title.ends_with(end),
                "{what}: {title}"
            );
            assert_eq!(finding.severity, severity, "{what}");
        }
    }
}
