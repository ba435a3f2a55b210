//! Password slots, the objects `keys/<id>`: the master key sealed under a key made from one password.
//!
//! Sealed with AES-256-GCM under a zero nonce: the salt makes every slot key unique and it seals one message only.
//! The commitment is compared before opening, so a slot made for two passwords at once cannot be built.

use crate::crypto::MasterKey;
use crate::crypto::aead::TAG_BYTES;
use crate::crypto::aead::portable;
use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::crypto::password::derive;
use crate::crypto::random;
use crate::format::FORMAT_VERSION;
use crate::format::MAGIC;
use crate::format::config::Config;
use crate::format::sealed::check_prefix;
use crate::format::sealed::check_sum;
use crate::format::wire::FormatError;
use crate::format::wire::Reader;
use crate::format::wire::Result;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

const KDF_ARGON2ID: u8 = 1;
const CLEAR_BYTES: usize = 8 + 2 + 6 + 16 + 16 + 12 + 4 + 16 + 32;
const SECRET_BYTES: usize = 32 + 32 + 8;
/// Length of the object.
pub const SLOT_BYTES: usize = CLEAR_BYTES + SECRET_BYTES + TAG_BYTES + 32;

/// What came of trying a password on a slot.
#[derive(Debug)]
pub enum Unlocked {
    /// It fits; this is the key, and when the slot was made (seconds since 1970).
    Key(MasterKey, i64),
    /// It does not fit this slot.
    WrongPassword,
}

/// Makes a slot object.
pub fn encode(
    config: &Config,
    slot: ObjectId,
    master: &MasterKey,
    password: &Password,
    cost: Cost,
    now_secs: i64,
) -> Result<Vec<u8>> {
    let salt = random();
    let (mut kek, commitment) = derive(password, &salt, cost).ok_or(bad_cost(cost))?;
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[KDF_ARGON2ID, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&config.repository.0);
    out.extend_from_slice(&slot.0);
    for number in [cost.memory_kib, cost.passes, cost.lanes, 0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&salt);
    out.extend_from_slice(&commitment);
    let mut secret = [0; SECRET_BYTES];
    secret[..32].copy_from_slice(master.expose());
    secret[32..64].copy_from_slice(&config.hash());
    secret[64..].copy_from_slice(&now_secs.to_le_bytes());
    let tag = portable::Aead::new(&kek).seal([0; 12], &out, &mut secret);
    kek.zeroize();
    out.extend_from_slice(&secret);
    out.extend_from_slice(&tag);
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    Ok(out)
}

fn bad_cost(cost: Cost) -> FormatError {
    FormatError::Limit { what: "password cost (KiB)", value: cost.memory_kib.into(), max: 2 << 20 }
}

/// Tries a password on a slot object. The config must be the one the slot was made for.
pub fn unlock(bytes: &[u8], slot: ObjectId, config: &Config, password: &Password) -> Result<Unlocked> {
    let mut r = Reader::new(bytes);
    check_prefix(&mut r)?;
    if bytes.len() != SLOT_BYTES {
        return Err(FormatError::Length { expected: SLOT_BYTES as u64, found: bytes.len() as u64 });
    }
    check_sum(bytes)?;
    let kdf = r.u8("kdf")?;
    if kdf != KDF_ARGON2ID {
        return Err(FormatError::Unknown { what: "kdf", value: kdf.into() });
    }
    r.reserved(5)?;
    if RepositoryId(r.array("repository")?) != config.repository {
        return Err(FormatError::Mismatch { what: "repository of the password slot" });
    }
    if ObjectId(r.array("slot id")?) != slot {
        return Err(FormatError::Mismatch { what: "id of the password slot" });
    }
    let cost = Cost { memory_kib: r.u32("cost")?, passes: r.u32("cost")?, lanes: r.u32("cost")? };
    r.reserved(4)?;
    let salt = r.array("salt")?;
    let committed: [u8; 32] = r.array("commitment")?;
    let (mut kek, commitment) = derive(password, &salt, cost).ok_or(bad_cost(cost))?;
    if !bool::from(commitment.ct_eq(&committed)) {
        return Ok(Unlocked::WrongPassword);
    }
    let mut sealed: [u8; SECRET_BYTES + TAG_BYTES] = r.array("sealed key")?;
    let opened = portable::Aead::new(&kek).open([0; 12], &bytes[..CLEAR_BYTES], &mut sealed).map(|_| ());
    kek.zeroize();
    opened.map_err(|_| FormatError::Segment { index: 0 })?;
    let mut r = Reader::new(&sealed[..SECRET_BYTES]);
    let master = MasterKey::from_bytes(r.array("master key")?);
    let config_hash: [u8; 32] = r.array("config hash")?;
    let created_secs = r.u64("creation time")?.cast_signed();
    sealed.zeroize();
    if config_hash != config.hash() {
        return Err(FormatError::Mismatch { what: "config of the repository" });
    }
    Ok(Unlocked::Key(master, created_secs))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chunker::Sizes;

    #[test]
    fn opens_with_its_password_only_and_damage_is_found() {
        let config =
            Config { repository: RepositoryId([5; 16]), sizes: Sizes::DEFAULT, created_secs: 1, create_only: true };
        let (id, master) = (ObjectId([1; 16]), MasterKey::generate());
        let right = Password::new(b"correct horse".to_vec());
        let bytes = encode(&config, id, &master, &right, Cost::CHEAP, 42).unwrap();
        assert_eq!(bytes.len(), SLOT_BYTES);
        match unlock(&bytes, id, &config, &right).unwrap() {
            Unlocked::Key(key, 42) => assert_eq!(key.expose(), master.expose()),
            other => panic!("{other:?}"),
        }
        let wrong = Password::new(b"battery staple".to_vec());
        assert!(matches!(unlock(&bytes, id, &config, &wrong), Ok(Unlocked::WrongPassword)));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(unlock(&bad, id, &config, &right).is_err());
        }
        let changed = Config { create_only: false, ..config };
        assert!(matches!(unlock(&bytes, id, &changed, &right), Err(FormatError::Mismatch { .. })));
    }

    #[test]
    fn a_bomb_is_refused_before_memory_is_taken() {
        let config =
            Config { repository: RepositoryId([5; 16]), sizes: Sizes::DEFAULT, created_secs: 1, create_only: true };
        let password = Password::new(b"x".to_vec());
        let bytes = encode(&config, ObjectId([1; 16]), &MasterKey::generate(), &password, Cost::CHEAP, 0).unwrap();
        for reserved in [11, 15, 60, 63] {
            let mut bad = bytes[..SLOT_BYTES - 32].to_vec();
            bad[reserved] = 1;
            let checksum = blake3::hash(&bad);
            bad.extend_from_slice(checksum.as_bytes());
            let found = unlock(&bad, ObjectId([1; 16]), &config, &password);
            assert!(matches!(found, Err(FormatError::Unknown { what: "reserved field", value: 1 })));
        }
        let mut bomb = bytes[..SLOT_BYTES - 32].to_vec();
        bomb[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = blake3::hash(&bomb);
        bomb.extend_from_slice(checksum.as_bytes());
        let refused = unlock(&bomb, ObjectId([1; 16]), &config, &password);
        assert!(matches!(refused, Err(FormatError::Limit { value: 0xffff_ffff, max: 0x20_0000, .. })), "{refused:?}");
    }
}
