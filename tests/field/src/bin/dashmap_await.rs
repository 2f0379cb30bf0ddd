// xacrimon/dashmap#79, #233; worldcoin/iris-mpc#959: a guard of the map is held over
// an await; whoever wants the same shard meanwhile blocks its worker.
use dashmap::DashMap;
use field::blocking::*;
use std::sync::Arc;
use std::time::Instant;

type Sessions = Arc<DashMap<u32, u64>>;

async fn renew(sessions: Sessions) {
    if fixed() {
        let value = *sessions.get(&1).unwrap();
        pause(70).await;
        *sessions.get_mut(&1).unwrap() = value + 1;
        return;
    }
    let mut session = sessions.get_mut(&1).unwrap();
    pause(70).await; // the guard lives over this
    *session += 1;
}

async fn look_up(sessions: Sessions) -> u64 {
    let t = Instant::now();
    let value = *sessions.get(&1).unwrap(); // BLOCKS
    took(t.elapsed());
    value
}

pub fn main() {
    run(async {
        field::init();
        canary();
        let sessions: Sessions = Arc::new(DashMap::new());
        sessions.insert(1, 0);
        let s = sessions.clone();
        tokio::spawn(async move {
            loop {
                tokio::spawn(renew(s.clone())).await.unwrap();
                pause(200).await;
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::spawn(look_up(sessions.clone())).await.unwrap();
                pause(15).await;
            }
        });
        std::future::pending::<()>().await
    });
}
