//! A reader holds its guard through a loop and reads again; a writer queued in between.
use field::quiet::{self, ms};
use std::sync::Arc;
use tokio::{sync::RwLock, time::sleep};

type Accounts = Arc<RwLock<Vec<u32>>>;

async fn get_all_accounts(a: Accounts, cured: bool) -> usize {
    let mut names = 0;
    if cured {
        let all = a.read().await;
        for id in all.iter() {
            sleep(ms(20)).await;
            names += *id as usize;
        }
        return names;
    }
    for id in a.read().await.iter() {
        sleep(ms(20)).await;
        names += a.read().await[*id as usize] as usize;
    }
    names
}

async fn add_account(a: Accounts) {
    sleep(ms(30)).await;
    let n = a.read().await.len() as u32;
    a.write().await.push(n);
}

async fn status(a: Accounts) -> usize {
    a.read().await.len()
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let a: Accounts = Arc::new(RwLock::new((0..8).collect()));
        tokio::spawn(get_all_accounts(a.clone(), cured));
        tokio::spawn(add_account(a.clone()));
        loop {
            sleep(ms(3000)).await;
            tokio::spawn(status(a.clone()));
        }
    });
}
