//! Special files of Interix (Services for Unix): small system files that begin with a mark.
//!
//! (What ntfs-3g's manual page calls "Interix special files".)

use crate::disk::fs::ntfs::reparse::Special;
use crate::disk::fs::ntfs::reparse::Target;
use crate::disk::fs::ntfs::utf16;

const MARK_BYTES: usize = 8;
const LINK: &[u8] = b"IntxLNK\x01";
const CHAR_DEVICE: &[u8] = b"IntxCHR\0";
const BLOCK_DEVICE: &[u8] = b"IntxBLK\0";

/// The longest content that can be one: a mark and a path.
pub(super) const CONTENT_BYTES_MAX: u64 = MARK_BYTES as u64 + 2 * 4096;

/// What a system file with this content is.
pub(super) fn parse(content: &[u8], is_hidden: bool) -> Special {
    match content {
        [] if !is_hidden => return Special::Fifo,
        [_] if !is_hidden => return Special::Socket,
        _ => {}
    }
    let Some((mark, rest)) = content.split_at_checked(MARK_BYTES) else { return Special::Plain };
    match mark {
        mark if mark == LINK && !rest.is_empty() => Special::Symlink(Target::Unix(utf16::to_wtf8(utf16::units(rest)))),
        mark if mark == CHAR_DEVICE => device(rest).map_or(Special::Plain, |device| Special::CharDevice(Some(device))),
        mark if mark == BLOCK_DEVICE => {
            device(rest).map_or(Special::Plain, |device| Special::BlockDevice(Some(device)))
        }
        _ => Special::Plain,
    }
}

/// Major and minor number, eight bytes each.
fn device(bytes: &[u8]) -> Option<(u32, u32)> {
    let ([major, minor], []) = bytes.as_chunks::<8>() else { return None };
    let number = |bytes: &[u8; 8]| u32::try_from(u64::from_le_bytes(*bytes)).ok();
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let link = Special::Symlink(Target::Unix(b"a/b".to_vec()));
        assert_eq!(parse(b"IntxLNK\x01a\0/\0b\0", false), link);
        assert_eq!(parse(b"IntxBLK\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", true), Special::BlockDevice(Some((8, 1))));
        assert_eq!(parse(b"IntxCHR\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0", false), Special::Plain);
        assert_eq!(parse(b"", false), Special::Fifo);
        assert_eq!(parse(b"", true), Special::Plain);
        assert_eq!(parse(b"1", false), Special::Socket);
        assert_eq!(parse(b"IntxLNK\x02a\0", false), Special::Plain);
        assert_eq!(parse(b"short", false), Special::Plain);
    }
}
