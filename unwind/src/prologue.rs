//! The frame pointer of a function, computed from its stack pointer.
//!
//! Of a thread in a system call the stack pointer is known but not `rbp`, and a
//! function compiled with frame pointers (all of Rust's std) finds its caller
//! through `rbp`. Such a function has a prologue `push rbp; mov rbp, rsp`, further
//! pushes and a `sub rsp, N`; when nothing else moves the stack pointer, as in all
//! Rust code, `rbp` is the stack pointer plus what the prologue subtracted.
//!
//! Optimised C mixes the prologue with what follows. There the frame pointer is looked
//! for: a return address lies above it that leads back behind a call of this function.
//!
//! A prologue that is not understood to its end yields nothing, and so does a
//! result that the caller's code contradicts: the instruction before the return
//! address must be a call. A call of a fixed target must lead to exactly this
//! function, directly or through a stub or a function that ends in a jump to it.
//! A call of a computed target confirms it by loading its address; otherwise the
//! result is an [`Evidence::Assumption`], to be dropped unless the rest of the
//! stack bears it out.

use std::ops::Range;

use crate::Memory;

const MAX_PROLOGUE: u64 = 128;
const MAX_FRAME: u64 = 1 << 20;
/// Of a frame whose size the prologue does not show.
const MAX_MIXED_FRAME: u64 = 4096;
/// Bytes searched for a jump in a function that may have passed the call on.
const MAX_FORWARDER: u64 = 4096;

/// How sure a frame pointer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The caller's code calls this function.
    Confirmed,
    /// The caller calls a function that is computed at run time, perhaps this one.
    Assumption,
}

/// The frame pointer of the function at `function` (in memory), stopped at
/// `address` with stack pointer `sp`; `bounds` gives the function around an
/// address, `read` reads the stack.
pub(super) fn frame_pointer(
    memory: &dyn Memory,
    function: u64,
    address: u64,
    sp: u64,
    mut read: impl FnMut(u64) -> Option<u64>,
    bounds: impl Fn(u64) -> Option<Range<u64>>,
) -> Option<(u64, Evidence)> {
    let code = copy(
        memory,
        function,
        address.checked_sub(function)?.min(MAX_PROLOGUE),
    );
    let Some(frame) = frame_size(&code) else {
        if !is_mixed(&code) {
            return None;
        }
        return nearest_return(sp, read, |at| evidence(memory, at, function, &bounds));
    };
    let fp = sp.checked_add(frame)?;
    let return_address = read(fp.checked_add(8)?)?;
    Some((fp, evidence(memory, return_address, function, bounds)?))
}

/// Is a frame pointer set, once, apart from the `push rbp` before it?
fn is_mixed(code: &[u8]) -> bool {
    const SET: [[u8; 3]; 2] = [[0x48, 0x89, 0xe5], [0x48, 0x8b, 0xec]];
    let is_set = |bytes: &[u8]| SET.iter().any(|set| set == bytes);
    let mut places = code.windows(3).enumerate().filter(|(_, b)| is_set(b));
    let Some((place, _)) = places.next() else {
        return false;
    };
    code[..place].contains(&0x55) && places.next().is_none()
}

/// The frame pointer below the first return address on the stack that `evidence`
/// confirms; where there is none, below the first that it finds possible.
fn nearest_return(
    sp: u64,
    mut read: impl FnMut(u64) -> Option<u64>,
    evidence: impl Fn(u64) -> Option<Evidence>,
) -> Option<(u64, Evidence)> {
    let mut possible = None;
    // The saved frame pointer comes first.
    for at in (sp.checked_add(8)?..sp.checked_add(MAX_MIXED_FRAME)?).step_by(8) {
        let Some(word) = read(at) else { break };
        match evidence(word) {
            Some(Evidence::Confirmed) => return Some((at - 8, Evidence::Confirmed)),
            Some(Evidence::Assumption) => {
                possible = possible.or(Some((at - 8, Evidence::Assumption)));
            }
            None => {}
        }
    }
    possible
}

/// How far below the frame pointer the stack pointer is after the prologue that
/// begins `code`.
fn frame_size(code: &[u8]) -> Option<u64> {
    /// `mov qword [rsp], 0`: the probe between two steps of a frame over a page.
    const PROBE: [u8; 8] = [0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0];
    let mut rest = after_frame_is_set(code)?;
    let mut size = 0_u64;
    loop {
        rest = match rest {
            // push of a register
            [0x50..=0x57, after @ ..] | [0x41, 0x50..=0x57, after @ ..] => {
                size += 8;
                after
            }
            _ => break,
        };
    }
    loop {
        let (subtracted, after) = match rest {
            // sub rsp, 8 bits
            [0x48, 0x83, 0xec, n, after @ ..] => (u64::from(*n), after),
            // sub rsp, 32 bits
            [0x48, 0x81, 0xec, a, b, c, d, after @ ..] => {
                (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), after)
            }
            // and rsp, N: the distance depends on the caller;
            // lea r11, [rsp - N]: a loop that probes a large frame follows
            [0x48, 0x83 | 0x81, 0xe4, ..] | [0x4c, 0x8d, 0x9c, 0x24, ..] => return None,
            _ => break,
        };
        size += subtracted;
        rest = after.strip_prefix(&PROBE).unwrap_or(after);
    }
    (!rest.is_empty() && size <= MAX_FRAME).then_some(size)
}

/// The code behind `push rbp; mov rbp, rsp`, which need not come first: compilers
/// put it behind an early return. It must be there exactly once.
fn after_frame_is_set(code: &[u8]) -> Option<&[u8]> {
    const SET_FRAME: [[u8; 4]; 2] = [[0x55, 0x48, 0x89, 0xe5], [0x55, 0x48, 0x8b, 0xec]];
    let mut places = code
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| SET_FRAME.iter().any(|set| set == bytes));
    let (place, _) = places.next()?;
    places.next().is_none().then(|| &code[place + 4..])
}

/// Is the instruction before `return_address` a call that leads to `function`?
fn evidence(
    memory: &dyn Memory,
    return_address: u64,
    function: u64,
    bounds: impl Fn(u64) -> Option<Range<u64>>,
) -> Option<Evidence> {
    let leads = |target| {
        leads_to(memory, target, function) || forwards_to(memory, target, function, &bounds)
    };
    let mut evidence = None;
    for call in calls_before(memory, return_address)? {
        let confirmed = match call {
            Call::Direct(target) => leads(target),
            Call::Through(pointer) => memory.read_u64(pointer).is_some_and(leads),
            Call::Computed => {
                evidence = Some(Evidence::Assumption);
                let caller = bounds(return_address - 1);
                caller.is_some_and(|caller| loads_address(memory, caller, return_address, leads))
            }
        };
        if confirmed {
            return Some(Evidence::Confirmed);
        }
    }
    evidence
}

/// Does the function `caller` load, somewhere before its call that returns to
/// `return_address`, the address of code that `leads` to the function in question?
/// So it is in unoptimised code, and where a loop keeps the address in a register.
fn loads_address(
    memory: &dyn Memory,
    caller: Range<u64>,
    return_address: u64,
    leads: impl Fn(u64) -> bool,
) -> bool {
    let start = caller
        .start
        .max(return_address.saturating_sub(MAX_FORWARDER));
    let code = copy(memory, start, return_address.saturating_sub(start));
    code.windows(7).enumerate().any(|(i, bytes)| {
        let [0x48 | 0x4c, operation, modrm, a, b, c, d] = *bytes else {
            return false;
        };
        if modrm & 0xc7 != 0x05 {
            return false;
        }
        let next = start + i as u64 + 7;
        let place = next.wrapping_add(i32::from_le_bytes([a, b, c, d]) as u64);
        match operation {
            // mov register, [rip + distance]
            0x8b => memory.read_u64(place).is_some_and(&leads),
            // lea register, [rip + distance]
            0x8d => leads(place),
            _ => false,
        }
    })
}

/// Is `target` the function, or a stub that jumps to it (a procedure linkage
/// table's entry)?
fn leads_to(memory: &dyn Memory, target: u64, function: u64) -> bool {
    if target == function {
        return true;
    }
    let code = copy(memory, target, 16);
    let code = code
        .strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa])
        .unwrap_or(&code);
    let skipped = 16 - code.len() as u64;
    let (length, pointer) = match code {
        [0xff, 0x25, a, b, c, d, ..] => (6, [*a, *b, *c, *d]),
        [0xf2, 0xff, 0x25, a, b, c, d, ..] => (7, [*a, *b, *c, *d]),
        _ => return false,
    };
    let next = target.wrapping_add(skipped + length);
    let pointer = next.wrapping_add(i32::from_le_bytes(pointer) as u64);
    memory.read_u64(pointer) == Some(function)
}

/// Does the function at `target` end in a jump to `function`, as one that only
/// passes its arguments on does? A jump's distance is 32 bits, so finding one by
/// accident is out of the question.
fn forwards_to(
    memory: &dyn Memory,
    target: u64,
    function: u64,
    bounds: &impl Fn(u64) -> Option<Range<u64>>,
) -> bool {
    let size = match bounds(target) {
        Some(range) if range.start == target => range.end - range.start,
        // A function without a frame may lack a rule; it is short.
        _ => 32,
    };
    // One byte more, because the windows are a byte longer than the jump may be.
    let code = copy(memory, target, size.min(MAX_FORWARDER) + 1);
    code.windows(6).enumerate().any(|(i, bytes)| {
        let at = target + i as u64;
        match *bytes {
            [0xe9, a, b, c, d, _] => {
                (at + 5).wrapping_add(i32::from_le_bytes([a, b, c, d]) as u64) == function
            }
            [0xff, 0x25, a, b, c, d] => {
                let pointer = (at + 6).wrapping_add(i32::from_le_bytes([a, b, c, d]) as u64);
                memory.read_u64(pointer) == Some(function)
            }
            _ => false,
        }
    })
}

/// A call instruction, by how it finds its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Direct(u64),
    /// Through a pointer at a fixed address.
    Through(u64),
    /// Through a register or a pointer that one leads to.
    Computed,
}

/// Is `address` one that a call returns to?
pub(super) fn follows_call(memory: &dyn Memory, address: u64) -> bool {
    calls_before(memory, address).is_some_and(|mut calls| calls.next().is_some())
}

fn calls_before(memory: &dyn Memory, address: u64) -> Option<impl Iterator<Item = Call>> {
    let mut code = [0; 7];
    let have = memory.read(address.checked_sub(7)?, &mut code) == 7;
    have.then(|| decode_calls(code, address))
}

/// All that the bytes before `address` can be. Instructions cannot be read
/// backwards: the end of the one before may look like the beginning of a longer
/// call.
fn decode_calls(code: [u8; 7], address: u64) -> impl Iterator<Item = Call> {
    let distance = i32::from_le_bytes([code[3], code[4], code[5], code[6]]);
    let relative = address.wrapping_add(distance as u64);
    let direct = (code[2] == 0xe8).then_some(Call::Direct(relative));
    let through = (code[1..3] == [0xff, 0x15]).then_some(Call::Through(relative));
    // `call r/m64` has opcode 0xff and 2 in the middle bits of the next byte.
    let indirect = |modrm: u8| modrm & 0x38 == 0x10;
    let computed = match code {
        [.., 0xff, m] if indirect(m) => true,
        [.., 0xff, m, _] if indirect(m) && (m >> 6 == 1 || m & 7 == 4) => true,
        [.., 0xff, m, _, _] if indirect(m) && m >> 6 == 1 && m & 7 == 4 => true,
        [_, 0xff, m, ..] if indirect(m) && m >> 6 == 2 => true,
        [0xff, m, _, ..] if indirect(m) && m & 7 == 4 && m >> 6 != 1 => true,
        _ => false,
    };
    let computed = computed.then_some(Call::Computed);
    [direct, through, computed].into_iter().flatten()
}

fn copy(memory: &dyn Memory, address: u64, size: u64) -> Vec<u8> {
    let mut code = vec![0; size as usize];
    let length = memory.read(address, &mut code);
    code.truncate(length);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prologues() {
        let cases: &[(&str, &[u8], Option<u64>)] = &[
            (
                "pushes and a small frame",
                &[
                    0x55, 0x48, 0x89, 0xe5, 0x41, 0x57, 0x41, 0x56, 0x53, 0x48, 0x83, 0xec, 0x18,
                    0x90,
                ],
                Some(3 * 8 + 0x18),
            ),
            (
                "endbr64, other encoding of mov, large frame",
                &[
                    0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x8b, 0xec, 0x48, 0x81, 0xec, 0x10, 0x02,
                    0, 0, 0x90,
                ],
                Some(0x210),
            ),
            (
                "probed steps",
                &[
                    0x55, 0x48, 0x89, 0xe5, 0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0x48, 0xc7, 0x04,
                    0x24, 0, 0, 0, 0, 0x48, 0x83, 0xec, 0x20, 0x90,
                ],
                Some(0x1020),
            ),
            (
                "behind an early return",
                &[
                    0x48, 0x85, 0xf6, 0x78, 0x20, 0x55, 0x48, 0x89, 0xe5, 0x41, 0x57, 0x48, 0x83,
                    0xec, 0x18, 0x90,
                ],
                Some(0x20),
            ),
            (
                "two of them",
                &[
                    0x55, 0x48, 0x89, 0xe5, 0x50, 0xc3, 0x55, 0x48, 0x89, 0xe5, 0x53, 0x90,
                ],
                None,
            ),
            (
                "only pushes",
                &[0x55, 0x48, 0x89, 0xe5, 0x50, 0xe8],
                Some(8),
            ),
            (
                "stopped in the prologue",
                &[0x55, 0x48, 0x89, 0xe5, 0x50],
                None,
            ),
            (
                "no frame pointer",
                &[0x41, 0x57, 0x48, 0x83, 0xec, 0x18],
                None,
            ),
            (
                "realigned",
                &[0x55, 0x48, 0x89, 0xe5, 0x53, 0x48, 0x83, 0xe4, 0xe0, 0x90],
                None,
            ),
            ("nothing", &[], None),
        ];
        for (name, code, expected) in cases {
            assert_eq!(frame_size(code), *expected, "{name}");
        }
    }

    #[test]
    fn mixed_prologues() {
        // push rbp; movslq rax, esi; mov rbp, rsp; push rbx
        let mixed: &[u8] = &[0x55, 0x48, 0x63, 0xc6, 0x48, 0x89, 0xe5, 0x53];
        let twice = [mixed, mixed].concat();
        let cases = [
            ("mixed", mixed, true),
            ("none", &mixed[..4], false),
            ("two of them", &twice, false),
            ("nothing pushed", &mixed[1..], false),
        ];
        for (name, code, expected) in cases {
            assert_eq!(is_mixed(code), expected, "{name}");
        }
        // The stack, from its pointer on: a 1 may be a return address, a 2 is one.
        let confirmed = |fp| Some((fp, Evidence::Confirmed));
        let cases = [
            ([0, 0, 0, 2, 0], confirmed(0x1010)),
            ([2, 0, 1, 2, 0], confirmed(0x1010)),
            ([0, 0, 1, 1, 0], Some((0x1008, Evidence::Assumption))),
            ([0; 5], None),
        ];
        for (stack, expected) in cases {
            let read = |at: u64| stack.get(((at - 0x1000) / 8) as usize).copied();
            let evidence = |word| match word {
                1 => Some(Evidence::Assumption),
                2 => Some(Evidence::Confirmed),
                _ => None,
            };
            assert_eq!(
                nearest_return(0x1000, read, evidence),
                expected,
                "{stack:?}"
            );
        }
    }

    #[test]
    fn calls() {
        let cases: &[([u8; 7], &[Call])] = &[
            ([0, 0, 0xe8, 0x10, 0, 0, 0], &[Call::Direct(0x1010)]),
            ([0, 0, 0xe8, 0xf0, 0xff, 0xff, 0xff], &[Call::Direct(0xff0)]),
            ([0, 0xff, 0x15, 8, 0, 0, 0], &[Call::Through(0x1008)]),
            ([0, 0, 0, 0, 0, 0xff, 0xd0], &[Call::Computed]),
            ([0, 0, 0, 0, 0xff, 0x50, 0x18], &[Call::Computed]),
            ([0, 0, 0, 0, 0x41, 0xff, 0xd4], &[Call::Computed]),
            // `mov rax, [rip + 0x43e87e]; call rax`
            (
                [0x05, 0x7e, 0xe8, 0x43, 0, 0xff, 0xd0],
                &[
                    Call::Direct(0x1043_u64.wrapping_sub(0x2f01_0000)),
                    Call::Computed,
                ],
            ),
            ([0x90; 7], &[]),
            ([0, 0, 0, 0, 0, 0xff, 0xe0], &[]),
        ];
        for (code, expected) in cases {
            let calls: Vec<Call> = decode_calls(*code, 0x1000).collect();
            assert_eq!(calls, *expected, "{code:x?}");
        }
    }
}
