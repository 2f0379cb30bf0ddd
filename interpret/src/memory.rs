//! The copy of another's memory that code reads and writes.

use std::collections::HashMap;
use std::ops::Range;

use crate::end::{Limit, Refusal, Stop};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// What is interpreted, where it is: another process's memory, a core file, a test's.
pub trait Host {
    /// Fills `page` from `address` on, which is a multiple of [`PAGE`]; `false` where
    /// not all of it can be read.
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool;

    /// Fills each of `pages` from the address of the same index on; `false` where not all of
    /// them can be read. To be overridden where one call reads many.
    fn pages(&mut self, addresses: &[u64], pages: &mut [[u8; PAGE]]) -> bool {
        let each = addresses.iter().zip(pages);
        each.fold(true, |all, (address, page)| {
            self.page(*address, page) && all
        })
    }

    /// The same for a page of code, which may come from the file that is mapped there.
    fn code(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        self.page(address, page)
    }

    /// Is the time over that this may take? Asked now and then.
    fn expired(&mut self) -> bool {
        false
    }
}

/// A page that was touched.
#[derive(Debug)]
struct Page {
    address: u64,
    bytes: Box<[u8; PAGE]>,
    /// As it was before the first write; `None` while none was made.
    before: Option<Box<[u8; PAGE]>>,
    /// Words of eight bytes that were read before they were written, a bit each.
    read: Words,
    /// Words that were written as a whole.
    written: Words,
}

/// A bit for each word of a page.
type Words = [u64; PAGE / 8 / 64];

/// A page that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its address.
    pub address: u64,
    /// How many of its bytes differ from what they were.
    pub changed: usize,
}

/// Pages that are copied when they are first touched.
#[derive(Debug)]
pub(crate) struct Pages {
    all: Vec<Page>,
    index: HashMap<u64, u32>,
    /// Recently used pages, by the lowest bits of their number.
    recent: [(u64, u32); RECENT],
    /// Memory that is not another's: it begins as zeros.
    own: Range<u64>,
    limit: usize,
    /// Pages that were written.
    written: usize,
}

const RECENT: usize = 32;
/// Pages that are compared at a time: most polls read fewer.
const AT_ONCE: usize = 16;
const NONE: u64 = u64::MAX;

/// Where in a page an access of `length` bytes is, if it is in one page.
fn within(address: u64, length: usize) -> Option<Range<usize>> {
    let from = (address % PAGE as u64) as usize;
    (from + length <= PAGE).then_some(from..from + length)
}

impl Pages {
    pub(crate) fn new(own: Range<u64>, limit: usize) -> Self {
        Self {
            all: Vec::new(),
            index: HashMap::new(),
            recent: [(NONE, 0); RECENT],
            own,
            limit,
            written: 0,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn written_count(&self) -> usize {
        self.written
    }

    pub(crate) fn is_own(&self, address: u64) -> bool {
        self.own.contains(&address)
    }

    /// The page that holds `address`.
    fn page(&mut self, host: &mut dyn Host, address: u64) -> Result<&mut Page, Stop> {
        let number = address / PAGE as u64;
        let slot = number as usize % RECENT;
        let (known, at) = self.recent[slot];
        if known == number {
            return Ok(&mut self.all[at as usize]);
        }
        let at = match self.index.get(&number) {
            Some(at) => *at,
            None => self.copy(host, number)?,
        };
        self.recent[slot] = (number, at);
        Ok(&mut self.all[at as usize])
    }

    fn copy(&mut self, host: &mut dyn Host, number: u64) -> Result<u32, Stop> {
        if self.all.len() >= self.limit {
            return Err(Stop::Limit(Limit::Pages));
        }
        let address = number * PAGE as u64;
        let mut bytes = Box::new([0; PAGE]);
        if !self.own.contains(&address) && !host.page(address, &mut bytes) {
            return Err(Stop::Refused(Refusal::Memory(address)));
        }
        let at = self.all.len() as u32;
        self.all.push(Page {
            address,
            bytes,
            before: None,
            read: [0; PAGE / 8 / 64],
            written: [0; PAGE / 8 / 64],
        });
        self.index.insert(number, at);
        Ok(at)
    }

    /// Reads as many bytes as `buffer` has.
    pub(crate) fn read(
        &mut self,
        host: &mut dyn Host,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<(), Stop> {
        if let Some(range) = within(address, buffer.len()) {
            let page = self.page(host, address)?;
            page.note(&range);
            buffer.copy_from_slice(&page.bytes[range]);
            return Ok(());
        }
        let first = PAGE - (address % PAGE as u64) as usize;
        let (low, high) = buffer.split_at_mut(first);
        self.read(host, address, low)?;
        self.read(host, address.wrapping_add(first as u64), high)
    }

    /// Writes `bytes`. Where only a part can be written, nothing is.
    pub(crate) fn write(
        &mut self,
        host: &mut dyn Host,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        if let Some(range) = within(address, bytes.len()) {
            let page = self.page(host, address)?;
            let mut first = false;
            if page.before.is_none() {
                page.before = Some(page.bytes.clone());
                first = true;
            }
            for word in range.start.div_ceil(8)..range.end / 8 {
                page.written[word / 64] |= 1 << (word % 64);
            }
            page.bytes[range].copy_from_slice(bytes);
            self.written += usize::from(first);
            return Ok(());
        }
        let first = PAGE - (address % PAGE as u64) as usize;
        let (low, high) = bytes.split_at(first);
        let beyond = address.wrapping_add(first as u64);
        self.page(host, beyond)?;
        self.write(host, address, low)?;
        self.write(host, beyond, high)
    }

    /// Has the page of `address` been written?
    pub(crate) fn is_written(&self, address: u64) -> bool {
        let at = self.index.get(&(address / PAGE as u64));
        at.is_some_and(|at| self.all[*at as usize].before.is_some())
    }

    /// The pages of others' memory that were written, in the order of addresses.
    pub(crate) fn written(&self) -> Vec<Written> {
        let others = self.all.iter().filter(|page| !self.is_own(page.address));
        let written = others.filter_map(|page| {
            let before = page.before.as_ref()?;
            let both = before.iter().zip(page.bytes.iter());
            Some(Written {
                address: page.address,
                changed: both.filter(|(before, now)| before != now).count(),
            })
        });
        let mut written: Vec<_> = written.collect();
        written.sort_by_key(|page| page.address);
        written
    }

    /// Is everything that was read still as it was?
    pub(crate) fn unchanged(&self, host: &mut dyn Host) -> bool {
        let was_read =
            |page: &&Page| !self.is_own(page.address) && page.read.iter().any(|words| *words != 0);
        let read: Vec<&Page> = self.all.iter().filter(was_read).collect();
        let mut now = vec![[0; PAGE]; read.len().min(AT_ONCE)];
        read.chunks(AT_ONCE).all(|pages| {
            let mut addresses = [0; AT_ONCE];
            for (address, page) in addresses.iter_mut().zip(pages) {
                *address = page.address;
            }
            let (addresses, now) = (&addresses[..pages.len()], &mut now[..pages.len()]);
            host.pages(addresses, now) && pages.iter().zip(now).all(|(page, now)| page.is_as(now))
        })
    }
}

impl Page {
    fn note(&mut self, range: &Range<usize>) {
        for word in range.start / 8..range.end.div_ceil(8) {
            self.read[word / 64] |= 1 << (word % 64) & !self.written[word / 64];
        }
    }

    /// Are the words that were read the same in `now`?
    fn is_as(&self, now: &[u8; PAGE]) -> bool {
        let before = self.before.as_ref().unwrap_or(&self.bytes);
        (0..PAGE / 8).all(|word| {
            let range = word * 8..word * 8 + 8;
            self.read[word / 64] >> (word % 64) & 1 == 0 || before[range.clone()] == now[range]
        })
    }
}
