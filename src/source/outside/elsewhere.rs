//! Where no process can be looked at.

use std::convert::Infallible;

use looptop_wire::proto::{Frame, HelloResponse};

use crate::source::{Options, Received};

/// Nothing is beside an agent here.
pub(in crate::source) struct Beside;

/// Never heard.
pub(in crate::source) type Heard = Infallible;

impl Beside {
    pub(in crate::source) fn attach(_: &HelloResponse, _: &Options) -> Self {
        Self
    }

    pub(in crate::source) async fn next(&mut self) -> Heard {
        std::future::pending().await
    }

    pub(in crate::source) fn frames(&mut self, heard: Heard, _: (u64, u64)) -> Vec<Frame> {
        match heard {}
    }

    pub(in crate::source) fn joined_by(
        &mut self,
        frame: Received,
        _: (u64, u64),
    ) -> (Received, Vec<Frame>) {
        (frame, Vec::new())
    }
}
