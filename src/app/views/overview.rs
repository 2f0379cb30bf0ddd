//! Everything that matters, on one screen: `app::overview` says where its parts are.

use super::{Body, View};

pub(super) static VIEW: View = View {
    help: "Overview: verdict, lag, workers, findings, spawn locations",
    ..View::new("Overview", "Over", Body::Overview)
};
