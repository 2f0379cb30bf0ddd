//! The lab's remote control: asks a running lab twice a second how it does, and
//! switches its scenarios.
//!
//! It has a connection of its own, so that whatever it does neither delays the
//! frames of the target nor the screen. Whether the target is a lab at all is
//! recognised by its answer to the first question.

use std::time::Duration;

use looptop_demo::proto::{self, lab_client::LabClient};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tonic::Code;

use super::link::{Command, LabLink};
use crate::{
    app::lab::{Before, Entry, Figures, Latency, Status, Twin, Update},
    source::{self, Target, access::Calls},
};

/// Between two questions.
const EVERY: Duration = Duration::from_millis(500);
/// An answer that takes longer is a lab that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Before the next attempt to reach a lab that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// A status is some 10 KiB.
const MAX_BYTES: usize = 1 << 20;
/// Bounds of what a lab may send.
const MAX_SCENARIOS: usize = 256;
const MAX_READINGS: usize = 8;
const MAX_LINE: usize = 400;
const MAX_CODE: usize = 8 << 10;

/// A remote control of `target`, which is asked from [`LabLink::attach`] on.
pub fn spawn(target: Target, runtime: &tokio::runtime::Handle) -> LabLink {
    LabLink::new(|updates, commands| {
        let remote = Remote {
            target,
            updates,
            commands,
        };
        runtime.spawn(remote.run())
    })
}

struct Remote {
    target: Target,
    updates: mpsc::Sender<Update>,
    commands: mpsc::Receiver<Command>,
}

/// How asking ended.
enum End {
    /// Nobody listens any more.
    Unwanted,
    /// The target is no lab.
    NoLab,
    /// The target was attached to anew: so must this.
    Anew,
    /// It does not answer.
    Lost(String),
}

impl Remote {
    async fn run(mut self) {
        let mut wait = None;
        loop {
            if !self.wait(wait).await {
                return;
            }
            let update;
            (update, wait) = match self.serve().await {
                Err(End::Unwanted) => return,
                Err(End::NoLab) => (Update::Absent, None),
                Err(End::Lost(problem)) => (Update::Lost(problem), Some(RETRY)),
                Err(End::Anew) => {
                    wait = Some(Duration::ZERO);
                    continue;
                }
                Ok(never) => match never {},
            };
            if self.updates.send(update).await.is_err() {
                return;
            }
        }
    }

    /// Until the target is attached to, or so long; `false` if nobody listens.
    async fn wait(&mut self, at_most: Option<Duration>) -> bool {
        let deadline = at_most.map(|wait| Instant::now() + wait);
        loop {
            let command = match deadline {
                None => self.commands.recv().await,
                Some(deadline) => match timeout_at(deadline, self.commands.recv()).await {
                    Ok(command) => command,
                    Err(_) => return true,
                },
            };
            match command {
                None => return false,
                Some(Command::Attach) => return true,
                Some(Command::Switch { .. }) => {
                    let update =
                        Update::Refused("the lab does not answer: nothing switched".into());
                    if self.updates.send(update).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let channel = source::channel(&self.target)
            .await
            .map_err(|problem| End::Lost(problem.to_string()))?;
        let mut client = LabClient::new(channel).max_decoding_message_size(MAX_BYTES);
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None => return Err(End::Unwanted),
                    Some(Command::Attach) => return Err(End::Anew),
                    Some(Command::Switch { scenario, twin }) => Some((scenario, twin)),
                },
                _ = ticks.tick() => None,
            };
            let update = ask(&mut client, wanted).await?;
            self.updates.send(update).await.map_err(|_| End::Unwanted)?;
        }
    }
}

/// Asks how the lab does, after a switch where one is `wanted`.
async fn ask(client: &mut LabClient<Calls>, wanted: Option<(String, Twin)>) -> Result<Update, End> {
    let switches = wanted.is_some();
    let answer = match wanted {
        None => timeout(PATIENCE, client.status(proto::StatusRequest {})).await,
        Some((scenario, twin)) => {
            let mode = match twin {
                Twin::Broken => proto::Mode::Broken,
                Twin::Fixed => proto::Mode::Fixed,
                Twin::Off => proto::Mode::Off,
            };
            let request = proto::SwitchRequest {
                scenario,
                mode: mode.into(),
            };
            timeout(PATIENCE, client.switch(request)).await
        }
    };
    match answer {
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(End::Lost(format!(
                "the lab has not answered for {seconds} s"
            )))
        }
        Ok(Ok(response)) => Ok(Update::Status(Box::new(status(response.into_inner())))),
        Ok(Err(error)) => match error.code() {
            Code::Unimplemented => Err(End::NoLab),
            Code::NotFound | Code::InvalidArgument | Code::Internal if switches => {
                let reason = cut(error.message().to_owned(), MAX_LINE);
                Ok(Update::Refused(format!("not switched: {reason}")))
            }
            _ => {
                let reason = cut(error.message().to_owned(), MAX_LINE);
                Err(End::Lost(format!("the lab does not answer: {reason}")))
            }
        },
    }
}

/// What a lab says of itself, within bounds.
pub fn status(sent: proto::StatusResponse) -> Status {
    let twin_now = twin(sent.mode());
    let before = sent.before_switch.map(|before| Before {
        twin: twin(before.mode()),
        scenario: cut(before.scenario, MAX_LINE),
        figures: figures(before.figures.unwrap_or_default(), before.readings),
    });
    let scenarios = sent.scenarios.into_iter().take(MAX_SCENARIOS);
    Status {
        scenario: cut(sent.scenario, MAX_LINE),
        twin: twin_now,
        caption: cut(sent.caption, MAX_LINE),
        notes: cut(sent.notes, MAX_LINE),
        watch: cut(sent.watch, MAX_LINE),
        endpoint: cut(sent.endpoint, MAX_LINE),
        flavor: cut(sent.flavor, MAX_LINE),
        workers: sent.workers,
        phase: sent.phase,
        now: figures(sent.since_switch.unwrap_or_default(), sent.readings),
        before,
        broken_code: cut(sent.broken_code, MAX_CODE),
        fixed_code: cut(sent.fixed_code, MAX_CODE),
        scenarios: scenarios
            .map(|entry| Entry {
                id: cut(entry.id, MAX_LINE),
                caption: cut(entry.caption, MAX_LINE),
                has_broken_twin: entry.has_broken_twin,
            })
            .collect(),
        http: cut(sent.http, MAX_LINE),
    }
}

fn twin(mode: proto::Mode) -> Option<Twin> {
    match mode {
        proto::Mode::Broken => Some(Twin::Broken),
        proto::Mode::Fixed => Some(Twin::Fixed),
        proto::Mode::Off => Some(Twin::Off),
        proto::Mode::Unknown => None,
    }
}

fn figures(sent: proto::Figures, readings: Vec<proto::Reading>) -> Figures {
    let readings = readings
        .into_iter()
        .filter(|reading| reading.value.is_finite())
        .take(MAX_READINGS)
        .map(|reading| (cut(reading.name, MAX_LINE), reading.value));
    Figures {
        lasted: Duration::try_from_secs_f64(sent.seconds).unwrap_or_default(),
        requests_per_s: Some(sent.requests_per_s).filter(|n| n.is_finite() && *n >= 0.0),
        errors: sent.errors,
        latency: latency(sent.latency),
        canary: latency(sent.canary),
        canary_waits: duration(Some(sent.canary_waiting_ms)).filter(|waits| !waits.is_zero()),
        readings: readings.collect(),
    }
}

fn latency(sent: Option<proto::Latency>) -> Latency {
    let sent = sent.unwrap_or_default();
    Latency {
        p50: duration(sent.p50_ms),
        p99: duration(sent.p99_ms),
        max: duration(sent.max_ms),
    }
}

/// What makes no sense as a duration is unknown.
fn duration(ms: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(ms? / 1e3).ok()
}

fn cut(mut text: String, at_most: usize) -> String {
    text.truncate(text.floor_char_boundary(at_most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_sense_are_unknown() {
        for (ms, known) in [
            (Some(1_500.0), Some(Duration::from_millis(1_500))),
            (Some(-1.0), None),
            (Some(f64::NAN), None),
            (Some(f64::INFINITY), None),
            (None, None),
        ] {
            assert_eq!(duration(ms), known);
        }
        let sent = proto::Figures {
            requests_per_s: f64::NAN,
            seconds: -3.0,
            ..proto::Figures::default()
        };
        let figures = figures(sent, Vec::new());
        assert_eq!(figures.requests_per_s, None);
        assert_eq!(figures.lasted, Duration::ZERO);
    }

    #[test]
    fn what_a_lab_tells_is_bounded() {
        let sent = proto::StatusResponse {
            caption: "é".repeat(10_000),
            scenarios: vec![proto::Entry::default(); 1_000],
            readings: vec![proto::Reading::default(); 100],
            mode: 77,
            ..proto::StatusResponse::default()
        };
        let status = status(sent);
        assert_eq!(status.caption.len(), MAX_LINE);
        assert_eq!(status.scenarios.len(), MAX_SCENARIOS);
        assert_eq!(status.now.readings.len(), MAX_READINGS);
        assert_eq!(status.twin, None);
    }
}
