//! What one screen shows: a moment of the observed program with its diagnosis.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnose::{Finding, Severity, Verdict, waits::Graph},
    model::{LocationId, Model, StallScope, TaskId},
};

/// A moment of the observed program with its diagnosis; cheap to keep.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The observed program.
    pub model: Arc<Model>,
    /// What was found, the gravest first.
    pub findings: Arc<[Finding]>,
    /// All of it in one sentence.
    pub verdict: Arc<Verdict>,
    /// Tasks that a finding is about, with the worst severity.
    pub alarms: Arc<BTreeMap<TaskId, Severity>>,
    /// What the tasks spawned at a location run, where a stack of one named it.
    pub functions: Arc<BTreeMap<LocationId, String>>,
    /// Who waits for whom, where the diagnosis has worked that out.
    pub waits: Option<Arc<Graph>>,
    /// Differs between any two snapshots of a program's life.
    pub revision: u64,
}

impl Snapshot {
    /// A model with its diagnosis.
    pub fn new(model: Arc<Model>, findings: &[Finding], verdict: Verdict, revision: u64) -> Self {
        Self {
            revision,
            ..Self::of(model, findings.into(), Arc::new(verdict))
        }
    }

    /// The same of what is shared already; the state gives it its revision.
    pub fn of(model: Arc<Model>, findings: Arc<[Finding]>, verdict: Arc<Verdict>) -> Self {
        Self {
            functions: Arc::new(functions(&model)),
            alarms: Arc::new(alarms(&findings)),
            model,
            findings,
            verdict,
            waits: None,
            revision: 0,
        }
    }
}

/// The worst severity of the findings about each task.
pub(super) fn alarms(findings: &[Finding]) -> BTreeMap<TaskId, Severity> {
    let mut alarms = BTreeMap::new();
    for finding in findings {
        if let Some(task) = finding.task {
            let worst = alarms.entry(task).or_insert(finding.severity);
            *worst = finding.severity.max(*worst);
        }
    }
    alarms
}

/// The outermost function of the user's in a stack of a poll is what its task runs.
/// The newest stall of a location counts.
pub(super) fn functions(model: &Model) -> BTreeMap<LocationId, String> {
    let mut functions = BTreeMap::new();
    for stall in model.stalls.iter() {
        let Some(location) = stall.location else {
            continue;
        };
        if stall.scope != StallScope::OnePoll || functions.contains_key(&location) {
            continue;
        }
        let mut frames = stall.resolved.iter().flat_map(|stack| &stack.frames);
        let outermost = frames.rfind(|frame| !frame.plumbing);
        if let Some(frame) = outermost.filter(|frame| !frame.function.is_empty()) {
            functions.insert(location, frame.function.clone());
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::model::{Resolved, StackFrame, StallId, fixtures};

    use super::*;

    #[test]
    fn tasks_run_what_a_stack_of_their_poll_begins_with() {
        let mut model = fixtures::starving();
        assert!(functions(&model).is_empty());
        let frame = |function: &str, plumbing| StackFrame {
            function: function.into(),
            plumbing,
            ..StackFrame::default()
        };
        let stack = Resolved {
            frames: vec![
                frame("std::thread::sleep", true),
                frame("app::render", false),
                frame("app::report", false),
                frame("tokio::runtime::task::raw::poll", true),
            ],
            ..Resolved::default()
        };
        model.stalls.resolve(StallId(1), Arc::new(stack));
        let stall = model.stalls.get(StallId(1)).unwrap();
        let expected = (stall.location.unwrap(), "app::report".to_owned());
        assert_eq!(Vec::from_iter(functions(&model)), [expected]);
    }
}
