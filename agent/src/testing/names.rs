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

/// The clean names of a stack's functions, innermost first, as far as they have any.
pub(super) fn functions(stack: &Stack) -> Vec<String> {
    let frames = resolve(stack).frames;
    let functions = frames.iter().filter_map(|frame| frame.function.as_deref());
    functions.map(name::clean).collect()
}
