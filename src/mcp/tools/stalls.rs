//! `stalls`: the polls that took too long, by culprit, with stacks.

use std::{fmt::Write, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Desk, Failure, Kind, Wanted, limit, seconds,
    shown::{Frame, own_frames, place, round},
};
use crate::{
    app::{
        quantity,
        tables::{StallGroup, group},
    },
    escape::escaped,
    mcp::answer::more,
    model::{Capability, Model, Resolved, Span},
};

pub(super) struct Stalls;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a recording; by default the
    /// only program there is.
    target: Option<String>,
    /// For how long the target must have been watched, 0 to 60 (default 5). The first call
    /// waits so long; later ones answer at once.
    #[schemars(range(min = 0.0, max = 60.0))]
    seconds: Option<f64>,
    /// Culprits at most (default 5).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// Stalls by culprit.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The target as it was named.
    target: String,
    /// The application's name; empty where unknown.
    name: String,
    /// A poll over this is a stall.
    threshold_ms: f64,
    /// By culprit, those that took the most time first.
    culprits: Vec<Culprit>,
    /// Culprits that are left out.
    more_culprits: usize,
    /// What the target cannot show of stalls, and why.
    not_shown: Vec<String>,
}

/// The stalls of one culprit.
#[derive(Debug, Serialize, JsonSchema)]
struct Culprit {
    /// The blocking function; null where no stack names it.
    function: Option<String>,
    /// Its `file:line`, otherwise where the task was spawned; null where unknown.
    location: Option<String>,
    /// What took the most time: computing, sleeping, a lock, a system call.
    cause: String,
    /// How many.
    count: u64,
    /// Those that go on.
    live: u64,
    /// The longest.
    longest_ms: f64,
    /// All together.
    total_ms: f64,
    /// How long ago the newest ended; 0 while one goes on.
    last_s_ago: f64,
    /// A task that was in the poll; null where unknown.
    task: Option<String>,
    /// The worker or thread of the stall that is shown.
    thread: Option<String>,
    /// The application's part of its stack, innermost first.
    stack: Vec<Frame>,
    /// Why there is no stack, or no names in it.
    no_stack: Option<String>,
}

/// Culprits where a call does not say how many.
const CULPRITS: usize = 5;

impl Kind for Stalls {
    const NAME: &'static str = "stalls";
    const TITLE: &'static str = "Polls that took too long";
    const ABOUT: &'static str = "The polls of a tokio program that held up a worker, by culprit: \
        the function and file:line that blocks, the cause, how often and how long, which task and \
        thread, and the stack. Holds what is known of the last minutes, not only of now.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let wanted = Wanted::Findings(seconds(arguments.seconds)?);
        let (name, watched) = desk.watched(arguments.target.as_deref(), wanted).await?;
        Ok(answer(
            &name,
            &watched.model,
            limit(arguments.limit, CULPRITS),
        ))
    }
}

fn answer(name: &str, model: &Model, most: usize) -> Answer<Data> {
    let mut groups = group(model, Span::Minute);
    groups.sort_by_key(|group| std::cmp::Reverse((group.total, group.count)));
    let more_culprits = groups.len().saturating_sub(most);
    groups.truncate(most);
    let missing = [Capability::Stalls, Capability::Cause, Capability::Stacks];
    let missing = missing
        .iter()
        .filter_map(|kind| model.session.missing(*kind));
    let data = Data {
        target: name.to_owned(),
        name: model.session.name.clone(),
        threshold_ms: ms(model.session.stall_threshold),
        culprits: groups.iter().map(|group| culprit(model, group)).collect(),
        more_culprits,
        not_shown: missing.map(str::to_owned).collect(),
    };
    Answer {
        text: text(&data),
        data,
    }
}

fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e3)
}

fn culprit(model: &Model, group: &StallGroup) -> Culprit {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let stall = model.stalls.get(group.example);
    let resolved = stall.and_then(|stall| stall.resolved.as_deref());
    let frames = resolved.map_or(&[][..], |stack| &stack.frames);
    let frames = frames
        .iter()
        .map(|f| (f.function.clone(), f.location(), f.plumbing));
    let task = stall.and_then(|stall| {
        let given = model.text(stall.name);
        let known = || model.task_name(model.tasks.get(stall.task?)?);
        some(given).or_else(|| known().map(str::to_owned))
    });
    let thread = stall.and_then(|stall| {
        let worker = stall.worker.map(|worker| model.worker_words(worker));
        worker.or_else(|| Some(format!("thread {}", stall.tid?)))
    });
    let reason = stall.map_or("", |stall| model.text(stall.no_stack_reason));
    let missing = resolved.and_then(Resolved::missing);
    Culprit {
        function: some(&group.function),
        location: some(&group.location),
        cause: group.cause.clone(),
        count: group.count,
        live: group.live,
        longest_ms: ms(group.max),
        total_ms: ms(group.total),
        last_s_ago: round(model.now.since(group.last).as_secs_f64()),
        task,
        thread,
        stack: own_frames(frames),
        no_stack: some(reason).or_else(|| missing.map(str::to_owned)),
    }
}

fn text(data: &Data) -> String {
    let mut text = String::new();
    let threshold = quantity::duration(Duration::from_secs_f64(data.threshold_ms / 1e3));
    if data.culprits.is_empty() {
        let _ = writeln!(text, "{}: no poll over {threshold} is known", data.target);
    } else {
        let _ = writeln!(text, "{}: polls over {threshold}, by culprit", data.target);
    }
    for culprit in &data.culprits {
        let function = culprit.function.as_deref().unwrap_or_default();
        let who = match place(function, culprit.location.as_deref()) {
            who if who.is_empty() => "an unknown function".to_owned(),
            who => who,
        };
        let last = match culprit.live {
            0 => format!("the last {:.1} s ago", culprit.last_s_ago),
            n => format!("{n} still going on"),
        };
        let _ = writeln!(text, "\n{}: {}", escaped(&who), escaped(&culprit.cause));
        let times = if culprit.count == 1 { "time" } else { "times" };
        let _ = writeln!(
            text,
            "    {} {times}, longest {:.0} ms, {:.0} ms in all, {last}",
            culprit.count, culprit.longest_ms, culprit.total_ms
        );
        let of = [("task", &culprit.task), ("on", &culprit.thread)];
        for (what, whose) in of {
            if let Some(whose) = whose {
                let _ = writeln!(text, "    {what} {}", escaped(whose));
            }
        }
        for frame in &culprit.stack {
            let at = place(&frame.function, frame.location.as_deref());
            let _ = writeln!(text, "      at {}", escaped(&at));
        }
        if let Some(why) = &culprit.no_stack {
            let _ = writeln!(text, "    {}", escaped(why));
        }
    }
    text.push('\n');
    text.extend(more(data.more_culprits, "culprit").map(|more| more + "\n"));
    for why in &data.not_shown {
        let _ = writeln!(text, "not shown: {}", escaped(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Culprit as Blamed, StackFrame, StallId, fixtures};

    #[test]
    fn a_stall_has_its_place_and_its_stack() {
        let mut model = fixtures::starving();
        let frame = |function: &str, line, plumbing| StackFrame {
            function: function.into(),
            file: "src/report.rs".into(),
            line,
            plumbing,
            culprit: !plumbing,
        };
        let stack = Resolved {
            frames: vec![
                frame("core::fmt::write", 1, true),
                frame("report::render", 42, false),
            ],
            culprit: Some(Blamed {
                function: "report::render".into(),
                file: "src/report.rs".into(),
                line: 42,
                ..Blamed::default()
            }),
            ..Resolved::default()
        };
        model.stalls.resolve(StallId(1), Arc::new(stack));
        let answer = answer("here", &model, 5);
        let culprit = &answer.data.culprits[0];
        assert_eq!(culprit.location.as_deref(), Some("src/report.rs:42"));
        assert_eq!(culprit.stack.len(), 1, "{:?}", culprit.stack);
        assert_eq!((culprit.live, culprit.last_s_ago), (1, 0.0));
        assert!(
            answer
                .text
                .contains("report::render (src/report.rs:42): computing"),
            "{}",
            answer.text
        );
    }

    #[test]
    fn without_a_stall_that_is_said() {
        let model = Model::new(&fixtures::hello());
        let answer = answer("here", &model, 5);
        assert!(
            answer.text.contains("no poll over 10 ms is known"),
            "{}",
            answer.text
        );
    }
}
