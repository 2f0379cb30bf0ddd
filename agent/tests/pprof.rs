//! The profile of what has blocked, at `/debug/pprof/stalls`: what is in it, and to whom it
//! is shown.

mod viewer;

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use looptop_agent::Permission;
use looptop_wire::pprof::schema::{Profile, Sample};
use prost::Message;
use viewer::http::{Application, get};
use viewer::{PATIENCE, alone, level0};

const TOKEN: &str = "correct-horse-battery-staple";
const PATH: &str = "/debug/pprof/stalls";
const BLOCKED: Duration = Duration::from_millis(300);

#[inline(never)]
fn holds_up_the_worker() {
    std::thread::sleep(BLOCKED);
}

fn profile(address: SocketAddr, query: &str) -> Profile {
    let deadline = Instant::now() + PATIENCE;
    let (head, body) = loop {
        let (head, body) = get(address, &format!("{PATH}{query}"), "");
        // It may not have seen anything yet.
        if !head.starts_with("HTTP/1.1 503 ") || Instant::now() > deadline {
            break (head, body);
        }
    };
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut bytes = Vec::new();
    let unpacked = GzDecoder::new(&*body).read_to_end(&mut bytes);
    unpacked.expect("gzip");
    Profile::decode(&*bytes).expect("a profile")
}

fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).expect("an index")]
}

/// The functions of a sample's stack, innermost first.
fn functions<'a>(profile: &'a Profile, sample: &Sample) -> Vec<&'a str> {
    let location = |id: &u64| profile.location.iter().find(|l| l.id == *id);
    let locations = sample.location_id.iter().filter_map(location);
    let lines = locations.flat_map(|location| &location.line);
    let function = |id: u64| profile.function.iter().find(|f| f.id == id);
    lines
        .filter_map(|line| Some(text(profile, function(line.function_id)?.name)))
        .collect()
}

/// The sample of the function that blocks.
fn culprit(profile: &Profile) -> Option<&Sample> {
    let mut samples = profile.sample.iter();
    samples.find(|sample| {
        let names = functions(profile, sample);
        let is_it = |name: &&str| name.contains("holds_up_the_worker");
        // Without symbols there is one stack of addresses.
        names.iter().any(is_it) || (names.is_empty() && !cfg!(feature = "symbols"))
    })
}

/// Asks until the profile is as it should be.
fn until<T>(address: SocketAddr, query: &str, pick: impl Fn(&Profile) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let profile = profile(address, query);
        if let Some(found) = pick(&profile) {
            return found;
        }
        assert!(Instant::now() < deadline, "{query}: {profile:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_stall_is_in_the_profile_with_the_function_that_is_to_blame() {
    let _alone = alone();
    let application = Application::new(level0());
    let port = application.port();
    let empty = profile(port, "");
    let kinds: Vec<_> = empty.sample_type.iter().map(|v| v.r#type).collect();
    let kinds: Vec<_> = kinds.iter().map(|kind| text(&empty, *kind)).collect();
    assert_eq!(kinds, ["stalls", "blocked"]);
    let long = i64::try_from(BLOCKED.as_nanos()).expect("it fits");
    let whole = |profile: &Profile| {
        let sample = culprit(profile)?;
        let label = |key: &str| {
            let mut labels = sample.label.iter();
            let found = labels.find(|label| text(profile, label.key) == key);
            found.map(|label| text(profile, label.str).to_owned())
        };
        let (count, blocked) = (sample.value[0], sample.value[1]);
        (blocked >= count * long).then(|| (count, blocked, label("cause")))
    };
    // Again and again: one whose names are not read in time is counted by its addresses.
    let (count, _, cause) = until(port, "", |profile| {
        let found = whole(profile);
        if found.is_none() {
            let blocks = application.runtime.spawn(async { holds_up_the_worker() });
            application.runtime.block_on(blocks).expect("it ends");
        }
        found
    });
    assert!(count >= 1);
    assert_eq!(cause.as_deref(), Some("sleeping"));
    // They are in the last minutes, and then no more in the last second; at all they stay.
    let (in_an_hour, ..) = until(port, "?seconds=3600", whole);
    assert!(in_an_hour >= count);
    until(port, "?seconds=1", |profile| {
        profile.sample.is_empty().then_some(())
    });
    let (still, ..) = until(port, "", whole);
    assert!(still >= in_an_hour);
    let (head, _) = get(port, &format!("{PATH}?seconds=x"), "");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn who_may_not_see_names_gets_no_stacks() {
    let _alone = alone();
    let builder = level0().allow_user("none").token(TOKEN);
    let builder = builder.permit(Permission::Numbers);
    let application = Application::new(builder.allow_metrics("machine"));
    let port = application.port();
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    // Who may read /metrics and nothing else.
    let (head, _) = get(port, "/metrics", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (head, _) = get(port, PATH, "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let (head, body) = get(port, PATH, &token);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("LOOPTOP_PERMIT=names"), "{body}");
    drop(application);
    let application = Application::new(level0().allow_user("none").token(TOKEN));
    let (head, _) = get(application.port(), PATH, &token);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // Where there is no /metrics there is no profile.
    drop(application);
    let application = Application::new(level0().metrics(false));
    let port = application.port();
    let refused = std::panic::catch_unwind(|| get(port, PATH, ""));
    assert!(!refused.is_ok_and(|(head, _)| head.contains(" 200 ")));
}
