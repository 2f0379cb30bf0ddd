//! What a failed test says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use looptop_symbols::{CallKind, Culprit, Frame, Origin, Resolution, Row, culprit, fold};

use super::lookout::Seen;
use super::names;
use super::polls::{Block, Whose};
use super::root::StoodStill;
use super::settings::Settings;
use super::standstill::Still;
use super::tasks::{Listed, Task};
use crate::capture::Stack;
use crate::evidence::Cause;

/// Findings of one kind that are written.
const MAX_WRITTEN: usize = 8;

/// All that was seen of a test, in words; `None` where nothing is wrong.
pub(super) fn of(
    settings: &Settings,
    seen: &Seen,
    leaked: Option<&Listed>,
    stood_still: Option<(&StoodStill, &Listed, &[Block])>,
) -> Option<String> {
    let mut parts = Vec::new();
    if let (Some(still), Some((root, tasks, in_progress))) = (&seen.stood_still, stood_still) {
        parts.push(deadlock(settings, still, root, tasks, in_progress));
    }
    parts.extend(blocks(settings, &seen.blocks, seen.more));
    if let Some(leaked) = leaked {
        parts.extend(leak(settings, leaked));
    }
    (!parts.is_empty()).then(|| whole(settings, &parts))
}

fn whole(settings: &Settings, parts: &[String]) -> String {
    format!("looptop: {}\n\n{}", settings.name, parts.join("\n"))
}

/// Says on standard error what no panic can say: the test's own thread never goes on.
pub(super) fn for_ever(settings: &Settings, still: &Still, in_progress: Vec<Block>) {
    let mut text = standstill(still);
    for block in in_progress {
        text.push_str(&one_block(settings, &block, 1, Length::ForEver));
    }
    let whole = whole(settings, &[text]);
    say(&format!(
        "\n{whole}\nThe process ends here with {}: no other thread can go on either.\n",
        super::FAILED
    ));
}

/// Says on standard error that a test hangs, if only for now.
pub(super) fn goes_on(settings: &Settings, lasting: &[Block]) {
    let is_allowed = |block: &&Block| settings.allows_stack(&resolution(block).frames);
    let parts: Vec<String> = lasting
        .iter()
        .filter(|block| !is_allowed(block))
        .map(|block| one_block(settings, block, 1, Length::SoFar))
        .collect();
    if !parts.is_empty() {
        say(&format!(
            "\n{}\nThe test goes on.\n",
            whole(settings, &parts)
        ));
    }
}

/// Says on standard error which jobs of the blocking pool keep the runtime of a test that has
/// ended.
pub(super) fn waits_for_jobs(settings: &Settings, waited: Duration, jobs: &[Resolution]) {
    let mut kinds: BTreeMap<String, (&Resolution, usize)> = BTreeMap::new();
    for job in jobs {
        let place = culprit(&job.frames).map(|culprit| {
            let location = culprit.location();
            place(&culprit.function, location)
        });
        let place = place.unwrap_or_else(|| "an unknown function".into());
        kinds.entry(place).or_insert((job, 0)).1 += 1;
    }
    let seconds = waited.as_secs_f64();
    let mut text = format!(
        "the test has ended, and its runtime waits for jobs of spawn_blocking, {seconds:.1} s \
         long\n"
    );
    for (place, (job, times)) in kinds.iter().take(MAX_WRITTEN) {
        let _ = writeln!(text, "  job    {times} x {place}");
        text.push_str(&stack(&job.frames));
    }
    say(&format!("\n{}\n", whole(settings, &[text])));
}

/// Past the capture of the test harness, which would keep it.
fn say(text: &str) {
    let mut error = std::io::stderr().lock();
    let _ = std::io::Write::write_all(&mut error, text.as_bytes());
}

// ---------------------------------------------------------------- polls that block

/// What is known of how long a poll took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Ended,
    SoFar,
    ForEver,
}

/// Blocks that are one mistake, with the longest of them.
struct Mistake<'a> {
    block: &'a Block,
    resolution: Resolution,
    culprit: Option<Culprit>,
    times: usize,
}

fn blocks(settings: &Settings, blocks: &[Block], more: u64) -> Option<String> {
    let mut mistakes: BTreeMap<String, Mistake<'_>> = BTreeMap::new();
    for (number, block) in blocks.iter().enumerate() {
        let resolution = resolution(block);
        if settings.allows_stack(&resolution.frames) {
            continue;
        }
        let culprit = culprit(&resolution.frames);
        let key = culprit.as_ref().map_or_else(
            || format!("~{number}"),
            |c| format!("{} {:?}", c.function, c.line),
        );
        let mistake = mistakes.entry(key).or_insert(Mistake {
            block,
            resolution: Resolution::default(),
            culprit: None,
            times: 0,
        });
        mistake.times += 1;
        if mistake.times == 1 || block.duration_ns > mistake.block.duration_ns {
            (mistake.block, mistake.resolution, mistake.culprit) = (block, resolution, culprit);
        }
    }
    if mistakes.is_empty() {
        return None;
    }
    let mut mistakes: Vec<Mistake<'_>> = mistakes.into_values().collect();
    mistakes.sort_by_key(|mistake| std::cmp::Reverse(mistake.block.duration_ns));
    let mut text = String::new();
    for mistake in mistakes.iter().take(MAX_WRITTEN) {
        text.push_str(&written(settings, mistake, Length::Ended));
    }
    let left_out = mistakes.len().saturating_sub(MAX_WRITTEN) as u64 + more;
    if left_out > 0 {
        let _ = writeln!(text, "and {left_out} more");
    }
    Some(text)
}

fn one_block(settings: &Settings, block: &Block, times: usize, length: Length) -> String {
    let resolution = resolution(block);
    let culprit = culprit(&resolution.frames);
    let mistake = Mistake {
        block,
        resolution,
        culprit,
        times,
    };
    written(settings, &mistake, length)
}

fn resolution(block: &Block) -> Resolution {
    let stack = block.stacks.first();
    stack
        .map(|seen| names::resolve(&seen.stack))
        .unwrap_or_default()
}

fn written(settings: &Settings, mistake: &Mistake<'_>, length: Length) -> String {
    let Mistake {
        block,
        resolution,
        culprit,
        times,
    } = mistake;
    let call = culprit.as_ref().and_then(|c| c.blocking_call.as_ref());
    let took = millis(block.duration_ns);
    let limit = millis(settings.max_poll_ns());
    let mut text = match length {
        Length::Ended => format!("blocked: a poll took {took}, the limit is {limit}"),
        Length::SoFar => format!("still blocked: a poll has taken {took}, the limit is {limit}"),
        Length::ForEver => format!("blocked for ever: a poll took {took}"),
    };
    if *times > 1 {
        let _ = write!(text, " ({times} such polls, this is the longest)");
    }
    text.push('\n');
    let mut line = |title: &str, words: &str| {
        let _ = writeln!(text, "  {title:<6} {words}");
    };
    match culprit {
        Some(culprit) => line("where", &place(&culprit.function, culprit.location())),
        None => line(
            "where",
            block
                .no_stack
                .as_deref()
                .unwrap_or("no stack could be taken"),
        ),
    }
    let what = call.map(|call| call.name.to_owned());
    let what = what.or_else(|| culprit.as_ref().and_then(|c| c.within.clone()));
    line("why", &why(block, what.as_deref()));
    let who = match block.whose {
        Whose::Root => "the test itself".to_owned(),
        Whose::Worker(_) => match &resolution.future {
            Some(future) => format!("the task {}", looptop_symbols::name::short_future(future)),
            None => "a task".to_owned(),
        },
    };
    line("who", &who);
    if let Some(remedy) = remedy(call.map(|call| call.kind), block.cause) {
        line("try", remedy);
    }
    text.push_str(&stack(&resolution.frames));
    for problem in resolution.problems.iter().chain(&resolution.no_lines) {
        let _ = writeln!(text, "  ({problem})");
    }
    text
}

fn why(block: &Block, call: Option<&str>) -> String {
    let mut text = match block.cause {
        Cause::Computing => "it computes".to_owned(),
        Cause::Sleeping => "it sleeps".to_owned(),
        Cause::Lock => "it waits for another thread".to_owned(),
        Cause::SystemCall => "it waits in a system call".to_owned(),
        Cause::Page => "it waits for a page of memory".to_owned(),
        Cause::StarvedByHost | Cause::Stopped | Cause::Unknown => "it does not end".to_owned(),
    };
    if let Some(call) = call {
        let _ = write!(text, " in {call}");
    }
    let details: Vec<&str> = block
        .syscall
        .as_deref()
        .into_iter()
        .chain(block.object.as_deref())
        .collect();
    if !details.is_empty() && block.cause != Cause::Computing {
        let _ = write!(text, " ({})", details.join(" on "));
    }
    if block.host_ns >= 1_000_000 {
        let _ = write!(
            text,
            "; {} of it were the machine's and do not count",
            millis(block.host_ns)
        );
    }
    text
}

/// What to do instead, in a few words.
fn remedy(kind: Option<CallKind>, cause: Cause) -> Option<&'static str> {
    Some(match kind {
        Some(CallKind::Sleep) => "tokio::time::sleep(..).await",
        Some(CallKind::File) => "tokio::fs, or tokio::task::spawn_blocking around the call",
        Some(CallKind::Terminal) => "a thread of its own that sends what it reads on a channel",
        Some(CallKind::Output) => "a writer that does not block, such as tracing-appender's",
        Some(CallKind::Network) => "tokio::net",
        Some(CallKind::NameResolution) => "tokio::net::lookup_host",
        Some(CallKind::Http) => "an async client, such as reqwest::Client",
        Some(CallKind::Database) => "an async driver, or tokio::task::spawn_blocking",
        Some(CallKind::Lock) => {
            "hold the lock for less, never across an await, or use tokio::sync's"
        }
        Some(CallKind::Condition) => "tokio::sync::Notify or a channel of tokio's",
        Some(CallKind::Channel) => "a channel of tokio::sync",
        Some(CallKind::Join) => "tokio::task::spawn_blocking, and await its handle",
        Some(CallKind::Process) => "tokio::process",
        Some(CallKind::NestedExecutor) => "await the future instead of a second block_on",
        Some(CallKind::Compute) => "tokio::task::spawn_blocking, or rayon for more of it",
        None if cause == Cause::Computing => {
            "tokio::task::spawn_blocking, or tokio::task::yield_now between parts of the work"
        }
        None => return None,
    })
}

// ---------------------------------------------------------------- leaks

fn leak(settings: &Settings, listed: &Listed) -> Option<String> {
    let is_leaked = |task: &&Task| !settings.allows_task(&task.future);
    let tasks: Vec<&Task> = listed.tasks.iter().filter(is_leaked).collect();
    let count = if listed.problem.is_some() {
        listed.alive
    } else {
        tasks.len()
    };
    if count == 0 {
        return None;
    }
    let mut text = match count {
        1 => "leaked: 1 task is still alive after the test\n".to_owned(),
        _ => format!("leaked: {count} tasks are still alive after the test\n"),
    };
    text.push_str(&task_lines(&tasks));
    if let Some(problem) = &listed.problem {
        let _ = writeln!(text, "  (which ones is not known: {problem})");
    }
    text.push_str("  try    await its handle, abort it, or give it a signal to end\n");
    Some(text)
}

/// Tasks of one future in one entry.
fn task_lines(tasks: &[&Task]) -> String {
    let mut kinds: BTreeMap<(String, String), usize> = BTreeMap::new();
    for task in tasks {
        let key = (task.label(), task.waits.clone());
        *kinds.entry(key).or_default() += 1;
    }
    let mut text = String::new();
    for ((label, waits), times) in kinds.iter().take(MAX_WRITTEN) {
        let times = match times {
            1 => String::new(),
            times => format!("{times} x "),
        };
        let _ = writeln!(text, "  task   {times}{label}");
        for line in waits.lines() {
            let _ = writeln!(text, "         {line}");
        }
    }
    let left_out = kinds.len().saturating_sub(MAX_WRITTEN);
    if left_out > 0 {
        let _ = writeln!(text, "  and {left_out} more kinds of tasks");
    }
    text
}

// ---------------------------------------------------------------- deadlocks

fn deadlock(
    settings: &Settings,
    still: &Still,
    root: &StoodStill,
    listed: &Listed,
    in_progress: &[Block],
) -> String {
    let mut text = standstill(still);
    let stack = root.stack.as_ref();
    match stack.map(waiting).filter(|lines| !lines.is_empty()) {
        Some(lines) => {
            text.push_str("  test   the test itself waits\n");
            for line in lines {
                let _ = writeln!(text, "         {line}");
            }
        }
        None => text.push_str("  test   the test itself waits, it is not known where\n"),
    }
    text.push_str(&task_lines(&listed.tasks.iter().collect::<Vec<_>>()));
    if let Some(problem) = &listed.problem {
        let _ = writeln!(
            text,
            "  ({} tasks are alive; where they wait is not known: {problem})",
            listed.alive
        );
    }
    for block in in_progress {
        text.push_str(&one_block(settings, block, 1, Length::ForEver));
    }
    let wait_for_time = |task: &Task| task.waits.contains("waits for a timer");
    if !in_progress.is_empty() && listed.tasks.iter().any(wait_for_time) {
        text.push_str(
            "  (timers run out while a worker looks after them, and none does: the one that was \
             to is blocked)\n",
        );
    }
    text
}

fn standstill(still: &Still) -> String {
    format!(
        "deadlock: nothing has run for {}, and nothing can: each thread waits for another one, \
         none for a timer or I/O\n",
        seconds(still.for_ns)
    )
}

/// Where the test's own future waits: its async code, from the outside in, and what it
/// awaits in the end.
fn waiting(stack: &Stack) -> Vec<String> {
    let frames = names::resolve(stack).frames;
    // What took the stack stands inside of the copy of the waker.
    let begins = frames.iter().rposition(|frame| {
        let function = frame.function.as_deref();
        function.is_some_and(|f| {
            looptop_symbols::name::clean(f).starts_with("looptop_agent::capture::waiting::clone")
        })
    });
    let frames = &frames[begins.map_or(0, |at| at + 1)..];
    let frames = &frames[..runner(frames).unwrap_or(frames.len())];
    let is_waker = |frame: &&Frame| {
        let function = frame.function.as_deref().map(looptop_symbols::name::clean);
        function.is_some_and(|f| f.contains("task::wake::"))
    };
    let innermost = frames
        .iter()
        .filter(|frame| !is_waker(frame))
        .take_while(|frame| frame.origin != Origin::User)
        .filter(|frame| frame.origin != Origin::User && frame.function.is_some())
        .last();
    let mut lines: Vec<String> = frames
        .iter()
        .rev()
        .filter(|frame| frame.origin == Origin::User)
        .map(|frame| place(&frame.label(), frame.location()))
        .collect();
    lines.extend(innermost.map(|frame| format!("for {}", frame.label())));
    lines
}

// ---------------------------------------------------------------- words

fn place(function: &str, location: Option<String>) -> String {
    match location {
        Some(location) => format!("{function} ({location})"),
        None => function.to_owned(),
    }
}

/// Position of the innermost frame of what runs the test.
fn runner(frames: &[Frame]) -> Option<usize> {
    frames.iter().position(|frame| {
        let function = frame.function.as_deref().map(looptop_symbols::name::clean);
        function.is_some_and(|f| f.contains("looptop_agent::testing::"))
    })
}

fn stack(frames: &[Frame]) -> String {
    // Whoever runs the test is of no interest.
    let frames = &frames[..runner(frames).unwrap_or(frames.len())];
    let mut text = String::new();
    for (number, row) in fold(frames).into_iter().enumerate() {
        let title = if number == 0 { "stack" } else { "" };
        let words = match row {
            Row::Frame(at) => place(&frames[at].label(), frames[at].location()),
            Row::Hidden(count) => format!("... {count} more"),
        };
        let _ = writeln!(text, "  {title:<6} {words}");
    }
    text
}

fn millis(ns: u64) -> String {
    let ms = ns / 1_000_000;
    match ms {
        0..10 => format!("{:.1} ms", ns as f64 / 1e6),
        10..10_000 => format!("{ms} ms"),
        _ => seconds(ns),
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.1} s", ns as f64 / 1e9)
}
