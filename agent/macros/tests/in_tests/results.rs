//! What a test returns, its own panics, switches, and guards in existing tests.

use std::time::Duration;

use crate::red::{run, run_with};

const LONG: Duration = Duration::from_millis(400);

#[looptop_agent::test]
async fn a_result_may_be_returned() -> Result<(), std::io::Error> {
    let text = tokio::fs::read_to_string("/proc/self/comm").await?;
    assert!(!text.is_empty());
    Ok(())
}

#[looptop_agent::test]
#[ignore = "fails on purpose"]
async fn an_error_stays_one() -> Result<(), String> {
    std::thread::sleep(LONG);
    Err("no such order".to_owned())
}

#[looptop_agent::test]
#[ignore = "fails on purpose"]
async fn a_panic_stays_one() {
    std::thread::sleep(LONG);
    assert_eq!(1 + 1, 3, "on purpose");
}

#[looptop_agent::test]
#[should_panic(expected = "on purpose")]
async fn a_panic_may_be_expected() {
    panic!("on purpose");
}

#[looptop_agent::test(max_poll = "2s")]
async fn the_limit_may_be_raised() {
    std::thread::sleep(LONG);
}

#[looptop_agent::test(max_poll = "20ms")]
#[ignore = "fails on purpose"]
async fn or_lowered() {
    std::thread::sleep(Duration::from_millis(80));
}

fn allowed() {
    std::thread::sleep(LONG);
}

#[looptop_agent::test(allow = ["results::allowed"])]
async fn a_function_may_be_allowed() {
    allowed();
}

#[looptop_agent::test(allow = ["results::other"])]
#[ignore = "fails on purpose"]
async fn another_one_is_not() {
    allowed();
}

#[tokio::test]
#[ignore = "fails on purpose"]
async fn an_existing_test_with_a_guard() {
    let _watch = looptop_agent::testing::watch();
    std::thread::sleep(LONG);
}

#[tokio::test]
async fn a_guard_is_content_with_what_is_right() {
    let watch = looptop_agent::testing::watch().max_poll(Duration::from_secs(2));
    let answer = watch.run(async {
        tokio::time::sleep(LONG).await;
        tokio::spawn(async { 7 }).await
    });
    assert_eq!(answer.await.expect("no panic"), 7);
}

#[tokio::test]
#[ignore = "fails on purpose"]
async fn a_guard_around_code_that_blocks() {
    let watch = looptop_agent::testing::watch();
    watch.run(async { std::thread::sleep(LONG) }).await;
}

#[test]
fn what_fails_by_itself_says_that_and_what_was_seen() {
    let test = "results::an_error_stays_one";
    run(test).assert_red(test, &["no such order", "blocked: a poll took"]);
    let test = "results::a_panic_stays_one";
    run(test).assert_red(test, &["on purpose", "blocked: a poll took"]);
}

#[test]
fn limits_guards_and_lists_are_kept() {
    for test in [
        "or_lowered",
        "another_one_is_not",
        "an_existing_test_with_a_guard",
        "a_guard_around_code_that_blocks",
    ] {
        let test = format!("results::{test}");
        run(&test).assert_red(&test, &["blocked: a poll took", "std::thread::sleep"]);
    }
}

#[test]
fn switched_off_it_is_a_test_of_tokio() {
    let ran = run_with("results::or_lowered", &[("LOOPTOP_TEST", "off")]);
    assert!(!ran.failed, "{}", ran.said);
}

/// `cargo test -p looptop-agent-macros -- --ignored --nocapture what_a_passing_test_costs`
#[test]
#[ignore = "it measures"]
fn what_a_passing_test_costs() {
    use std::time::Instant;
    use tokio::runtime::Builder;
    const TESTS: u32 = 300;

    fn single() -> Builder {
        let mut builder = Builder::new_current_thread();
        builder.enable_all();
        builder
    }
    fn many() -> Builder {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().worker_threads(2);
        builder
    }
    async fn body() {
        for _ in 0..1_000 {
            tokio::spawn(tokio::task::yield_now())
                .await
                .expect("no panic");
        }
    }
    for (name, builder) in [
        ("current-thread", single as fn() -> Builder),
        ("2 workers", many),
    ] {
        let mut took = [Duration::ZERO; 2];
        // In turns, so that what else runs here meets both.
        for _ in 0..TESTS {
            let began = Instant::now();
            builder().build().expect("a runtime").block_on(body());
            took[0] += began.elapsed();
            let began = Instant::now();
            let test = looptop_agent::testing::Test::new("a test");
            test.run(builder(), body(), |()| false);
            took[1] += began.elapsed();
        }
        let [plain, watched] = took.map(|all| all / TESTS);
        println!("{name}: {plain:.1?} without, {watched:.1?} with");
    }
}

/// A test that a macro writes, with what it was given.
macro_rules! written {
    ($(#[$attribute:meta])* $name:ident, $workers:literal, $limit:literal, $($allow:literal)*,
        $output:ty, $body:block) => {
        $(#[$attribute])*
        #[looptop_agent::test(
            flavor = "multi_thread", worker_threads = $workers, max_poll = $limit,
            allow = [$($allow),*]
        )]
        async fn $name() -> $output $body
    };
}

written!(by_a_macro, 2, "5s", "one" "two", Result<(), std::fmt::Error>, {
    assert_eq!(tokio::runtime::Handle::current().metrics().num_workers(), 2);
    Ok(())
});
