//! What a rule found.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use crate::model::{
    Cause, LocationId, Model, Moment, Resolved, RuntimeId, SiteKey, StallId, Task, TaskId, Tid,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nobody suffers yet.
    Notice,
    /// Others wait because of it.
    Warning,
    /// The loop stands still.
    Critical,
}

impl Severity {
    /// From the mildest to the gravest.
    pub const ALL: [Severity; 3] = [Severity::Notice, Severity::Warning, Severity::Critical];

    /// Its name, as on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Severity::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| format!("'{text}' is not one of notice, warning, critical"))
    }
}

/// Whom a finding is about; two findings of one rule with the same subject are
/// the same finding, seen again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A line of code that blocks, as `file:line`.
    Line(String),
    /// A function that blocks, where its line is not known, and the cause.
    Function(String, &'static str),
    /// All tasks spawned at one location.
    Site(LocationId),
    /// One task.
    Task(TaskId),
    /// A thread that is no worker.
    Thread(Tid),
    /// A runtime.
    Runtime(RuntimeId),
    /// A gauge, or another thing that has only a name.
    Named(String),
    /// The whole process.
    Process,
}

/// Rules whose findings count those who wait, rather than how often something was seen.
const OF_WAITS: [&str; 4] = ["deadlock", "futurelock", "lock-convoy", "stuck-task"];

/// The count of a rule's findings is of those who wait, rather than of how often something
/// was seen.
pub fn counts_waiters(rule: &str) -> bool {
    OF_WAITS.contains(&rule)
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// How bad it is at its worst.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// One sentence: who, where, why, how long.
    pub title: String,
    /// Why it takes so long; `None` where the rule has no cause.
    pub cause: Option<Cause>,
    /// The cause to the call: "sleeping in `clock_nanosleep`".
    pub cause_text: String,
    /// A task that shows it.
    pub task: Option<TaskId>,
    /// All tasks that it is about, where they are several: the members of a ring. In order.
    pub(super) tasks: Vec<TaskId>,
    /// That task's name, or what stands for it; empty where there is none.
    pub task_name: String,
    /// `file:line` of the culprit: the blocking line where a stack names it,
    /// otherwise the spawn location; empty where neither is known.
    pub location: String,
    /// The culprit's function, where a stack names it.
    pub function: Option<String>,
    /// The stack that shows it.
    pub stack: Option<Arc<Resolved>>,
    /// The stall that shows it best.
    pub stall: Option<StallId>,
    /// How often it was seen.
    pub count: u64,
    /// The longest.
    pub max: Duration,
    /// All of them together.
    pub total: Duration,
    /// What to do instead, one sentence.
    pub remedy: String,
    /// When it was first seen.
    pub first_seen: Moment,
    /// When it was last seen.
    pub last_seen: Moment,
    /// It is going on.
    pub live: bool,
    /// Whom findings of other rules would be about that this one explains
    /// ([`Rule::explained_here`](super::Rule::explained_here)).
    pub(super) explains: Vec<Subject>,
}

impl Finding {
    /// It is about a task, alone or with others.
    pub fn is_about(&self, task: TaskId) -> bool {
        self.task == Some(task) || self.tasks.binary_search(&task).is_ok()
    }

    /// A finding without evidence, to be filled in.
    pub(super) fn new(
        rule: &'static str,
        severity: Severity,
        subject: Subject,
        now: Moment,
    ) -> Self {
        Self {
            rule,
            severity,
            subject,
            title: String::new(),
            cause: None,
            cause_text: String::new(),
            task: None,
            tasks: Vec::new(),
            task_name: String::new(),
            location: String::new(),
            function: None,
            stack: None,
            stall: None,
            count: 1,
            max: Duration::ZERO,
            total: Duration::ZERO,
            remedy: String::new(),
            first_seen: now,
            last_seen: now,
            live: true,
            explains: Vec::new(),
        }
    }

    /// A finding about all tasks spawned at one location.
    pub(super) fn about_site(
        rule: &'static str,
        severity: Severity,
        model: &Model,
        location: LocationId,
    ) -> Self {
        Self {
            location: model
                .location(Some(location))
                .map(|l| l.to_string())
                .unwrap_or_default(),
            ..Self::new(rule, severity, Subject::Site(location), model.now)
        }
    }

    /// A finding about all tasks of a site, which has a spawn location or the type of
    /// its tasks' futures; `task` is one of them.
    pub(super) fn about_tasks(
        rule: &'static str,
        severity: Severity,
        model: &Model,
        site: SiteKey,
        task: Option<&Task>,
    ) -> Option<Self> {
        if let Some(location) = site.location {
            return Some(Self::about_site(rule, severity, model, location));
        }
        let name = model.future_name(site.future)?;
        let place = task.and_then(|task| model.location(task.future_location));
        let subject = Subject::Named(name.to_owned());
        Some(Self {
            function: Some(name.to_owned()),
            location: place.map(|place| place.to_string()).unwrap_or_default(),
            ..Self::new(rule, severity, subject, model.now)
        })
    }

    /// The tasks of a site in a sentence: "tasks spawned at src/main.rs:7", or by what
    /// they run where that is all that is known.
    pub(super) fn tasks_words(&self) -> String {
        match (&self.subject, &*self.location) {
            (Subject::Named(name), "") => format!("tasks of {name}"),
            (Subject::Named(name), place) => format!("tasks of {name} ({place})"),
            (_, place) => format!("tasks spawned at {place}"),
        }
    }

    /// A finding that `task` shows; about all that were spawned where it was.
    pub(super) fn about_task(
        rule: &'static str,
        severity: Severity,
        model: &Model,
        task: &Task,
    ) -> Self {
        let subject = task.location.map_or(Subject::Task(task.id), Subject::Site);
        Self {
            task: Some(task.id),
            task_name: model.text(task.name).to_owned(),
            location: model
                .location(task.location)
                .map(|l| l.to_string())
                .unwrap_or_default(),
            ..Self::new(rule, severity, subject, model.now)
        }
    }

    /// The task by its name, or by its id.
    pub(super) fn task_label(&self) -> String {
        match (self.task_name.as_str(), self.task) {
            ("", Some(id)) => format!("task {id}"),
            ("", None) => "a task".to_owned(),
            (name, _) => format!("task {name}"),
        }
    }
}

/// The word for a cause, on screen and in JSON.
pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Unknown => "unknown",
        Cause::Computing => "computing",
        Cause::SystemCall => "system call",
        Cause::Sleeping => "sleeping",
        Cause::Lock => "lock",
        Cause::StarvedByHost => "starved by host",
        Cause::Stopped => "stopped",
        Cause::Page => "page",
    }
}
