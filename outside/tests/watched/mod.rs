//! A program that runs tokio and knows nothing of who watches it: this very test binary,
//! run as another process, which does what it is told by its standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_procfs::Procfs;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a poll takes that takes too long.
pub(crate) const LONG: Duration = Duration::from_millis(400);

/// Names the runtime for the process that is run.
const FLAVOUR: &str = "LOOPTOP_TEST_TARGET";

pub(crate) struct Target {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Target {
    /// Runs the ignored test `the_target` of this binary with this runtime.
    pub(crate) fn start(flavour: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_target", "--ignored", "--nocapture"])
            .env(FLAVOUR, flavour)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut target = Self {
            child,
            orders,
            answers,
        };
        target.wait_for("ready");
        target
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject::find(&Procfs::default(), self.pid()).unwrap()
    }

    pub(crate) fn order(&mut self, what: &str) {
        writeln!(self.orders, "{what}").unwrap();
        self.orders.flush().unwrap();
    }

    /// Reads on until it says `word`; what stands behind it.
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        for line in self.answers.by_ref().lines() {
            let line = line.expect("it speaks");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
        panic!("it ended before it said {word}");
    }

    /// Where in memory a function of it is.
    pub(crate) fn address(&mut self, function: &str) -> u64 {
        self.order(&format!("where {function}"));
        let answer = self.wait_for("at");
        u64::from_str_radix(&answer, 16).unwrap()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        let process = Procfs::default().process(self.pid());
        process.tids().map_or(0, Iterator::count)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// What follows runs in the other process.

#[inline(never)]
fn sleeps() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

#[inline(never)]
fn computes() {
    let end = Instant::now() + LONG;
    let mut number = 1_u64;
    while Instant::now() < end {
        for _ in 0..1_000 {
            number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
    }
}

#[inline(never)]
fn locks() {
    let lock = Arc::new(Mutex::new(0));
    let (other, held) = (lock.clone(), Arc::new(AtomicBool::new(false)));
    let holds = held.clone();
    std::thread::spawn(move || {
        let _guard = other.lock();
        holds.store(true, Ordering::SeqCst);
        std::thread::sleep(LONG);
    });
    while !held.load(Ordering::SeqCst) {
        std::hint::spin_loop();
    }
    *lock.lock().unwrap() += 1;
}

#[inline(never)]
fn reads() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(LONG);
        writer.write_all(b"x").unwrap();
    });
    reader.read_exact(&mut [0]).unwrap();
}

/// Many short calls in one poll.
#[inline(never)]
fn chats() {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(3));
    }
}

const FUNCTIONS: [(&str, fn()); 5] = [
    ("sleeps", sleeps),
    ("computes", computes),
    ("locks", locks),
    ("reads", reads),
    ("chats", chats),
];

fn function(name: &str) -> Option<fn()> {
    let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, function)| *function)
}

/// Polls of half a millisecond, one after another, without a pause.
async fn yields(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let end = Instant::now() + Duration::from_micros(500);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        tokio::task::yield_now().await;
    }
}

async fn serve(mut orders: UnboundedReceiver<String>, local: bool) {
    let stop = Arc::new(AtomicBool::new(false));
    while let Some(order) = orders.recv().await {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("where", name) => {
                let at = function(name).unwrap() as usize;
                println!("at {at:x}");
            }
            ("yield", count) => {
                stop.store(false, Ordering::Relaxed);
                for _ in 0..count.parse::<u32>().unwrap() {
                    if local {
                        tokio::task::spawn_local(yields(stop.clone()));
                    } else {
                        tokio::spawn(yields(stop.clone()));
                    }
                }
                println!("yielding");
            }
            // Every worker gets something to do, and parks again.
            ("teach", _) => {
                for _ in 0..16 {
                    let brief = async {
                        let end = Instant::now() + Duration::from_micros(200);
                        while Instant::now() < end {
                            std::hint::spin_loop();
                        }
                    };
                    if local {
                        tokio::task::spawn_local(brief);
                    } else {
                        tokio::spawn(brief);
                    }
                }
            }
            ("threads", count) => {
                for _ in 0..count.parse::<u32>().unwrap() {
                    std::thread::spawn(|| std::thread::sleep(Duration::from_millis(2)));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                println!("threads came and went");
            }
            ("exec", _) => {
                use std::os::unix::process::CommandExt;
                panic!("{}", Command::new("cat").exec());
            }
            ("quiet", _) => stop.store(true, Ordering::Relaxed),
            ("place", name) => {
                let function = function(name).unwrap();
                let task = async move { tokio::task::block_in_place(function) };
                tokio::spawn(task).await.unwrap();
                println!("done");
            }
            ("pool", name) => {
                let function = function(name).unwrap();
                tokio::task::spawn_blocking(function).await.unwrap();
                println!("done");
            }
            (name, _) => {
                let function = function(name).unwrap();
                // Its thread parks before it is at it, so that each poll has its own turn.
                let task = async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    println!("begins");
                    function();
                };
                if local {
                    tokio::task::spawn_local(task).await.unwrap();
                } else {
                    tokio::spawn(task).await.unwrap();
                }
                println!("done");
            }
        }
    }
}

fn runtime(flavour: &str) -> Runtime {
    let mut builder = if flavour == "multi" {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        builder
    } else {
        Builder::new_current_thread()
    };
    builder.enable_all().build().unwrap()
}

/// What the process does that [`Target::start`] runs.
pub(crate) fn run() {
    let flavour = std::env::var(FLAVOUR).unwrap();
    let (sender, orders) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    let runtime = runtime(&flavour);
    // The line that the harness has begun has no end yet.
    println!("\nready");
    if flavour == "local" {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, serve(orders, true));
    } else {
        runtime.block_on(serve(orders, false));
    }
}
