//! A large heap, and tasks to which nothing but that heap leads.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{Outcome, until_dismissed};
use crate::{
    arguments::Arguments,
    process::resident,
    setup::{self, Observed, Shape},
};

/// Nobody drives this runtime, and no thread has it on its stack.
static KEPT: Mutex<Option<Box<Kept>>> = Mutex::new(None);

struct Kept {
    observed: Observed,
    records: Vec<Record>,
    index: HashMap<String, Arc<Record>>,
    ordered: BTreeMap<u64, Box<dyn Describe>>,
}

/// Prints the resident bytes and the tasks that tokio counts, and stays.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = arguments.required("megabytes")? << 20;
    let tasks = arguments.required("tasks")?;
    // On a thread of its own, so that no word of it stays on a stack.
    let made = thread::spawn(move || make(bytes, tasks).map_err(|error| error.to_string()));
    let alive = made.join().map_err(|_| "the heap's thread panicked")??;
    println!("resident_bytes {}", resident()?);
    println!("alive {alive}");
    std::io::stdout().flush()?;
    until_dismissed();
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = &*kept {
        println!(
            "alive {}",
            kept.observed.runtime.metrics().num_alive_tasks()
        );
        println!("records {}", kept.count());
    }
    std::io::stdout().flush()?;
    std::process::exit(0);
}

impl Kept {
    fn count(&self) -> usize {
        let described = self.ordered.values().filter(|value| value.length() > 0);
        self.records.len() + self.index.len() + described.count()
    }
}

fn make(bytes: u64, tasks: u64) -> Result<usize, Box<dyn std::error::Error>> {
    let observed = setup::start(Shape::CurrentThread)?;
    for index in 0..tasks {
        observed.runtime.spawn(wait_with(index));
    }
    let alive = observed.runtime.metrics().num_alive_tasks();
    let mut kept = Box::new(Kept {
        observed,
        records: Vec::new(),
        index: HashMap::new(),
        ordered: BTreeMap::new(),
    });
    fill(&mut kept, bytes)?;
    let mut place = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    *place = Some(kept);
    Ok(alive)
}

async fn wait_with(index: u64) -> u64 {
    let state = [index; 12];
    std::future::pending::<()>().await;
    state[7]
}

/// What a service holds: texts, bodies, maps, pointers from one to the other, and
/// pointers to constants of the program, as each trait object has one.
struct Record {
    id: u64,
    name: String,
    body: Vec<u8>,
    parts: Vec<Box<dyn Describe>>,
    before: Option<Arc<Record>>,
}

trait Describe: Send + Sync {
    fn length(&self) -> usize;
}

impl Describe for String {
    fn length(&self) -> usize {
        self.len()
    }
}

impl Describe for [u64; 9] {
    fn length(&self) -> usize {
        self.len()
    }
}

impl Describe for Record {
    fn length(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.length()).sum();
        let before = self.before.as_ref().map_or(0, |record| record.name.len());
        self.name.len() + self.body.len() + parts + before
    }
}

fn fill(kept: &mut Kept, bytes: u64) -> std::io::Result<()> {
    let mut number = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut newest: Option<Arc<Record>> = None;
    for id in 0.. {
        if id % 4_096 == 0 && resident()? >= bytes {
            break;
        }
        let record = record(id, &mut number, newest.clone());
        match number.below(3) {
            0 => kept.records.push(record),
            1 => {
                let record = Arc::new(Record {
                    before: None,
                    ..record
                });
                kept.index.insert(record.name.clone(), Arc::clone(&record));
                newest = Some(record);
            }
            _ => drop(kept.ordered.insert(record.id, Box::new(record))),
        }
    }
    Ok(())
}

fn record(id: u64, number: &mut Numbers, before: Option<Arc<Record>>) -> Record {
    // Most bodies are small, some have pages.
    let length = match number.below(20) {
        0 => 4_096 + number.below(30_000),
        1..=4 => 500 + number.below(3_000),
        _ => number.below(300),
    };
    let body = (0..length).map(|at| b"{\"key\": 17, "[at as usize % 12]);
    let parts = (0..number.below(4)).map(|part| -> Box<dyn Describe> {
        if part % 2 == 0 {
            Box::new(format!("part {part} of {id}"))
        } else {
            Box::new([id; 9])
        }
    });
    Record {
        id,
        name: format!("customer/{id}/order/{}", number.below(1_000)),
        body: body.collect(),
        parts: parts.collect(),
        before,
    }
}

/// The same numbers in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
