//! Memory that a test writes, as hostile as it likes.

use std::collections::BTreeMap;
use std::ops::Range;

use looptop_procfs::Mapping;
use looptop_unwind::Memory;

use crate::space::{PAGE, Page, Space};

/// Pages at any addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Fake {
    pages: BTreeMap<u64, Vec<u8>>,
    pub(super) mappings: Vec<Mapping>,
}

impl Fake {
    pub(super) fn bytes(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }

    pub(super) fn words(&mut self, address: u64, words: &[u64]) {
        for (at, word) in (address..).step_by(8).zip(words) {
            self.bytes(at, &word.to_le_bytes());
        }
    }
}

impl Memory for Fake {
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                break;
            };
            let page = &page[(at % PAGE) as usize..];
            let length = page.len().min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&page[..length]);
            done += length;
        }
        done
    }
}

impl Space for Fake {
    fn mappings(&self) -> Vec<Mapping> {
        self.mappings.clone()
    }

    fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
        let pages = self.pages.range(range.start / PAGE..range.end / PAGE);
        let pages = pages.map(|(page, _)| page * PAGE..(page + 1) * PAGE);
        pages.map(|range| (range, Page::Own)).collect()
    }
}
