//! Each target takes its seeds, and some that were cut or changed, without libFuzzer: so that
//! a target that no longer fits what it calls, or seeds that lead nowhere, are seen.

use std::fs;
use std::path::Path;

use looptop_fuzz_inputs::{TARGETS, snapshot};

#[test]
fn each_target_takes_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for (name, run) in TARGETS {
        let of_memory = ["tasks", "waiting"].contains(name);
        if of_memory && !snapshot::path().exists() {
            eprintln!("{name} needs the dump that `fuzz/run --seeds` writes");
            continue;
        }
        let mut taken = 0;
        for entry in fs::read_dir(seeds.join(name)).expect(name) {
            let seed = fs::read(entry.expect("a seed").path()).expect("a seed");
            run(&seed);
            run(&seed[..seed.len() / 2]);
            let mut changed = seed;
            for byte in changed.iter_mut().step_by(97) {
                *byte ^= 0x41;
            }
            run(&changed);
            taken += 1;
        }
        assert!(taken > 0, "{name} has no seed");
    }
}
