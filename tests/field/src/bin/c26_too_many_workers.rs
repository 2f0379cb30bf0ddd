//! TOKIO_WORKER_THREADS=32 in a container of 2 CPUs: 48 requests of 0.4 ms pieces; the queue is the kernel's.
use field::quiet::{self, burn, ms};
use std::time::Duration;
use tokio::time::sleep;

async fn request() {
    loop {
        for _ in 0..10 {
            burn(Duration::from_micros(400));
            tokio::task::yield_now().await;
        }
        sleep(ms(20)).await;
    }
}

/// As in a container of two CPUs.
fn on_two_cpus() {
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&all), &mut all);
        let mut two: libc::cpu_set_t = std::mem::zeroed();
        let ours = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &all));
        ours.take(2).for_each(|cpu| libc::CPU_SET(cpu, &mut two));
        libc::sched_setaffinity(0, size_of_val(&two), &two);
    }
}

pub fn main() {
    on_two_cpus();
    let workers = if field::cured() { 2 } else { 32 };
    quiet::on_runtime(workers, async {
        quiet::start();
        for _ in 0..48 {
            tokio::spawn(request());
        }
        sleep(ms(3_600_000)).await;
    });
}
