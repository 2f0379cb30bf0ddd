//! How fast code is interpreted: functions of this very program.
//!
//! `cargo run --release -p looptop-interpret --example speed`

use std::fs::File;
use std::time::{Duration, Instant};

use looptop_interpret::{Answers, Code, Host, Limits, PAGE, Start, run};

struct Own(File);

impl Host for Own {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        use std::os::unix::fs::FileExt;
        self.0.read_exact_at(page, address).is_ok()
    }
}

extern "C" fn sorts(words: &mut [u64; 256]) -> u64 {
    words.sort_unstable();
    words[7]
}

extern "C" fn mixes(words: &mut [u64; 256]) -> u64 {
    words.iter().fold(7, |all: u64, word| {
        all.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word
    })
}

extern "C" fn returns(words: &mut [u64; 256]) -> u64 {
    words[0]
}

fn main() -> std::io::Result<()> {
    let mut host = Own(File::open("/proc/self/mem")?);
    let mut code = Code::default();
    let limits = Limits::default();
    let answers = Answers::default();
    let functions: [(&str, extern "C" fn(&mut [u64; 256]) -> u64); 3] =
        [("sorts", sorts), ("mixes", mixes), ("returns", returns)];
    for (name, function) in functions {
        let mut words = [0; 256];
        let mut next = 1_u64;
        for word in &mut words {
            next = next.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *word = next >> 20;
        }
        let start = Start {
            function: function as *const () as u64,
            arguments: [words.as_mut_ptr() as u64, 0, 0, 0, 0, 0],
            ..Start::default()
        };
        let (begun, mut runs, mut steps, mut pages) = (Instant::now(), 0, 0, 0);
        let mut end = None;
        while begun.elapsed() < Duration::from_millis(500) {
            let run = run(&mut host, &mut code, &start, &answers, &limits);
            runs += 1;
            steps += run.steps;
            pages = run.pages;
            end = Some(run.end);
        }
        let took = begun.elapsed();
        println!(
            "{name}: {:.1} instructions a microsecond; a run takes {:.2?}, {} instructions and \
             {} KiB of copies; {}",
            steps as f64 / took.as_micros() as f64,
            took / runs,
            steps / u64::from(runs),
            pages * PAGE / 1024,
            end.map_or_else(String::new, |end| end.to_string()),
        );
    }
    Ok(())
}
