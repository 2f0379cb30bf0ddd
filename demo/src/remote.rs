//! The lab's gRPC service, mounted on the agent's port: it runs on the agent's
//! thread, so it answers while every worker of the lab is blocked.

use std::sync::{Arc, OnceLock};

use tonic::{Request, Response};

use crate::{
    figures::{Figures, Latency},
    lab::{Lab, Status},
    proto::{self, lab_server::LabServer},
    readings::Reading,
    registry::{self, Unknown},
    scenario::Mode,
};

/// The lab, as soon as there is one: the agent must be there first.
pub(crate) type Soon = Arc<OnceLock<Arc<Lab>>>;

/// The service for the agent to mount.
pub(crate) fn service(lab: Soon) -> LabServer<Remote> {
    LabServer::new(Remote(lab))
}

pub(crate) struct Remote(Soon);

impl Remote {
    fn lab(&self) -> Result<&Arc<Lab>, tonic::Status> {
        self.0
            .get()
            .ok_or_else(|| tonic::Status::unavailable("the lab is starting; try again"))
    }
}

#[tonic::async_trait]
impl proto::lab_server::Lab for Remote {
    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, tonic::Status> {
        Ok(Response::new(self.lab()?.status().into()))
    }

    async fn switch(
        &self,
        request: Request<proto::SwitchRequest>,
    ) -> Result<Response<proto::StatusResponse>, tonic::Status> {
        let lab = self.lab()?;
        let wanted = request.into_inner();
        let mode = match wanted.mode() {
            proto::Mode::Broken => Mode::Broken,
            proto::Mode::Fixed => Mode::Fixed,
            proto::Mode::Off => Mode::Off,
            proto::Mode::Unknown => {
                return Err(tonic::Status::invalid_argument(
                    "the mode must be broken, fixed or off",
                ));
            }
        };
        lab.switch_to(&wanted.scenario, mode)
            .map_err(|error| refusal(&error))?;
        Ok(Response::new(lab.status().into()))
    }
}

fn refusal(error: &anyhow::Error) -> tonic::Status {
    match error.downcast_ref::<Unknown>() {
        Some(unknown) => tonic::Status::not_found(unknown.to_string()),
        None => tonic::Status::internal(format!("{error:#}")),
    }
}

impl From<Mode> for proto::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Broken => proto::Mode::Broken,
            Mode::Fixed => proto::Mode::Fixed,
            Mode::Off => proto::Mode::Off,
        }
    }
}

impl From<Latency> for proto::Latency {
    fn from(latency: Latency) -> Self {
        proto::Latency {
            count: latency.count,
            p50_ms: latency.p50_ms,
            p99_ms: latency.p99_ms,
            max_ms: latency.max_ms,
        }
    }
}

impl From<Figures> for proto::Figures {
    fn from(figures: Figures) -> Self {
        proto::Figures {
            seconds: figures.seconds,
            requests: figures.requests,
            errors: figures.errors,
            requests_per_s: figures.requests_per_s,
            latency: Some(figures.latency.into()),
            canary: Some(figures.canary.into()),
            canary_waiting_ms: figures.canary_waiting_ms,
        }
    }
}

fn readings(readings: Vec<Reading>) -> Vec<proto::Reading> {
    readings
        .into_iter()
        .map(|reading| proto::Reading {
            name: reading.name.to_owned(),
            value: reading.value,
        })
        .collect()
}

impl From<Status> for proto::StatusResponse {
    fn from(status: Status) -> Self {
        let entries = registry::scenarios().iter().map(|scenario| proto::Entry {
            id: scenario.id.to_owned(),
            caption: scenario.caption.to_owned(),
            has_broken_twin: scenario.has_broken_twin(),
        });
        let before = status.before_switch.map(|before| proto::Before {
            scenario: before.scenario.to_owned(),
            mode: proto::Mode::from(before.mode).into(),
            figures: Some(before.figures.into()),
            readings: readings(before.readings),
        });
        proto::StatusResponse {
            scenario: status.scenario.to_owned(),
            mode: proto::Mode::from(status.mode).into(),
            caption: status.caption.to_owned(),
            notes: status.notes.to_owned(),
            watch: status.watch.to_owned(),
            endpoint: status.endpoint.unwrap_or_default().to_owned(),
            flavor: status.flavor.as_str().to_owned(),
            workers: status.workers as u32,
            phase: status.phase,
            since_switch: Some(status.since_switch.into()),
            readings: readings(status.readings),
            before_switch: before,
            broken_code: status.broken_code,
            fixed_code: status.fixed_code,
            scenarios: entries.collect(),
            http: status.http,
        }
    }
}
