//! Small chunks that were compressed together: one encoded chunk that holds several, each with its own id.

use crate::compress::Codec;
use crate::compress::compress;
use crate::compress::decompress;
use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::ChunkRef;
use crate::extent::Locator;
use crate::format::chunk;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::format::wire::Write;
use crate::id::ChunkId;
use std::ops::Range;

/// Longest plaintext of a group: what unpacking one member costs at the most.
pub const GROUP_BYTES_MAX: u32 = 1 << 20;
/// Most members of a group.
pub const GROUP_MEMBERS_MAX: usize = 4096;

/// Ids and lengths of chunks that are encoded as one, in order.
pub type Members = Vec<(ChunkId, u32)>;

const RAW: u8 = 2;
const ZSTD: u8 = 3;
/// Bytes of an id in the table: enough to tell the members of one group apart.
const MARK_BYTES: usize = 4;

/// A group, unpacked. Nothing in it is checked before it is [taken](Group::take).
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    plain: Vec<u8>,
    members: Vec<Member>,
}

#[derive(Debug, PartialEq, Eq)]
struct Member {
    mark: [u8; MARK_BYTES],
    range: Range<u32>,
}

/// Encodes chunks as one; `plain` is their contents one behind the other. A group, unless it is a chunk alone. Fails above
/// [`GROUP_BYTES_MAX`], and a single chunk where [`chunk::encode`] does.
pub fn frame(members: &[(ChunkId, u32)], plain: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if let [_] = members {
        chunk::encode(plain, level, &mut out)?;
        return Ok(out);
    }
    let len = group_len(plain.len() as u64)?;
    out.push(RAW);
    out.extend_from_slice(&len.to_le_bytes());
    out.put_varint(members.len() as u64);
    for (id, len) in members {
        out.extend_from_slice(&id.0[..MARK_BYTES]);
        out.put_varint((*len).into());
    }
    if compress(plain, level, &mut out)? == Codec::Zstd {
        out[0] = ZSTD;
    }
    Ok(out)
}

/// True if these are the bytes of a group and not of one chunk.
pub fn is_group(encoded: &[u8]) -> bool {
    matches!(encoded.first(), Some(&(RAW | ZSTD)))
}

impl Group {
    /// Unpacks an encoded group.
    pub fn decode(encoded: &[u8]) -> Result<Group> {
        let mut r = Reader::new(encoded);
        let codec = match r.u8("codec")? {
            RAW => Codec::Raw,
            ZSTD => Codec::Zstd,
            value => return Err(FormatError::Unknown { what: "codec of a group", value: value.into() }),
        };
        let len = group_len(r.u32("group length")?.into())?;
        let count = r.count(MARK_BYTES + 1, "members of a group")?;
        if count > GROUP_MEMBERS_MAX {
            let (value, max) = (count as u64, GROUP_MEMBERS_MAX as u64);
            return Err(FormatError::Limit { what: "members of a group", value, max });
        }
        let mut members = Vec::with_capacity(count);
        let mut start = 0;
        for _ in 0..count {
            let mark = r.array("member of a group")?;
            let end = group_len(u64::from(start) + r.varint_max(GROUP_BYTES_MAX.into(), "length of a member")?)?;
            if end == start {
                return Err(FormatError::Short { what: "member of a group" });
            }
            members.push(Member { mark, range: start..end });
            start = end;
        }
        if start != len {
            return Err(FormatError::Mismatch { what: "lengths of a group" });
        }
        Ok(Group { plain: decompress(codec, r.rest(), len as usize)?, members })
    }

    /// About what it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.plain.len() + self.members.len() * size_of::<Member>()
    }

    /// The chunk of this id and length.
    pub fn take(&self, keys: &Keys, kind: ChunkKind, id: ChunkId, len: u32) -> Result<&[u8]> {
        self.take_from(&mut 0, keys, kind, id, len)
    }

    /// The same among the members from number `next` on, which becomes the number behind the last that was hashed: who takes them in
    /// order hashes each once.
    fn take_from(&self, next: &mut usize, keys: &Keys, kind: ChunkKind, id: ChunkId, len: u32) -> Result<&[u8]> {
        if kind != ChunkKind::Data {
            return Err(FormatError::Mismatch { what: "kind of a chunk in a group" });
        }
        for (number, member) in self.members.iter().enumerate().skip(*next) {
            let Range { start, end } = member.range;
            if id.0.starts_with(&member.mark) && end - start == len {
                *next = number + 1;
                let plain = self.plain.get(start as usize..end as usize).ok_or(FormatError::Short { what: "group" })?;
                if keys.chunk_id(kind, plain) == id {
                    return Ok(plain);
                }
            }
        }
        Err(FormatError::Id)
    }
}

/// Some of the chunks that are encoded as one, without the others: their names in the order in which they are encoded, and the encoded
/// bytes, `None` if they are those that came in. All are checked against their ids. Those that are not among them are left out; fails
/// if none is.
pub fn only(
    keys: &Keys,
    kind: ChunkKind,
    wanted: &[(ChunkId, u32)],
    encoded: &[u8],
    level: i32,
) -> Result<(Members, Option<Vec<u8>>)> {
    if !is_group(encoded) {
        for (id, len) in wanted {
            chunk::open(keys, kind, *id, *len, encoded)?;
        }
        return Ok((wanted.to_vec(), None));
    }
    let group = Group::decode(encoded)?;
    let mut found = Vec::with_capacity(wanted.len());
    for (id, len) in wanted {
        let mut next = 0;
        match group.take_from(&mut next, keys, kind, *id, *len) {
            Ok(plain) => found.push((next, (*id, *len), plain)),
            Err(FormatError::Id) => {}
            Err(other) => return Err(other),
        }
    }
    if found.is_empty() {
        return Err(FormatError::Id);
    }
    found.sort_unstable_by_key(|(next, ..)| *next);
    let members: Vec<_> = found.iter().map(|(_, member, _)| *member).collect();
    if found.len() == group.members.len() {
        return Ok((members, None));
    }
    let plain: Vec<&[u8]> = found.iter().map(|(.., plain)| *plain).collect();
    let fewer = frame(&members, &plain.concat(), level)?;
    Ok((members, Some(fewer)))
}

/// Opens the chunks of a pack in the order of its directory. Groups are unpacked once, and no byte is decoded or hashed twice, whatever
/// the directory says.
#[derive(Debug, Default)]
pub struct InOrder {
    /// The last group, or why it cannot be unpacked, where it lies, and the member that may come next.
    group: Option<(Locator, Result<Group>, usize)>,
    /// Where the last chunk ended.
    end: u64,
}

impl InOrder {
    /// The plaintext of the next chunk, as [`chunk::open`] gives it.
    pub fn open(&mut self, keys: &Keys, kind: ChunkKind, chunk: &ChunkRef, encoded: &[u8]) -> Result<Vec<u8>> {
        let ChunkRef { id, len, hint } = *chunk;
        if self.group.as_ref().is_none_or(|(place, ..)| *place != hint) {
            if u64::from(hint.offset) < self.end {
                return Err(FormatError::Order { what: "chunks of the pack" });
            }
            self.end = u64::from(hint.offset) + u64::from(hint.len);
            self.group = is_group(encoded).then(|| (hint, Group::decode(encoded), 0));
        }
        match &mut self.group {
            Some((_, Ok(group), next)) => group.take_from(next, keys, kind, id, len).map(<[u8]>::to_vec),
            Some((_, Err(error), _)) => Err(error.clone()),
            None => chunk::open(keys, kind, id, len, encoded),
        }
    }
}

fn group_len(value: u64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(len) if len <= GROUP_BYTES_MAX => Ok(len),
        _ => Err(FormatError::Limit { what: "group length", value, max: GROUP_BYTES_MAX.into() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::MasterKey;
    use crate::id::ObjectId;
    use crate::id::RepositoryId;

    fn keys() -> Keys {
        Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]))
    }

    /// A group of these contents, and how its members are called.
    fn group(contents: &[&[u8]]) -> (Vec<u8>, Members) {
        let name = |plain: &&[u8]| (keys().chunk_id(ChunkKind::Data, plain), plain.len() as u32);
        let members: Vec<_> = contents.iter().map(name).collect();
        (frame(&members, &contents.concat(), 3).unwrap(), members)
    }

    fn line((id, len): (ChunkId, u32), offset: u32, encoded: &[u8]) -> ChunkRef {
        ChunkRef { id, len, hint: Locator { pack: ObjectId([3; 16]), offset, len: encoded.len() as u32 } }
    }

    #[test]
    fn every_member_is_found_by_its_name_and_nothing_else_is() {
        let text = b"one and the same line of text\n".repeat(40);
        for contents in [&[&text[..], &text[7..], b"x"][..], &[b"short", b"noise"]] {
            let (encoded, members) = group(contents);
            let decoded = Group::decode(&encoded).unwrap();
            assert!(is_group(&encoded) && decoded.members.len() == contents.len());
            assert!(decoded.memory_bytes() >= contents.concat().len());
            for ((id, len), plain) in members.iter().zip(contents) {
                assert_eq!(decoded.take(&keys(), ChunkKind::Data, *id, *len), Ok(*plain));
                for (kind, len) in [(ChunkKind::NodePage, *len), (ChunkKind::Data, len + 1)] {
                    assert!(decoded.take(&keys(), kind, *id, len).is_err());
                }
            }
            let stranger = keys().chunk_id(ChunkKind::Data, b"stranger");
            assert_eq!(decoded.take(&keys(), ChunkKind::Data, stranger, 1), Err(FormatError::Id));
        }
    }

    #[test]
    fn no_more_members_are_made_room_for_than_the_bytes_can_hold() {
        let many = [&[RAW, 9, 0, 0, 0, 100][..], &[0; 20]].concat();
        let told = FormatError::Limit { what: "members of a group", value: 100, max: 4 };
        assert_eq!(Group::decode(&many).map(|group| group.members.len()), Err(told));
    }

    #[test]
    fn members_of_one_mark_and_length_are_told_apart_by_their_ids() {
        let (mut encoded, members) = group(&[b"this", b"that"]);
        // Both bear the mark of the second.
        let at = 1 + 4 + 1;
        encoded.copy_within(at + MARK_BYTES + 1..at + 2 * MARK_BYTES + 1, at);
        let decoded = Group::decode(&encoded).unwrap();
        assert_eq!(decoded.take(&keys(), ChunkKind::Data, members[1].0, 4), Ok(&b"that"[..]));
        assert_eq!(decoded.take(&keys(), ChunkKind::Data, members[0].0, 4), Err(FormatError::Id));
    }

    #[test]
    fn no_damage_leads_to_other_content() {
        let text = b"some text some text ".repeat(30);
        let (encoded, members) = group(&[&text, &text[3..]]);
        for at in 0..encoded.len() {
            for bit in 0..8 {
                let mut bad = encoded.clone();
                bad[at] ^= 1 << bit;
                for ((id, len), plain) in members.iter().zip([&text[..], &text[3..]]) {
                    let decoded = Group::decode(&bad);
                    if let Ok(opened) = decoded.as_ref().map(|group| group.take(&keys(), ChunkKind::Data, *id, *len)) {
                        assert!(opened.is_err() || opened == Ok(plain), "byte {at} bit {bit}");
                    }
                }
            }
            assert!(Group::decode(&encoded[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn lengths_stay_within_their_limits() {
        let long = vec![0; GROUP_BYTES_MAX as usize + 1];
        let fails = |result: Result<()>| assert!(matches!(result, Err(FormatError::Limit { .. })));
        fails(frame(&[], &long, 1).map(drop));
        let (mut encoded, members) = group(&[&long[2..], b"x"]);
        let (id, len) = members[0];
        assert_eq!(Group::decode(&encoded).unwrap().take(&keys(), ChunkKind::Data, id, len), Ok(&long[2..]));
        encoded[1..5].copy_from_slice(&(GROUP_BYTES_MAX + 1).to_le_bytes());
        fails(Group::decode(&encoded).map(drop));
        let fronts: Vec<[u8; 2]> = (0..=GROUP_MEMBERS_MAX as u16).map(u16::to_le_bytes).collect();
        let most: Vec<&[u8]> = fronts.iter().map(|front| &front[..]).collect();
        assert!(Group::decode(&group(&most[1..]).0).is_ok());
        fails(Group::decode(&group(&most).0).map(drop));
        assert_eq!(Group::decode(&group(&[b"ab", b""]).0), Err(FormatError::Short { what: "member of a group" }));
        let (mut encoded, _) = group(&[b"ab", b"c"]);
        encoded[1] += 1;
        assert_eq!(Group::decode(&encoded), Err(FormatError::Mismatch { what: "lengths of a group" }));
    }

    #[test]
    fn what_is_wanted_leaves_the_group_and_the_rest_stays() {
        let text = b"line after line after line ".repeat(30);
        let contents = [&text[..], b"second", &text[5..]];
        let (encoded, members) = group(&contents);
        let [first, second, third] = members[..] else { panic!("three members") };
        let only = |wanted: &[(ChunkId, u32)], encoded: &[u8]| only(&keys(), ChunkKind::Data, wanted, encoded, 3);
        assert_eq!(only(&[third, first, second], &encoded), Ok((members.clone(), None)));
        let (names, two) = only(&[third, first], &encoded).unwrap();
        assert_eq!(names, [first, third]);
        assert_eq!(two.as_deref(), Some(&group(&[contents[0], contents[2]]).0[..]));
        let (names, one) = only(&[second], &encoded).unwrap();
        let one = one.unwrap();
        assert_eq!((&names[..], chunk::decode(&one).unwrap()), (&[second][..], b"second".to_vec()));
        assert_eq!(only(&[second], &one), Ok((vec![second], None)));
        assert!(only(&[first], &one).is_err());
        let stranger = (ChunkId([9; 32]), 6);
        assert_eq!(only(&[stranger], &encoded), Err(FormatError::Id));
        assert_eq!(only(&[second, stranger], &encoded).unwrap().0, [second]);
    }

    #[test]
    fn a_pack_is_opened_in_order_and_each_byte_once() {
        let (first, members) = group(&[b"one", b"two", b"three"]);
        let mut alone = Vec::new();
        chunk::encode(b"alone", 3, &mut alone).unwrap();
        let mut broken = first.clone();
        broken[1] ^= 1;
        let other = line((keys().chunk_id(ChunkKind::Data, b"alone"), 5), first.len() as u32, &alone);
        let mut pack = InOrder::default();
        let mut open = |chunk: &ChunkRef, encoded: &[u8]| pack.open(&keys(), ChunkKind::Data, chunk, encoded);
        // One may be left out: it was stored before.
        assert_eq!(open(&line(members[0], 0, &first), &first).unwrap(), b"one");
        assert_eq!(open(&line(members[2], 0, &first), &first).unwrap(), b"three");
        assert_eq!(open(&line(members[2], 0, &first), &first), Err(FormatError::Id));
        assert_eq!(open(&other, &alone).unwrap(), b"alone");
        let order = Err(FormatError::Order { what: "chunks of the pack" });
        assert_eq!(open(&other, &alone), order);
        assert_eq!(open(&line(members[1], 0, &first), &first), order);
        // One that does not unpack is the same fault for all; one that is not there does not hide the others.
        let at = (first.len() + alone.len()) as u32;
        let lengths = Err(FormatError::Mismatch { what: "lengths of a group" });
        assert_eq!(open(&line(members[0], at, &broken), &broken), lengths);
        assert_eq!(open(&line(members[1], at, &broken), &broken), lengths);
        let at = at + broken.len() as u32;
        assert_eq!(open(&line((ChunkId([9; 32]), 3), at, &first), &first), Err(FormatError::Id));
        assert_eq!(open(&line(members[0], at, &first), &first).unwrap(), b"one");
    }
}
