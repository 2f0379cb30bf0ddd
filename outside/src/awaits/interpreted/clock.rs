//! What time it is, and the functions that say so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use looptop_interpret::{Clocks, Function};

use crate::space::{Space, word};

/// Bytes of a vDSO, at most.
const MAX: u64 = 64 << 10;
/// Symbols of it that are looked at.
const MAX_SYMBOLS: usize = 256;

/// The functions of the process's vDSO that are answered, by their addresses.
pub(super) fn functions(space: &impl Space) -> Vec<(u64, Function)> {
    let mappings = space.mappings();
    let vdso = mappings.iter().find(|m| m.path.as_os_str() == "[vdso]");
    let Some(vdso) = vdso else { return Vec::new() };
    let length = (vdso.range.end - vdso.range.start).min(MAX);
    let mut image = vec![0; length as usize];
    if space.read(vdso.range.start, &mut image) != image.len() {
        return Vec::new();
    }
    symbols(&image)
        .into_iter()
        .filter_map(|(name, offset)| {
            let function = match name {
                b"__vdso_clock_gettime" => Function::ClockGettime,
                b"__vdso_gettimeofday" => Function::Gettimeofday,
                b"__vdso_time" => Function::Time,
                b"__vdso_getcpu" => Function::Getcpu,
                _ => return None,
            };
            Some((vdso.range.start.checked_add(offset)?, function))
        })
        .collect()
}

/// The dynamic symbols of an image that is loaded at its offsets: names and values.
fn symbols(image: &[u8]) -> Vec<(&[u8], u64)> {
    let half = |at: usize| {
        let bytes = image.get(at..at.checked_add(2)?)?;
        Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    };
    let mut found = Vec::new();
    let headers = word(image, 32).zip(half(54)).zip(half(56));
    let Some(((headers, size), count)) = headers else {
        return found;
    };
    // The dynamic table, by the header of its kind.
    let dynamic = (0..count).find_map(|n| {
        let at = (headers as usize).checked_add(n * size)?;
        let is_dynamic = word(image, at)? as u32 == 2;
        let offset = word(image, at.checked_add(8)?)?;
        is_dynamic.then_some(offset as usize)
    });
    let Some(dynamic) = dynamic else { return found };
    let entries = (0..64).map_while(|n| {
        let at = dynamic.checked_add(n * 16)?;
        Some((word(image, at)?, word(image, at.checked_add(8)?)?))
    });
    let (mut names, mut table) = (None, None);
    for (tag, value) in entries.take_while(|(tag, _)| *tag != 0) {
        match tag {
            5 => names = Some(value as usize),
            6 => table = Some(value as usize),
            _ => {}
        }
    }
    let Some((names, table)) = names.zip(table) else {
        return found;
    };
    for n in 1..MAX_SYMBOLS {
        let symbol = (|| {
            let at = table.checked_add(n * 24)?;
            let name = names.checked_add(word(image, at)? as u32 as usize)?;
            let text = image.get(name..)?;
            let end = text.iter().position(|byte| *byte == 0)?;
            Some((&text[..end], word(image, at.checked_add(8)?)?))
        })();
        match symbol {
            Some(symbol) => found.push(symbol),
            None => break,
        }
    }
    found
}

/// What the clocks say now.
pub(super) fn now() -> Clocks {
    Clocks {
        realtime: SystemTime::now().duration_since(UNIX_EPOCH).ok(),
        monotonic: of_system(Clock::Monotonic),
        boottime: of_system(Clock::Boottime),
    }
}

/// How long this thread has been on a processor; 0 where the system does not say.
pub(super) fn of_thread() -> Duration {
    of_system(Clock::Thread).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
enum Clock {
    Monotonic,
    Boottime,
    Thread,
}

fn of_system(clock: Clock) -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};
    let id = match clock {
        Clock::Monotonic => ClockId::CLOCK_MONOTONIC,
        Clock::Boottime => ClockId::CLOCK_BOOTTIME,
        Clock::Thread => ClockId::CLOCK_THREAD_CPUTIME_ID,
    };
    clock_gettime(id).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use looptop_procfs::Procfs;

    use super::*;
    use crate::{ProcessSpace, Subject};

    #[test]
    fn this_process_s_vdso_has_a_clock() {
        let subject = Subject::find(&Procfs::default(), std::process::id()).unwrap();
        let functions = functions(&ProcessSpace::of(&subject));
        let clocks = functions.iter().filter(|f| f.1 == Function::ClockGettime);
        assert_eq!(clocks.count(), 1, "{functions:x?}");
    }

    #[test]
    fn an_image_that_is_none_has_no_symbols() {
        for length in [0, 10, 64, 4096] {
            assert_eq!(symbols(&vec![0; length]), []);
            assert_eq!(symbols(&vec![0xff; length]), []);
        }
    }
}
