//! Without the features `otlp` and `tracing` nobody knows of traces.

use crate::ids::Tid;
use crate::stall::TraceIds;

#[derive(Debug, Default)]
pub(crate) struct Question {}

#[allow(clippy::unused_self, reason = "the other one asks")]
impl Question {
    pub(crate) fn ask(&mut self, _: Option<Tid>) {}

    pub(crate) fn answer(&mut self) -> Option<TraceIds> {
        None
    }
}
