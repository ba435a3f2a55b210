//! Names without Rock Ridge: of plain ISO 9660 as other systems show them, and of Joliet. (ECMA-119, 7.5 and 7.6; the
//! Joliet Specification.)

use crate::disk::fs::wide::wtf8;

/// A plain name: in lower case, without the version 1 and without a point that has no extension behind it.
pub(crate) fn plain(raw: &[u8]) -> Vec<u8> {
    let name = raw.strip_suffix(b";1").map_or(raw, |name| name.strip_suffix(b".").unwrap_or(name));
    let shown = |byte: &u8| match byte {
        // They cannot stand in a name, or mean something else there.
        b';' | b'/' => b'.',
        byte => byte.to_ascii_lowercase(),
    };
    name.iter().map(shown).collect()
}

/// A name of Joliet: UCS-2, without the version 1.
pub(crate) fn joliet(raw: &[u8]) -> Vec<u8> {
    let mut name = wide(raw);
    if let Some(len) = name.strip_suffix(b";1").map(<[u8]>::len) {
        name.truncate(len);
    }
    name
}

/// A label, without padding.
pub(crate) fn label(raw: &[u8], is_joliet: bool) -> String {
    let bytes = if is_joliet { wide(raw) } else { raw.to_vec() };
    String::from_utf8_lossy(&bytes).trim_matches([' ', '\0']).to_owned()
}

/// The most significant byte is first.
fn wide(raw: &[u8]) -> Vec<u8> {
    wtf8(raw.as_chunks::<2>().0.iter().map(|[high, low]| u16::from_le_bytes([*low, *high])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_in_lower_case_without_version() {
        for (raw, shown) in [
            ("README.TXT;1", "readme.txt"),
            ("README.;1", "readme"),
            ("README;1", "readme"),
            ("A.B;2", "a.b.2"),
            ("README.", "readme."),
            ("FOLDER", "folder"),
        ] {
            assert_eq!(plain(raw.as_bytes()), shown.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn joliet_names_are_wide() {
        let raw: Vec<u8> =
            "Größe 中.txt;1".encode_utf16().flat_map(|unit| unit.to_le_bytes().into_iter().rev()).collect();
        assert_eq!(joliet(&raw), "Größe 中.txt".as_bytes());
        assert_eq!(label(&raw[..10], true), "Größe");
        assert_eq!(label(b"CDROM   ", false), "CDROM");
    }
}
