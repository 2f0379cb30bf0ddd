//! Whole functions of this process and of its C library, called and interpreted.
#![allow(unsafe_code)]

use std::arch::asm;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use looptop_interpret::{Answers, Code, End, Host, Limits, PAGE, Run, Start, run};

use crate::random::{Random, settings};

/// A process's memory.
struct Process(File);

impl Process {
    fn own() -> Self {
        Self(File::open("/proc/self/mem").unwrap())
    }

    fn of(child: &Child) -> Self {
        Self(File::open(format!("/proc/{}/mem", child.id())).unwrap())
    }
}

impl Host for Process {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        self.0.read_exact_at(page, address).is_ok()
    }
}

fn thread() -> u64 {
    let fs: u64;
    // SAFETY: the C library keeps this address at the beginning of the thread's memory.
    unsafe { asm!("mov {}, fs:0", out(reg) fs) };
    fs
}

fn call(
    host: &mut Process,
    code: &mut Code,
    (function, fs): (u64, u64),
    arguments: [u64; 6],
) -> Run {
    let start = Start {
        function,
        arguments,
        fs: Some(fs),
        writes: Vec::new(),
    };
    let limits = Limits {
        steps: 5_000_000,
        ..Limits::default()
    };
    run(host, code, &start, &Answers::default(), &limits)
}

extern "C" fn sorts(words: &mut [u64; 64]) -> u64 {
    words.sort_unstable();
    words[7]
}

extern "C" fn sorts_stably(words: &mut [u64; 64]) -> u64 {
    words.sort_by_key(|word| word % 100);
    words[11]
}

extern "C" fn formats(words: &mut [u64; 64]) -> u64 {
    let text = format!("{:?} {:>20} {:x}", &words[..4], words[5], words[6]);
    let float = format!("{} {:.3e}", words[7] as f64 / 3.0, f64::from_bits(words[8]));
    words[0] = text.len() as u64;
    text.bytes().chain(float.bytes()).map(u64::from).sum()
}

extern "C" fn parses(words: &mut [u64; 64]) -> u64 {
    let text = format!("{} {}", words[0], words[1] as f64 / 1e5);
    let mut parts = text.split(' ');
    let whole: u64 = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let float: f64 = parts
        .next()
        .and_then(|part| part.parse().ok())
        .unwrap_or(0.0);
    whole ^ float.to_bits()
}

extern "C" fn maps(words: &mut [u64; 64]) -> u64 {
    let mut map = BTreeMap::new();
    for (at, word) in words.iter().enumerate() {
        *map.entry(word % 17).or_insert(0_u64) += at as u64;
    }
    let mut hashed = std::collections::HashMap::new();
    for word in words.iter() {
        *hashed.entry(word % 13).or_insert(0_u64) += 1;
    }
    let last = map
        .last_key_value()
        .map_or(0, |(key, value)| key * 1000 + value);
    last + hashed[&(words[0] % 13)]
}

extern "C" fn calculates(words: &mut [u64; 64]) -> u64 {
    let floats: Vec<f64> = words.iter().map(|word| *word as f64 / 1e12).collect();
    let sum: f64 = floats.iter().sum();
    let roots: f64 = floats.iter().map(|float| float.sqrt().floor()).sum();
    let singles: f32 = floats.iter().map(|float| *float as f32 * 0.1).sum();
    words[1] = sum.to_bits();
    words[2] = roots.to_bits();
    u64::from(singles.to_bits()) + sum as u64
}

extern "C" fn searches(words: &mut [u64; 64]) -> u64 {
    let text: String = words
        .iter()
        .map(|word| char::from(b'a' + (word % 26) as u8))
        .collect();
    let found = text.find("ab").unwrap_or(99) + text.rfind('z').unwrap_or(77);
    let upper = text.to_uppercase();
    (found + upper.matches('E').count()) as u64
}

extern "C" fn counts(words: &mut [u64; 64]) -> u64 {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let counter = Arc::new(AtomicU64::new(words[0]));
    let other = Arc::clone(&counter);
    for word in words.iter() {
        counter.fetch_add(*word, Ordering::SeqCst);
        other.fetch_xor(*word >> 3, Ordering::AcqRel);
        let _ = counter.compare_exchange(words[3], 5, Ordering::SeqCst, Ordering::Relaxed);
    }
    let lock = std::sync::Mutex::new(7);
    *lock.lock().unwrap() += 1;
    let inner = *lock.lock().unwrap();
    counter.load(Ordering::SeqCst).wrapping_add(inner)
}

const FUNCTIONS: [(&str, extern "C" fn(&mut [u64; 64]) -> u64); 8] = [
    ("sorts", sorts),
    ("sorts_stably", sorts_stably),
    ("formats", formats),
    ("parses", parses),
    ("maps", maps),
    ("calculates", calculates),
    ("searches", searches),
    ("counts", counts),
];

const TARGET: &str = "LOOPTOP_INTERPRET_TARGET";

/// The process whose functions are interpreted, when this file runs itself: it waits
/// with an input, then calls the function, and says what it returned.
#[test]
#[ignore = "is run by the others"]
fn target() {
    let Ok(cases) = std::env::var(TARGET) else {
        return;
    };
    let (seed, _) = settings();
    let mut random = Random::new(seed ^ 0xf);
    let mut line = String::with_capacity(100);
    // The thread's first map asks the system for its seed.
    assert!(std::collections::HashMap::<u8, u8>::new().is_empty());
    std::io::stdin().read_line(&mut line).unwrap();
    for _ in 0..cases.parse().unwrap() {
        for (name, function) in FUNCTIONS {
            let small = random.one_in(2);
            let mut input: [u64; 64] = std::array::from_fn(|_| {
                if small {
                    random.below(1000)
                } else {
                    random.word() >> 1
                }
            });
            let at = &raw mut input as u64;
            println!("\ncase {name} {} {at} {}", function as usize, thread());
            line.clear();
            if std::io::stdin().read_line(&mut line).unwrap() == 0 {
                return;
            }
            let returned = function(&mut input);
            let words: Vec<String> = input.iter().map(u64::to_string).collect();
            println!("\nresult {returned} {}", words.join(" "));
        }
    }
    println!("\nend");
}

/// In another process, which waits: in this one the interpreter itself would change the
/// allocator's memory.
#[test]
fn functions_of_a_program_return_what_they_return_natively() {
    let (_, rounds) = settings();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "functions::target", "--ignored", "--nocapture"])
        .env(TARGET, (6 * rounds).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut host = Process::of(&child);
    let mut code = Code::default();
    let (mut steps, mut compared) = (0, 0);
    let mut case = None;
    writeln!(input, "begin").unwrap();
    for line in output.lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        match words.next() {
            Some("case") => {
                let name = words.next().unwrap().to_owned();
                let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
                let [function, at, fs] = numbers[..] else {
                    panic!("{line}")
                };
                let deadline = Instant::now() + Duration::from_secs(20);
                let mut interpreted = loop {
                    let arguments = [at, 0, 0, 0, 0, 0];
                    let run = call(&mut host, &mut code, (function, fs), arguments);
                    // It may not have come to its rest.
                    let is_at_rest = run.unchanged(&mut host);
                    if is_at_rest && matches!(run.end, End::Returned { .. }) {
                        break run;
                    }
                    assert!(Instant::now() < deadline, "{name}: {}", run.end);
                };
                let mut bytes = [0; 512];
                assert!(interpreted.read(&mut host, at, &mut bytes));
                let (after, _) = bytes.as_chunks::<8>();
                let after: Vec<u64> = after.iter().map(|word| u64::from_le_bytes(*word)).collect();
                steps += interpreted.steps;
                let rax = interpreted.state.general[0];
                case = Some((name, [vec![rax], after].concat()));
                writeln!(input, "go on").unwrap();
            }
            Some("result") => {
                let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
                let (name, interpreted) = case.take().unwrap();
                assert_eq!(interpreted, numbers, "{name}");
                compared += 1;
            }
            Some("end") => break,
            _ => {}
        }
    }
    child.wait().unwrap();
    println!("{steps} instructions");
    assert_eq!(compared, 6 * rounds * FUNCTIONS.len());
}

/// Functions of the C library's memory, as the loader chose them for this processor.
fn memory_functions() -> Vec<(&'static str, u64)> {
    let names = [
        c"memcpy",
        c"memmove",
        c"memset",
        c"memcmp",
        c"memchr",
        c"memrchr",
        c"strlen",
        c"strnlen",
        c"strcmp",
        c"strncmp",
        c"strchr",
        c"strrchr",
        c"mempcpy",
        c"rawmemchr",
        c"bcmp",
        c"stpcpy",
        c"strcpy",
        c"strcat",
        c"wmemset",
        c"strchrnul",
    ];
    names
        .into_iter()
        .map(|name| {
            // SAFETY: a symbol of a library that is loaded.
            let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            assert!(!address.is_null(), "{name:?}");
            (name.to_str().unwrap(), address as u64)
        })
        .collect()
}

/// Arguments within one place of memory, such that no function leaves it.
fn arguments(name: &str, at: u64, random: &mut Random) -> [u64; 3] {
    let place = |random: &mut Random| at + random.below(512);
    let length = match random.below(3) {
        0 => random.below(20),
        1 => random.below(300),
        _ => random.below(2048),
    };
    let (a, b) = (place(random), place(random));
    let byte = random.below(4);
    match name {
        "memcpy" | "mempcpy" => [a, at + 4096 + random.below(512), length],
        "memmove" | "memcmp" | "bcmp" | "strncmp" => [a, b, length],
        "memset" => [a, random.next(), length],
        "wmemset" => [a & !3, random.next(), length / 4],
        "memchr" | "memrchr" => [a, byte, length],
        "strnlen" => [a, length, 0],
        // There is always a zero to find.
        "strlen" | "rawmemchr" => [a, 0, 0],
        "stpcpy" | "strcpy" | "strcat" => [a, at + 4096 + random.below(64), 0],
        _ if name.starts_with("strc") && name.ends_with('p') => [a, b, 0],
        _ => [a, byte, 0],
    }
}

/// Two pages and a half; texts of three letters, with an end at last.
fn text(random: &mut Random) -> Vec<u8> {
    let often = random.pick(&[3_u64, 20, 300, 2000]);
    let letter = |random: &mut Random| match random.below(often) {
        0 => 0,
        1 => 2,
        _ => 1 + 2 * u8::from(random.one_in(900)),
    };
    let mut text: Vec<u8> = std::iter::repeat_with(|| letter(random))
        .take(10_240)
        .collect();
    text[3000..3064].fill(0);
    text[5000..].fill(0);
    text
}

#[test]
fn the_c_library_s_memory_functions_do_what_they_do_natively() {
    let (seed, rounds) = settings();
    let mut random = Random::new(seed ^ 0xc);
    let mut host = Process::own();
    let mut code = Code::default();
    let mut steps = 0;
    for _ in 0..25 * rounds {
        for (name, address) in memory_functions() {
            let mut memory = text(&mut random);
            let at = memory.as_mut_ptr() as u64;
            let [a, b, c] = arguments(name, at, &mut random);
            let arguments = [a, b, c, 0, 0, 0];
            let mut interpreted = call(&mut host, &mut code, (address, thread()), arguments);
            let End::Returned { rax, .. } = interpreted.end else {
                panic!("{name}: {}", interpreted.end);
            };
            let mut ours = vec![0; memory.len()];
            for (at_byte, piece) in ours.chunks_mut(1024).enumerate() {
                let from = at + at_byte as u64 * 1024;
                assert!(interpreted.read(&mut host, from, piece));
            }
            // SAFETY: the library's function, with arguments within `memory`.
            let native = unsafe {
                let function: extern "C" fn(u64, u64, u64) -> u64 =
                    std::mem::transmute(address as *const ());
                function(a, b, c)
            };
            let case = format!("{name}({:#x}, {b:#x}, {c})", a - at);
            match name {
                "memcmp" | "strcmp" | "strncmp" => {
                    assert_eq!((rax as i32).signum(), (native as i32).signum(), "{case}");
                }
                "bcmp" => assert_eq!(rax as i32 == 0, native as i32 == 0, "{case}"),
                _ => assert_eq!(rax, native, "{case}"),
            }
            assert!(ours == memory, "{case}");
            steps += interpreted.steps;
        }
    }
    println!("{steps} instructions");
}

/// The library has them once for each kind of processor, and chooses when it is loaded.
#[test]
fn the_c_library_s_other_variants_do_too() {
    let test = "functions::the_c_library_s_memory_functions_do_what_they_do_natively";
    for without in [
        "-AVX512VL,-AVX512BW,-AVX512F",
        "-AVX512VL,-AVX512BW,-AVX512F,-AVX2,-AVX",
        "-AVX512VL,-ERMS,-FSRM",
        "-AVX512VL,-AVX2,-AVX,-SSSE3,-SSE4_1,-SSE4_2,-SSE4_1,-ERMS,-FSRM",
        "-Prefer_No_VZEROUPPER,-AVX512VL,-AVX512BW,Prefer_ERMS,Prefer_FSRM",
    ] {
        let tunables = format!("glibc.cpu.hwcaps={without}");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("GLIBC_TUNABLES", &tunables)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tunables}: {said}{errors}");
        assert!(said.contains("1 passed"), "{said}");
    }
}
