//! A key slot: the volume key, encrypted with a key that a passphrase makes, and what proves that it is right.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::Result;
use crate::disk::fs::Source;
use crate::disk::volume::luks::antiforensic;
use crate::disk::volume::luks::kdf::Hash;
use crate::disk::volume::luks::kdf::Kdf;
use crate::disk::volume::luks::xts::Cipher;
use crate::disk::volume::luks::xts::SECTOR_BYTES;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const WHAT: &str = "LUKS key slot";
/// Usual: 4000.
const STRIPES_MAX: u32 = 1 << 14;
const KEY_BYTES_MAX: usize = 64;

/// What a volume key must give.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) hash: Hash,
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) digest: Vec<u8>,
}

/// A key slot.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) kdf: Kdf,
    /// First byte of the key material.
    pub(super) at: u64,
    /// How it is encrypted, and bytes of the key for that.
    pub(super) cipher: Cipher,
    pub(super) area_key_bytes: usize,
    /// Bytes of the volume key.
    pub(super) key_bytes: usize,
    pub(super) stripes: u32,
    pub(super) stripes_hash: Hash,
    pub(super) proof: Proof,
}

impl Slot {
    /// The volume key, if `passphrase` opens this slot.
    pub(super) fn open(&self, source: &Source, passphrase: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let fault = |why| Error::damaged(WHAT, self.at, why);
        if self.key_bytes == 0 || self.key_bytes > KEY_BYTES_MAX || self.area_key_bytes > KEY_BYTES_MAX {
            return Err(fault("no such length of a key"));
        }
        if self.stripes == 0 || self.stripes > STRIPES_MAX {
            return Err(fault("no such number of stripes"));
        }
        let len = self.key_bytes * self.stripes as usize;
        let sector = SECTOR_BYTES as usize;
        // Read before any time is spent, so that a slot beyond the end costs nothing.
        let mut stripes = Zeroizing::new(vec![0; len.next_multiple_of(sector)]);
        source.read_at(self.at, &mut stripes)?;
        let key = self.kdf.derive(passphrase, self.area_key_bytes)?;
        self.cipher.with_key(&key)?.decrypt(&mut stripes, sector, 0);
        let stripes = stripes.get(..len).unwrap_or_default();
        let key = antiforensic::merge(stripes, self.key_bytes, self.stripes_hash);
        Ok(self.proof.holds(&key)?.then_some(key))
    }
}

impl Proof {
    fn holds(&self, key: &[u8]) -> Result<bool> {
        if self.digest.len() < Hash::Sha1.len() || self.digest.len() > Hash::Sha512.len() {
            return Err(Error::damaged("LUKS digest", 0, "no such length"));
        }
        let digest = self.hash.pbkdf2(key, &self.salt, self.iterations, self.digest.len())?;
        Ok(digest.ct_eq(&self.digest).into())
    }
}
