//! Blocks to a file. Each block goes out in one piece and is never touched
//! again, so a file that is cut anywhere is whole up to its last whole block.

use std::{
    fs::File,
    io::{self, Write},
};

use prost::Message;

use super::format::{self, BlockKind, ChunkInfo, Index, IndexEntry, Opening};

/// Where a recording goes.
pub trait Sink: Write {
    /// Brings what was written to safety.
    fn secure(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn secure(&mut self) -> io::Result<()> {
        match self.sync_data() {
            // A pipe or a terminal has nothing to secure.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }
}

impl Sink for Vec<u8> {
    fn secure(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the blocks of one file.
#[derive(Debug)]
pub struct Writer<W: Sink> {
    sink: W,
    offset: u64,
    index: Index,
}

impl<W: Sink> Writer<W> {
    /// Begins a file.
    pub fn new(mut sink: W) -> io::Result<Self> {
        let header = format::file_header();
        sink.write_all(&header)?;
        Ok(Self {
            sink,
            offset: header.len() as u64,
            index: Index::default(),
        })
    }

    /// Bytes written.
    pub fn len(&self) -> u64 {
        self.offset
    }

    /// Nothing but the header was written.
    pub fn is_empty(&self) -> bool {
        self.index.blocks.is_empty()
    }

    /// A session begins.
    pub fn opening(&mut self, opening: &Opening) -> io::Result<()> {
        self.block(BlockKind::Opening, &[], &opening.encode_to_vec())
    }

    /// A chunk of the session.
    pub fn chunk(&mut self, info: &ChunkInfo, payload: &[u8]) -> io::Result<()> {
        self.block(BlockKind::Chunk, &info.encode_to_vec(), payload)
    }

    fn block(&mut self, kind: BlockKind, info: &[u8], payload: &[u8]) -> io::Result<()> {
        self.index.blocks.push(IndexEntry {
            offset: self.offset,
        });
        self.write(kind, info, payload)
    }

    fn write(&mut self, kind: BlockKind, info: &[u8], payload: &[u8]) -> io::Result<()> {
        let mut block = format::block_head(kind, info, payload)
            .ok_or_else(|| io::Error::other("a block is over the format's bounds"))?;
        block.extend(payload);
        self.sink.write_all(&block)?;
        self.sink.flush()?;
        self.sink.secure()?;
        self.offset += block.len() as u64;
        Ok(())
    }

    /// Writes the index and ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        let offset = self.offset;
        let index = std::mem::take(&mut self.index).encode_to_vec();
        self.write(BlockKind::Index, &[], &index)?;
        self.sink.write_all(&format::trailer(offset))?;
        self.sink.flush()?;
        self.sink.secure()?;
        Ok(self.sink)
    }
}
