//! What a program wrote, of which the end is kept, and whether it speaks of a crash.

use std::{
    io::Read,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

/// Words that a program of ours writes only when something in it has broken.
const CRASHES: &[&str] = &[
    "panicked at",
    "has overflowed its stack",
    "fatal runtime error",
    "memory allocation of ",
    "AddressSanitizer",
];
/// Kept of the end, in bytes.
const TAIL: usize = 32 << 10;
/// Of what is around the words of a crash, in bytes.
const EXCERPT: usize = 400;
/// Longer than each of the words: they may come in two pieces.
const LONGEST: usize = 32;
/// Of one program; the first ones say what happened.
const MOST_CRASHES: usize = 4;

/// What a program has written so far. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    tail: Vec<u8>,
    bytes: u64,
    /// Where in all that was written words of a crash begin.
    crashes: Vec<u64>,
}

impl Output {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what it wrote next.
    pub(crate) fn take(&self, bytes: &[u8]) {
        let mut written = self.written();
        let from = written.tail.len().saturating_sub(LONGEST);
        written.tail.extend_from_slice(bytes);
        written.bytes += bytes.len() as u64;
        let begins = written.bytes - written.tail.len() as u64;
        let found = crashes(&written.tail[from..]);
        for at in found {
            let at = begins + (from + at) as u64;
            if !written.crashes.contains(&at) && written.crashes.len() < MOST_CRASHES {
                written.crashes.push(at);
            }
        }
        // What is said of a crash is kept, until it is long enough to understand.
        let over = written.tail.len().saturating_sub(TAIL);
        written.tail.drain(..over);
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.written().bytes
    }

    /// The end of it as text, with what is no text escaped.
    pub(crate) fn end(&self, bytes: usize) -> String {
        let written = self.written();
        let from = written.tail.len().saturating_sub(bytes);
        readable(&written.tail[from..])
    }

    /// What it wrote of crashes since the last time this was asked.
    pub(crate) fn take_crashes(&self) -> Vec<String> {
        let mut written = self.written();
        let begins = written.bytes - written.tail.len() as u64;
        let crashes = std::mem::take(&mut written.crashes);
        let excerpt = |at: &u64| {
            let at = usize::try_from(at.saturating_sub(begins)).unwrap_or_default();
            let from = at.saturating_sub(EXCERPT / 4);
            let until = (at + EXCERPT).min(written.tail.len());
            readable(&written.tail[from..until])
        };
        crashes.iter().map(excerpt).collect()
    }

    /// Reads all that comes, on a thread of its own.
    pub(crate) fn read(&self, mut from: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                output.take(&buffer[..n]);
            }
        })
    }
}

fn crashes(text: &[u8]) -> Vec<usize> {
    let of = |word: &'static &str| memchr::memmem::find_iter(text, word.as_bytes());
    CRASHES.iter().flat_map(of).collect()
}

fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut readable = String::new();
    for c in text.chars() {
        match c {
            '\n' => readable.push_str(" | "),
            '\r' => {}
            c if c.is_control() => readable.extend(c.escape_default()),
            c => readable.push(c),
        }
    }
    readable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_found_once_however_it_comes() {
        for pieces in [
            &["thread 'main' panicked at src/a.rs:1:2:\nno"][..],
            &["thread 'main' panic", "ked at src/a.rs:1:2:\nno"],
            &["a", "thread 'x' panicked at", " src/a.rs:1:2:\nno", "more"],
        ] {
            let output = Output::default();
            for piece in pieces {
                output.take(piece.as_bytes());
            }
            let crashes = output.take_crashes();
            assert_eq!(crashes.len(), 1, "{pieces:?}: {crashes:?}");
            assert!(crashes[0].contains("src/a.rs:1:2: | no"), "{crashes:?}");
            assert_eq!(output.take_crashes(), [""; 0]);
        }
    }

    #[test]
    fn little_is_kept_of_much() {
        let output = Output::default();
        for _ in 0..100 {
            output.take(&[b'x'; 8192]);
        }
        assert_eq!(output.bytes(), 819_200);
        assert_eq!(output.written().tail.len(), TAIL);
        output.take(b"\x1b[2Jend\n");
        assert_eq!(output.end(8), "\\u{1b}[2Jend | ".to_owned());
    }
}
