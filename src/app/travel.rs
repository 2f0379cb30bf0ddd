//! Time: what the screen shows of the history of a live session, and the player of
//! a recording.
//!
//! Whoever feeds the state holds the history; what is asked of it are effects, and
//! what it answers are moments and positions.

use std::{sync::Arc, time::Duration};

use crate::{
    diagnose::Severity,
    model::{Model, Moment},
};

use super::{Earlier, Effect, Frozen, Snapshot, State};

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

/// Where in the history the screen is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
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
    /// Shows an earlier moment; whatever was frozen is replaced.
    pub fn show_earlier(&mut self, snapshot: Snapshot, oldest: Moment) {
        self.earlier_shown += 1;
        let place = Place {
            at: snapshot.model.now,
            oldest,
        };
        self.frozen = Some(Frozen {
            snapshot: Snapshot {
                // Never that of a live snapshot.
                revision: u64::MAX - self.earlier_shown,
                ..snapshot
            },
            at: self.now,
            lab: self.lab.clone(),
            place: Some(place),
            activity: None,
        });
    }

    /// Shows the target as it is now; earlier moments that are still on their way
    /// come too late.
    pub fn go_live(&mut self) {
        self.frozen = None;
        self.epoch += 1;
    }

    /// Counts how often the user came back to the present: what was asked for before
    /// comes too late.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// An earlier moment that was asked for is here.
    pub(super) fn arrived(&mut self, earlier: Earlier) {
        if earlier.epoch != self.epoch {
            return;
        }
        let mut snapshot = earlier.snapshot;
        // Nobody else holds it yet, so nothing is copied.
        let model = Arc::make_mut(&mut snapshot.model);
        model.adopt_names(&self.live.model);
        self.show_earlier(snapshot, earlier.oldest);
        if let Some(frozen) = &mut self.frozen {
            frozen.activity = earlier.activity;
        }
    }

    /// How far behind the live program the screen is; `None` where it shows no
    /// earlier moment.
    pub fn behind(&self) -> Option<Duration> {
        let place = self.frozen.as_ref()?.place?;
        Some(self.live.model.now.since(place.at))
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
        let place = self.frozen.as_ref()?.place?;
        let live: &Model = &self.live.model;
        let marks = live.stalls.iter().filter(|s| s.started >= place.oldest);
        Some(Timeline {
            length: live.now.since(place.oldest),
            at: place.at.since(place.oldest),
            marks: marks
                .map(|stall| {
                    let long = stall.age(live.now);
                    (stall.started.since(place.oldest), long, severity(long))
                })
                .collect(),
        })
    }

    /// Goes somewhere in time: through a recording, or through the history of the
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
