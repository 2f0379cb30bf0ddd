// Control: jdx/mise#11136, tokio-rs/tokio#5843: the recommended block_in_place, around
// CPU work, a sleep and block_on.
use field::blocking::*;
use std::io::Read;
use std::time::Duration;
use tokio::task::block_in_place;

fn extract(archive: &[u8]) -> usize {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(archive)
        .read_to_end(&mut out)
        .unwrap();
    out.len()
}

async fn install(archive: std::sync::Arc<Vec<u8>>) -> usize {
    let n = block_in_place(|| extract(&archive));
    pause(5).await;
    block_in_place(|| std::thread::sleep(Duration::from_millis(90)));
    pause(5).await;
    block_in_place(|| tokio::runtime::Handle::current().block_on(pause(90)));
    n
}

pub fn main() {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let data: Vec<u8> = (0..24_000_000u32)
        .map(|n| (n.wrapping_mul(2654435761) >> 27) as u8)
        .collect();
    gz.write_all(&data).unwrap();
    let archive = std::sync::Arc::new(gz.finish().unwrap());
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            loop {
                tokio::spawn(install(archive.clone())).await.unwrap();
                pause(100).await;
            }
        });
        std::future::pending::<()>().await
    });
}
