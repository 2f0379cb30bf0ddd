//! The bytes of a recording: header, blocks, trailer.
//!
//! All numbers are little-endian. A reader accepts every version up to
//! [`VERSION`] and refuses newer ones; blocks of an unknown kind and fields that
//! it does not know it skips, so additions do not change the version.

use crate::proto::HelloResponse;
use prost::Message;

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"LOOPTOP\0";
/// The newest version of the format. It grows when a reader of the older one
/// would misread the newer.
pub const VERSION: u32 = 1;
/// Magic, version, and the checksum of both.
pub const FILE_HEADER_LEN: usize = 16;

/// The first bytes of each block.
pub const BLOCK_MAGIC: [u8; 4] = *b"LTbk";
/// Magic, kind, length of the info, length and checksum of the payload, and the
/// checksum of all of these and the info.
pub const BLOCK_HEADER_LEN: usize = 20;

/// The last bytes of a whole file, after the index's offset.
pub const TRAILER_MAGIC: [u8; 8] = *b"LTindex\n";
/// Offset of the index block, and the magic.
pub const TRAILER_LEN: usize = 16;

/// Bytes of a block's info, at most.
pub const MAX_INFO: u16 = 4 << 10;
/// Compressed bytes of one chunk, at most.
pub const MAX_PAYLOAD: u32 = 256 << 20;
/// Bytes of one frame, at most: an agent's message is at most 1 MiB, and one
/// record over that is never cut.
pub const MAX_FRAME: usize = 8 << 20;
/// Bytes of all frames of one chunk, at most.
pub const MAX_CHUNK_RAW: u64 = 1 << 30;
/// Frames of one chunk, at most.
pub const MAX_CHUNK_FRAMES: u32 = 1 << 20;
/// Chunks of one recording, at most: three months in steps of ten seconds.
pub const MAX_CHUNKS: usize = 1 << 20;
/// Sessions of one recording, at most.
pub const MAX_SESSIONS: usize = 4_096;
/// Stalls that a chunk's info mentions, at most: the longest.
pub const MAX_MARKS: usize = 64;
/// Memory that the decoder may use for its window, as a power of two.
pub const MAX_WINDOW_LOG: u32 = 24;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// [`Opening`]: a session begins.
    Opening,
    /// Frames, compressed.
    Chunk,
    /// [`Index`].
    Index,
    /// Something newer; skipped.
    Unknown(u8),
}

impl BlockKind {
    fn byte(self) -> u8 {
        match self {
            Self::Opening => 1,
            Self::Chunk => 2,
            Self::Index => 3,
            Self::Unknown(byte) => byte,
        }
    }
}

impl From<u8> for BlockKind {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::Opening,
            2 => Self::Chunk,
            3 => Self::Index,
            byte => Self::Unknown(byte),
        }
    }
}

/// A session begins: the payload of its first block.
#[derive(Clone, PartialEq, Message)]
pub struct Opening {
    /// How the target describes itself.
    #[prost(message, optional, tag = "1")]
    pub hello: Option<HelloResponse>,
    /// Program and version that recorded.
    #[prost(string, tag = "2")]
    pub recorder: String,
    /// The target as the user named it.
    #[prost(string, tag = "3")]
    pub target: String,
    /// Names and fields of tasks were left out.
    #[prost(bool, tag = "4")]
    pub redacted: bool,
}

/// What a chunk holds, readable without unpacking it.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkInfo {
    /// The moment of its keyframe, on the session's clock.
    #[prost(uint64, tag = "1")]
    pub first_ns: u64,
    /// The moment of its last frame.
    #[prost(uint64, tag = "2")]
    pub last_ns: u64,
    /// Frames, the keyframe's included.
    #[prost(uint32, tag = "3")]
    pub frames: u32,
    /// Frames at its beginning that make up the keyframe.
    #[prost(uint32, tag = "4")]
    pub keyframes: u32,
    /// Bytes before compression.
    #[prost(uint64, tag = "5")]
    pub raw_bytes: u64,
    /// Its longest stalls, by start.
    #[prost(message, repeated, tag = "6")]
    pub stalls: Vec<StallMark>,
}

/// A stall, as far as a time strip shows it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StallMark {
    /// Its id within the session.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// When it began, on the session's clock.
    #[prost(uint64, tag = "2")]
    pub started_ns: u64,
    /// How long it took, as far as this chunk reaches.
    #[prost(uint64, tag = "3")]
    pub duration_ns: u64,
}

/// Where the blocks are, in the order of the file.
#[derive(Clone, PartialEq, Message)]
pub struct Index {
    /// All blocks but the index itself.
    #[prost(message, repeated, tag = "1")]
    pub blocks: Vec<IndexEntry>,
}

/// A block in the index.
#[derive(Clone, PartialEq, Message)]
pub struct IndexEntry {
    /// Where its header begins.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
}

/// A block's header, without its info.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// What it holds.
    pub kind: BlockKind,
    /// Bytes of info that follow.
    pub info_len: u16,
    /// Bytes of payload after that.
    pub payload_len: u32,
    /// CRC-32 of the payload.
    pub payload_crc: u32,
    /// CRC-32 of the header before this field, and the info.
    pub header_crc: u32,
}

impl BlockHeader {
    /// Reads a header; `None` where there is none.
    pub fn parse(bytes: &[u8; BLOCK_HEADER_LEN]) -> Option<Self> {
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let header = (bytes[..4] == BLOCK_MAGIC).then(|| Self {
            kind: bytes[4].into(),
            info_len: u16::from_le_bytes([bytes[6], bytes[7]]),
            payload_len: number(8),
            payload_crc: number(12),
            header_crc: number(16),
        })?;
        (header.info_len <= MAX_INFO && header.payload_len <= MAX_PAYLOAD).then_some(header)
    }

    /// Whether header and `info` are as they were written.
    pub fn is_intact(&self, info: &[u8]) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.checked_bytes());
        crc.update(info);
        crc.finalize() == self.header_crc
    }

    fn checked_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[4] = self.kind.byte();
        bytes[6..8].copy_from_slice(&self.info_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[12..].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes
    }

    /// Bytes from this header to the next.
    pub fn block_len(&self) -> u64 {
        BLOCK_HEADER_LEN as u64 + u64::from(self.info_len) + u64::from(self.payload_len)
    }
}

/// Header and info of a block with this payload, ready to be written before it.
/// `None` where they exceed the bounds.
pub fn block_head(kind: BlockKind, info: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let payload_len = u32::try_from(payload.len())
        .ok()
        .filter(|n| *n <= MAX_PAYLOAD)?;
    let mut header = BlockHeader {
        kind,
        info_len: u16::try_from(info.len()).ok().filter(|n| *n <= MAX_INFO)?,
        payload_len,
        payload_crc: crc32fast::hash(payload),
        header_crc: 0,
    };
    let checked = header.checked_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&checked);
    crc.update(info);
    header.header_crc = crc.finalize();
    let mut head = checked.to_vec();
    head.extend(header.header_crc.to_le_bytes());
    head.extend(info);
    Some(head)
}

/// The first bytes of a file.
pub fn file_header() -> [u8; FILE_HEADER_LEN] {
    let mut header = [0; FILE_HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The last bytes of a file.
pub fn trailer(index_offset: u64) -> [u8; TRAILER_LEN] {
    let mut trailer = [0; TRAILER_LEN];
    trailer[..8].copy_from_slice(&index_offset.to_le_bytes());
    trailer[8..].copy_from_slice(&TRAILER_MAGIC);
    trailer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_knows_when_it_was_changed() {
        let head = block_head(BlockKind::Chunk, b"info", b"payload").unwrap();
        let fixed: &[u8; BLOCK_HEADER_LEN] = head[..BLOCK_HEADER_LEN].try_into().unwrap();
        let header = BlockHeader::parse(fixed).unwrap();
        assert!(header.is_intact(b"info") && !header.is_intact(b"inf0"));
        assert_eq!((header.kind, header.block_len()), (BlockKind::Chunk, 31));
        for at in 4..16 {
            let mut changed = *fixed;
            changed[at] ^= 1;
            let intact = BlockHeader::parse(&changed).is_some_and(|h| h.is_intact(b"info"));
            // Byte 5 is reserved: written as 0, and not looked at.
            assert_eq!(intact, at == 5, "byte {at}");
        }
    }

    #[test]
    fn what_exceeds_the_bounds_is_no_block() {
        assert!(block_head(BlockKind::Opening, &[0; 5_000], &[]).is_none());
    }
}
