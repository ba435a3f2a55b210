//! Reparse points: what a file is instead of what it seems.
//!
//! Layouts and tags: [MS-FSCC] 2.1.2. Those that cannot be followed are named, so that nobody takes what is left of the
//! file for its content.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::ntfs::utf16;
use crate::disk::fs::ntfs::wof;
use crate::disk::fs::ntfs::wof::Algorithm;

/// NTFS allows no more.
pub(super) const REPARSE_BYTES_MAX: u64 = 16 << 10;

const WHAT: &str = "NTFS reparse point";

const TAG_MOUNT_POINT: u32 = 0xa000_0003;
const TAG_SYMLINK: u32 = 0xa000_000c;
const TAG_WOF: u32 = 0x8000_0017;
const TAG_NFS: u32 = 0x8000_0014;
const TAG_LX_SYMLINK: u32 = 0xa000_001d;
const TAG_AF_UNIX: u32 = 0x8000_0023;
const TAG_LX_FIFO: u32 = 0x8000_0024;
const TAG_LX_CHR: u32 = 0x8000_0025;
const TAG_LX_BLK: u32 = 0x8000_0026;
/// All tags of files that are kept in a cloud, but for these bits.
const TAG_CLOUD: u32 = 0x9000_001a;
const TAG_CLOUD_MASK: u32 = 0xffff_0fff;

/// Others that are known by name.
const NAMES: &[(u32, &str)] = &[
    (0x8000_0006, "hierarchical storage"),
    (0xc000_0004, "hierarchical storage"),
    (0x8000_0007, "single instance storage"),
    (0x8000_0008, "a file inside a WIM image"),
    (0x8000_0013, "data deduplication"),
    (0x8000_0015, "a OneDrive placeholder"),
    (0x8000_0018, "a Windows container layer"),
    (0x8000_001b, "an application execution link"),
    (0x8000_0021, "a OneDrive placeholder"),
    (0x9000_1018, "a Windows container layer"),
    (0x9000_001c, "a projected file"),
];

const FLAG_RELATIVE: u32 = 1;
/// Version of the data of an LX link.
const LX_SYMLINK_VERSION: u32 = 2;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// As Unix writes it.
    Unix(Vec<u8>),
    /// As Windows writes it.
    Windows { path: Vec<u16>, is_relative: bool },
}

/// What a file is instead of what it seems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Special {
    /// What it seems.
    Plain,
    Symlink(Target),
    Fifo,
    Socket,
    /// Numbers may be in its extended attributes.
    CharDevice(Option<(u32, u32)>),
    BlockDevice(Option<(u32, u32)>),
    /// Packed by the Windows overlay filter.
    Packed(Algorithm),
    /// What is not here is in a cloud.
    Cloud,
    /// Something else, which has this name.
    Opaque(String),
}

/// What the reparse data say.
pub(super) fn parse(bytes: &[u8]) -> Result<Special> {
    let fields = Fields::new(bytes, WHAT, 0);
    let tag = fields.u32(0)?;
    let data = || fields.part(8, usize::from(fields.u16(4)?), WHAT);
    Ok(match tag {
        TAG_MOUNT_POINT => Special::Symlink(windows_target(&data()?, 8, false)?),
        TAG_SYMLINK => {
            let data = data()?;
            let is_relative = data.u32(8)? & FLAG_RELATIVE != 0;
            Special::Symlink(windows_target(&data, 12, is_relative)?)
        }
        TAG_LX_SYMLINK => {
            let data = data()?;
            match data.u32(0)? {
                LX_SYMLINK_VERSION => Special::Symlink(Target::Unix(data.rest(4)?.to_vec())),
                version => Special::Opaque(format!("an LX link of version {version}")),
            }
        }
        TAG_AF_UNIX => Special::Socket,
        TAG_LX_FIFO => Special::Fifo,
        TAG_LX_CHR => Special::CharDevice(None),
        TAG_LX_BLK => Special::BlockDevice(None),
        TAG_NFS => nfs(&data()?)?,
        TAG_WOF => wof::provider(&data()?)?,
        tag if tag & TAG_CLOUD_MASK == TAG_CLOUD => Special::Cloud,
        tag => {
            let name = NAMES.iter().find(|(known, _)| *known == tag);
            Special::Opaque(match name {
                Some((_, name)) => (*name).to_owned(),
                None => format!("an NTFS reparse point of type {tag:#010x}"),
            })
        }
    })
}

/// The substitute name: the one that Windows follows.
fn windows_target(data: &Fields<'_>, buffer: usize, is_relative: bool) -> Result<Target> {
    let (offset, len) = (usize::from(data.u16(0)?), usize::from(data.u16(2)?));
    let path = utf16::units(data.bytes(buffer + offset, len)?).collect();
    Ok(Target::Windows { path, is_relative })
}

/// Special files of the NFS server. (section 2.1.2.6)
fn nfs(data: &Fields<'_>) -> Result<Special> {
    let device = || Ok(Some((data.u32(8)?, data.u32(12)?)));
    Ok(match &data.array::<8>(0)? {
        b"LNK\x01\0\0\0\0" => Special::Symlink(Target::Unix(utf16::to_wtf8(utf16::units(data.rest(8)?)))),
        b"CHR\0\0\0\0\0" => Special::CharDevice(device()?),
        b"BLK\0\0\0\0\0" => Special::BlockDevice(device()?),
        b"FIFO\0\0\0\0" => Special::Fifo,
        b"SOCK\0\0\0\0" => Special::Socket,
        _ => Special::Opaque("a special file of the NFS server".to_owned()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn point(tag: u32, data: &[u8]) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &(data.len() as u16).to_le_bytes(), &[0, 0], data].concat()
    }

    #[test]
    fn links() {
        let name: Vec<u8> = "..\\a".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let data = [&[2, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 9][..], &name].concat();
        let target = Target::Windows { path: "..\\a".encode_utf16().collect(), is_relative: true };
        assert_eq!(parse(&point(TAG_SYMLINK, &data)).unwrap(), Special::Symlink(target));
        assert!(parse(&point(TAG_SYMLINK, &data[..20])).is_err());
        let lx = parse(&point(TAG_LX_SYMLINK, b"\x02\0\0\0a/b")).unwrap();
        assert_eq!(lx, Special::Symlink(Target::Unix(b"a/b".to_vec())));
        let nfs = parse(&point(TAG_NFS, b"LNK\x01\0\0\0\0a\0/\0b\0")).unwrap();
        assert_eq!(nfs, Special::Symlink(Target::Unix(b"a/b".to_vec())));
    }

    #[test]
    fn what_cannot_be_followed_has_a_name() {
        assert_eq!(parse(&point(0x8000_0013, &[])).unwrap(), Special::Opaque("data deduplication".to_owned()));
        assert_eq!(parse(&point(0x9000_301a, &[])).unwrap(), Special::Cloud);
        let Special::Opaque(name) = parse(&point(0x1234, &[])).unwrap() else { panic!("it is opaque") };
        assert!(name.contains("0x00001234"));
        assert!(parse(&[1, 2, 3]).is_err());
    }

    #[test]
    fn devices() {
        let data = b"BLK\0\0\0\0\0\x08\0\0\0\x01\0\0\0";
        assert_eq!(parse(&point(TAG_NFS, data)).unwrap(), Special::BlockDevice(Some((8, 1))));
        assert_eq!(parse(&point(TAG_LX_CHR, &[])).unwrap(), Special::CharDevice(None));
        assert_eq!(parse(&point(TAG_AF_UNIX, &[])).unwrap(), Special::Socket);
    }
}
