//! Numbers that the application reports itself.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::sync::lock;

/// Different gauges at most; further names are ignored.
const MAX_GAUGES: usize = 256;

static GAUGES: Mutex<Gauges> = Mutex::new(Gauges(BTreeMap::new()));

#[derive(Debug, Default)]
struct Gauges(BTreeMap<String, f64>);

impl Gauges {
    fn set(&mut self, name: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        if let Some(last) = self.0.get_mut(name) {
            *last = value;
        } else if self.0.len() < MAX_GAUGES {
            self.0.insert(name.to_owned(), value);
        }
    }
}

/// Reports a number that no runtime can know, for example the length of a
/// queue; the viewer shows its last value and notices when it grows and grows.
///
/// Costs a lock and a look-up, about 50 ns; works before and without
/// [`init`](crate::init). At most 256 names are kept, further ones are ignored,
/// as are values that are not finite.
pub fn gauge(name: &str, value: f64) {
    lock(&GAUGES).set(name, value);
}

/// All gauges and their last values.
pub(crate) fn all() -> Vec<(String, f64)> {
    let gauges = lock(&GAUGES);
    gauges
        .0
        .iter()
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_names_are_bounded() {
        let mut gauges = Gauges::default();
        gauges.set("queue", 1.0);
        gauges.set("queue", 2.5);
        gauges.set("queue", f64::NAN);
        assert_eq!(gauges.0.get("queue"), Some(&2.5));
        for n in 0..2 * MAX_GAUGES {
            gauges.set(&format!("gauge {n}"), 0.0);
        }
        assert_eq!(gauges.0.len(), MAX_GAUGES);
        gauges.set("queue", 3.0);
        assert_eq!(gauges.0.get("queue"), Some(&3.0));
    }
}
