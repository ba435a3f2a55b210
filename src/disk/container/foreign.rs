//! Virtual disks that are known by their marks and not read, and what disks are packed in to be sent: to take them for
//! the disk itself would store what nobody finds a file in.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;

const MARKS: &[(&[u8], &str)] = &[
    (b"QED\0", "a QED disk image"),
    (b"WithoutFreeSpace", "a Parallels disk image"),
    (b"WithouFreSpacExt", "a Parallels disk image"),
    (b"EVF\x09\x0d\x0a\xff\0", "an EnCase disk image"),
    (b"EVF2\x0d\x0a\x81\0", "an EnCase disk image"),
    (b"Bochs Virtual HD Image", "a Bochs disk image"),
    (b"\x3a\xff\x26\xed", "an Android sparse image"),
    (b"partclone-image", "a Partclone image"),
    (b"MSWIM\0\0\0", "a Windows image (WIM)"),
    (b"\xfd7zXZ\0", "an image that is compressed by xz"),
    (b"\x1f\x8b\x08", "an image that is compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "an image that is compressed by zstd"),
    (b"BZh91AY&SY", "an image that is compressed by bzip2"),
    (b"PK\x03\x04", "an image in a ZIP archive"),
];

/// The mark of what macOS makes stands at the end.
const DMG_MAGIC: &[u8] = b"koly\0\0\0\x04";
const DMG_BYTES: u64 = 512;

/// Fails with the name of the kind if `source`, which begins with `start`, is one of these.
pub(super) fn refuse(source: &Source, start: &[u8]) -> Result<()> {
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| start.starts_with(mark)) {
        return Err(Error::unsupported(*what));
    }
    let Some(last_at) = source.len().checked_sub(DMG_BYTES) else { return Ok(()) };
    let mut last = [0; DMG_MAGIC.len()];
    match source.read_at(last_at, &mut last) {
        Ok(()) if last == DMG_MAGIC => Err(Error::unsupported("an Apple disk image (DMG)")),
        // The end of a failing disk, too, is missed by whoever reads it.
        _ => Ok(()),
    }
}
