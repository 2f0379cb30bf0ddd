//! A JoinSet that nobody reaps: every finished request stays, with its answer.
use field::quiet::{self, ms};
use tokio::{task::JoinSet, time::sleep};

async fn answer_query(n: u32) -> Vec<u8> {
    sleep(ms(5)).await;
    vec![n as u8; 32 << 10]
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let mut requests = JoinSet::new();
        for n in 0.. {
            requests.spawn(answer_query(n));
            if cured {
                while requests.try_join_next().is_some() {}
            }
            sleep(ms(5)).await;
        }
    });
}
