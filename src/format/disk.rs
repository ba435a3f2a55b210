//! The description of a disk: an attribute of the node that holds its bytes. So it stands in the root page of an image
//! snapshot, and nobody needs to look at the disk to know what is on it.

use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::meta::Time;
use std::ops::Range;

/// Name of the attribute. No system has names like this, so no source can have set it.
pub const DISK_XATTR: &[u8] = b"bygone.disk";
/// What our own attributes begin with: neither shown on a drive nor restored.
pub const OWN_XATTR_PREFIX: &[u8] = b"bygone.";
/// Most partitions of a disk.
pub const PARTS_MAX: usize = 1024;
/// Longest text in a description.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most ranges that could not be read.
pub const UNREADABLE_MAX: usize = 4096;

const VERSION: u8 = 1;
const HAS_CHECKSUM: u64 = 1;
const ALL_BLOCKS: u64 = 2;
const LIVE: u64 = 4;

/// A disk as it was captured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// Where it was: `/dev/sda`, `/vm/disk.qcow2`.
    pub path: Vec<u8>,
    /// What its bytes were wrapped in: `raw`, `device`, `qcow2`, ...
    pub container: String,
    /// Bytes of a logical sector.
    pub sector_bytes: u32,
    /// Bytes of a chunk of content, counted from the start of each partition.
    pub chunk_bytes: u32,
    /// BLAKE3 of all bytes as captured, if all of them were read.
    pub checksum: Option<[u8; 32]>,
    /// True if unused blocks are in it, too.
    pub all_blocks: bool,
    /// True if it was in use while it was captured.
    pub live: bool,
    /// `GPT`, `MBR`, or nothing.
    pub table: String,
    /// Identifier of the table.
    pub uuid: String,
    /// Partitions and volumes, in the order of their numbers.
    pub parts: Vec<DiskPart>,
    /// Ranges that could not be read; zeros stand in their place.
    pub unreadable: Vec<Range<u64>>,
}

/// A partition or volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskPart {
    /// Its number as the system counts.
    pub number: u32,
    /// Where it lies on the disk; empty for a volume that is made of partitions.
    pub range: Range<u64>,
    /// Its folder on a drive.
    pub folder: String,
    /// Type by the partition table, as people call it.
    pub type_name: String,
    /// Name in the partition table.
    pub name: String,
    /// Identifier in the partition table.
    pub uuid: String,
    /// What is in it: `ext4`, `NTFS`, `LUKS`; empty if unknown.
    pub kind: String,
    /// The file system, if it can be looked into.
    pub fs: Option<DiskFs>,
    /// What people should know, in sentences.
    pub notes: Vec<String>,
}

impl DiskPart {
    /// What people call it: its folder, or its name if it has none.
    pub fn title(&self) -> &str {
        if self.folder.is_empty() { &self.name } else { &self.folder }
    }

    /// True for a volume, which is made of partitions and has no range of its own.
    pub fn is_volume(&self) -> bool {
        self.range.is_empty()
    }
}

/// A file system that can be looked into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskFs {
    /// Label.
    pub label: String,
    /// UUID or serial number.
    pub uuid: String,
    /// Bytes in use, if known.
    pub used_bytes: Option<u64>,
    /// Permissions, owner and group of its root folder.
    pub root: (u32, u32, u32),
    /// Last change of its root folder.
    pub root_mtime: Time,
}

impl Disk {
    /// The value of the attribute. Fails if something is too long to be read again.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = vec![VERSION];
        out.put_bytes(&self.path);
        out.put_bytes(self.container.as_bytes());
        out.put_varint(self.sector_bytes.into());
        out.put_varint(self.chunk_bytes.into());
        let flag = |bit, is_set| if is_set { bit } else { 0 };
        let checksum = flag(HAS_CHECKSUM, self.checksum.is_some());
        out.put_varint(checksum | flag(ALL_BLOCKS, self.all_blocks) | flag(LIVE, self.live));
        out.extend_from_slice(self.checksum.as_ref().map_or(&[], |checksum| &checksum[..]));
        out.put_bytes(self.table.as_bytes());
        out.put_bytes(self.uuid.as_bytes());
        out.put_varint(self.parts.len() as u64);
        self.parts.iter().for_each(|part| part.write(&mut out));
        out.put_varint(self.unreadable.len() as u64);
        for range in &self.unreadable {
            write_range(range, &mut out);
        }
        Disk::decode(&out)?;
        Ok(out)
    }

    /// Reads the value of the attribute.
    pub fn decode(bytes: &[u8]) -> Result<Disk> {
        let mut r = Reader::new(bytes);
        let version = r.u8("disk")?;
        if version != VERSION {
            return Err(FormatError::Unknown { what: "version of a disk's description", value: version.into() });
        }
        let path = r.bytes(TEXT_BYTES_MAX, "path of the disk")?.to_vec();
        let container = text(&mut r, "container")?;
        let sector_bytes = r.varint32("sector size")?;
        let chunk_bytes = r.varint32("chunk size")?;
        let flags = r.varint_max(HAS_CHECKSUM | ALL_BLOCKS | LIVE, "flags of the disk")?;
        let checksum = if flags & HAS_CHECKSUM != 0 { Some(r.array("checksum of the disk")?) } else { None };
        let (table, uuid) = (text(&mut r, "partition table")?, text(&mut r, "identifier of the disk")?);
        let parts = list(&mut r, PARTS_MAX, "partitions", DiskPart::read)?;
        let unreadable = list(&mut r, UNREADABLE_MAX, "unreadable ranges", read_range)?;
        r.end("disk")?;
        let (all_blocks, live) = (flags & ALL_BLOCKS != 0, flags & LIVE != 0);
        Ok(Disk {
            path,
            container,
            sector_bytes,
            chunk_bytes,
            checksum,
            all_blocks,
            live,
            table,
            uuid,
            parts,
            unreadable,
        })
    }
}

impl DiskPart {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_varint(self.number.into());
        write_range(&self.range, out);
        for text in [&self.folder, &self.type_name, &self.name, &self.uuid, &self.kind] {
            out.put_bytes(text.as_bytes());
        }
        out.put_varint(self.notes.len() as u64);
        for note in &self.notes {
            out.put_bytes(note.as_bytes());
        }
        out.push(self.fs.is_some().into());
        let Some(fs) = &self.fs else { return };
        out.put_bytes(fs.label.as_bytes());
        out.put_bytes(fs.uuid.as_bytes());
        // One more than there are, 0 for unknown.
        out.put_varint(fs.used_bytes.map_or(0, |bytes| bytes.saturating_add(1)));
        for number in [fs.root.0, fs.root.1, fs.root.2] {
            out.put_varint(number.into());
        }
        out.put_signed(fs.root_mtime.secs);
        out.put_varint(fs.root_mtime.nanos.into());
    }

    fn read(r: &mut Reader<'_>) -> Result<DiskPart> {
        let number = r.varint32("partition number")?;
        let range = read_range(r)?;
        let mut next = || text(r, "partition");
        let (folder, type_name, name, uuid, kind) = (next()?, next()?, next()?, next()?, next()?);
        if !folder.is_empty() {
            crate::path::check_name(folder.as_bytes()).map_err(|source| FormatError::Name { what: "disk", source })?;
        }
        let notes = list(r, PARTS_MAX, "notes", |r| text(r, "note"))?;
        let fs = match r.u8("file system")? {
            0 => None,
            1 => Some(DiskFs {
                label: text(r, "label")?,
                uuid: text(r, "identifier of the file system")?,
                used_bytes: r.varint("bytes in use")?.checked_sub(1),
                root: (r.varint_max(0o7777, "mode")? as u32, r.varint32("user")?, r.varint32("group")?),
                root_mtime: Time { secs: r.signed("time")?, nanos: r.varint_max(999_999_999, "nanoseconds")? as u32 },
            }),
            value => return Err(FormatError::Unknown { what: "file system", value: value.into() }),
        };
        Ok(DiskPart { number, range, folder, type_name, name, uuid, kind, fs, notes })
    }
}

fn text(r: &mut Reader<'_>, what: &'static str) -> Result<String> {
    r.text(TEXT_BYTES_MAX, what)
}

fn list<T>(
    r: &mut Reader<'_>,
    max: usize,
    what: &'static str,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = r.count(1, what)?;
    if count > max {
        return Err(FormatError::Limit { what, value: count as u64, max: max as u64 });
    }
    (0..count).map(|_| read(r)).collect()
}

fn write_range(range: &Range<u64>, out: &mut Vec<u8>) {
    out.put_varint(range.start);
    out.put_varint(range.end.saturating_sub(range.start));
}

fn read_range(r: &mut Reader<'_>) -> Result<Range<u64>> {
    let start = r.varint("range of a disk")?;
    let len = r.varint("range of a disk")?;
    let end = start.checked_add(len);
    let end = end.ok_or(FormatError::Limit { what: "range of a disk", value: len, max: u64::MAX - start })?;
    Ok(start..end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        let root_mtime = Time { secs: -5, nanos: 7 };
        let fs = DiskFs {
            label: "root".to_owned(),
            uuid: "1234".to_owned(),
            used_bytes: Some(0),
            root: (0o755, 1000, 7),
            root_mtime,
        };
        let part = DiskPart {
            number: 2,
            range: 1 << 20..1 << 40,
            folder: "2 root (ext4)".to_owned(),
            type_name: "Linux filesystem".to_owned(),
            kind: "ext4".to_owned(),
            fs: Some(fs),
            notes: vec!["Its journal was not empty.".to_owned()],
            ..DiskPart::default()
        };
        Disk {
            path: b"/dev/sda".to_vec(),
            container: "device".to_owned(),
            sector_bytes: 512,
            chunk_bytes: 65536,
            checksum: Some([7; 32]),
            live: true,
            table: "GPT".to_owned(),
            parts: vec![part, DiskPart { number: 5, ..DiskPart::default() }],
            unreadable: vec![4096..8192, 1 << 20..2 << 20],
            ..Disk::default()
        }
    }

    #[test]
    fn it_comes_back() {
        for disk in [disk(), Disk::default()] {
            let bytes = disk.encode().unwrap();
            assert_eq!(Disk::decode(&bytes).unwrap(), disk);
            for len in 0..bytes.len() {
                assert!(Disk::decode(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let named = |folder: &str| {
            let mut disk = disk();
            disk.parts[0].folder = folder.to_owned();
            disk.encode()
        };
        assert!(named("a/b").is_err());
        assert!(named("..").is_err());
        assert!(Disk { table: "x".repeat(TEXT_BYTES_MAX + 1), ..disk() }.encode().is_err());
        assert!(Disk { unreadable: vec![0..1; UNREADABLE_MAX + 1], ..disk() }.encode().is_err());
        // A list may be as long as that.
        let most = Disk { unreadable: vec![0..1; UNREADABLE_MAX], ..disk() };
        assert_eq!(Disk::decode(&most.encode().unwrap()), Ok(most));
    }
}
