//! The lab's own requests: `GET /lab`, `GET /lab/SCENARIO`,
//! `POST /lab/SCENARIO/MODE`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{
    lab::{Lab, Status},
    listing::Card,
    registry::{self, Unknown},
};

pub(crate) fn router(lab: Arc<Lab>) -> Router {
    Router::new()
        .route("/lab", get(status))
        .route("/lab/{scenario}", get(card))
        .route("/lab/{scenario}/{mode}", post(switch))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "the lab answers GET /lab, GET /lab/SCENARIO and POST /lab/SCENARIO/MODE\n",
            )
        })
        .with_state(lab)
}

async fn status(State(lab): State<Arc<Lab>>) -> Json<Status> {
    Json(lab.status())
}

async fn card(Path(id): Path<String>) -> Response {
    match registry::find(&id) {
        Ok(scenario) => Json(Card::of(scenario)).into_response(),
        Err(unknown) => refused(&unknown),
    }
}

async fn switch(State(lab): State<Arc<Lab>>, Path((id, mode)): Path<(String, String)>) -> Response {
    let mode = match mode.parse() {
        Ok(mode) => mode,
        Err(unknown) => return refused(&unknown),
    };
    match lab.switch_to(&id, mode) {
        Ok(()) => Json(lab.status()).into_response(),
        Err(error) => match error.downcast_ref::<Unknown>() {
            Some(unknown) => refused(unknown),
            None => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
        },
    }
}

fn refused(unknown: &Unknown) -> Response {
    (StatusCode::NOT_FOUND, format!("{unknown}\n")).into_response()
}
