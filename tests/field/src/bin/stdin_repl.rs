// pie-project/pie#113: the prompt is read with the blocking API inside the loop.
use field::blocking::*;
use std::time::{Duration, Instant};

fn slow_stdin() {
    let mut fds = [0; 2];
    unsafe {
        libc::pipe(fds.as_mut_ptr());
        libc::dup2(fds[0], 0);
    }
    let writer = fds[1];
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(150));
            unsafe { libc::write(writer, b"help\n".as_ptr().cast(), 5) };
        }
    });
}

async fn prompt() -> String {
    let mut line = String::new();
    let t = Instant::now();
    std::io::stdin().read_line(&mut line).unwrap(); // BLOCKS
    took(t.elapsed());
    line
}

pub fn main() {
    slow_stdin();
    run(async {
        field::init();
        canary();
        tokio::spawn(async {
            loop {
                let line = prompt().await;
                pause(line.len() as u64 * 10).await;
            }
        });
        std::future::pending::<()>().await
    });
}
