//! A queue that only grows, reported every two seconds, as most metrics are.
use field::quiet::{self, ms};
use tokio::time::sleep;

pub fn main() {
    quiet::on_runtime(2, async {
        quiet::start();
        for n in 0u32.. {
            looptop_agent::gauge("outbox", f64::from(n * 50));
            sleep(ms(2000)).await;
        }
    });
}
