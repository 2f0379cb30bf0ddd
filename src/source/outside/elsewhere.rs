//! Where no process can be looked at.

use std::{convert::Infallible, time::Instant};

use looptop_wire::{
    columns::Record,
    proto::{CapabilityKind, Frame, HelloResponse},
};

use super::{Shown, View};
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

/// Nothing is beside console-subscriber here.
pub(in crate::source) struct BesideConsole;

/// Never heard.
pub(in crate::source) type HeardBesideConsole = Infallible;

/// Nothing.
#[derive(Debug, Default)]
pub(in crate::source) struct Joins {
    pub(in crate::source) view: Option<View>,
    pub(in crate::source) frames: Vec<Frame>,
    pub(in crate::source) tasks: Vec<Record>,
    pub(in crate::source) forgotten: Vec<u64>,
}

impl BesideConsole {
    pub(in crate::source) fn attach(_: Option<u32>, _: Instant, _: &Options) -> Self {
        Self
    }

    pub(in crate::source) fn looks(&self) -> bool {
        false
    }

    pub(in crate::source) async fn next(&mut self) -> HeardBesideConsole {
        std::future::pending().await
    }

    pub(in crate::source) fn take(
        &mut self,
        heard: HeardBesideConsole,
        _: u64,
        _: &dyn Fn(u64) -> Option<Shown>,
    ) -> Joins {
        match heard {}
    }
}

/// Nothing is known from outside.
pub(in crate::source) fn why_never(_: CapabilityKind) -> Option<&'static str> {
    None
}

/// None may be read here.
pub(in crate::source) fn may_read_agent(_: &HelloResponse) -> bool {
    false
}
