//! What every case shares: the runtime, a light canary, and the truth (how long
//! the blocking call really took), printed as JSON on stderr at the end.
use std::sync::Mutex;
use std::time::{Duration, Instant};

static TOOK: Mutex<Vec<f64>> = Mutex::new(Vec::new());
static CANARY: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// The blocking call took so long.
pub fn took(d: Duration) {
    TOOK.lock().unwrap().push(d.as_secs_f64() * 1e3);
}

pub fn fixed() -> bool {
    crate::cured()
}

pub fn current_thread() -> bool {
    std::env::var("FLAVOR").as_deref() == Ok("ct")
}

fn stats(v: &Mutex<Vec<f64>>) -> String {
    let mut v = match v.try_lock() {
        Ok(v) => v.clone(),
        Err(_) => return "\"locked\"".into(),
    };
    v.sort_by(f64::total_cmp);
    if v.is_empty() {
        return "{\"n\":0}".into();
    }
    format!(
        "{{\"n\":{},\"p50\":{:.1},\"max\":{:.1}}}",
        v.len(),
        v[v.len() / 2],
        v[v.len() - 1]
    )
}

pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs `main` on a runtime of the flavour that FLAVOR names, for RUN_S seconds.
pub fn run(main: impl Future<Output = ()> + 'static) {
    crate::ends_after(15.0, || {
        eprintln!(
            "TRUTH {{\"took_ms\":{},\"canary_ms\":{}}}",
            stats(&TOOK),
            stats(&CANARY)
        );
    });
    let mut builder = if current_thread() {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.worker_threads(2).enable_all();
    crate::run(&mut builder, main);
}

/// A task that only sleeps and measures how late it is.
pub fn canary() {
    tokio::spawn(async {
        loop {
            let t = Instant::now();
            tokio::time::sleep(Duration::from_millis(20)).await;
            CANARY
                .lock()
                .unwrap()
                .push((t.elapsed().as_secs_f64() * 1e3 - 20.0).max(0.0));
        }
    });
}
