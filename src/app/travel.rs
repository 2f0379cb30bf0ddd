//! Time: what the screen shows of the past of a live session, and the player of
//! a recording.
//!
//! The past itself is kept by whoever feeds the state; what is asked of it are
//! effects, and what it answers are moments and positions.

use std::{sync::Arc, time::Duration};

use crate::{
    diagnose::Severity,
    model::{Model, Moment},
};

use super::{Effect, Frozen, PastMoment, Snapshot, State};

/// A way to go in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travel {
    /// One step back: 100 ms in the last minute, 1 s before.
    Back,
    /// One step forward.
    Forward,
    /// 10 s back.
    FarBack,
    /// 10 s forward.
    FarForward,
    /// To where the finding before began.
    PreviousFinding,
    /// To where the next finding begins.
    NextFinding,
}

/// What is asked of the player of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// Hold.
    Pause,
    /// Go on.
    Play,
    /// The next faster step.
    Faster,
    /// The next slower step.
    Slower,
    /// To this time since the beginning.
    Seek(Duration),
}

/// The player of a recording, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Player {
    /// How long the recording is.
    pub length: Duration,
    /// Its stalls: when each began, and how long it took.
    pub marks: Vec<(Duration, Duration)>,
    /// Where it is.
    pub at: Duration,
    /// It plays, rather than being held.
    pub playing: bool,
    /// Recorded seconds in a second.
    pub speed: f64,
}

/// A moment of the past on screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The moment.
    pub at: Moment,
    /// The first one held.
    pub oldest: Moment,
}

/// All of the time that can be gone to, for a strip on screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// How long it is.
    pub length: Duration,
    /// The moment on screen, since its beginning.
    pub at: Duration,
    /// Stalls: when each began, how long it took, and how grave it is.
    pub marks: Vec<(Duration, Duration, Severity)>,
}

/// From this length on a stall is grave.
const GRAVE: Duration = Duration::from_secs(1);
/// Marks of a recording closer together than this are one for the keys.
const TOGETHER: Duration = Duration::from_millis(500);

impl State {
    /// Shows a moment of the past; whatever was frozen is replaced.
    pub fn show_past(&mut self, snapshot: Snapshot, oldest: Moment) {
        self.past_shown += 1;
        let past = Past {
            at: snapshot.model.now,
            oldest,
        };
        self.frozen = Some(Frozen {
            snapshot: Snapshot {
                // Never that of a live snapshot.
                revision: u64::MAX - self.past_shown,
                ..snapshot
            },
            at: self.now,
            lab: self.lab.clone(),
            past: Some(past),
            activity: None,
        });
    }

    /// Shows the target as it is now; moments of the past that are still on
    /// their way come too late.
    pub fn go_live(&mut self) {
        self.frozen = None;
        self.journey += 1;
    }

    /// Times that the user came back to the present.
    pub fn journey(&self) -> u64 {
        self.journey
    }

    /// A moment of the past that was asked for is here.
    pub(super) fn arrived(&mut self, past: PastMoment) {
        if past.journey != self.journey {
            return;
        }
        let mut snapshot = past.snapshot;
        // Nobody else holds it yet, so nothing is copied.
        let model = Arc::make_mut(&mut snapshot.model);
        model.adopt_names(&self.live.model);
        self.show_past(snapshot, past.oldest);
        if let Some(frozen) = &mut self.frozen {
            frozen.activity = past.activity;
        }
    }

    /// How far behind the live program the screen is; `None` where it shows no
    /// moment of the past.
    pub fn behind(&self) -> Option<Duration> {
        let past = self.frozen.as_ref()?.past?;
        Some(self.live.model.now.since(past.at))
    }

    /// The strip of time, while the user is somewhere in it.
    pub fn timeline(&self) -> Option<Timeline> {
        if let Some(player) = &self.player {
            let grade = |(at, long): &(Duration, Duration)| (*at, *long, severity(*long));
            return Some(Timeline {
                length: player.length,
                at: player.at,
                marks: player.marks.iter().map(grade).collect(),
            });
        }
        let past = self.frozen.as_ref()?.past?;
        let live: &Model = &self.live.model;
        let marks = live.stalls.iter().filter(|s| s.started >= past.oldest);
        Some(Timeline {
            length: live.now.since(past.oldest),
            at: past.at.since(past.oldest),
            marks: marks
                .map(|stall| {
                    let long = stall.age(live.now);
                    (stall.started.since(past.oldest), long, severity(long))
                })
                .collect(),
        })
    }

    /// Goes somewhere in time: through a recording, or through the past of the
    /// live session.
    pub(super) fn travel(&mut self, to: Travel) -> Effect {
        match self.player.as_mut() {
            None => Effect::Travel(to),
            Some(player) => {
                // At once, so that keys in a row add up.
                player.at = player.target(to);
                Effect::Playback(Playback::Seek(player.at))
            }
        }
    }

    /// Holds or plays a recording.
    pub(super) fn play_or_pause(&mut self) -> Option<Effect> {
        let player = self.player.as_mut()?;
        let at_end = player.at >= player.length;
        player.playing = !player.playing;
        Some(Effect::Playback(match player.playing {
            false => Playback::Pause,
            true if at_end => Playback::Seek(Duration::ZERO),
            true => Playback::Play,
        }))
    }

    /// A recording has been opened.
    pub(super) fn opened(
        &mut self,
        length: Duration,
        marks: Vec<(Duration, Duration)>,
        remark: Option<String>,
    ) {
        self.player = Some(Player {
            length,
            marks,
            at: Duration::ZERO,
            playing: true,
            speed: 1.0,
        });
        if let Some(remark) = remark {
            self.notify(remark);
        }
    }

    /// The player has moved.
    pub(super) fn positioned(&mut self, at: Duration, playing: bool, speed: f64) {
        if let Some(player) = &mut self.player {
            (player.at, player.playing, player.speed) = (at, playing, speed);
        }
    }
}

fn severity(stall: Duration) -> Severity {
    if stall >= GRAVE {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

impl Player {
    fn target(&self, to: Travel) -> Duration {
        let second = Duration::from_secs(1);
        let starts = || self.marks.iter().map(|(at, _)| *at);
        let to = match to {
            Travel::Back => self.at.saturating_sub(second),
            Travel::Forward => self.at + second,
            Travel::FarBack => self.at.saturating_sub(second * 10),
            Travel::FarForward => self.at + second * 10,
            Travel::PreviousFinding => starts()
                .filter(|at| *at + TOGETHER < self.at)
                .max()
                .unwrap_or_default(),
            Travel::NextFinding => starts()
                .filter(|at| *at > self.at + TOGETHER)
                .min()
                .unwrap_or(self.length),
        };
        to.min(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_within_a_recording() {
        let s = Duration::from_secs;
        let player = |at| Player {
            length: s(60),
            marks: vec![(s(10), s(1)), (s(40), s(2))],
            at: s(at),
            playing: true,
            speed: 1.0,
        };
        for (at, to, expected) in [
            (0, Travel::Back, 0),
            (5, Travel::Back, 4),
            (5, Travel::Forward, 6),
            (55, Travel::FarForward, 60),
            (5, Travel::FarBack, 0),
            (20, Travel::PreviousFinding, 10),
            (20, Travel::NextFinding, 40),
            (10, Travel::PreviousFinding, 0),
            (10, Travel::NextFinding, 40),
            (40, Travel::NextFinding, 60),
        ] {
            assert_eq!(player(at).target(to), s(expected), "{at} {to:?}");
        }
    }
}
