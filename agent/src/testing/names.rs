//! Names for stacks of this process, read when a test fails.

use std::cell::RefCell;
use std::sync::Arc;

use looptop_symbols::{Binary, CodeAddress, Resolution, Resolver, name};

use crate::capture::{self, Stack};

thread_local! {
    // Whoever asks once may ask again: reading the symbols takes most of the time.
    static RESOLVER: RefCell<Option<Resolver>> = const { RefCell::new(None) };
}

/// A stack with names.
pub(super) fn resolve(stack: &Stack) -> Resolution {
    let modules = capture::modules();
    let binaries: Vec<Arc<Binary>> = modules
        .into_iter()
        .map(|module| {
            Arc::new(Binary {
                path: module.path,
                build_id: module.build_id,
            })
        })
        .collect();
    let addresses: Vec<CodeAddress> = stack
        .frames
        .iter()
        .map(|(module, offset)| CodeAddress {
            binary: module.and_then(|index| binaries.get(index.0 as usize).cloned()),
            offset: *offset,
        })
        .collect();
    RESOLVER.with_borrow_mut(|resolver| {
        let resolver = resolver.get_or_insert_with(|| Resolver::new(Some(std::process::id())));
        resolver.resolve(&addresses)
    })
}

/// Whether a thread that stands here waits for a job in the blocking pool of some runtime of
/// tokio's.
pub(super) fn is_idle_in_pool(stack: &Stack) -> bool {
    let frames = resolve(stack).frames;
    let functions = frames.iter().filter_map(|frame| frame.function.as_deref());
    let mut functions = functions.map(name::clean);
    functions
        .find(|name| name.starts_with("tokio::"))
        .is_some_and(|name| name.starts_with("tokio::runtime::blocking::pool::"))
}
