//! UTF-16 names as bytes: UTF-8, and WTF-8 where a surrogate stands alone, so that no two names become the same.

/// `units` as UTF-8; a lone surrogate as the three bytes that UTF-8 would have had for its number.
pub(crate) fn wtf8(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut name = Vec::new();
    for part in char::decode_utf16(units) {
        match part {
            Ok(c) => name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                name.extend([0xE0 | unit >> 12, 0x80 | unit >> 6 & 0x3F, 0x80 | unit & 0x3F].map(|byte| byte as u8));
            }
        }
    }
    name
}

/// True if `name` can stand in a path: not empty, not `.` or `..`, and without `/` and NUL.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_lone_surrogates() {
        assert_eq!(wtf8("aé中😀".encode_utf16()), "aé中😀".as_bytes());
        assert_eq!(wtf8([0xD83D]), [0xED, 0xA0, 0xBD]);
        assert_eq!(wtf8([0xDE00, 0x61]), [0xED, 0xB8, 0x80, 0x61]);
    }

    #[test]
    fn what_can_stand_in_a_path() {
        assert!(is_name(b"...") && is_name(b"a") && is_name(b"\xff"));
        assert!(["", ".", "..", "a/b", "a\0"].iter().all(|name| !is_name(name.as_bytes())));
    }
}
