//! Folder entries of 32 bytes: short ones, which are nodes. (Microsoft FAT32 File System Specification 1.03, "FAT
//! Directory Structure".)

use crate::disk::fs::fat::dos_time::dos_time;
use crate::meta::Time;

const DELETED: u8 = 0xE5;
const VOLUME_ID: u8 = 0x08;
const FOLDER: u8 = 0x10;
/// All attributes that were ever given a meaning.
const ATTRIBUTES: u8 = 0x3F;
const LONG_NAME: u8 = 0x0F;

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// No entry follows.
    End,
    /// Nothing.
    Deleted,
    /// Part of a long name.
    LongName,
    /// The label of the volume.
    Label,
    /// `.` or `..`.
    Dots,
    /// A file or folder.
    Node,
}

/// What `raw` is for.
pub(crate) fn role(raw: &[u8; 32]) -> Role {
    let attributes = raw[11];
    match raw[0] {
        0 => Role::End,
        DELETED => Role::Deleted,
        _ if attributes & ATTRIBUTES == LONG_NAME => Role::LongName,
        _ if attributes & VOLUME_ID != 0 => Role::Label,
        _ if matches!(&raw[..11], b".          " | b"..         ") => Role::Dots,
        _ => Role::Node,
    }
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShortEntry {
    pub(crate) raw_name: [u8; 11],
    pub(crate) case_bits: u8,
    pub(crate) is_folder: bool,
    /// 0: it has no clusters.
    pub(crate) first_cluster: u32,
    pub(crate) size: u32,
    pub(crate) mtime: Option<Time>,
    pub(crate) btime: Option<Time>,
}

impl ShortEntry {
    /// Reads an entry whose role is [`Role::Node`]. Only FAT32 uses the upper half of the cluster's number.
    pub(crate) fn read(raw: &[u8; 32], is_fat32: bool) -> ShortEntry {
        let word = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let mut raw_name = [0; 11];
        raw_name.copy_from_slice(&raw[..11]);
        let upper = if is_fat32 { u32::from(word(20)) << 16 } else { 0 };
        ShortEntry {
            raw_name,
            case_bits: raw[12],
            is_folder: raw[11] & FOLDER != 0,
            first_cluster: upper | u32::from(word(26)),
            size: u32::from(word(28)) | u32::from(word(30)) << 16,
            // Times have no zone: they are taken as UTC.
            mtime: dos_time(word(24), word(22), 0, 0),
            btime: dos_time(word(16), word(14), raw[13], 0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_all_its_fields() {
        let mut raw = [0; 32];
        raw[..11].copy_from_slice(b"FILE    TXT");
        (raw[11], raw[12], raw[13]) = (0x20, 0x18, 150);
        raw[14..18].copy_from_slice(&[0, 0, 0x21, 0]);
        raw[20..28].copy_from_slice(&[1, 0, 1, 0, 0x22, 0, 2, 0]);
        raw[28..].copy_from_slice(&0x8765_4321u32.to_le_bytes());
        assert_eq!(role(&raw), Role::Node);
        let entry = ShortEntry::read(&raw, true);
        assert_eq!((entry.first_cluster, entry.size, entry.is_folder), (0x1_0002, 0x8765_4321, false));
        assert_eq!(entry.btime.unwrap(), Time { secs: 315_532_801, nanos: 500_000_000 });
        assert_eq!(entry.mtime.unwrap(), Time { secs: 315_532_800 + 86_402, nanos: 0 });
        assert_eq!(ShortEntry::read(&raw, false).first_cluster, 2);
    }

    #[test]
    fn what_entries_are_for() {
        let mut raw = *b"NAME       \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for (attributes, is) in [(0x10, Role::Node), (0x08, Role::Label), (0x28, Role::Label), (0x0F, Role::LongName)] {
            raw[11] = attributes;
            assert_eq!(role(&raw), is, "{attributes:#x}");
        }
        raw[..2].copy_from_slice(&[0xE5, b' ']);
        assert_eq!(role(&raw), Role::Deleted);
        raw[..4].copy_from_slice(b"..  ");
        raw[11] = 0x10;
        assert_eq!(role(&raw), Role::Dots);
        raw[0] = 0;
        assert_eq!(role(&raw), Role::End);
    }
}
