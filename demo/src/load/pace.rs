//! When a client sends its next request.

use std::time::Duration;

use crate::random::Random;

/// Who sends, and when.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Shape {
    /// Each client sends the next request when the last was answered, after a
    /// pause of half to one and a half times `pause`.
    Closed { clients: usize, pause: Duration },
    /// `size` requests at once, every `every`. A client that still waits for its
    /// answer skips its turn.
    Burst { size: usize, every: Duration },
    /// `per_second` requests at random instants, whether or not earlier ones
    /// were answered, from `clients` clients.
    Open { clients: usize, per_second: f64 },
}

impl Shape {
    pub(crate) fn clients(self) -> usize {
        match self {
            Shape::Closed { clients, .. } | Shape::Open { clients, .. } => clients,
            Shape::Burst { size, .. } => size,
        }
    }
}

/// A client that is this late gives up catching up.
const TOO_LATE: Duration = Duration::from_secs(1);

/// The rhythm of one client. Times are since the phase began.
pub(crate) struct Pace {
    shape: Shape,
    random: Random,
    last: Option<Duration>,
}

impl Pace {
    /// The rhythm of the client `index` of its stream; `number` counts all
    /// clients of the plan.
    pub(crate) fn new(shape: Shape, index: usize, seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, number);
        // Closed clients must not move in step, but the first must begin at once.
        let last = match shape {
            Shape::Closed { pause, .. } if index > 0 => Some(pause.mul_f64(random.unit())),
            _ => None,
        };
        Pace {
            shape,
            random,
            last,
        }
    }

    /// When to send next: now or later, or in the past if it should have been
    /// sent already.
    pub(crate) fn next(&mut self, now: Duration) -> Duration {
        let next = match self.shape {
            Shape::Closed { pause, .. } => match self.last {
                None => now,
                Some(first) if now < first => first,
                Some(_) => now + pause.mul_f64(0.5 + self.random.unit()),
            },
            Shape::Burst { every, .. } => match self.last {
                None => Duration::ZERO,
                Some(last) => {
                    let missed = now.saturating_sub(last).as_nanos() / every.as_nanos().max(1);
                    last + every * (missed as u32 + 1)
                }
            },
            Shape::Open {
                clients,
                per_second,
            } => {
                // Exponential gaps: the arrivals of many independent people.
                let mean = clients as f64 / per_second;
                let gap = Duration::from_secs_f64(-mean * (1.0 - self.random.unit()).ln());
                let next = self.last.unwrap_or_default() + gap;
                if next + TOO_LATE < now { now } else { next }
            }
        };
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 3] = [
        Shape::Closed {
            clients: 3,
            pause: Duration::from_millis(20),
        },
        Shape::Burst {
            size: 3,
            every: Duration::from_millis(500),
        },
        Shape::Open {
            clients: 3,
            per_second: 30.0,
        },
    ];

    /// The instants of `count` requests of every client, each answered after 5 ms.
    fn instants(shape: Shape, seed: u64, count: usize) -> Vec<Duration> {
        let mut instants = Vec::new();
        for index in 0..shape.clients() {
            let mut pace = Pace::new(shape, index, seed, index as u64);
            let mut now = Duration::ZERO;
            for _ in 0..count {
                let due = pace.next(now);
                now = now.max(due) + Duration::from_millis(5);
                instants.push(due);
            }
        }
        instants
    }

    #[test]
    fn the_same_seed_gives_the_same_load() {
        for shape in SHAPES {
            assert_eq!(instants(shape, 7, 50), instants(shape, 7, 50));
        }
    }

    #[test]
    fn another_seed_gives_another_load_where_chance_has_a_part() {
        for shape in [SHAPES[0], SHAPES[2]] {
            assert_ne!(instants(shape, 7, 50), instants(shape, 8, 50));
        }
    }

    #[test]
    fn every_load_begins_within_a_second() {
        for shape in SHAPES {
            let first = instants(shape, 7, 1).into_iter().min();
            assert!(first < Some(Duration::from_secs(1)), "{shape:?}: {first:?}");
        }
    }

    #[test]
    fn a_burst_skips_the_turns_it_missed_and_stays_in_step() {
        let mut pace = Pace::new(SHAPES[1], 0, 7, 0);
        let turns = [0, 10, 1700].map(|now| pace.next(Duration::from_millis(now)).as_millis());
        assert_eq!(turns, [0, 500, 2000]);
    }

    #[test]
    fn an_open_load_keeps_its_rate() {
        let shape = Shape::Open {
            clients: 1,
            per_second: 100.0,
        };
        let mut pace = Pace::new(shape, 0, 7, 0);
        let end = (0..10_000)
            .map(|_| pace.next(Duration::ZERO))
            .last()
            .unwrap();
        assert!((95.0..105.0).contains(&end.as_secs_f64()), "{end:?}");
    }
}
