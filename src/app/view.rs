//! The views: one line each here, one file each in `ui::views`.

use crate::model::{Capability, Model};

use super::{State, state::TaskLayout, tables::TableId};

/// Names a view.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ViewId {
    /// Everything that matters, on one screen.
    #[default]
    Overview,
    /// All tasks.
    Tasks,
    /// What each worker does.
    Workers,
    /// Polls that took too long.
    Stalls,
    /// Locks, semaphores, timers.
    Resources,
    /// Threads of the process.
    Threads,
    /// The demo's scenario.
    Lab,
}

/// A view as it is registered.
#[derive(Debug)]
pub struct View {
    /// Which one.
    pub id: ViewId,
    /// The digit that opens it.
    pub digit: char,
    /// Its name on screen.
    pub title: &'static str,
    /// The same where there is no room.
    pub short: &'static str,
    /// What the target must supply for it.
    pub needs: Option<Capability>,
    /// It has something to show nonetheless.
    pub has_data: fn(&Model) -> bool,
}

/// All views, in the order of their digits.
pub static VIEWS: &[View] = &[
    View {
        id: ViewId::Overview,
        digit: '1',
        title: "Overview",
        short: "Over",
        needs: None,
        has_data: |_| true,
    },
    View {
        id: ViewId::Tasks,
        digit: '2',
        title: "Tasks",
        short: "Tasks",
        needs: Some(Capability::Tasks),
        has_data: |m| !m.tasks.is_empty(),
    },
    View {
        id: ViewId::Workers,
        digit: '3',
        title: "Workers",
        short: "Work",
        needs: Some(Capability::Workers),
        has_data: |m| !m.workers.is_empty(),
    },
    View {
        id: ViewId::Stalls,
        digit: '4',
        title: "Stalls",
        short: "Stalls",
        needs: None,
        has_data: |_| true,
    },
    View {
        id: ViewId::Resources,
        digit: '5',
        title: "Resources",
        short: "Res",
        needs: Some(Capability::Resources),
        has_data: |m| !m.resources.is_empty(),
    },
    View {
        id: ViewId::Threads,
        digit: '6',
        title: "Threads",
        short: "Thr",
        needs: Some(Capability::Threads),
        has_data: |m| !m.threads.is_empty(),
    },
    View {
        id: ViewId::Lab,
        digit: '7',
        title: "Lab",
        short: "Lab",
        needs: None,
        has_data: |_| true,
    },
];

/// Its registration.
pub fn view(id: ViewId) -> &'static View {
    VIEWS.iter().find(|v| v.id == id).unwrap_or(&VIEWS[0])
}

/// The views that this target has a tab for.
pub fn shown(state: &State) -> impl DoubleEndedIterator<Item = &'static View> + use<> {
    let lab = state.options.lab.is_some() || state.lab.status.is_some();
    VIEWS.iter().filter(move |v| v.id != ViewId::Lab || lab)
}

/// Why a view has nothing to show, as a sentence; `None` where it has.
pub fn unavailable(id: ViewId, model: &Model) -> Option<String> {
    let view = view(id);
    if (view.has_data)(model) || model.since.is_none() {
        return None;
    }
    model.session.missing(view.needs?).map(str::to_owned)
}

/// The table that a view shows, if it is one.
pub(super) fn table(state: &State) -> Option<TableId> {
    match state.view {
        ViewId::Tasks => Some(match state.task_layout {
            TaskLayout::List | TaskLayout::Tree => TableId::Tasks,
            TaskLayout::ByLocation | TaskLayout::ByName => TableId::TaskGroups,
        }),
        ViewId::Workers => Some(TableId::Workers),
        ViewId::Stalls if state.grouped => Some(TableId::StallGroups),
        ViewId::Stalls => Some(TableId::Stalls),
        ViewId::Threads => Some(TableId::Threads),
        ViewId::Resources if state.operations => Some(TableId::Ops),
        ViewId::Resources => Some(TableId::Resources),
        ViewId::Overview | ViewId::Lab => None,
    }
}
