//! Watches a process and prints its stalls: `watch PID SECONDS [no-sampler] [no-stop] [no-symbols]`.
//! At the end, what it has cost.

#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
fn main() {
    use std::time::{Duration, Instant};

    use looptop_outside::tasks::Types;
    use looptop_outside::{Life, Subject, Watch, WatchOptions};
    use looptop_procfs::Procfs;

    let words: Vec<String> = std::env::args().skip(1).collect();
    let pid = words[0].parse().expect("a process id");
    let seconds: u64 = words[1].parse().expect("seconds");
    let has = |word: &str| words.iter().any(|w| w == word);
    let procfs = Procfs::default();
    let subject = Subject::find(&procfs, pid).expect("a process");
    let options = WatchOptions {
        may_sample: !has("no-sampler"),
        may_stop: !has("no-stop"),
        use_symbols: !has("no-symbols"),
        ..WatchOptions::default()
    };
    let began = Instant::now();
    let mut watch = Watch::new(&subject, options).expect("it may be watched");
    println!("ready after {:?}, {:?}", began.elapsed(), watch.unknown());
    match Types::load(&subject) {
        Ok(types) => watch.learn_types(&types),
        Err(error) => println!("{error}"),
    }
    let known = (watch.unknown(), watch.sees_tasks_only());
    println!("types after {:?}, {known:?}", began.elapsed());
    let began = Instant::now();
    let cpu = || {
        procfs
            .own()
            .stat()
            .map_or(0, |s| s.user_ticks + s.system_ticks)
    };
    let (before, mut next) = (cpu(), Instant::now());
    while began.elapsed() < Duration::from_secs(seconds) {
        let rest = match watch.look(Instant::now(), &|_| None) {
            Ok(rest) => rest,
            Err(changed) => return println!("{changed:?}"),
        };
        for stall in watch.take_stalls() {
            if stall.life != Life::GoesOn && !has("quiet") {
                println!(
                    "{:?} {:?} {} {:?} {:?} {:?}, {} stacks, {:?}",
                    began.elapsed(),
                    stall.life,
                    stall.tid,
                    stall.cause,
                    stall.duration,
                    stall.scope,
                    stall.samples.len(),
                    stall.no_stack,
                );
            }
        }
        next += rest;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for thread in watch.threads() {
        println!(
            "{} {} {:?} {:?} parked {} distinguished {}",
            thread.tid,
            thread.name,
            thread.role,
            thread.state,
            thread.parked,
            thread.polls_distinguished
        );
    }
    let percent = (cpu() - before) as f64 * 1e9 / began.elapsed().as_nanos() as f64;
    println!("{percent:.1} % of a core; {:?}", watch.costs());
}

#[cfg(not(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64")))]
fn main() {}
