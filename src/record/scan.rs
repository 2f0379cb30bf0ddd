//! Where the blocks of a file are, with an index and without, and what is damaged.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use looptop_wire::PROTOCOL;
use prost::Message;

use super::{
    format::{
        self, BLOCK_HEADER_LEN, BlockHeader, BlockKind, ChunkInfo, FILE_HEADER_LEN, Index,
        MAX_CHUNKS, MAX_SESSIONS, Opening, TRAILER_LEN, VERSION,
    },
    recording::{ChunkEntry, OpenError, Recording, SessionEntry},
    store::Store,
};
use crate::escape::escaped;

/// Finds the blocks of one file, or of several that follow one another.
#[derive(Default)]
pub(super) struct Scan {
    stores: Vec<Store>,
    sessions: Vec<SessionEntry>,
    /// The last opening was readable, so chunks have a session.
    in_session: bool,
    chunks: Vec<ChunkEntry>,
    end: Duration,
    damaged: u64,
    /// Bytes at the end of a file that are no whole block.
    cut: Option<u64>,
    /// A file had no index.
    unfinished: bool,
}

/// What is found at an offset.
enum Found {
    Block(BlockHeader, Vec<u8>),
    Damaged,
    /// The file ends within the block.
    Cut,
}

impl Scan {
    /// Takes in a file.
    pub(super) fn part(&mut self, store: Store) -> Result<(), OpenError> {
        let header = store
            .bytes(0, FILE_HEADER_LEN.min(store.len() as usize))?
            .unwrap_or_default();
        check_header(&header)?;
        self.stores.push(store);
        self.in_session = false;
        self.run()
    }

    /// The file that is being taken in.
    fn store(&self) -> &Store {
        &self.stores[self.stores.len() - 1]
    }

    fn run(&mut self) -> Result<(), OpenError> {
        if let Some(index) = self.index()? {
            let mut end = 0;
            for entry in index.blocks.iter().take(MAX_CHUNKS) {
                match self.look(entry.offset)? {
                    // Blocks follow one another: none is read twice.
                    Found::Block(header, info) if entry.offset >= end => {
                        end = entry.offset + header.block_len();
                        self.take(entry.offset, &header, &info)?;
                    }
                    Found::Block(..) | Found::Damaged | Found::Cut => self.lose(),
                }
            }
            return Ok(());
        }
        self.unfinished = true;
        let mut at = FILE_HEADER_LEN as u64;
        while at < self.store().len() && self.chunks.len() < MAX_CHUNKS {
            match self.look(at)? {
                Found::Block(header, _) if header.kind == BlockKind::Index => break,
                Found::Block(header, info) => {
                    self.take(at, &header, &info)?;
                    at += header.block_len();
                }
                Found::Damaged => {
                    let Some(next) = self.next_block(at + 1)? else {
                        self.cut = Some(self.store().len() - at);
                        break;
                    };
                    self.lose();
                    at = next;
                }
                Found::Cut => {
                    self.cut = Some(self.store().len() - at);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Something is missing. If it was an opening, what follows is not of the
    /// session before; that is not known, but its keyframe would show it.
    fn lose(&mut self) {
        self.damaged += 1;
    }

    fn look(&self, at: u64) -> io::Result<Found> {
        let Some(head) = self.store().array::<BLOCK_HEADER_LEN>(at)? else {
            return Ok(Found::Cut);
        };
        let Some(header) = BlockHeader::parse(&head) else {
            return Ok(Found::Damaged);
        };
        let info = self
            .store()
            .bytes(at + BLOCK_HEADER_LEN as u64, header.info_len.into())?;
        match info {
            Some(info) if !header.is_intact(&info) => Ok(Found::Damaged),
            Some(info) if at + header.block_len() <= self.store().len() => {
                Ok(Found::Block(header, info))
            }
            _ => Ok(Found::Cut),
        }
    }

    /// The next place from `from` on that looks like a block and is intact.
    fn next_block(&self, from: u64) -> io::Result<Option<u64>> {
        const STEP: usize = 64 << 10;
        let mut at = from;
        while at < self.store().len() {
            let mut window = Vec::new();
            let overlap = format::BLOCK_MAGIC.len() - 1;
            self.store()
                .section(at, (STEP + overlap) as u64)
                .read_to_end(&mut window)?;
            for (i, bytes) in window.windows(format::BLOCK_MAGIC.len()).enumerate() {
                if bytes == format::BLOCK_MAGIC
                    && matches!(self.look(at + i as u64)?, Found::Block(..))
                {
                    return Ok(Some(at + i as u64));
                }
            }
            at += STEP as u64;
        }
        Ok(None)
    }

    /// The index at the end, where it is intact.
    fn index(&self) -> io::Result<Option<Index>> {
        let len = self.store().len();
        let Some(trailer_at) = len.checked_sub(TRAILER_LEN as u64) else {
            return Ok(None);
        };
        let Some(trailer) = self.store().array::<TRAILER_LEN>(trailer_at)? else {
            return Ok(None);
        };
        let mut offset = [0; 8];
        offset.copy_from_slice(&trailer[..8]);
        let offset = u64::from_le_bytes(offset);
        if trailer[8..] != format::TRAILER_MAGIC || offset >= trailer_at {
            return Ok(None);
        }
        let Found::Block(header, _) = self.look(offset)? else {
            return Ok(None);
        };
        let fits = header.kind == BlockKind::Index
            && offset + header.block_len() == trailer_at
            && header.payload_len as usize <= MAX_CHUNKS * 16;
        if !fits {
            return Ok(None);
        }
        let payload = self.payload(offset, &header)?;
        Ok(payload.and_then(|bytes| Index::decode(bytes.as_slice()).ok()))
    }

    /// A small payload, where it is intact.
    fn payload(&self, at: u64, header: &BlockHeader) -> io::Result<Option<Vec<u8>>> {
        let start = at + BLOCK_HEADER_LEN as u64 + u64::from(header.info_len);
        let payload = self.store().bytes(start, header.payload_len as usize)?;
        Ok(payload.filter(|bytes| crc32fast::hash(bytes) == header.payload_crc))
    }

    fn take(&mut self, at: u64, header: &BlockHeader, info: &[u8]) -> Result<(), OpenError> {
        match header.kind {
            BlockKind::Opening => self.take_opening(at, header)?,
            BlockKind::Chunk if self.in_session => match ChunkInfo::decode(info) {
                Ok(info) => self.take_chunk(at, header, info),
                Err(_) => self.lose(),
            },
            BlockKind::Chunk => self.lose(),
            BlockKind::Index | BlockKind::Unknown(_) => {}
        }
        Ok(())
    }

    fn take_opening(&mut self, at: u64, header: &BlockHeader) -> Result<(), OpenError> {
        /// A hello is some hundred bytes; its sentences are bounded.
        const MAX_OPENING: u32 = 1 << 20;
        self.in_session = false;
        if header.payload_len > MAX_OPENING || self.sessions.len() >= MAX_SESSIONS {
            self.lose();
            return Ok(());
        }
        let opening = self
            .payload(at, header)?
            .and_then(|bytes| Opening::decode(bytes.as_slice()).ok());
        let Some((hello, opening)) =
            opening.and_then(|mut opening| Some((opening.hello.take()?, opening)))
        else {
            self.lose();
            return Ok(());
        };
        if hello.protocol > PROTOCOL {
            return Err(OpenError::TooNew {
                found: hello.protocol,
                known: PROTOCOL,
            });
        }
        self.in_session = true;
        if self
            .sessions
            .last()
            .is_some_and(|last| *last.hello == hello)
        {
            // The next file of the same connection.
            return Ok(());
        }
        self.sessions.push(SessionEntry {
            hello: Arc::new(hello),
            target: opening.target,
            redacted: opening.redacted,
            start: self.end,
            first_ns: u64::MAX,
        });
        Ok(())
    }

    fn take_chunk(&mut self, at: u64, header: &BlockHeader, info: ChunkInfo) {
        let index = self.sessions.len() - 1;
        let session = &mut self.sessions[index];
        if session.first_ns == u64::MAX {
            session.first_ns = info.first_ns;
        }
        let start = session.elapsed(info.first_ns).max(self.end);
        let end = session.elapsed(info.last_ns).max(start);
        self.end = end;
        self.chunks.push(ChunkEntry {
            part: self.stores.len() - 1,
            payload_at: at + BLOCK_HEADER_LEN as u64 + u64::from(header.info_len),
            payload_len: header.payload_len,
            payload_crc: header.payload_crc,
            session: index,
            info,
            start,
            end,
        });
    }

    pub(super) fn finish(self) -> Result<Recording, OpenError> {
        if self.chunks.is_empty() {
            return Err(OpenError::NothingWhole(
                self.stores.iter().map(Store::len).sum(),
            ));
        }
        let remark = self.remark();
        Ok(Recording {
            stores: self.stores.into(),
            sessions: self.sessions.into(),
            chunks: self.chunks.into(),
            remark,
        })
    }

    fn remark(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(cut) = self.cut {
            parts.push(format!(
                "the file was cut: its last {cut} bytes are no whole chunk and were left out"
            ));
        } else if self.unfinished {
            parts.push("the recording was not ended properly; all it holds was found".to_owned());
        }
        match self.damaged {
            0 => {}
            1 => parts.push("one damaged part was left out".to_owned()),
            n => parts.push(format!("{n} damaged parts were left out")),
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

fn check_header(header: &[u8]) -> Result<(), OpenError> {
    if header.is_empty() {
        return Err(OpenError::Empty);
    }
    let magic = &header[..header.len().min(format::MAGIC.len())];
    if !format::MAGIC.starts_with(magic) {
        return Err(OpenError::Foreign(quote(header)));
    }
    let Ok(header) = <&[u8; FILE_HEADER_LEN]>::try_from(header) else {
        return Err(OpenError::NothingWhole(header.len() as u64));
    };
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if crc32fast::hash(&header[..12]) != number(12) {
        return Err(OpenError::Header);
    }
    match number(8) {
        0 => Err(OpenError::Header),
        found if found > VERSION => Err(OpenError::TooNew {
            found,
            known: VERSION,
        }),
        _ => Ok(()),
    }
}

/// The first bytes, as text where they are some.
pub(super) fn quote(bytes: &[u8]) -> String {
    let plain = |text: &str| text.chars().all(|c| !c.is_control() || c.is_whitespace());
    match std::str::from_utf8(bytes) {
        Ok(text) if plain(text) => format!("\"{}\"", escaped(text)),
        _ => {
            let hex: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("the bytes {}", hex.join(" "))
        }
    }
}
