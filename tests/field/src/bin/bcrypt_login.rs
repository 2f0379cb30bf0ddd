// kaj/warp-diesel-ructe-sample#4: hashing a password in the handler stops the site.
use field::blocking::*;
use std::time::Instant;

async fn sign_in(password: String) -> bool {
    if fixed() {
        let hash = tokio::task::spawn_blocking(move || bcrypt::hash(password, 10))
            .await
            .unwrap()
            .unwrap();
        return hash.len() > 10;
    }
    let t = Instant::now();
    let hash = bcrypt::hash(&password, 10).unwrap(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    hash.len() > 10
}

pub fn main() {
    run(async {
        field::init();
        canary();
        tokio::spawn(async {
            loop {
                tokio::spawn(sign_in("correct horse".into())).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
