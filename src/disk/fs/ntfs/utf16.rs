//! Names: UTF-16 on the disk, WTF-8 here, so that lone surrogates survive the way there and back.

/// UTF-16 units of little-endian bytes; an odd last byte is left out.
pub(super) fn units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit))
}

/// UTF-8, with lone surrogates as three bytes each.
pub(super) fn to_wtf8(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut out = Vec::new();
    for decoded in char::decode_utf16(units) {
        match decoded {
            Ok(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                out.extend([0xe0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8]);
            }
        }
    }
    out
}

/// What [`to_wtf8`] makes the bytes of, if there is such a thing.
pub(super) fn from_wtf8(bytes: &[u8]) -> Option<Vec<u16>> {
    let (mut out, mut left) = (Vec::new(), bytes);
    loop {
        let valid = match std::str::from_utf8(left) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(left.get(..error.valid_up_to())?).ok()?,
        };
        out.extend(valid.encode_utf16());
        left = match left.get(valid.len()..)? {
            [] => break,
            [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, rest @ ..] => {
                out.push(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f));
                rest
            }
            _ => return None,
        };
    }
    // Two surrogates that would be a pair have a shorter form, and only that.
    (to_wtf8(out.iter().copied()) == bytes).then_some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        for name in
            [&[][..], &[0x41, 0xe9, 0x20ac], &[0xd83d, 0xde00], &[0xd800, 0x41], &[0xdc00, 0xd800, 0xd83d, 0xde00]]
        {
            assert_eq!(from_wtf8(&to_wtf8(name.iter().copied())).unwrap(), name);
        }
        assert_eq!(to_wtf8([0xd800]), [0xed, 0xa0, 0x80]);
    }

    #[test]
    fn what_no_name_becomes_is_none() {
        for bytes in [&[0xff][..], &[0xc3], &[0xed, 0xa0], &[0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]] {
            assert_eq!(from_wtf8(bytes), None);
        }
    }
}
