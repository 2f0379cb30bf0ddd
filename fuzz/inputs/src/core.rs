//! A core dump that comes from anywhere.

use std::cell::RefCell;
use std::sync::Arc;

use looptop_outside::Space;
use looptop_outside::core::{CoreFile, CoreStacks};
use looptop_outside::tasks::{Tasks, Types};
use looptop_unwind::Memory;

use crate::file::Input;
use crate::guard::guarded;

/// The name of the program that lies beside the dump.
pub const PROGRAM: &str = "app";

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> =
        RefCell::new(tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
}

/// The input: the program's file, with its length before it, then the dump.
pub fn run(data: &[u8]) {
    FOLDER.with_borrow(|folder| {
        let mut input = Input(data);
        let path = folder.path().join("core");
        let program = input.part();
        std::fs::write(folder.path().join(PROGRAM), program).expect("a file");
        std::fs::write(&path, input.0).expect("a file");
        guarded(|| {
            let core = match CoreFile::open(&path) {
                Ok(core) => core,
                Err(error) => {
                    let _ = error.to_string();
                    return;
                }
            };
            look(&core);
        });
    });
}

fn look(core: &CoreFile) {
    let _ = (core.name(), core.arguments(), core.lost(), core.signal());
    let mut buffer = [0; 64];
    for mapping in core.mappings().iter().take(1_000) {
        core.read(mapping.range.start, &mut buffer);
        core.read(mapping.range.end - 1, &mut buffer);
        core.pages(&mapping.range);
    }
    let types = Types::of_core(core).ok().map(Arc::new);
    let mut stacks = CoreStacks::of(core, types.as_deref());
    stacks.threads(None);
    let Some(types) = types else { return };
    let mut tasks = Tasks::over(core.clone(), types);
    let pointers: Vec<(u64, u64)> = core.threads().map(|t| (t.tid, t.registers.sp)).collect();
    tasks.read(&pointers);
    tasks.read(&pointers);
}
