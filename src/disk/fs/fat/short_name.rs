//! Short names: eight and three characters of code page 437, and the case bits of Windows NT. (Microsoft FAT32 File
//! System Specification 1.03, "Directory Structure"; the case bits are known from drivers alone.)

/// What the bytes from 128 on mean in code page 437.
const CODE_PAGE_437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ\
    áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;

/// The name in the eleven bytes `raw`, without padding.
pub(crate) fn short_name(raw: &[u8; 11], case_bits: u8) -> String {
    let (base, extension) = raw.split_at(8);
    let mut name = part(base, case_bits & LOWER_BASE != 0);
    // 0xE5 would mean that the entry was deleted.
    if raw[0] == 0x05 {
        name.replace_range(..1, "σ");
    }
    let extension = part(extension, case_bits & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        name.push('.');
        name.push_str(&extension);
    }
    name
}

/// A label: as a name, but without a point.
pub(crate) fn label(raw: &[u8; 11]) -> String {
    part(raw, false)
}

fn part(raw: &[u8], is_lower: bool) -> String {
    let end = raw.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let used = raw.iter().take(end);
    used.map(|byte| character(*byte)).map(|c| if is_lower { lower(c) } else { c }).collect()
}

fn character(byte: u8) -> char {
    match byte.checked_sub(128) {
        None => char::from(byte),
        Some(index) => CODE_PAGE_437.chars().nth(usize::from(index)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// In lower case, if the code page has that.
fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) if lower.is_ascii() || CODE_PAGE_437.contains(lower) => lower,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_an_extension() {
        assert_eq!(CODE_PAGE_437.chars().count(), 128);
        assert_eq!(short_name(b"README  TXT", 0), "README.TXT");
        assert_eq!(short_name(b"README  TXT", LOWER_BASE), "readme.TXT");
        assert_eq!(short_name(b"README  TXT", LOWER_EXTENSION), "README.txt");
        assert_eq!(short_name(b"A B        ", 0x18), "a b");
        assert_eq!(short_name(b"\x05\x90\xE2     \xFF  ", LOWER_BASE), "σéΓ.\u{a0}");
        assert_eq!(short_name(b"           ", 0), "");
        assert_eq!(label(b"MY DISK 1  "), "MY DISK 1");
    }
}
