//! Tasks without a screen: chosen by the table's filter, and sorted by its columns.

use std::collections::HashMap;

use crate::{
    app::{
        Head, Sort,
        column::{Column, Context, Key},
        filter::Filter,
        rows::Request,
        snapshot,
        state::TaskLayout,
        waits::Seen,
    },
    diagnose::Finding,
    model::{Model, Span, Task},
};

use super::{
    Table, TableId,
    table::filtered_and_sorted,
    tasks::{Tasks, kind_word, name_of, place, state_word, waits_for},
};

/// Which tasks are wanted, and in which order.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskQuery<'a> {
    /// A filter in the language of the screen; empty for all.
    pub filter: &'a str,
    /// A column by its id, `-` before it for the other direction; `None` for the table's
    /// own order.
    pub sort: Option<&'a str>,
    /// Those that have ended as well.
    pub finished: bool,
}

/// Tasks as the table shows them.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskList {
    /// The first of them, in order.
    pub tasks: Vec<ListedTask>,
    /// All that the filter lets through.
    pub found: usize,
    /// Those that it does not.
    pub filtered_out: usize,
}

/// What is known of a task; durations in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedTask {
    /// tokio's id, where it is known, or the session's own.
    pub id: u64,
    /// The name given to it, otherwise what it runs or where it was spawned.
    pub name: String,
    /// running, scheduled, idle, done; empty where unknown.
    pub state: &'static str,
    /// task, local, blocking or block-on; empty where unknown.
    pub kind: &'static str,
    /// Where it was spawned; where that is not known, where its async fn stands.
    pub location: Option<String>,
    /// Share of one worker in the last second.
    pub busy: Option<f64>,
    /// How long the poll in progress has run.
    pub poll_s: Option<f64>,
    /// The longest poll.
    pub longest_s: Option<f64>,
    /// Polls so far.
    pub polls: Option<u64>,
    /// For how long it has not been polled, while it waits to be woken.
    pub idle_s: Option<f64>,
    /// What it waits for, where that is known.
    pub waits_for: Option<String>,
}

/// The first `limit` tasks of `model` that a query asks for. The error is a sentence that
/// says what was not understood and what would be.
pub fn list_tasks(
    model: &Model,
    findings: &[Finding],
    query: TaskQuery<'_>,
    limit: usize,
) -> Result<TaskList, String> {
    let heads: Vec<&Head> = Tasks::COLUMNS.iter().map(|column| &column.head).collect();
    let (filter, error) = Filter::read(query.filter, &heads);
    if let Some(error) = error {
        return Err(format!("the filter is not understood: {error}"));
    }
    let (alarms, functions) = (snapshot::alarms(findings), snapshot::functions(model));
    let (waits, depths) = (Seen::default(), HashMap::new());
    let context = Context {
        model,
        alarms: &alarms,
        functions: &functions,
        waits: &waits,
        span: Span::Minute,
        depths: &depths,
    };
    let request = Request {
        table: Some(TableId::Tasks),
        sort: match query.sort {
            Some(sort) => read_sort(sort)?,
            None => own_sort(&context),
        },
        filter,
        finished: query.finished,
        layout: TaskLayout::List,
        waits: None,
        crowded: false,
        whole: true,
    };
    let rows = || Tasks::rows(model, &(), &request);
    let (keys, filtered_out) = filtered_and_sorted::<Tasks, _>(&context, rows, &request);
    let shown = keys
        .iter()
        .take(limit)
        .filter_map(|id| model.tasks.get(*id));
    Ok(TaskList {
        tasks: shown.map(|task| listed(&context, task)).collect(),
        found: keys.len(),
        filtered_out,
    })
}

/// The table's order; that for sessions where nobody counts where all of it is unknown.
fn own_sort(context: &Context<'_>) -> Sort {
    let key = Tasks::COLUMNS[Tasks::SORT.column].key;
    let is_known = |task: &Task| key(context, task) != Key::Unknown;
    if context.model.tasks.iter().any(is_known) {
        Tasks::SORT
    } else {
        Tasks::OTHERWISE
    }
}

fn read_sort(text: &str) -> Result<Sort, String> {
    let (id, turned) = match text.strip_prefix('-') {
        Some(id) => (id, true),
        None => (text, false),
    };
    let ids = || {
        Tasks::COLUMNS
            .iter()
            .map(|column: &Column<Task>| column.head.id)
    };
    let Some(column) = ids().position(|known| known == id) else {
        let ids: Vec<&str> = ids().collect();
        return Err(format!(
            "tasks have no column '{id}' to sort by; they have {}",
            ids.join(", ")
        ));
    };
    Ok(Sort {
        column,
        descending: Tasks::COLUMNS[column].head.starts_descending() != turned,
    })
}

fn listed(context: &Context<'_>, task: &Task) -> ListedTask {
    let now = context.now();
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    ListedTask {
        id: task.tokio_id().unwrap_or(task.id.0),
        name: name_of(context, task),
        state: state_word(task.state),
        kind: kind_word(task.kind),
        location: place(context.model, task).map(|place| place.to_string()),
        busy: task.recent(now).map(|recent| recent.busy),
        poll_s: seconds(task.poll_age(now)),
        longest_s: seconds(task.longest(now)),
        polls: task.polls(),
        idle_s: seconds(task.resting_for(now)),
        waits_for: waits_for(context.model, task),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::fixtures;

    use super::*;

    fn names(query: TaskQuery<'_>) -> Result<Vec<String>, String> {
        let list = list_tasks(&fixtures::starving(), &[], query, 100)?;
        Ok(list.tasks.into_iter().map(|task| task.name).collect())
    }

    #[test]
    fn tasks_are_chosen_and_sorted_as_on_screen() {
        let all = names(TaskQuery::default()).unwrap();
        assert!(all.len() > 1, "{all:?}");
        let filtered = TaskQuery {
            filter: "state:running",
            ..TaskQuery::default()
        };
        let running = names(filtered).unwrap();
        assert!(
            !running.is_empty() && running.len() < all.len(),
            "{running:?}"
        );
        let sorted = |sort| {
            names(TaskQuery {
                sort: Some(sort),
                ..TaskQuery::default()
            })
        };
        let mut ascending = sorted("id").unwrap();
        let descending = sorted("-id").unwrap();
        assert_ne!(ascending, descending);
        ascending.reverse();
        assert_eq!(ascending, descending);
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let model = fixtures::starving();
        let list = list_tasks(&model, &[], TaskQuery::default(), 1).unwrap();
        assert_eq!(list.tasks.len(), 1);
        assert_eq!(list.found, model.tasks.live_count());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let wrong = |filter, sort| {
            let query = TaskQuery {
                filter,
                sort,
                finished: false,
            };
            names(query).unwrap_err()
        };
        assert!(wrong("\"open", None).contains("this quote is not closed"));
        let sort = wrong("", Some("speed"));
        assert!(sort.contains("'speed'") && sort.contains("busy%"), "{sort}");
    }
}
