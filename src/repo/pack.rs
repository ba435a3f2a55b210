//! Filling a pack: encoded chunks one behind the other, then sealed, read back from memory, and only then stored.

use crate::crypto::Keys;
use crate::crypto::random;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::FormatError;
use crate::format::chunk;
use crate::format::chunk::Packed;
use crate::format::draft::Draft;
use crate::format::extents::ExtentPage;
use crate::format::group::InOrder;
use crate::format::page::NodePage;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::ObjectType;
use crate::format::sealed::Opener;
use crate::format::sealed::SEALED_SEGMENT_BYTES;
use crate::format::sealed::read_trailer;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::Error;
use crate::repo::Result;

/// Plaintext of a data pack, padding included: a fixed point of Padmé, so full packs are all equally long.
const DATA_PACK_BYTES: usize = 32 << 20;
/// Plaintext of the first data pack of a run that stores much; a fixed point too.
const FIRST_PACK_BYTES: usize = 4 << 20;
/// Plaintext of a metadata pack.
const META_PACK_BYTES: usize = 8 << 20;
/// What a line of the directory takes.
const LINE_BYTES: usize = 45;
/// Room for the count before the directory and the trailer behind it.
const FRAME_BYTES: usize = 32;

/// Plaintext of a full pack.
fn usual_bytes(object_type: ObjectType) -> usize {
    if object_type == ObjectType::MetaPack { META_PACK_BYTES } else { DATA_PACK_BYTES }
}

/// A pack that is being filled.
#[derive(Debug)]
pub struct PackWriter {
    object_type: ObjectType,
    pack: ObjectId,
    /// Plaintext it takes, padding included.
    capacity: usize,
    payload: Draft,
    directory: Vec<Packed>,
}

/// A pack with its chunks, not yet sealed.
#[derive(Debug)]
pub struct FinishedPack {
    /// Its id.
    pub pack: ObjectId,
    /// Data or metadata.
    pub object_type: ObjectType,
    /// What lies in it.
    pub directory: Vec<Packed>,
    payload: Draft,
}

impl PackWriter {
    /// An empty pack for chunks of files, or for pages.
    pub fn new(is_metadata: bool) -> PackWriter {
        let object_type = if is_metadata { ObjectType::MetaPack } else { ObjectType::DataPack };
        PackWriter::of(object_type, usual_bytes(object_type))
    }

    /// An empty pack for chunks of files, smaller than usual; those that follow grow by and by to the usual length. The line is
    /// in use sooner and stays so: each is sealed before the ones ahead of it have gone.
    pub fn growing() -> PackWriter {
        PackWriter::of(ObjectType::DataPack, FIRST_PACK_BYTES)
    }

    fn of(object_type: ObjectType, capacity: usize) -> PackWriter {
        PackWriter {
            object_type,
            pack: ObjectId(random()),
            capacity,
            payload: Draft::with_room(capacity),
            directory: Vec::new(),
        }
    }

    /// True if so many chunks that are encoded as one would make the pack too long. An empty pack takes anything.
    pub fn is_full_for(&self, chunks: usize, encoded_len: usize) -> bool {
        let lines = (self.directory.len() + chunks) * LINE_BYTES;
        !self.directory.is_empty() && self.payload.payload_len() + encoded_len + lines + FRAME_BYTES > self.capacity
    }

    /// True if nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.directory.is_empty()
    }

    /// Appends chunks that are encoded as one, in the order in which they are in it, and says where they will lie.
    pub fn append(&mut self, kind: ChunkKind, members: &[(ChunkId, u32)], encoded: &[u8]) -> Locator {
        let offset = u32::try_from(self.payload.payload_len()).expect("a pack is far below 4 GiB");
        let encoded_len = u32::try_from(encoded.len()).expect("a chunk is far below 4 GiB");
        let hint = Locator { pack: self.pack, offset, len: encoded_len };
        self.payload.append(encoded);
        self.directory
            .extend(members.iter().map(|(id, len)| Packed { kind, chunk: ChunkRef { id: *id, len: *len, hint } }));
        hint
    }

    /// Takes the filled pack out and leaves an empty one with a new id.
    pub fn take(&mut self) -> FinishedPack {
        // Half way to the next power of two: a fixed point of Padmé again.
        let next = self.capacity + (1 << self.capacity.ilog2()) / 2;
        let fresh = PackWriter::of(self.object_type, next.min(usual_bytes(self.object_type)));
        let full = std::mem::replace(self, fresh);
        FinishedPack {
            pack: full.pack,
            object_type: full.object_type,
            directory: full.directory,
            payload: full.payload,
        }
    }
}

impl FinishedPack {
    /// Seals the pack and reads it back from memory: every segment opened, every chunk and page decoded and hashed. The chunks
    /// are let go of as soon as they are sealed; a second call would seal an empty pack.
    pub fn seal(&mut self, keys: &Keys) -> Result<Vec<u8>> {
        let directory = chunk::encode_directory(&self.directory);
        let payload = std::mem::replace(&mut self.payload, Draft::with_room(0));
        let payload_len = payload.payload_len();
        let object = payload.seal(keys, self.object_type, self.pack, &directory, 0);
        self.check(keys, &object, payload_len, &directory).map_err(|source| Error::PackFaulty { source })?;
        Ok(object)
    }

    /// Opens segment by segment, so that the plaintext is never there as a whole.
    fn check(
        &self,
        keys: &Keys,
        object: &[u8],
        payload_len: usize,
        directory: &[u8],
    ) -> std::result::Result<(), FormatError> {
        let opener = Opener::new(keys, self.object_type, Some(self.pack), object)?;
        let body = object.get(HEADER_BYTES..object.len() - CHECKSUM_BYTES).unwrap_or_default();
        let mut segments = (0..).zip(body.chunks(SEALED_SEGMENT_BYTES));
        // Plaintext from `base` on, as far as it is open.
        let (mut plain, mut base) = (Vec::new(), 0);
        let mut fill = |plain: &mut Vec<u8>, base: usize, end: usize| {
            while base + plain.len() < end {
                let (index, sealed) = segments.next().ok_or(FormatError::Short { what: "pack" })?;
                let start = plain.len();
                plain.extend_from_slice(sealed);
                let len = opener.open(index, &mut plain[start..])?.len();
                plain.truncate(start + len);
            }
            Ok::<_, FormatError>(())
        };
        let mut in_order = InOrder::default();
        for Packed { kind, chunk } in &self.directory {
            let start = chunk.hint.offset as usize;
            let end = start + chunk.hint.len as usize;
            if start - base >= KEPT_BYTES {
                plain.drain(..start - base);
                base = start;
            }
            fill(&mut plain, base, end)?;
            let opened = in_order.open(keys, *kind, chunk, &plain[start - base..end - base])?;
            match kind {
                ChunkKind::Data => {}
                ChunkKind::NodePage => drop(NodePage::decode(&opened, chunk.len)?),
                ChunkKind::ExtentPage => drop(ExtentPage::decode(&opened, chunk.len)?),
            }
        }
        let whole = opener.header().plain_len as usize;
        fill(&mut plain, base, whole)?;
        let listed = plain.get(payload_len - base..payload_len - base + directory.len());
        let trailer = plain.last_chunk().ok_or(FormatError::Short { what: "trailer" })?;
        if listed != Some(directory) || read_trailer(trailer)? != (payload_len as u64, directory.len() as u64) {
            return Err(FormatError::Mismatch { what: "pack directory" });
        }
        Ok(())
    }
}

/// Plaintext already checked that may lie around before it is thrown out.
const KEPT_BYTES: usize = 1 << 20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::format::page::Encoded;
    use crate::format::page::Run;
    use crate::id::RepositoryId;
    use crate::meta::Content;
    use crate::meta::Kind;
    use crate::meta::Meta;
    use crate::meta::Node;
    use crate::meta::Xattr;

    /// An encoded page of one file.
    fn page(keys: &Keys, xattr: Xattr) -> (ChunkId, u32, Vec<u8>) {
        let meta = Meta { xattrs: vec![xattr], ..Meta::default() };
        let node = Node { name: b"file".to_vec(), kind: Kind::Fifo, meta, content: Content::Empty };
        let Encoded { hashed, hints } = NodePage::Leaf(vec![Run { parent: vec![], nodes: vec![node] }]).encode();
        let mut encoded = Vec::new();
        chunk::encode(&[&hashed[..], &hints].concat(), 3, &mut encoded).unwrap();
        (keys.chunk_id(ChunkKind::NodePage, &hashed), hashed.len() as u32, encoded)
    }

    #[test]
    fn a_page_that_no_reader_takes_is_not_stored() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::generate());
        let mut pack = PackWriter::new(true);
        let (id, len, encoded) = page(&keys, Xattr { name: b"n".repeat(2000), value: vec![] });
        pack.append(ChunkKind::NodePage, &[(id, len)], &encoded);
        assert!(matches!(pack.take().seal(&keys), Err(Error::PackFaulty { source: FormatError::Limit { .. } })));
    }

    #[test]
    fn a_full_pack_is_a_fixed_point_of_the_padding() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::generate());
        let mut pack = PackWriter::new(true);
        let mut value = vec![0; 200_000];
        blake3::Hasher::new().finalize_xof().fill(&mut value);
        let (id, len, encoded) = page(&keys, Xattr { name: b"user.noise".to_vec(), value });
        while !pack.is_full_for(1, encoded.len()) {
            pack.append(ChunkKind::NodePage, &[(id, len)], &encoded);
        }
        let mut finished = pack.take();
        assert!(pack.is_empty() && finished.directory.len() > 30);
        let object = finished.seal(&keys).unwrap();
        assert!(object.len() <= META_PACK_BYTES + META_PACK_BYTES / 100);
    }

    #[test]
    fn packs_grow_to_the_usual_length() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::generate());
        let mut plain = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut plain);
        let mut encoded = Vec::new();
        chunk::encode(&plain, 1, &mut encoded).unwrap();
        let id = keys.chunk_id(ChunkKind::Data, &plain);
        let mut pack = PackWriter::growing();
        for len in [4, 6, 8, 12, 16, 24, 32, 32].map(|mib| mib << 20) {
            while !pack.is_full_for(1, encoded.len()) {
                pack.append(ChunkKind::Data, &[(id, 1 << 20)], &encoded);
            }
            let object = pack.take().seal(&keys).unwrap();
            assert!((len - (2 << 20)..len + len / 1000).contains(&object.len()), "{} of {len}", object.len());
        }
    }

    #[test]
    fn a_chunk_that_does_not_read_back_is_noticed() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::generate());
        let mut pack = PackWriter::new(false);
        let mut encoded = Vec::new();
        chunk::encode(b"what was written", 3, &mut encoded).unwrap();
        let id = keys.chunk_id(ChunkKind::Data, b"what was read!!!");
        pack.append(ChunkKind::Data, &[(id, 16)], &encoded);
        assert!(matches!(pack.take().seal(&keys), Err(Error::PackFaulty { source: FormatError::Id })));
    }
}
