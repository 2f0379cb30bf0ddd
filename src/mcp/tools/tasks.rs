//! `tasks`: single tasks, filtered and sorted.

use std::{fmt::Write, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Desk, Failure, Kind, Wanted, limit, shown::round};
use crate::{
    app::{
        quantity,
        tables::{ListedTask, TaskList, TaskQuery, list_tasks},
    },
    escape::escaped,
    mcp::answer::more,
    model::{Capability, Model},
};

pub(super) struct Tasks;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a recording; by default the
    /// only program there is.
    target: Option<String>,
    /// Which tasks: words that the name, the place or the id contains, or conditions on
    /// columns, such as `state:running`, `loc:service.rs`, `poll>100ms`, `busy%>50%`,
    /// `idle>10s`, `waits:Mutex`, `warn` (a finding is about it), `!` before one for its
    /// contrary. All must hold.
    filter: String,
    /// The column to sort by, `-` before it for the other direction: `busy%` (default),
    /// `poll`, `longest`, `polls`, `idle`, `age`, `wakes`, `name`, `loc`, `id` and others.
    sort: Option<String>,
    /// Tasks at most (default 10).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// Those that have ended as well.
    finished: bool,
}

/// Tasks.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The target as it was named.
    target: String,
    /// The application's name; empty where unknown.
    name: String,
    /// Tasks that are alive; null where unknown.
    live: Option<u64>,
    /// The first of those that the filter lets through.
    tasks: Vec<Task>,
    /// Tasks that are left out.
    more_tasks: usize,
    /// Why tasks are not shown; null where they are.
    not_shown: Option<String>,
}

/// A task.
#[derive(Debug, Serialize, JsonSchema)]
struct Task {
    /// tokio's id, where it is known.
    id: u64,
    /// Its name, otherwise what it runs or where it was spawned.
    name: String,
    /// running, scheduled, idle, done; empty where unknown.
    state: String,
    /// task, local, blocking or block-on; empty where unknown.
    kind: String,
    /// Where it was spawned, `file:line`; from outside, where its async fn stands.
    location: Option<String>,
    /// Share of one worker in the last second, 0 to 1; null where unknown.
    busy: Option<f64>,
    /// How long the poll in progress has run; null where none does.
    poll_ms: Option<f64>,
    /// The longest poll; null where unknown.
    longest_ms: Option<f64>,
    /// Polls so far; null where unknown.
    polls: Option<u64>,
    /// For how long it has waited to be woken; null where unknown.
    idle_s: Option<f64>,
    /// What it waits for; null where unknown.
    waits_for: Option<String>,
}

/// Tasks where a call does not say how many.
const TASKS: usize = 10;
/// Findings are about so much of the time before now, for `warn`.
const FINDINGS: Duration = Duration::from_mins(1);

impl Kind for Tasks {
    const NAME: &'static str = "tasks";
    const TITLE: &'static str = "Tasks";
    const ABOUT: &'static str = "Single tasks of a tokio program as they are now: state, where \
        each was spawned, how busy it is, its polls, what it waits for. Filtered and sorted like \
        looptop's table of tasks. For what many tasks do use `waits` or `dump`.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let (name, watched) = desk
            .watched(arguments.target.as_deref(), Wanted::State)
            .await?;
        let query = TaskQuery {
            filter: &arguments.filter,
            sort: arguments.sort.as_deref(),
            finished: arguments.finished,
        };
        let findings = watched.findings(FINDINGS);
        let most = limit(arguments.limit, TASKS);
        let list = list_tasks(&watched.model, &findings, query, most).map_err(Failure::new)?;
        Ok(answer(&name, &watched.model, list))
    }
}

fn answer(name: &str, model: &Model, list: TaskList) -> Answer<Data> {
    let data = Data {
        target: name.to_owned(),
        name: model.session.name.clone(),
        live: model.live_tasks(),
        more_tasks: list.found.saturating_sub(list.tasks.len()),
        not_shown: model.session.missing(Capability::Tasks).map(str::to_owned),
        tasks: list.tasks.into_iter().map(task).collect(),
    };
    Answer {
        text: text(&data, list.filtered_out),
        data,
    }
}

fn task(task: ListedTask) -> Task {
    let ms = |seconds: Option<f64>| seconds.map(|seconds| round(seconds * 1e3));
    Task {
        id: task.id,
        name: task.name,
        state: task.state.to_owned(),
        kind: task.kind.to_owned(),
        location: task.location,
        busy: task.busy.map(round),
        poll_ms: ms(task.poll_s),
        longest_ms: ms(task.longest_s),
        polls: task.polls,
        idle_s: task.idle_s.map(round),
        waits_for: task.waits_for,
    }
}

fn text(data: &Data, filtered_out: usize) -> String {
    let mut text = String::new();
    let live = data
        .live
        .map_or("an unknown number of".to_owned(), quantity::count);
    let _ = write!(text, "{}: {live} live tasks", data.target);
    if filtered_out > 0 {
        let _ = write!(
            text,
            ", {} do not pass the filter",
            quantity::count(filtered_out as u64)
        );
    }
    text.push('\n');
    for task in &data.tasks {
        let mut facts: Vec<String> = Vec::new();
        facts.extend((!task.state.is_empty()).then(|| task.state.clone()));
        facts.extend(task.location.clone());
        facts.extend(
            task.busy
                .map(|busy| format!("busy {}", quantity::percent(busy))),
        );
        facts.extend(task.poll_ms.map(|ms| format!("in a poll for {ms:.0} ms")));
        facts.extend(task.longest_ms.map(|ms| format!("longest poll {ms:.1} ms")));
        facts.extend(task.polls.map(|polls| quantity::plural(polls, "poll")));
        facts.extend(task.idle_s.map(|idle| format!("idle for {idle:.1} s")));
        facts.extend(
            task.waits_for
                .as_ref()
                .map(|what| format!("waits for {what}")),
        );
        let facts = facts.join(", ");
        let _ = writeln!(
            text,
            "{} {}: {}",
            task.id,
            escaped(&task.name),
            escaped(&facts)
        );
    }
    if data.tasks.is_empty() {
        text.push_str("no task is shown\n");
    }
    text.extend(more(data.more_tasks, "task").map(|more| more + "\n"));
    if let Some(why) = &data.not_shown {
        let _ = writeln!(text, "not shown: {}", escaped(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures;

    #[test]
    fn a_task_is_shown_with_its_place() {
        let model = fixtures::starving();
        let query = TaskQuery {
            filter: "state:running",
            ..TaskQuery::default()
        };
        let list = list_tasks(&model, &[], query, 1).unwrap();
        let answer = answer("here", &model, list);
        let task = &answer.data.tasks[0];
        assert_eq!(
            (task.name.as_str(), task.state.as_str()),
            ("report", "running")
        );
        let place = task.location.clone().unwrap();
        assert!(
            answer.text.contains(&format!("report: running, {place}")),
            "{}",
            answer.text
        );
        assert!(
            answer.text.contains("do not pass the filter"),
            "{}",
            answer.text
        );
    }
}
