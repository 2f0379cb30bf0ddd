//! What each worker does, over time.

use crate::{app::tables::TableId, model::Capability};

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Workers: what each does, over time",
    needs: Some(Capability::Workers),
    has_data: |model| !model.workers.is_empty(),
    ..View::new("Workers", "Work", Body::Table(|_| TableId::Workers))
};
