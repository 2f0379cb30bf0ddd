//! accept() fails with EMFILE and is asked again at once.
use field::quiet::{self, ms};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

async fn accept_loop(l: TcpListener, cured: bool) {
    let mut open = Vec::new();
    loop {
        match l.accept().await {
            Ok((s, _)) => open.push(s),
            Err(e) => {
                log(&e);
                if cured {
                    sleep(ms(200)).await;
                }
            }
        }
    }
}

fn log(e: &std::io::Error) {
    use std::io::Write;
    let mut null = std::fs::OpenOptions::new().append(true).open("/dev/null");
    if let Ok(f) = &mut null {
        let _ = writeln!(f, "accept error: {e}");
    }
}

pub fn main() {
    quiet::on_runtime(2, async {
        let cured = quiet::start();
        let late = std::env::var("ATTACH_FIRST").is_ok();
        sleep(ms(if late { 6000 } else { 1000 })).await;
        let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let limit = libc::rlimit {
            rlim_cur: used + 20,
            rlim_max: used + 20,
        };
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        let l = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = l.local_addr().unwrap();
        tokio::spawn(accept_loop(l, cured));
        let mut clients = Vec::new();
        loop {
            if let Ok(c) = TcpStream::connect(addr).await {
                clients.push(c);
            }
            sleep(ms(50)).await;
        }
    });
}
