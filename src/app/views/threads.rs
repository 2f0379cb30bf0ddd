//! Threads of the process.

use crate::{app::tables::TableId, model::Capability};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Threads of the process",
    needs: Some(Capability::Threads),
    has_data: |model| !model.threads.is_empty(),
    ..View::new("Threads", "Thr", Body::Table(|_| TableId::Threads))
};
