// scottlamb/moonfire-nvr#88, infino-ai/infino#439: the first touch of a mapped page
// waits for the disk. The disk is a userfaultfd whose handler takes 80 ms a page.
use field::blocking::*;
use std::time::{Duration, Instant};

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}
#[repr(C)]
struct Copy_ {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copy: i64,
}

const PAGE: usize = 4096;
const PAGES: usize = 4096;

#[derive(Clone, Copy)]
struct Mapped(usize);

fn map() -> Mapped {
    unsafe {
        let base = libc::mmap(
            std::ptr::null_mut(),
            PAGE * PAGES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        ) as usize;
        let uffd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as i32;
        assert!(
            uffd >= 0,
            "userfaultfd: {}",
            std::io::Error::last_os_error()
        );
        let mut api = Api {
            api: 0xAA,
            features: 0,
            ioctls: 0,
        };
        assert_eq!(libc::ioctl(uffd, 0xc018aa3f, &mut api), 0);
        let mut register = Register {
            start: base as u64,
            len: (PAGE * PAGES) as u64,
            mode: 1,
            ioctls: 0,
        };
        assert_eq!(libc::ioctl(uffd, 0xc020aa00, &mut register), 0);
        std::thread::spawn(move || {
            let page = vec![7u8; PAGE];
            let mut message = [0u64; 4];
            loop {
                if libc::read(uffd, message.as_mut_ptr().cast(), 32) != 32 {
                    continue;
                }
                std::thread::sleep(Duration::from_millis(
                    std::env::var("MS")
                        .ok()
                        .and_then(|s| s.parse().ok())
                        .unwrap_or(80),
                ));
                let mut copy = Copy_ {
                    dst: message[2] & !(PAGE as u64 - 1),
                    src: page.as_ptr() as u64,
                    len: PAGE as u64,
                    mode: 0,
                    copy: 0,
                };
                libc::ioctl(uffd, 0xc028aa03, &mut copy);
            }
        });
        Mapped(base)
    }
}

#[inline(never)]
fn checksum(file: Mapped, page: usize) -> u64 {
    let bytes = unsafe { std::slice::from_raw_parts((file.0 + page * PAGE) as *const u8, PAGE) };
    bytes.iter().map(|&b| b as u64).sum() // BLOCKS
}

async fn serve_range(file: Mapped, page: usize) -> u64 {
    let t = Instant::now();
    let sum = checksum(file, page);
    took(t.elapsed());
    pause(1).await;
    sum
}

pub fn main() {
    let file = map();
    run(async move {
        field::init();
        canary();
        tokio::spawn(async move {
            for page in 0..PAGES {
                tokio::spawn(serve_range(file, page)).await.unwrap();
                pause(200).await;
            }
        });
        std::future::pending::<()>().await
    });
}
