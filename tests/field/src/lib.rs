//! What the field cases share. `blocking` has it for the programs that hold up a
//! worker by a synchronous call, `quiet` for those in which nothing blocks and
//! which still hang, leak or spin. Both run their main future by [`run`].
//!
//! With the feature `guard` nothing runs it there: `examples/guard.rs` takes it and runs
//! it as a test, without the agent.
pub mod blocking;
#[cfg(feature = "guard")]
pub mod guard;
pub mod quiet;

/// The twin without the mistake is asked for.
pub fn cured() -> bool {
    std::env::var_os("FIX").is_some() || std::env::args().any(|a| a == "cured")
}

/// Runs the main future of a program on this runtime.
#[cfg(not(feature = "guard"))]
pub fn run(builder: &mut tokio::runtime::Builder, main: impl Future<Output = ()> + 'static) {
    level(builder).build().unwrap().block_on(main);
}

/// Puts it away for the test.
#[cfg(feature = "guard")]
pub fn run(_: &mut tokio::runtime::Builder, main: impl Future<Output = ()> + 'static) {
    guard::put(main);
}

/// `FIELD_LEVEL`: 2 is the agent's hooks. Level 0 or 1 is how the program was built.
fn hooks() -> bool {
    std::env::var("FIELD_LEVEL").is_ok_and(|level| level == "2")
}

/// The runtime's builder, with the hooks of level 2 if they are asked for.
pub fn level(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    if hooks() {
        looptop_agent::instrument(builder);
    }
    builder
}

/// Starts the agent as an application does; at level 2 without tasks by tracing.
pub fn init() {
    if cfg!(feature = "guard") {
        return;
    }
    if hooks() {
        let _ = looptop_agent::Agent::builder()
            .install_subscriber(false)
            .start();
    } else {
        looptop_agent::init();
    }
}

/// Ends the process after so many seconds, and not before `last` has run: a case
/// whose test has died must not run for ever.
pub fn ends_after(seconds: f64, last: fn()) {
    if cfg!(feature = "guard") {
        return;
    }
    let seconds = std::env::var("RUN_S")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(seconds);
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
        last();
        unsafe { libc::_exit(0) };
    });
}
