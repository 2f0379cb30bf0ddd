//! A variant: one task never comes back from its first poll, from the start on, before
//! anybody knew which thread drives its worker.
use field::blocking::*;

#[inline(never)]
fn recompute(seed: u64) -> u64 {
    let mut n = std::hint::black_box(seed);
    while n != 0 {
        n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005) | 1); // BLOCKS
    }
    n
}

async fn rebuild_index() -> u64 {
    recompute(1)
}

pub fn main() {
    run(async {
        field::init();
        tokio::spawn(rebuild_index());
        canary();
        std::future::pending::<()>().await
    });
}
