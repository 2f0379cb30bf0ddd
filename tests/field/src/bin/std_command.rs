// neptaco/mcproc#41, eastreams/loong#423: std::process::Command in an async fn.
use field::blocking::*;
use std::time::Instant;

async fn detect_ports() -> usize {
    if fixed() {
        return tokio::process::Command::new("sleep")
            .arg("0.09")
            .output()
            .await
            .unwrap()
            .stdout
            .len();
    }
    let t = Instant::now();
    #[rustfmt::skip]
    let output = std::process::Command::new("sleep").arg("0.09").output().unwrap(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    output.stdout.len()
}

pub fn main() {
    run(async {
        field::init();
        canary();
        tokio::spawn(async {
            loop {
                tokio::spawn(detect_ports()).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
