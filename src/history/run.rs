//! Runs: what changed from one snapshot to the next, as small records in the order of the tree, in sealed parts.
//!
//! A part is at most about 64 KiB of records, compressed, then sealed with a key of its own that is derived from the
//! repository's: who has the file alone learns no names. A part belongs to its place in its run and opens nowhere else.

use crate::crypto::Keys;
use crate::crypto::aead::Aead;
use crate::crypto::aead::NONCE_BYTES;
use crate::crypto::random;
use crate::format::FormatError;
use crate::format::chunk;
use crate::format::wire::Reader;
use crate::format::wire::Write;
use crate::id::ObjectId;
use crate::meta::Kind;
use crate::meta::Time;
use crate::path;

/// Tells keys of the catalogue from those of stored objects, whose types are small numbers.
const CATALOGUE: u8 = 0xc0;
const PART_BYTES: usize = 64 << 10;
const SALT_BYTES: usize = 32;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// What it is.
    pub kind: Type,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Equal for equal contents, within one path.
    pub content: u64,
}

/// What a node is, as far as it can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

impl Type {
    /// Of a node.
    pub fn of(kind: &Kind) -> Type {
        match kind {
            Kind::File => Type::File,
            Kind::Folder => Type::Folder,
            Kind::Symlink(_) => Type::Symlink,
            _ => Type::Other,
        }
    }

    fn from_byte(byte: u8) -> Option<Type> {
        [Type::File, Type::Folder, Type::Symlink, Type::Other].get(usize::from(byte)).copied()
    }
}

/// One record: from here on this stands at the path, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) info: Option<Info>,
}

/// Gathers records into parts.
#[derive(Debug, Default)]
pub(super) struct PartWriter {
    bytes: Vec<u8>,
    parent: Vec<u8>,
}

impl PartWriter {
    /// Adds a record; true if the part is full.
    pub(super) fn push(&mut self, parent: &[u8], name: &[u8], info: Option<&Info>) -> bool {
        let out = &mut self.bytes;
        let has_moved = out.is_empty() || self.parent != parent;
        let kind = info.map_or(7, |info| info.kind as u8);
        out.push(kind << 1 | u8::from(has_moved));
        if has_moved {
            out.put_bytes(parent);
            self.parent = parent.to_vec();
        }
        out.put_bytes(name);
        if let Some(info) = info {
            out.put_varint(info.size);
            out.put_signed(info.mtime.secs);
            out.put_varint(info.mtime.nanos.into());
            out.extend_from_slice(&info.content.to_le_bytes());
        }
        out.len() >= PART_BYTES
    }

    /// The part, sealed for its place in the run; `None` if it is empty. The next one begins.
    pub(super) fn seal(&mut self, keys: &Keys, run: ObjectId, number: u32) -> Result<Option<Vec<u8>>, FormatError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let mut compressed = Vec::new();
        chunk::encode(&self.bytes, 3, &mut compressed)?;
        *self = PartWriter::default();
        let salt: [u8; SALT_BYTES] = random();
        let key = keys.object(CATALOGUE, run, &salt);
        // The key is used once.
        let tag = Aead::new(&key.key).seal([0; NONCE_BYTES], &number.to_le_bytes(), &mut compressed);
        Ok(Some([&salt[..], &compressed, &tag].concat()))
    }
}

/// Reads the records of an open part.
#[derive(Debug)]
pub(super) struct PartReader {
    plain: Vec<u8>,
    at: usize,
    parent: Vec<u8>,
}

impl PartReader {
    /// Opens a part.
    pub(super) fn open(keys: &Keys, run: ObjectId, number: u32, sealed: &[u8]) -> Result<PartReader, FormatError> {
        let (salt, rest) = sealed.split_first_chunk().ok_or(FormatError::Short { what: "part of the catalogue" })?;
        let key = keys.object(CATALOGUE, run, salt);
        let mut bytes = rest.to_vec();
        let opened = Aead::new(&key.key).open([0; NONCE_BYTES], &number.to_le_bytes(), &mut bytes);
        let compressed = opened.map_err(|_| FormatError::Mismatch { what: "part of the catalogue" })?;
        Ok(PartReader { plain: chunk::decode(compressed)?, at: 0, parent: Vec::new() })
    }

    /// The next record whose name is wanted.
    pub(super) fn next(&mut self, wanted: &dyn Fn(&[u8], &[u8]) -> bool) -> Result<Option<Entry>, FormatError> {
        while self.at < self.plain.len() {
            let mut r = Reader::new(&self.plain[self.at..]);
            let head = r.u8("record")?;
            if head & 1 != 0 {
                let parent = r.bytes(path::PATH_BYTES_MAX, "folder path")?;
                self.parent.clear();
                self.parent.extend_from_slice(parent);
            }
            let name = r.bytes(path::NAME_BYTES_MAX, "name")?;
            let info = match Type::from_byte(head >> 1) {
                None => None,
                Some(kind) => Some(Info {
                    kind,
                    size: r.varint("size")?,
                    mtime: Time { secs: r.signed("time")?, nanos: r.varint_max(999_999_999, "time")? as u32 },
                    content: r.u64("content")?,
                }),
            };
            let is_wanted = wanted(&self.parent, name);
            let entry = is_wanted.then(|| Entry { parent: self.parent.clone(), name: name.to_vec(), info });
            self.at = self.plain.len() - r.rest().len();
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::id::RepositoryId;

    #[test]
    fn parts_give_back_what_was_put_in_and_open_in_their_place_only() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
        let run = ObjectId([3; 16]);
        let info = |n: u64| {
            let mtime = Time { secs: -5, nanos: 999_999_999 };
            let kind = [Type::File, Type::Folder, Type::Symlink, Type::Other][(n % 4) as usize];
            (!n.is_multiple_of(5)).then_some(Info { kind, size: n << 30, mtime, content: u64::MAX - n })
        };
        let entries: Vec<Entry> = (0..200)
            .map(|n| Entry {
                parent: format!("folder {}", n / 9).into_bytes(),
                name: format!("name {n:03}").into_bytes(),
                info: info(n),
            })
            .collect();
        let mut writer = PartWriter::default();
        for entry in &entries {
            assert!(!writer.push(&entry.parent, &entry.name, entry.info.as_ref()));
        }
        let sealed = writer.seal(&keys, run, 4).unwrap().unwrap();
        assert_eq!(writer.seal(&keys, run, 5).unwrap(), None);
        assert!(!sealed.windows(6).any(|window| window == b"folder"));
        let all = |wanted: &dyn Fn(&[u8], &[u8]) -> bool| {
            let mut reader = PartReader::open(&keys, run, 4, &sealed).unwrap();
            std::iter::from_fn(|| reader.next(wanted).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all(&|_, _| true), entries);
        assert_eq!(all(&|_, name| name.ends_with(b"7")).len(), 20);
        assert!(PartReader::open(&keys, run, 5, &sealed).is_err());
        assert!(PartReader::open(&keys, ObjectId([4; 16]), 4, &sealed).is_err());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(PartReader::open(&keys, run, 4, &bad).is_err(), "byte {at}");
        }
    }
}
