//! A variant: commands come through a FIFO, and the writer is slow.
use field::blocking::*;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

async fn read_command(fifo: &'static str) -> usize {
    let mut pipe = File::open(fifo).unwrap();
    let mut command = [0; 64];
    let t = Instant::now();
    let n = pipe.read(&mut command).unwrap(); // BLOCKS
    took(t.elapsed());
    pause(1).await;
    n
}

pub fn main() {
    let path = std::env::temp_dir().join(format!("field-{}.fifo", std::process::id()));
    let fifo: &'static str = Box::leak(path.to_string_lossy().into_owned().into_boxed_str());
    let name = std::ffi::CString::new(fifo).unwrap();
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    std::thread::spawn(move || {
        // It stays open: opening is not what this is about.
        let mut pipe = File::options().read(true).write(true).open(fifo).unwrap();
        loop {
            std::thread::sleep(Duration::from_millis(160));
            let _ = pipe.write_all(b"reload\n");
        }
    });
    run(async move {
        field::init();
        canary();
        pause(200).await;
        tokio::spawn(async move {
            loop {
                tokio::spawn(read_command(fifo)).await.unwrap();
                pause(20).await;
            }
        });
        std::future::pending::<()>().await
    });
}
