//! The header of LUKS version 2: two copies of a binary part with a checksum, each followed by JSON.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::luks::About;
use crate::disk::volume::luks::Header;
use crate::disk::volume::luks::MAGIC;
use crate::disk::volume::luks::WHAT;
use crate::disk::volume::luks::json;
use crate::disk::volume::luks::kdf::Hash;
use crate::disk::volume::luks::text;

const BINARY_BYTES: usize = 4096;
/// First bytes of the second copy.
const MAGIC_SECOND: [u8; 6] = *b"SKUL\xba\xbe";
/// The lengths a copy may have, and so the places where the second may begin.
const LENGTHS: [u64; 9] = [16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
const CHECKSUM_AT: usize = 448;
const CHECKSUM_BYTES: usize = 64;

/// One copy, once its checksum was found right.
struct Copy {
    sequence: u64,
    label: String,
    uuid: String,
    json: Vec<u8>,
}

/// The header at the beginning of `source`: of the copies that are whole, the newer.
pub(super) fn read(source: &Source) -> Result<Header> {
    let first = copy(source, 0, &MAGIC);
    let second = LENGTHS.iter().find_map(|at| copy(source, *at, &MAGIC_SECOND).ok());
    let copy = match (first, second) {
        (Ok(first), Some(second)) if second.sequence > first.sequence => second,
        (Ok(first), _) => first,
        (Err(_), Some(second)) => second,
        (Err(error), None) => return Err(error),
    };
    let json = json::parse(&copy.json)?;
    let about =
        About { version: 2, uuid: copy.uuid, label: copy.label, cipher: json.cipher(), slots: json.slot_count() };
    let (segment, slots) = match json.segment() {
        Ok((name, segment)) => (Ok(segment), json.slots(&name)),
        Err(error) => (Err(error), Vec::new()),
    };
    Ok(Header { about, segment, slots })
}

fn copy(source: &Source, at: u64, magic: &[u8; 6]) -> Result<Copy> {
    let mut binary = [0; BINARY_BYTES];
    source.read_at(at, &mut binary)?;
    let fields = Fields::new(&binary, WHAT, at);
    if fields.bytes(0, 6)? != magic || fields.be16(6)? != 2 || fields.be64(256)? != at {
        return Err(fields.damaged("it does not begin as one"));
    }
    let len = fields.be64(8)?;
    if !LENGTHS.contains(&len) || (at != 0 && len != at) {
        return Err(fields.damaged("no such length"));
    }
    let checksum = fields.bytes(CHECKSUM_AT, CHECKSUM_BYTES)?.to_vec();
    let hash = Hash::from_name(&text(fields.bytes(72, 32)?))?;
    let (sequence, label, uuid) = (fields.be64(16)?, text(fields.bytes(24, 48)?), text(fields.bytes(168, 40)?));
    let mut json = vec![0; len as usize - BINARY_BYTES];
    source.read_at(at + BINARY_BYTES as u64, &mut json)?;
    binary[CHECKSUM_AT..CHECKSUM_AT + CHECKSUM_BYTES].fill(0);
    if !checksum.starts_with(&hash.digest(&[&binary, &json])) {
        return Err(Error::damaged(WHAT, at, "its checksum is wrong"));
    }
    // Behind the text there are zeros.
    let end = json.iter().position(|byte| *byte == 0).unwrap_or(json.len());
    json.truncate(end);
    Ok(Copy { sequence, label, uuid, json })
}
