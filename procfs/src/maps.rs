//! `maps`: what is mapped into a process.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

/// A line of `maps`.
#[allow(
    clippy::struct_excessive_bools,
    reason = "the kernel's four flags, as it writes them"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its addresses.
    pub range: Range<u64>,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Its code may be run.
    pub execute: bool,
    /// What is written to it goes to others too.
    pub shared: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// Of the file; 0 where there is none.
    pub inode: u64,
    /// As the process sees it: an absolute path, or a name in brackets such as
    /// `[vdso]`; empty where it is of no file and has no name.
    pub path: PathBuf,
    /// The file is no longer at its path.
    pub deleted: bool,
}

/// The mappings in the text of `maps`; lines that are none are left out.
pub fn mappings(maps: &[u8]) -> impl Iterator<Item = Mapping> {
    let lines = maps.split(|byte| *byte == b'\n');
    lines.filter_map(Mapping::parse)
}

impl Mapping {
    /// `START-END PERMS OFFSET DEV INODE PATH`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line;
        let mut word = || {
            let end = rest.iter().position(|byte| *byte == b' ')?;
            let (word, after) = rest.split_at(end);
            rest = &after[1..];
            std::str::from_utf8(word).ok()
        };
        let (start, end) = word()?.split_once('-')?;
        let flags = word()?.as_bytes();
        let has = |at: usize, flag: u8| flags.get(at) == Some(&flag);
        let offset = hex(word()?)?;
        word()?;
        // Nothing may come after it, not even a space.
        let inode = match word() {
            Some(inode) => inode,
            None => std::str::from_utf8(std::mem::take(&mut rest)).ok()?,
        };
        let path = rest.trim_ascii_start();
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        Some(Self {
            range: hex(start)?..hex(end)?,
            read: has(0, b'r'),
            write: has(1, b'w'),
            execute: has(2, b'x'),
            shared: has(3, b's'),
            offset,
            inode: inode.trim_ascii().parse().ok()?,
            path: PathBuf::from(unescaped(path)),
            deleted,
        })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// The kernel writes a line feed in a path as `\012`.
fn unescaped(path: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            bytes.push(b'\n');
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    os_string(bytes)
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let maps = b"\
55d0c0c3a000-55d0c0c5b000 rw-p 00000000 00:00 0                          [heap]\n\
7f00-7f10 r-xp 00001000 08:01 42   /opt/my app\n\
7f20-7f30 rw-p 00000000 00:00 0 \n\
7f30-7f40 r--p 00000000 fe:00 14 /lib/odd\\012name (deleted)\n\
7f40-7f50 rw-s 00000000 00:07 0\n\
nonsense\n";
        let found: Vec<Mapping> = mappings(maps).collect();
        assert_eq!(found.len(), 5);
        let paths: Vec<_> = found.iter().map(|m| m.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["[heap]", "/opt/my app", "", "/lib/odd\nname", ""]);
        let code = Mapping {
            range: 0x7f00..0x7f10,
            read: true,
            write: false,
            execute: true,
            shared: false,
            offset: 0x1000,
            inode: 42,
            path: "/opt/my app".into(),
            deleted: false,
        };
        assert_eq!(found[1], code);
        assert!(found[3].deleted && found[4].shared && found[0].write);
    }

    #[test]
    fn what_is_no_mapping_is_left_out() {
        for bad in [
            &b""[..],
            b"x-y rw-p 0 0 0",
            b"7f00 rw-p 0 00:00 0",
            b"7f00-7f10",
            b"7f00-7f10 rw-p",
            b"7f00-7f10 rw-p 0 00:00",
            b"7f00-7f10 rw-p 0 00:00 x",
            b"7f00-7f10 rw-p 0 \xff 0 /x",
            b"123456789abcdef01-7f10 rw-p 0 00:00 0",
        ] {
            assert_eq!(Mapping::parse(bad), None, "{bad:?}");
        }
    }
}
