//! Names in an encrypted folder, as Linux shows them without the key.
//!
//! Source: kernel documentation, "Filesystem-level encryption (fscrypt)", Filenames hashing and encoding. Names up to 149
//! bytes are shown exactly so; of longer ones Linux shows a SHA-256 of the rest, here the last 32 bytes stand for it
//! (in every mode of encryption they depend on all that is before them).

const SHOWN_MAX: usize = 149;
const REST: usize = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What stands for an encrypted name.
pub(super) fn shown(hash: (u32, u32), name: &[u8]) -> Vec<u8> {
    let mut bytes = [hash.0.to_le_bytes(), hash.1.to_le_bytes()].concat();
    bytes.extend_from_slice(name.get(..SHOWN_MAX).unwrap_or(name));
    if name.len() > SHOWN_MAX {
        bytes.extend_from_slice(&name[name.len() - REST..]);
    }
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0usize, |bits, n| bits << 8 | usize::from(part.get(n).copied().unwrap_or(0)));
        let digits = [bits >> 18, bits >> 12, bits >> 6, bits].map(|bits| ALPHABET[bits & 63]);
        out.extend_from_slice(&digits[..part.len() + 1]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_padding_and_slashes() {
        assert_eq!(base64(b"\xff\xff\xfe"), b"___-");
        assert_eq!(base64(b"ab"), b"YWI");
        assert_eq!(base64(b"a"), b"YQ");
        assert_eq!(shown((0, 0), b""), b"AAAAAAAAAAA");
    }

    #[test]
    fn long_names_stay_apart_and_short_enough() {
        let names = [[vec![1; 200], vec![2; 55]].concat(), [vec![1; 200], vec![3; 55]].concat()];
        let shown = names.map(|name| shown((1, 2), &name));
        assert_ne!(shown[0], shown[1]);
        assert!(shown[0].len() <= 255);
    }
}
