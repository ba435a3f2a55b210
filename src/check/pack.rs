//! One pack, every byte of it: header, segments, directory, chunks, checksum. Pure, but for the function that reads.
//!
//! Reads front to back and keeps a few MiB of plaintext; a hostile pack of 1 GiB takes no more.

use crate::crypto::Keys;
use crate::crypto::aead::TAG_BYTES;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::format::FormatError;
use crate::format::chunk;
use crate::format::chunk::Packed;
use crate::format::group::InOrder;
use crate::format::sealed::CHECKSUM_BYTES;
use crate::format::sealed::HEADER_BYTES;
use crate::format::sealed::Header;
use crate::format::sealed::ObjectType;
use crate::format::sealed::Opener;
use crate::format::sealed::SEGMENT_BYTES;
use crate::format::sealed::TRAILER_BYTES;
use crate::format::sealed::read_trailer;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::repo::Result;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;

/// Segments read at once (4 MiB).
const READ_SEGMENTS: u64 = 64;
/// Plaintext already looked at that may lie around before it is thrown out.
const KEPT_BYTES: usize = 4 << 20;
/// Longest directory: of chunks of a few bytes, a full pack has half of it.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// Wrong chunks that are told of one pack.
const CHUNK_FAULTS_MAX: usize = 100;

/// Something wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackFault {
    /// Nothing of it can be opened.
    Header(FormatError),
    /// It is longer or shorter than its header says.
    Length(FormatError),
    /// Segments that do not open: runs of their numbers.
    Segments(Vec<Range<u64>>),
    /// Nobody knows what is in it.
    Directory(FormatError),
    /// A chunk is not what the directory says; its place in the plaintext.
    Chunk(ChunkId, Range<u64>, FormatError),
    /// Only the clear checksum is wrong.
    Checksum,
}

impl PackFault {
    /// True if the place of a chunk cannot be read for the same reason.
    fn is_same(&self, place: &Range<u64>, why: &FormatError) -> bool {
        matches!(self, PackFault::Chunk(_, area, source) if area == place && source == why)
    }

    /// Stretches of plaintext that nobody can read because of it. A group counts as a whole, also where one of its members alone is not
    /// what its line says.
    pub fn areas(&self) -> Vec<Range<u64>> {
        const SEGMENT: u64 = SEGMENT_BYTES as u64;
        match self {
            PackFault::Header(_) => std::iter::once(0..u64::MAX).collect(),
            PackFault::Segments(runs) => runs.iter().map(|run| run.start * SEGMENT..run.end * SEGMENT).collect(),
            PackFault::Chunk(_, area, _) => vec![area.clone()],
            PackFault::Length(_) | PackFault::Directory(_) | PackFault::Checksum => Vec::new(),
        }
    }
}

impl fmt::Display for PackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 10;
        match self {
            PackFault::Header(source) | PackFault::Length(source) => write!(f, "{source}"),
            PackFault::Directory(source) => write!(f, "its directory cannot be read: {source}"),
            PackFault::Chunk(id, _, source) => write!(f, "chunk {id} in it cannot be read: {source}"),
            PackFault::Checksum => f.write_str("checksum does not match, though all of the rest is whole"),
            PackFault::Segments(runs) => {
                f.write_str("damaged: segments of 64 KiB that do not open:")?;
                for run in runs.iter().take(SHOWN_MAX) {
                    match run.end - run.start {
                        1 => write!(f, " {}", run.start)?,
                        _ => write!(f, " {}-{}", run.start, run.end - 1)?,
                    }
                }
                if runs.len() > SHOWN_MAX { f.write_str(" ...") } else { Ok(()) }
            }
        }
    }
}

/// A pack that was looked at.
#[derive(Debug, Default)]
pub struct PackFound {
    /// What is wrong with it.
    pub faults: Vec<PackFault>,
    /// What lies in it, if its directory can be read.
    pub directory: Vec<Packed>,
    /// True if it can.
    pub is_listed: bool,
    /// Chunks that were decoded and are what their ids say.
    pub chunks: u64,
}

/// Looks at all of a pack of this length. `read` gives ranges of it, never beyond its end; its errors are passed on.
pub fn examine(
    keys: &Keys,
    pack: ObjectId,
    len: u64,
    read: &mut dyn FnMut(Range<u64>) -> Result<Bytes>,
) -> Result<PackFound> {
    let mut found = PackFound::default();
    let clear = read(0..len.min(HEADER_BYTES as u64))?;
    let opener = match open_header(keys, pack, &clear) {
        Ok(opener) => opener,
        Err(source) => {
            found.faults.push(PackFault::Header(source));
            return Ok(found);
        }
    };
    let header = *opener.header();
    if header.object_len() != len {
        found.faults.push(PackFault::Length(FormatError::Length { expected: header.object_len(), found: len }));
    }
    let mut segments = Segments { keys, opener: &opener, len, read };
    match directory(&mut segments, pack)? {
        Ok(directory) => (found.directory, found.is_listed) = (directory, true),
        // Told with the segments.
        Err(FormatError::Segment { .. }) => {}
        Err(source) => found.faults.push(PackFault::Directory(source)),
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&clear);
    let mut window = Window::new(keys);
    for first in (0..header.segments()).step_by(READ_SEGMENTS as usize) {
        segments.open(first..(first + READ_SEGMENTS).min(header.segments()), &mut window, Some(&mut hasher))?;
        window.decode(&mut found, &header);
    }
    if header.object_len() == len {
        let checksum = (segments.read)(len - CHECKSUM_BYTES as u64..len)?;
        if checksum[..] != hasher.finalize().as_bytes()[..] && window.bad.is_empty() {
            found.faults.push(PackFault::Checksum);
        }
    }
    if !window.bad.is_empty() {
        found.faults.push(PackFault::Segments(window.bad));
    }
    Ok(found)
}

fn open_header(keys: &Keys, pack: ObjectId, clear: &[u8]) -> std::result::Result<Opener, FormatError> {
    let front = clear.get(..HEADER_BYTES).ok_or(FormatError::Short { what: "header" })?;
    let object_type = Header::decode(front)?.object_type;
    if !matches!(object_type, ObjectType::DataPack | ObjectType::MetaPack) {
        return Err(FormatError::Mismatch { what: "object type" });
    }
    Opener::new(keys, object_type, Some(pack), front)
}

/// Opens segments of one pack.
struct Segments<'a> {
    keys: &'a Keys,
    opener: &'a Opener,
    len: u64,
    read: &'a mut dyn FnMut(Range<u64>) -> Result<Bytes>,
}

impl Segments<'_> {
    /// Appends the plaintext of segments to a window; zeros where a segment does not open.
    fn open(
        &mut self,
        range: Range<u64>,
        window: &mut Window<'_>,
        mut hasher: Option<&mut blake3::Hasher>,
    ) -> Result<()> {
        let header = self.opener.header();
        let place = header.segment_range(range.clone());
        let there = place.start.min(self.len)..place.end.min(self.len);
        let body = if there.is_empty() { Bytes::new() } else { (self.read)(there)? };
        if let Some(hasher) = &mut hasher {
            hasher.update(&body);
        }
        let mut at = 0;
        for index in range {
            let (plain_len, start) = (header.segment_len(index), window.plain.len());
            let sealed = body.get(at..at + plain_len + TAG_BYTES);
            at += plain_len + TAG_BYTES;
            window.plain.extend_from_slice(sealed.unwrap_or_default());
            let opened = self.opener.open(index, &mut window.plain[start..]).is_ok();
            window.plain.truncate(if opened { start + plain_len } else { start });
            window.plain.resize(start + plain_len, 0);
            if !opened {
                window.note_bad(index);
            }
        }
        Ok(())
    }

    /// The plaintext of some segments, if all of them open.
    fn plain(&mut self, range: Range<u64>) -> Result<std::result::Result<Vec<u8>, FormatError>> {
        let mut window = Window::new(self.keys);
        self.open(range, &mut window, None)?;
        Ok(match window.bad.first() {
            Some(run) => Err(FormatError::Segment { index: run.start }),
            None => Ok(window.plain),
        })
    }
}

type Listed = std::result::Result<Vec<Packed>, FormatError>;

/// What the pack says is in it.
fn directory(segments: &mut Segments<'_>, pack: ObjectId) -> Result<Listed> {
    const SEGMENT: u64 = SEGMENT_BYTES as u64;
    let header = *segments.opener.header();
    let count = header.segments();
    let tail = match segments.plain(count.saturating_sub(2)..count)? {
        Ok(tail) => tail,
        Err(source) => return Ok(Err(source)),
    };
    let Some(trailer) = tail.last_chunk::<TRAILER_BYTES>() else {
        return Ok(Err(FormatError::Short { what: "trailer" }));
    };
    let (payload_len, directory_len) = match read_trailer(trailer) {
        Ok(lens) => lens,
        Err(source) => return Ok(Err(source)),
    };
    let room = header.plain_len - TRAILER_BYTES as u64;
    if payload_len > room || directory_len > room - payload_len {
        return Ok(Err(FormatError::Limit { what: "payload length", value: payload_len, max: room }));
    }
    if directory_len > DIRECTORY_BYTES_MAX {
        let (what, value) = ("directory length", directory_len);
        return Ok(Err(FormatError::Limit { what, value, max: DIRECTORY_BYTES_MAX }));
    }
    let first = payload_len / SEGMENT;
    let plain = match segments.plain(first..(payload_len + directory_len).div_ceil(SEGMENT).max(first))? {
        Ok(plain) => plain,
        Err(source) => return Ok(Err(source)),
    };
    let start = (payload_len % SEGMENT) as usize;
    let bytes = plain.get(start..start + directory_len as usize);
    let bytes = bytes.ok_or(FormatError::Short { what: "pack directory" });
    Ok(bytes.and_then(|bytes| chunk::decode_directory(bytes, pack, payload_len)))
}

/// Plaintext from `base` on, as far as it is open and still wanted.
struct Window<'a> {
    keys: &'a Keys,
    plain: Vec<u8>,
    base: u64,
    /// Line of the directory that is looked at next.
    next: usize,
    in_order: InOrder,
    bad: Vec<Range<u64>>,
}

impl<'a> Window<'a> {
    fn new(keys: &'a Keys) -> Window<'a> {
        Window { keys, plain: Vec::new(), base: 0, next: 0, in_order: InOrder::default(), bad: Vec::new() }
    }

    fn note_bad(&mut self, index: u64) {
        match self.bad.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => self.bad.push(index..index + 1),
        }
    }

    fn is_bad(&self, area: &Range<u64>) -> bool {
        const SEGMENT: u64 = SEGMENT_BYTES as u64;
        let segments = area.start / SEGMENT..area.end.div_ceil(SEGMENT);
        let after = self.bad.partition_point(|run| run.end <= segments.start);
        self.bad.get(after).is_some_and(|run| run.start < segments.end)
    }

    /// Decodes all chunks that are open by now. Chunks lie one behind the other, so each byte is decoded once.
    fn decode(&mut self, found: &mut PackFound, header: &Header) {
        let end = self.base + self.plain.len() as u64;
        let mut told = found.faults.iter().filter(|fault| matches!(fault, PackFault::Chunk(..))).count();
        let mut start = end;
        while let Some(Packed { kind, chunk }) = found.directory.get(self.next).copied() {
            let area = u64::from(chunk.hint.offset)..u64::from(chunk.hint.offset) + u64::from(chunk.hint.len);
            if area.end > end {
                start = area.start;
                break;
            }
            self.next += 1;
            if self.is_bad(&area) {
                continue;
            }
            match self.chunk(kind, &chunk, &area, header) {
                Ok(()) => found.chunks += 1,
                // A group that cannot be unpacked is one fault, not one for each of its members.
                Err(source) if found.faults.last().is_some_and(|last| last.is_same(&area, &source)) => {}
                Err(source) if told < CHUNK_FAULTS_MAX => {
                    told += 1;
                    found.faults.push(PackFault::Chunk(chunk.id, area, source));
                }
                Err(_) => {}
            }
        }
        let used = start.saturating_sub(self.base).min(self.plain.len() as u64) as usize;
        if used >= KEPT_BYTES || used == self.plain.len() {
            self.plain.drain(..used);
            self.base += used as u64;
        }
    }

    fn chunk(
        &mut self,
        kind: ChunkKind,
        chunk: &ChunkRef,
        area: &Range<u64>,
        header: &Header,
    ) -> std::result::Result<(), FormatError> {
        if kind.is_metadata() != (header.object_type == ObjectType::MetaPack) {
            return Err(FormatError::Mismatch { what: "kind of the chunk" });
        }
        let start = area.start.checked_sub(self.base).ok_or(FormatError::Order { what: "chunks of the pack" })?;
        let range = start as usize..(area.end - self.base) as usize;
        let encoded = self.plain.get(range).ok_or(FormatError::Short { what: "pack" })?;
        self.in_order.open(self.keys, kind, chunk, encoded).map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::extent::Locator;
    use crate::format::draft::Draft;
    use crate::id::RepositoryId;

    const PACK: ObjectId = ObjectId([9; 16]);

    #[test]
    fn a_group_that_does_not_unpack_is_one_fault() {
        let keys = Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]));
        let mut payload = Draft::with_room(0);
        let mut directory = Vec::new();
        let mut add = |ids: std::ops::Range<u8>, encoded: &[u8]| {
            let hint = Locator {
                pack: PACK,
                offset: payload.payload_len() as u32,
                len: u32::try_from(encoded.len()).unwrap(),
            };
            payload.append(encoded);
            let line = |id| Packed { kind: ChunkKind::Data, chunk: ChunkRef { id: ChunkId([id; 32]), len: 5, hint } };
            directory.extend(ids.map(line));
        };
        let mut other = Vec::new();
        chunk::encode(b"other", 3, &mut other).unwrap();
        // The first is no group, and the content of the others is not what they are called after.
        add(0..200, &[3; 100]);
        add(200..201, &other);
        add(201..202, &other);
        let directory = chunk::encode_directory(&directory);
        let object = payload.seal(&keys, ObjectType::DataPack, PACK, &directory, 0);
        let mut read =
            |range: Range<u64>| Ok(Bytes::copy_from_slice(&object[range.start as usize..range.end as usize]));
        let found = examine(&keys, PACK, object.len() as u64, &mut read).unwrap();
        assert_eq!((found.directory.len(), found.chunks, found.faults.len()), (202, 0, 3), "{:?}", found.faults);
        let len = other.len() as u64;
        let areas: Vec<_> = found.faults.iter().flat_map(PackFault::areas).collect();
        assert_eq!(areas, [0..100, 100..100 + len, 100 + len..100 + 2 * len]);
    }
}
