//! Prints the futures of a program's tasks: how each is named, whether that is certain,
//! where it is written.
//!
//! `cargo run --release -p looptop-symbols --example futures -- PROGRAM [whole]`

use std::path::Path;
use std::time::Instant;

use looptop_symbols::Futures;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: futures PROGRAM [whole]");
        return;
    };
    let whole = arguments.next().is_some();
    let start = Instant::now();
    let Some(mut futures) = Futures::load(Path::new(&path)) else {
        eprintln!("{path} is no program");
        return;
    };
    let loaded = start.elapsed();
    let start = Instant::now();
    let tasks = futures.vtables().to_vec();
    for task in &tasks {
        let name = futures.name(task, None);
        let place = futures.place(task, None);
        let place = place.map(|place| place.to_string()).unwrap_or_default();
        let certain = if name.certain { ' ' } else { '?' };
        let text = if whole { &name.text } else { &name.short };
        println!("{:8}{certain} {text}  [{place}]", format!("{:?}", name.by));
    }
    eprintln!(
        "{} types: loaded in {loaded:.1?}, named in {:.1?}",
        tasks.len(),
        start.elapsed()
    );
}
