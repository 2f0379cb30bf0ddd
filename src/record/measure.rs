//! Figures for `docs/recording.md`, printed by
//! `cargo test --release -p looptop --lib record::measure -- --ignored --nocapture`.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    Recorder, Recording,
    history::{Bounds, History},
    synthetic::{Session, Shape},
};
use crate::model::{ACTIVITY_WINDOW, Activity, Model};

fn shapes() -> [Shape; 3] {
    // A tenth of the tasks change ten times a second.
    [1_000, 10_000, 100_000].map(|tasks| Shape {
        tasks,
        changed: tasks / 10,
        workers: 4,
        ..Shape::default()
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mean(list: &[f64]) -> f64 {
    list.iter().sum::<f64>() / list.len() as f64
}

fn worst(list: &[f64]) -> f64 {
    list.iter().copied().fold(0.0, f64::max)
}

/// CPU time that `work` takes this thread: what it costs, whatever else runs.
fn cost<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    use nix::time::{ClockId, clock_gettime};
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let began = now();
    let result = work();
    (result, now().saturating_sub(began))
}

/// Has the system drop its copy of a file, so that the disk is read again.
fn drop_cached(path: &Path) {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    let input = format!("if={}", path.display());
    let dd = Command::new("dd")
        .args([&input, "iflag=nocache", "count=0"])
        .output();
    assert!(dd.unwrap().status.success());
}

#[test]
#[ignore = "prints figures"]
fn a_minute_of_recording() {
    println!("tasks | MB a minute | ms of CPU a second, without the model's own | model's own");
    for shape in shapes() {
        let mut session = Session::new(shape);
        let hello = session.hello();
        let mut recorder = Recorder::new(Vec::new(), "t", false).unwrap();
        recorder.connected(&hello).unwrap();
        let mut model = Model::new(&hello);
        let (mut all, mut own) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..600 {
            let frame = session.next_frame();
            all += cost(|| recorder.frame(&frame).unwrap()).1;
            own += cost(|| model.apply(&frame).unwrap()).1;
        }
        let (bytes, last) = cost(|| recorder.finish().unwrap());
        all += last;
        println!(
            "{} | {:.2} | {:.2} | {:.2}",
            shape.tasks,
            bytes.len() as f64 / 1e6,
            ms(all.saturating_sub(own)) / 60.0,
            ms(own) / 60.0
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn going_back_in_history() {
    println!("tasks | MB | span | ms of CPU: push: mean, worst | at: mean, worst | copy, write");
    for (shape, seconds) in shapes().into_iter().zip([1_900, 400, 120]) {
        let mut session = Session::new(shape);
        let hello = session.hello();
        let mut history = History::new(Bounds::default());
        history.begin(&hello);
        let mut model = Model::new(&hello);
        let mut pushes = Vec::new();
        for n in 0..seconds * 10 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            pushes.push(ms(cost(|| history.push(&frame, &model, n)).1));
        }
        let (oldest, newest) = (history.oldest().unwrap(), history.newest().unwrap());
        let span = newest.since(oldest);
        let looks: Vec<f64> = (0..40)
            .map(|n| {
                let at = oldest.plus(span.mul_f64(f64::from(n) / 39.0));
                let (earlier, cost) = cost(|| history.at(at).unwrap());
                assert!(earlier.model.now <= at);
                ms(cost)
            })
            .collect();
        let (copy, took) = cost(|| history.copy());
        let (_, wrote) = cost(|| copy.write(Vec::new(), "t").unwrap());
        let (took, wrote) = (ms(took), ms(wrote));
        println!(
            "{} | {:.1} | {} s | {:.2} {:.1} | {:.1} {:.1} | {took:.1} {wrote:.1}",
            shape.tasks,
            history.bytes() as f64 / 1e6,
            span.as_secs(),
            mean(&pushes),
            worst(&pushes),
            mean(&looks),
            worst(&looks)
        );
    }
}

/// What opening the details of a task waits for.
#[test]
#[ignore = "prints figures"]
fn the_last_minute_of_one_task() {
    println!("tasks | s of history within 1 MiB | ms");
    for shape in shapes() {
        let mut session = Session::new(shape);
        let hello = session.hello();
        let mut history = History::new(Bounds::default());
        history.begin(&hello);
        let mut model = Model::new(&hello);
        for n in 0..700 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            history.push(&frame, &model, n);
        }
        let task = model.tasks.live().next().unwrap().id;
        let mut activity = Activity::new(task);
        let began = Instant::now();
        let minute = (model.now.minus(ACTIVITY_WINDOW), model.now);
        history.walk(minute, 1 << 20, |model| activity.observe(model));
        let took = ms(began.elapsed());
        let reach = activity.reach(model.now).unwrap();
        println!("{} | {:.0} | {took:.1}", shape.tasks, reach.as_secs_f64());
    }
}

/// `LOOPTOP_MEASURE_MB` sets the size of the file.
#[test]
#[ignore = "prints figures"]
fn seeking_in_a_large_file() {
    let megabytes = std::env::var("LOOPTOP_MEASURE_MB")
        .ok()
        .and_then(|n| n.parse().ok());
    let target = megabytes.unwrap_or(100u64) << 20;
    let path = std::env::temp_dir().join(format!("looptop-measure-{}", std::process::id()));
    let file = std::fs::File::create_new(&path).unwrap();
    let mut session = Session::new(shapes()[1]);
    let mut recorder = Recorder::new(file, "t", false).unwrap();
    recorder.connected(&session.hello()).unwrap();
    while recorder.bytes() < target {
        recorder.frame(&session.next_frame()).unwrap();
    }
    recorder.finish().unwrap();
    for cached in [true, false] {
        let prepare = || (!cached).then(|| drop_cached(&path));
        prepare();
        let began = Instant::now();
        let recording = Recording::open(&path).unwrap();
        let opened = ms(began.elapsed());
        let mut own = Vec::new();
        let seeks: Vec<f64> = (0..20)
            .map(|n| {
                let at = recording.length().mul_f64(f64::from(n * 7 % 20) / 19.0);
                prepare();
                let began = Instant::now();
                let (_, spent) = cost(|| recording.model_at(at).unwrap());
                own.push(ms(spent));
                ms(began.elapsed())
            })
            .collect();
        println!(
            "{} MB, {:.0} s in {} chunks, {}: opened in {opened:.1} ms, \
             sought in {:.1} ms on average, {:.1} at worst, {:.1} of it on CPU",
            path.metadata().unwrap().len() / 1_000_000,
            recording.length().as_secs_f64(),
            recording.chunks.len(),
            if cached { "cached" } else { "from disk" },
            mean(&seeks),
            worst(&seeks),
            worst(&own)
        );
    }
    std::fs::remove_file(&path).unwrap();
}
