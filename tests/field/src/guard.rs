//! The main future of a program, to be run as a test.
use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

thread_local! {
    static PUT: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>> = const { RefCell::new(None) };
}

/// What [`crate::run`] does with it.
pub(crate) fn put(main: impl Future<Output = ()> + 'static) {
    PUT.set(Some(Box::pin(main)));
}

/// Runs the main future of a program for a while: a test that ends, of a service that
/// does not. `GUARD_MS` says for how many milliseconds.
pub async fn for_a_while(program: fn()) {
    program();
    let main = PUT.take().expect("it runs its main future by field::run");
    let millis = std::env::var("GUARD_MS").ok();
    let millis = millis.and_then(|ms| ms.parse().ok()).unwrap_or(1_500);
    let _ = tokio::time::timeout(Duration::from_millis(millis), main).await;
}
