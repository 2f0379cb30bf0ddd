//! Numbers that the application reports itself.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::sync::lock;

/// Different gauges at most; further names are ignored.
const MAX_GAUGES: usize = 256;

static GAUGES: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());

/// Reports a number that no runtime can know, for example the length of a
/// queue; the viewer shows its last value and notices when it grows and grows.
///
/// Costs a lock and a look-up, about 50 ns; works before and without
/// [`init`](crate::init). At most 256 names are kept, further ones are ignored,
/// as are values that are not finite.
pub fn gauge(name: &str, value: f64) {
    if !value.is_finite() {
        return;
    }
    let mut gauges = lock(&GAUGES);
    if let Some(last) = gauges.get_mut(name) {
        *last = value;
    } else if gauges.len() < MAX_GAUGES {
        gauges.insert(name.to_owned(), value);
    }
}

/// All gauges and their last values.
pub(crate) fn all() -> Vec<(String, f64)> {
    lock(&GAUGES)
        .iter()
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_names_are_bounded() {
        gauge("queue", 1.0);
        gauge("queue", 2.5);
        gauge("queue", f64::NAN);
        assert!(all().contains(&("queue".into(), 2.5)));
        for n in 0..2 * MAX_GAUGES {
            gauge(&format!("gauge {n}"), 0.0);
        }
        assert_eq!(all().len(), MAX_GAUGES);
        gauge("queue", 3.0);
        assert!(all().contains(&("queue".into(), 3.0)));
    }
}
