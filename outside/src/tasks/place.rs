//! Where tasks were spawned: `std::panic::Location`s in the program's constants.

use looptop_unwind::Memory;

use super::addresses::AddressMap;
use super::listing::{SpawnIndex, SpawnLocation};
use crate::space::word;

/// A path in a spawn location.
const MAX_PATH: u64 = 4_096;
/// Locations that are kept: a program has few, whatever the words of a task are.
const MAX_PLACES: usize = 1 << 16;
/// Bytes of their paths.
const MAX_BYTES: usize = 16 << 20;

/// The spawn locations that were seen, each read once.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: AddressMap<Option<SpawnIndex>>,
    newest: (u64, Option<SpawnIndex>),
    bytes: usize,
}

impl Places {
    /// That at an address, added to `places` if it is new.
    pub(super) fn at(
        &mut self,
        memory: &impl Memory,
        address: u64,
        places: &mut Vec<SpawnLocation>,
    ) -> Option<SpawnIndex> {
        // Most tasks were spawned where the one before was.
        if address == self.newest.0 {
            return self.newest.1;
        }
        let known = self.known.get(&address).copied();
        let index = known.or_else(|| {
            if self.known.len() >= MAX_PLACES || self.bytes >= MAX_BYTES {
                return None;
            }
            let read = location(memory, address);
            let index = read.map(|place| {
                self.bytes += place.file.len();
                places.push(place);
                SpawnIndex(places.len() as u32 - 1)
            });
            self.known.insert(address, index);
            Some(index)
        })?;
        self.newest = (address, index);
        index
    }
}

/// The location at an address: file (address and length), line, column.
fn location(memory: &impl Memory, address: u64) -> Option<SpawnLocation> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let mut bytes = [0; 24];
    if memory.read(address, &mut bytes) != bytes.len() {
        return None;
    }
    let (file, length, position) = (word(&bytes, 0)?, word(&bytes, 8)?, word(&bytes, 16)?);
    let (line, column) = (position as u32, (position >> 32) as u32);
    if !(1..=MAX_PATH).contains(&length) || line == 0 || column == 0 {
        return None;
    }
    let mut path = vec![0; length as usize];
    if memory.read(file, &mut path) != path.len() {
        return None;
    }
    // Newer compilers count a zero behind it.
    if path.last() == Some(&0) {
        path.pop();
    }
    let file = String::from_utf8(path).ok()?;
    if file.is_empty() || file.contains(char::is_control) {
        return None;
    }
    Some(SpawnLocation {
        file: file.into(),
        line,
        column,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    /// A location at 0x1000, its path at 0x2000.
    fn fake(path: &[u8], length: u64, line: u32, column: u32) -> Fake {
        let fake = Fake::default();
        let position = u64::from(column) << 32 | u64::from(line);
        fake.words(0x1000, &[0x2000, length, position]);
        fake.bytes(0x2000, path);
        fake
    }

    #[test]
    fn a_location_is_read_once() {
        let fake = fake(b"src/a.rs", 8, 12, 5);
        let (mut places, mut all) = (Places::default(), Vec::new());
        let index = places.at(&fake, 0x1000, &mut all);
        assert_eq!(index, Some(SpawnIndex(0)));
        assert_eq!(
            (&*all[0].file, all[0].line, all[0].column),
            ("src/a.rs", 12, 5)
        );
        fake.bytes(0x2000, b"src/b.rs");
        assert_eq!(places.at(&fake, 0x0, &mut all), None);
        assert_eq!(places.at(&fake, 0x1000, &mut all), index);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn what_is_no_location_is_none() {
        for (path, length, line, column) in [
            (&b"src/a.rs"[..], 8, 0, 5),
            (b"src/a.rs", 8, 1, 0),
            (b"src/a.rs", 0, 1, 1),
            (b"src/a.rs", u64::MAX, 1, 1),
            (b"src/a.rs", 4_096, 1, 1),
            (b"\xff\xfe", 2, 1, 1),
        ] {
            assert_eq!(location(&fake(path, length, line, column), 0x1000), None);
        }
        let fake = fake(b"a\0", 2, 1, 1);
        assert_eq!(location(&fake, 0x1004), None);
        assert_eq!(&*location(&fake, 0x1000).unwrap().file, "a");
    }

    #[test]
    fn paths_are_kept_up_to_a_bound() {
        let fake = Fake::default();
        let count = 2 * MAX_BYTES as u64 / MAX_PATH;
        fake.bytes(0x2000, &vec![b'a'; MAX_PATH as usize]);
        let (mut places, mut all) = (Places::default(), Vec::new());
        for n in 0..count {
            let at = 0x10_0000 + n * 24;
            fake.words(at, &[0x2000, MAX_PATH, 5 << 32 | (n + 1)]);
            places.at(&fake, at, &mut all);
        }
        let bytes: usize = all.iter().map(|place| place.file.len()).sum();
        assert!(
            (MAX_BYTES..=MAX_BYTES + MAX_PATH as usize).contains(&bytes),
            "{bytes}"
        );
    }
}
