//! A tiny program with debug information as tokio's tasks have it: its file is a seed.
#![no_std]
#![no_main]
#![allow(dead_code)]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

pub mod runtime {
    pub mod task {
        pub mod core {
            pub enum Stage<T> {
                Running(T),
                Finished(u64),
                Consumed,
            }
        }
        pub mod raw {
            use super::core::Stage;
            use ::core::future::Future;
            use ::core::pin::Pin;
            use ::core::task::{Context, Poll};

            #[inline(never)]
            pub fn poll<T: Future<Output = u64>, S>(stage: &mut Stage<T>, cx: &mut Context<'_>) {
                if let Stage::Running(future) = stage {
                    let future = unsafe { Pin::new_unchecked(future) };
                    if let Poll::Ready(value) = future.poll(cx) {
                        *stage = Stage::Finished(value);
                    }
                }
            }

            #[inline(never)]
            pub fn shutdown<T: Future<Output = u64>, S>(stage: &mut Stage<T>) {
                *stage = Stage::Consumed;
            }
        }
    }
}

use runtime::task::{core::Stage, raw};

pub struct Scheduler;

pub struct Sleep(u64);

impl Future for Sleep {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        cx.waker().wake_by_ref();
        if self.0 > 3 { Poll::Ready(self.0) } else { Poll::Pending }
    }
}

async fn inner(n: u64) -> u64 {
    let kept = [n; 4];
    Sleep(n).await + kept[(n & 3) as usize]
}

async fn outer(n: u64) -> u64 {
    let boxed: &mut dyn Future<Output = u64> = &mut Sleep(n);
    let boxed = unsafe { Pin::new_unchecked(boxed) };
    inner(n).await + boxed.await
}

#[unsafe(no_mangle)]
pub extern "C" fn _start(n: u64) -> ! {
    let mut stage = Stage::Running(outer(n));
    let waker = core::task::Waker::noop();
    let mut cx = Context::from_waker(waker);
    raw::poll::<_, Scheduler>(&mut stage, &mut cx);
    raw::shutdown::<_, Scheduler>(&mut stage);
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
