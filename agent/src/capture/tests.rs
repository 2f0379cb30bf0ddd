//! Captures of real threads.
use std::sync::mpsc;
use std::time::Duration;

use super::*;

#[test]
fn quick() {
    install(3).expect("install");
    let (s, r) = mpsc::channel();
    let t = std::thread::spawn(move || {
        register_current_thread();
        s.send(super::thread::current_tid()).unwrap();
        std::thread::sleep(Duration::from_millis(1000));
    });
    let tid = r.recv().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = std::time::Instant::now();
    let stack = capture(tid, &syscall::read(tid));
    println!("{:?} {stack:#x?}", start.elapsed());
    let m = modules();
    for (i, o) in stack.unwrap().frames {
        let p = i.map(|i| m[i.0 as usize].path.clone()).unwrap_or_default();
        let out = std::process::Command::new("addr2line").args(["-Cfpie"]).arg(&p).arg(format!("{o:#x}")).output().unwrap();
        println!("{} {o:#x} {}", p.display(), String::from_utf8_lossy(&out.stdout));
    }
    t.join().unwrap();
}
