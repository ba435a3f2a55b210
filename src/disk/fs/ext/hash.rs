//! Hashes of names, by which indexed folders are ordered.
//!
//! Source: kernel documentation, "ext4 Data Structures and Algorithms", Hash Tree Directories; the compression functions
//! are those of MD4 (RFC 1320), cut in half, and of TEA (Wheeler and Needham, 1994).

use crate::disk::fs::ext::superblock::Sign;

const MD4_START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const TEA_DELTA: u32 = 0x9e37_79b9;
/// Square roots of 2 and 3, as MD4 has them.
const SECOND: u32 = 0x5a82_7999;
const THIRD: u32 = 0x6ed9_eba1;
/// The largest hash is the end of a listing.
const END: u32 = 0xffff_fffe;

/// The hash of `name` and its second part; `None` for a version that needs more than the name, or a sign not known.
pub(super) fn of(name: &[u8], version: u8, sign: Sign, seed: [u32; 4]) -> Option<(u32, u32)> {
    let (version, is_signed) = match (version, sign) {
        (3..=5, _) => (version - 3, false),
        (0..=2, Sign::Signed) => (version, true),
        (0..=2, Sign::Unsigned) => (version, false),
        _ => return None,
    };
    let start = if seed == [0; 4] { MD4_START } else { seed };
    let (hash, minor) = match version {
        0 => (legacy(name, is_signed), 0),
        1 => {
            let rounds = (0..name.len().div_ceil(32)).map(|n| words::<8>(&name[n * 32..], is_signed));
            let state = rounds.fold(start, half_md4);
            (state[1], state[2])
        }
        _ => {
            let rounds = (0..name.len().div_ceil(16)).map(|n| words::<4>(&name[n * 16..], is_signed));
            let state = rounds.fold(start, tea);
            (state[0], state[1])
        }
    };
    let hash = hash & !1;
    Some((if hash == END { END - 2 } else { hash }, minor))
}

fn widened(byte: u8, is_signed: bool) -> u32 {
    if is_signed { i32::from(byte.cast_signed()).cast_unsigned() } else { u32::from(byte) }
}

/// The next `N` numbers of a name, four bytes each, filled up with the length of what is left.
fn words<const N: usize>(name: &[u8], is_signed: bool) -> [u32; N] {
    let len = name.len() as u32 & 0xff;
    let padding = len * 0x0101_0101;
    let mut words = [padding; N];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        let join = |word: u32, byte: &u8| widened(*byte, is_signed).wrapping_add(word << 8);
        *word = bytes.iter().fold(padding, join);
    }
    words
}

fn legacy(name: &[u8], is_signed: bool) -> u32 {
    let (mut last, mut before) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
    for byte in name {
        let mixed = last ^ widened(*byte, is_signed).wrapping_mul(7_152_373);
        let mut next = before.wrapping_add(mixed);
        if next >> 31 == 1 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        (before, last) = (last, next);
    }
    last << 1
}

fn tea(state: [u32; 4], input: [u32; 4]) -> [u32; 4] {
    let [mut a, mut b, c, d] = state;
    let mut sum = 0u32;
    let mix =
        |v: u32, sum: u32, k: u32, l: u32| (v << 4).wrapping_add(k) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(l);
    for _ in 0..16 {
        sum = sum.wrapping_add(TEA_DELTA);
        a = a.wrapping_add(mix(b, sum, input[0], input[1]));
        b = b.wrapping_add(mix(a, sum, input[2], input[3]));
    }
    [state[0].wrapping_add(a), state[1].wrapping_add(b), c, d]
}

fn half_md4(state: [u32; 4], input: [u32; 8]) -> [u32; 4] {
    type Mix = fn(u32, u32, u32) -> u32;
    let choice: Mix = |x, y, z| z ^ (x & (y ^ z));
    let majority: Mix = |x, y, z| (x & y).wrapping_add((x ^ y) & z);
    let parity: Mix = |x, y, z| x ^ y ^ z;
    let rounds: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (choice, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (majority, SECOND, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (parity, THIRD, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = state;
    for (mix, constant, order, turns) in rounds {
        for (word, turn) in order.into_iter().zip(turns.into_iter().cycle()) {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(input[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(turn), b, c);
        }
    }
    let [e, f, g, h] = state;
    [e.wrapping_add(a), f.wrapping_add(b), g.wrapping_add(c), h.wrapping_add(d)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: &[u8] = b"caf\xe9-\xff-long-name-that-needs-a-second-round-of-each";

    fn signed(name: &[u8], version: u8, seed: [u32; 4]) -> (u32, u32) {
        of(name, version, Sign::Signed, seed).unwrap()
    }

    /// Values of `dx_hash` of debugfs 1.47.
    #[test]
    fn hashes_are_those_of_e2fsprogs() {
        let seed = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];
        assert_eq!(signed(b"hello", 0, [0; 4]), (0x3225_2546, 0));
        assert_eq!(signed(LONG, 0, [0; 4]), (0xd045_e900, 0));
        assert_eq!(signed(b"hello", 1, [0; 4]), (0x1746_da32, 0x4200_13b5));
        assert_eq!(signed(LONG, 1, [0; 4]), (0x49a6_d93a, 0xa9e0_6637));
        assert_eq!(signed(b"hello", 1, seed), (0xa26e_4a80, 0x97e5_b7f7));
        assert_eq!(signed(b"hello", 2, [0; 4]), (0x6f5b_b1a8, 0x2319_17c2));
        assert_eq!(signed(LONG, 2, [0; 4]), (0xbfa9_5f88, 0xc86b_d033));
    }

    #[test]
    fn the_sign_matters_beyond_ascii_only() {
        for version in 0..3 {
            let unsigned = |name| of(name, version + 3, Sign::Signed, [0; 4]).unwrap();
            assert_eq!(unsigned(b"hello"), signed(b"hello", version, [0; 4]));
            assert_ne!(unsigned(LONG), signed(LONG, version, [0; 4]));
            assert_eq!(of(LONG, version, Sign::Unknown, [0; 4]), None);
        }
        assert_eq!(of(b"hello", 6, Sign::Signed, [0; 4]), None);
    }
}
