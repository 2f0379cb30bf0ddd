//! What changed in the task table.

use looptop_wire::{intern::Interner, proto};

#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) tasks: Vec<proto::Tasks>,
    pub(crate) forgotten: Vec<u64>,
    pub(crate) sites: Vec<proto::SpawnSite>,
}

#[derive(Debug, Default)]
pub(crate) struct Gathered;

impl Gathered {
    pub(crate) fn encode(&self, _interner: &mut Interner) -> Changes {
        Changes::default()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Collector;

impl Collector {
    pub(crate) fn set_watched(&mut self, _watched: bool) {}

    pub(crate) fn gather(&mut self) -> Gathered {
        Gathered
    }

    pub(crate) fn snapshot(&mut self) -> Gathered {
        Gathered
    }
}
