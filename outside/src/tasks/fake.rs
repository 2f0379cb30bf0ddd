//! Memory that a test writes, as hostile as it likes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use looptop_procfs::Mapping;
use looptop_unwind::Memory;

use crate::space::{PAGE, Page, Space};

/// Pages at any addresses; clones are the same memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    pages: BTreeMap<u64, Vec<u8>>,
    mappings: Vec<Mapping>,
    reads: usize,
    /// Bytes that were read.
    read_bytes: usize,
    /// Words that are written when so many reads were made.
    later: Vec<(usize, u64, u64)>,
}

impl Fake {
    pub(crate) fn bytes(&self, address: u64, bytes: &[u8]) {
        self.0.borrow_mut().write(address, bytes);
    }

    pub(crate) fn words(&self, address: u64, words: &[u64]) {
        for (at, word) in (address..).step_by(8).zip(words) {
            self.bytes(at, &word.to_le_bytes());
        }
    }

    /// Writes a word when so many more reads were made.
    pub(crate) fn after(&self, reads: usize, address: u64, word: u64) {
        let mut inner = self.0.borrow_mut();
        let reads = inner.reads + reads;
        inner.later.push((reads, address, word));
    }

    /// A line of `maps`, and its memory.
    pub(crate) fn map(&self, line: &str) {
        let mapping = Mapping::parse(line.as_bytes()).unwrap();
        for page in mapping.range.clone().step_by(PAGE as usize) {
            self.bytes(page, &[0]);
        }
        self.0.borrow_mut().mappings.push(mapping);
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.borrow().reads
    }

    pub(crate) fn read_bytes(&self) -> usize {
        self.0.borrow().read_bytes
    }
}

impl Inner {
    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }
}

impl Memory for Fake {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut inner = self.0.borrow_mut();
        inner.reads += 1;
        let now = inner.reads;
        for (_, address, word) in inner
            .later
            .extract_if(.., |(at, ..)| *at <= now)
            .collect::<Vec<_>>()
        {
            inner.write(address, &word.to_le_bytes());
        }
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(page) = inner.pages.get(&(at / PAGE)) else {
                break;
            };
            let page = &page[(at % PAGE) as usize..];
            let length = page.len().min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&page[..length]);
            done += length;
        }
        inner.read_bytes += done;
        done
    }
}

impl Space for Fake {
    fn mappings(&self) -> Vec<Mapping> {
        self.0.borrow().mappings.clone()
    }

    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
        let inner = self.0.borrow();
        let pages = inner.pages.range(range.start / PAGE..range.end / PAGE);
        let pages = pages.map(|(page, _)| page * PAGE..(page + 1) * PAGE);
        pages.map(|range| (range, Page::Own)).collect()
    }
}
