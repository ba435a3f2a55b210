//! The header of LUKS version 1: one structure, eight slots.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::luks::About;
use crate::disk::volume::luks::Header;
use crate::disk::volume::luks::WHAT;
use crate::disk::volume::luks::kdf::Hash;
use crate::disk::volume::luks::kdf::Kdf;
use crate::disk::volume::luks::plain::Segment;
use crate::disk::volume::luks::slot::Proof;
use crate::disk::volume::luks::slot::Slot;
use crate::disk::volume::luks::text;
use crate::disk::volume::luks::xts::Cipher;
use crate::disk::volume::luks::xts::SECTOR_BYTES;

const HEADER_BYTES: usize = 592;
const SLOTS_AT: usize = 208;
const SLOT_BYTES: usize = 48;
const SLOTS: usize = 8;
const SLOT_IN_USE: u32 = 0x00ac_71f3;
const SLOT_FREE: u32 = 0x0000_dead;

/// What all slots have in common.
struct Whole {
    cipher: Cipher,
    hash: Hash,
    key_bytes: usize,
    proof: Proof,
}

/// The header at the beginning of `source`.
pub(super) fn read(source: &Source) -> Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    source.read_at(0, &mut bytes)?;
    let fields = Fields::new(&bytes, WHAT, 0);
    let cipher_name = format!("{}-{}", text(fields.bytes(8, 32)?), text(fields.bytes(40, 32)?));
    let slots: Vec<Fields<'_>> = (0..SLOTS)
        .map(|n| fields.part(SLOTS_AT + n * SLOT_BYTES, SLOT_BYTES, "LUKS key slot"))
        .collect::<Result<_>>()?;
    let in_use = |slot: &Fields<'_>| slot.be32(0).map(|state| state != SLOT_FREE);
    let about = About {
        version: 1,
        uuid: text(fields.bytes(168, 40)?),
        label: String::new(),
        cipher: cipher_name.clone(),
        slots: slots.iter().filter(|slot| in_use(slot).unwrap_or(false)).count(),
    };
    let whole = match whole(&fields, &cipher_name) {
        Ok(whole) => whole,
        Err(error) => return Ok(Header { about, segment: Err(error), slots: Vec::new() }),
    };
    let start = u64::from(fields.be32(104)?) * SECTOR_BYTES;
    if start == 0 {
        return Err(Error::unsupported("LUKS header apart from its data"));
    }
    let segment = Segment { start, len: None, cipher: whole.cipher.clone(), sector_bytes: 512, first_sector: 0 };
    let slots = slots.iter().filter(|slot| in_use(slot).unwrap_or(false)).map(|fields| slot(fields, &whole)).collect();
    Ok(Header { about, segment: Ok(segment), slots })
}

fn whole(fields: &Fields<'_>, cipher_name: &str) -> Result<Whole> {
    let hash = Hash::from_name(&text(fields.bytes(72, 32)?))?;
    let proof = Proof {
        hash,
        digest: fields.bytes(112, 20)?.to_vec(),
        salt: fields.bytes(132, 32)?.to_vec(),
        iterations: fields.be32(164)?,
    };
    Ok(Whole { cipher: Cipher::from_name(cipher_name)?, hash, key_bytes: fields.be32(108)? as usize, proof })
}

fn slot(fields: &Fields<'_>, whole: &Whole) -> Result<Slot> {
    if fields.be32(0)? != SLOT_IN_USE {
        return Err(fields.damaged("it is neither free nor in use"));
    }
    let salt = fields.bytes(8, 32)?.to_vec();
    Ok(Slot {
        kdf: Kdf::Pbkdf2 { hash: whole.hash, iterations: fields.be32(4)?, salt },
        at: u64::from(fields.be32(40)?) * SECTOR_BYTES,
        cipher: whole.cipher.clone(),
        area_key_bytes: whole.key_bytes,
        key_bytes: whole.key_bytes,
        stripes: fields.be32(44)?,
        stripes_hash: whole.hash,
        proof: whole.proof.clone(),
    })
}
