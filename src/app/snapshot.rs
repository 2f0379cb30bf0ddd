//! What one screen shows: a moment of the observed program with its diagnosis.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnose::{Finding, Severity, Verdict},
    model::{Model, TaskId},
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
        let mut alarms = BTreeMap::new();
        for finding in findings.iter() {
            if let Some(task) = finding.task {
                let worst = alarms.entry(task).or_insert(finding.severity);
                *worst = finding.severity.max(*worst);
            }
        }
        Self {
            model,
            findings,
            verdict,
            alarms: Arc::new(alarms),
            revision: 0,
        }
    }
}
