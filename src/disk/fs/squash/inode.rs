//! Inodes, each kind in a short (basic) and a long (extended) form.

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::squash::directory::Folder;
use crate::disk::fs::squash::file::File;
use crate::disk::fs::squash::file::Tail;
use crate::disk::fs::squash::metadata::Metadata;
use crate::disk::fs::squash::metadata::Place;

const WHAT: &str = "SquashFS inode";
const HEADER_BYTES: usize = 16;
/// No fragment, no attributes.
const NONE: u32 = u32::MAX;
/// Longer targets no system can make.
const LINK_BYTES_MAX: u32 = 64 << 10;

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) mode: u16,
    /// Places in the table of owners.
    pub(super) uid_index: u16,
    pub(super) gid_index: u16,
    /// Seconds since 1970, up to 2106.
    pub(super) mtime: u32,
    pub(super) links: u32,
    /// Place in the table of attribute sets.
    pub(super) xattrs: Option<u32>,
    pub(super) body: Body,
}

/// What differs from kind to kind.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Folder(Folder),
    File(File),
    Symlink { len: u32, target: Place },
    BlockDevice(u32),
    CharDevice(u32),
    Fifo,
    Socket,
}

/// Reads what stands at a place, field after field.
struct Reader<'a> {
    metadata: &'a mut Metadata,
    place: Place,
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let at = self.place.block;
        let bytes = self.metadata.read(&mut self.place, N)?;
        Fields::new(&bytes, WHAT, at).array(0)
    }

    fn fault(&self, why: &'static str) -> Error {
        Error::damaged(WHAT, self.place.block, why)
    }
}

/// The inode at `place`. Folders stand in the table that begins at `directories`; files have blocks of `block_bytes`.
pub(super) fn read(place: Place, directories: u64, block_bytes: u32, metadata: &mut Metadata) -> Result<Inode> {
    let mut reader = Reader { metadata, place };
    let header: [u8; HEADER_BYTES] = reader.bytes()?;
    let header = Fields::new(&header, WHAT, place.block);
    let (links, xattrs, body) = match header.u16(0)? {
        1 => folder(&mut reader, directories)?,
        2 => file(&mut reader, block_bytes)?,
        kind @ (3 | 10) => symlink(&mut reader, kind == 10)?,
        kind @ (4 | 5 | 11 | 12) => device(&mut reader, kind)?,
        kind @ (6 | 7 | 13 | 14) => pipe(&mut reader, kind)?,
        8 => long_folder(&mut reader, directories)?,
        9 => long_file(&mut reader, block_bytes)?,
        _ => return Err(reader.fault("no such kind")),
    };
    Ok(Inode {
        mode: header.u16(2)? & 0o7777,
        uid_index: header.u16(4)?,
        gid_index: header.u16(6)?,
        mtime: header.u32(8)?,
        links,
        xattrs: xattrs.filter(|index| *index != NONE),
        body,
    })
}

type Parts = (u32, Option<u32>, Body);

fn folder(reader: &mut Reader<'_>, directories: u64) -> Result<Parts> {
    let bytes: [u8; 16] = reader.bytes()?;
    let fields = Fields::new(&bytes, WHAT, reader.place.block);
    let listing = Place::new(directories, fields.u32(0)?.into(), fields.u16(10)?.into())?;
    let folder = Folder::new(listing, fields.u16(8)?.into(), 0, reader.place);
    Ok((fields.u32(4)?, None, Body::Folder(folder)))
}

fn long_folder(reader: &mut Reader<'_>, directories: u64) -> Result<Parts> {
    let bytes: [u8; 24] = reader.bytes()?;
    let fields = Fields::new(&bytes, WHAT, reader.place.block);
    let listing = Place::new(directories, fields.u32(8)?.into(), fields.u16(18)?.into())?;
    let folder = Folder::new(listing, fields.u32(4)?, fields.u16(16)?, reader.place);
    Ok((fields.u32(0)?, Some(fields.u32(20)?), Body::Folder(folder)))
}

fn file(reader: &mut Reader<'_>, block_bytes: u32) -> Result<Parts> {
    let bytes: [u8; 16] = reader.bytes()?;
    let fields = Fields::new(&bytes, WHAT, reader.place.block);
    let tail = tail_of(fields.u32(4)?, fields.u32(8)?);
    let file = File {
        start: fields.u32(0)?.into(),
        size: fields.u32(12)?.into(),
        sparse: 0,
        tail,
        lengths: reader.place,
        block_bytes,
    };
    Ok((1, None, Body::File(file)))
}

fn long_file(reader: &mut Reader<'_>, block_bytes: u32) -> Result<Parts> {
    let bytes: [u8; 40] = reader.bytes()?;
    let fields = Fields::new(&bytes, WHAT, reader.place.block);
    let tail = tail_of(fields.u32(28)?, fields.u32(32)?);
    let file = File {
        start: fields.u64(0)?,
        size: fields.u64(8)?,
        sparse: fields.u64(16)?,
        tail,
        lengths: reader.place,
        block_bytes,
    };
    if i64::try_from(file.size).is_err() {
        return Err(reader.fault("the file is too long"));
    }
    Ok((fields.u32(24)?, Some(fields.u32(36)?), Body::File(file)))
}

fn tail_of(fragment: u32, offset: u32) -> Option<Tail> {
    (fragment != NONE).then_some(Tail { fragment, offset })
}

fn symlink(reader: &mut Reader<'_>, is_long: bool) -> Result<Parts> {
    let bytes: [u8; 8] = reader.bytes()?;
    let fields = Fields::new(&bytes, WHAT, reader.place.block);
    let (links, len) = (fields.u32(0)?, fields.u32(4)?);
    if len == 0 || len > LINK_BYTES_MAX {
        return Err(reader.fault("no such length of a link"));
    }
    let target = reader.place;
    let mut xattrs = None;
    if is_long {
        reader.metadata.skip(&mut reader.place, len as usize)?;
        xattrs = Some(u32::from_le_bytes(reader.bytes()?));
    }
    Ok((links, xattrs, Body::Symlink { len, target }))
}

fn device(reader: &mut Reader<'_>, kind: u16) -> Result<Parts> {
    let links = u32::from_le_bytes(reader.bytes()?);
    let number = u32::from_le_bytes(reader.bytes()?);
    let xattrs = if kind >= 11 { Some(u32::from_le_bytes(reader.bytes()?)) } else { None };
    let body = if kind == 4 || kind == 11 { Body::BlockDevice(number) } else { Body::CharDevice(number) };
    Ok((links, xattrs, body))
}

fn pipe(reader: &mut Reader<'_>, kind: u16) -> Result<Parts> {
    let links = u32::from_le_bytes(reader.bytes()?);
    let xattrs = if kind >= 13 { Some(u32::from_le_bytes(reader.bytes()?)) } else { None };
    let body = if kind == 6 || kind == 13 { Body::Fifo } else { Body::Socket };
    Ok((links, xattrs, body))
}
