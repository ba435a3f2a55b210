//! Index objects: which chunks lie where, sorted by id. A cache of what the pack directories say.

use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk::Packed;
use crate::format::chunk::encoded_len;
use crate::format::chunk::plain_len;
use crate::format::chunk::read_kind;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use crate::id::ObjectId;

/// A pack as an index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack.
    pub pack: ObjectId,
    /// Length of the object in bytes.
    pub len: u64,
}

/// A decoded index object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The packs it covers.
    pub packs: Vec<IndexedPack>,
    /// Every chunk in them, sorted by kind and id.
    pub chunks: Vec<Packed>,
}

/// Bytes of a line at the least.
const LINE_BYTES: usize = 1 + 32 + 4;

impl Index {
    /// The payload of an index object. Sorts the lines.
    pub fn encode(&mut self) -> Vec<u8> {
        self.chunks.sort_unstable_by_key(|line| (line.kind, line.chunk.id));
        let mut order: Vec<(ObjectId, u64)> = self.packs.iter().zip(0..).map(|(p, i)| (p.pack, i)).collect();
        order.sort_unstable();
        let mut out = Vec::with_capacity(self.chunks.len() * 48 + self.packs.len() * 24 + 16);
        out.put_varint(self.packs.len() as u64);
        for IndexedPack { pack, len } in &self.packs {
            out.extend_from_slice(&pack.0);
            out.put_varint(*len);
        }
        out.put_varint(self.chunks.len() as u64);
        for Packed { kind, chunk } in &self.chunks {
            let at = order.binary_search_by_key(&chunk.hint.pack, |(pack, _)| *pack);
            let number = at.ok().and_then(|at| order.get(at)).map_or(u64::MAX, |(_, number)| *number);
            out.push(kind.byte());
            out.extend_from_slice(&chunk.id.0);
            out.put_varint(number);
            out.put_varint(chunk.hint.offset.into());
            out.put_varint(chunk.hint.len.into());
            out.put_varint(chunk.len.into());
        }
        out
    }

    /// Reads the payload.
    pub fn decode(payload: &[u8]) -> Result<Index> {
        let mut r = Reader::new(payload);
        let count = r.count(17, "index packs")?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            packs.push(IndexedPack { pack: ObjectId(r.array("index packs")?), len: r.varint("pack length")? });
        }
        let count = r.count(LINE_BYTES, "index lines")?;
        let mut chunks: Vec<Packed> = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = read_kind(&mut r)?;
            let id = ChunkId(r.array("index line")?);
            let number = r.varint("pack number")?;
            let pack = usize::try_from(number).ok().and_then(|n| packs.get(n));
            let pack =
                pack.ok_or(FormatError::Limit { what: "pack number", value: number, max: packs.len() as u64 })?;
            let offset = r.varint32("index line")?;
            let hint = Locator { pack: pack.pack, offset, len: encoded_len(r.varint("index line")?)? };
            let chunk = ChunkRef { id, hint, len: plain_len(r.varint("index line")?)? };
            if chunks.last().is_some_and(|before| (before.kind, before.chunk.id) > (kind, id)) {
                return Err(FormatError::Order { what: "index lines" });
            }
            chunks.push(Packed { kind, chunk });
        }
        r.end("index")?;
        Ok(Index { packs, chunks })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::extent::ChunkKind;

    #[test]
    fn round_trip_and_cuts() {
        let packs: Vec<_> = [3, 1, 2].map(|n| IndexedPack { pack: ObjectId([n; 16]), len: 1 << 25 }).into();
        let line = |n: u8| Packed {
            kind: if n.is_multiple_of(2) { ChunkKind::Data } else { ChunkKind::NodePage },
            chunk: ChunkRef {
                id: ChunkId([n; 32]),
                len: 9,
                hint: Locator { pack: ObjectId([1 + n % 3; 16]), offset: 7, len: 70_000 },
            },
        };
        let mut index = Index { packs, chunks: (0..50).rev().map(line).collect() };
        let payload = index.encode();
        assert_eq!(Index::decode(&payload).unwrap(), index);
        for len in 0..payload.len() {
            assert!(Index::decode(&payload[..len]).is_err());
        }
    }

    #[test]
    fn no_more_lines_are_made_room_for_than_the_bytes_can_hold() {
        let mut payload = vec![0];
        payload.put_varint(1000);
        payload.extend([0; 37 * 36]);
        let told = FormatError::Limit { what: "index lines", value: 1000, max: 36 };
        assert_eq!(Index::decode(&payload), Err(told));
    }

    #[test]
    fn a_chunk_may_lie_in_two_packs_and_lines_ascend() {
        let pack = |n: u8| IndexedPack { pack: ObjectId([n; 16]), len: 100 };
        let line = |id: u8, n: u8| Packed {
            kind: ChunkKind::Data,
            chunk: ChunkRef {
                id: ChunkId([id; 32]),
                len: 9,
                hint: Locator { pack: ObjectId([n; 16]), offset: 7, len: 80 },
            },
        };
        let payload = Index { packs: vec![pack(1), pack(2)], chunks: vec![line(5, 1), line(5, 2)] }.encode();
        assert_eq!(Index::decode(&payload).unwrap().chunks, [line(5, 1), line(5, 2)]);
        // The id of the first line, behind the packs, the number of lines and the kind.
        let mut descending = payload;
        descending[1 + 2 * 17 + 1 + 1] = 6;
        assert_eq!(Index::decode(&descending), Err(FormatError::Order { what: "index lines" }));
    }
}
