//! A program without the names of its functions, as `strip` leaves it.

/// Takes the content from the sections of a 64-bit ELF file that are not loaded: symbols
/// and debug information.
pub(super) fn strip(file: &mut [u8]) {
    const SECTION: usize = 64;
    const LOADED: u64 = 2;
    let word = |file: &[u8], at: usize, size: usize| {
        let bytes = file[at..at + size].iter().rev();
        bytes.fold(0, |word: u64, byte| word << 8 | u64::from(*byte))
    };
    assert_eq!(file[..5], *b"\x7fELF\x02");
    let table = word(file, 40, 8) as usize;
    let (count, names) = (word(file, 60, 2) as usize, word(file, 62, 2) as usize);
    for section in (0..count).filter(|section| *section != names) {
        let at = table + section * SECTION;
        if word(file, at + 8, 8) & LOADED == 0 {
            // Its type and its size.
            file[at + 4..at + 8].fill(0);
            file[at + 32..at + 40].fill(0);
        }
    }
}
