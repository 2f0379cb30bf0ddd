//! Distributions of one task's polls and waits, from the details stream.

use console_api::tasks::{
    DurationHistogram, TaskDetails as Message, task_details::PollTimesHistogram,
};
use looptop_wire::histogram;

/// The first word of `HdrHistogram`'s V2 encoding, its length, and that of the
/// header.
const V2_COOKIE: u32 = 0x1c84_9303 | 0x10;
const V2_HEADER: usize = 40;

/// How long the polls of one task took, and its waits between wake and poll.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskDetails {
    /// The task's id, as in the frames.
    pub task: u64,
    /// Durations of finished polls; `None` where they could not be read.
    pub polls: Option<DurationCounts>,
    /// Durations of finished waits; `None` where they could not be read.
    pub scheduled: Option<DurationCounts>,
}

/// Durations in the buckets of [`looptop_wire::histogram`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DurationCounts {
    /// Bucket and count, in ascending order, no empty ones. Durations that the
    /// server clamped are in the bucket of its maximum.
    pub counts: Vec<(usize, u64)>,
    /// The server's maximum, in ns: longer durations were counted there.
    pub max_value_ns: u64,
    /// How many were longer than the maximum.
    pub high_outliers: u64,
    /// The longest of these, in ns.
    pub highest_outlier_ns: Option<u64>,
}

pub(super) fn translate(message: &Message) -> TaskDetails {
    TaskDetails {
        task: message.task_id.as_ref().map_or(0, |id| id.id),
        polls: match &message.poll_times_histogram {
            Some(PollTimesHistogram::Histogram(histogram)) => durations(histogram),
            Some(PollTimesHistogram::LegacyHistogram(raw)) => {
                decode_v2(raw).map(|counts| DurationCounts {
                    counts,
                    ..DurationCounts::default()
                })
            }
            None => None,
        },
        scheduled: message
            .scheduled_times_histogram
            .as_ref()
            .and_then(durations),
    }
}

fn durations(message: &DurationHistogram) -> Option<DurationCounts> {
    Some(DurationCounts {
        counts: decode_v2(&message.raw_histogram)?,
        max_value_ns: message.max_value,
        high_outliers: message.high_outliers,
        highest_outlier_ns: message.highest_outlier,
    })
}

/// Reads `HdrHistogram`'s V2 encoding into log buckets, without building the
/// histogram that its header asks for: the header comes from a stranger.
///
/// The encoding (`HdrHistogram`, "V2 encoding"): cookie, payload length,
/// normalizing offset, significant digits, lowest and highest value, ratio, all
/// big-endian; then for each slot a zig-zag LEB128 count, where a negative one
/// stands for that many empty slots.
fn decode_v2(raw: &[u8]) -> Option<Vec<(usize, u64)>> {
    let word = |at: usize| raw.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let long = |at: usize| raw.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let (cookie, payload, digits) = (word(0)?, word(4)?, word(12)?);
    let lowest = long(16)?;
    if cookie != V2_COOKIE || digits > 5 {
        return None;
    }
    let end = V2_HEADER.checked_add(usize::try_from(payload).ok()?)?;
    let mut bytes = raw.get(V2_HEADER..end)?.iter().copied();
    let slots = Slots::new(digits, lowest);
    let mut counts = vec![0_u64; histogram::BUCKETS];
    let mut slot = 0_u64;
    while bytes.len() > 0 {
        let number = zig_zag(&mut bytes)?;
        if number < 0 {
            slot = slot.checked_add(number.unsigned_abs())?;
        } else {
            let count = counts.get_mut(histogram::bucket(slots.value(slot)))?;
            *count = count.saturating_add(number.unsigned_abs());
            slot = slot.checked_add(1)?;
        }
    }
    let filled = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
    Some(filled.collect())
}

/// The values that the slots of an `HdrHistogram` stand for.
struct Slots {
    half_count_magnitude: u32,
    unit_magnitude: u32,
}

impl Slots {
    fn new(digits: u32, lowest: u64) -> Self {
        // As many slots as keep `digits` significant: a power of two.
        let resolution = 2 * 10_u64.pow(digits);
        let count_magnitude = u64::BITS - (resolution - 1).leading_zeros();
        Self {
            half_count_magnitude: count_magnitude.max(1) - 1,
            unit_magnitude: lowest.max(1).ilog2(),
        }
    }

    /// The lowest value of a slot; the largest number for what would overflow.
    fn value(&self, slot: u64) -> u64 {
        let half = 1_u64 << self.half_count_magnitude;
        let bucket = slot >> self.half_count_magnitude;
        let (shift, sub) = match bucket {
            0 => (0, slot),
            _ => (bucket - 1, (slot & (half - 1)) + half),
        };
        let shift = shift.saturating_add(u64::from(self.unit_magnitude));
        match u32::try_from(shift) {
            Ok(shift) if shift < sub.leading_zeros() => sub << shift,
            _ if sub == 0 => 0,
            _ => u64::MAX,
        }
    }
}

/// A zig-zag LEB128 number of at most 64 bits: eight groups of seven, then a
/// whole byte.
fn zig_zag(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut number = 0_u64;
    for group in 0..9 {
        let byte = bytes.next()?;
        if group == 8 {
            number |= u64::from(byte) << 56;
            break;
        }
        number |= u64::from(byte & 0x7f) << (group * 7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::{
        Histogram,
        serialization::{Serializer, V2Serializer},
    };
    use proptest::prelude::*;

    fn encoded(values: &[u64], max: u64) -> Vec<u8> {
        let mut histogram = Histogram::<u64>::new_with_max(max, 2).unwrap();
        for value in values {
            histogram.saturating_record(*value);
        }
        let mut raw = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut raw).unwrap();
        raw
    }

    #[test]
    fn the_encoding_of_console_subscriber_is_read() {
        let values = [1, 1, 40, 1_000, 1_000_000, 999_000_000];
        let counts = decode_v2(&encoded(&values, 1_000_000_000)).unwrap();
        assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 6);
        assert_eq!(counts[0], (histogram::bucket(1), 2));
        for value in values {
            // Two significant digits: off by 1 % at most, so a neighbour at most.
            let bucket = histogram::bucket(value);
            let near = |b: usize| b.abs_diff(bucket) <= 1;
            assert!(counts.iter().any(|(b, _)| near(*b)), "{value}");
        }
    }

    #[test]
    fn nothing_is_read_from_garbage() {
        for raw in [&b""[..], b"\x1c\x84\x93\x13", &[0xff; 64]] {
            assert_eq!(decode_v2(raw), None);
        }
        let mut truncated = encoded(&[5, 500_000], 1_000_000_000);
        truncated.pop();
        assert_eq!(decode_v2(&truncated), None);
    }

    proptest! {
        #[test]
        fn every_value_is_counted(values in prop::collection::vec(1..1_000_000_000_u64, 0..50)) {
            let counts = decode_v2(&encoded(&values, 1_000_000_000)).unwrap();
            prop_assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), values.len() as u64);
        }

        #[test]
        fn a_hostile_payload_cannot_panic(
            digits in 0..7_u32, lowest: u64, payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut raw = V2_COOKIE.to_be_bytes().to_vec();
            raw.extend((payload.len() as u32).to_be_bytes());
            raw.extend(0_u32.to_be_bytes());
            raw.extend(digits.to_be_bytes());
            raw.extend(lowest.to_be_bytes());
            raw.extend([0xff; 16]);
            raw.extend(payload);
            let _ = decode_v2(&raw);
        }
    }
}
