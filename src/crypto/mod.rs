//! Keys and what is derived from them. Nothing here is ever printed, and all of it is wiped when dropped.
//!
//! One random master key per repository; everything else is derived with BLAKE3 `derive_key`, each purpose with its
//! own context, so no two uses share a key.

pub mod aead;
pub mod password;
pub mod recovery;

use crate::extent::ChunkKind;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::RepositoryId;
use zeroize::Zeroize;
use zeroize::ZeroizeOnDrop;

const CONTEXT_CHUNK_ID: &str = "bygone 2026 v1 chunk id";
const CONTEXT_GEAR: &str = "bygone 2026 v1 gear table";
const CONTEXT_BOUNDARY: &str = "bygone 2026 v1 page boundary";
const CONTEXT_OBJECT: &str = "bygone 2026 v1 sealed object";

/// What is hashed in one piece with the byte before it. After a single byte BLAKE3 would go on in small steps: files of 14 KiB
/// took half as long again.
const JOINED_BYTES: usize = 64 << 10;

/// Random bytes from the system.
///
/// # Panics
/// If the system has no randomness to give: then nothing may be written at all.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// The key of a repository. Everything in it is derived from this.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A new one.
    pub fn generate() -> MasterKey {
        MasterKey(random())
    }

    /// One that was kept in a password slot.
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(bytes)
    }

    /// For the password slot alone.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// The key of one sealed object, and the value that commits the object to it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ObjectKey {
    /// AES-256 key.
    pub key: [u8; 32],
    /// Stands in the clear header; a wrong key is noticed before anything is decrypted.
    pub commitment: [u8; 32],
}

/// The keys in use while a repository is open.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    #[zeroize(skip)]
    repository: RepositoryId,
    master: MasterKey,
    chunk_id: [u8; 32],
    boundary: [u8; 32],
}

impl Keys {
    /// Derives the keys of a repository.
    pub fn new(repository: RepositoryId, master: MasterKey) -> Keys {
        let derive = |context| blake3::derive_key(context, master.expose());
        let (chunk_id, boundary) = (derive(CONTEXT_CHUNK_ID), derive(CONTEXT_BOUNDARY));
        Keys { repository, master, chunk_id, boundary }
    }

    /// The repository they belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The master key, for a new password slot.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Name of a chunk: keyed BLAKE3 over the kind byte and the plaintext.
    pub fn chunk_id(&self, kind: ChunkKind, plain: &[u8]) -> ChunkId {
        let (begin, rest) = plain.split_at(plain.len().min(JOINED_BYTES - 1));
        let joined = [&[kind.byte()], begin].concat();
        ChunkId(*blake3::Hasher::new_keyed(&self.chunk_id).update(&joined).update(rest).finalize().as_bytes())
    }

    /// Decides page boundaries: 64 bits of a keyed hash of a key.
    pub fn boundary(&self, key: &[&[u8]]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.boundary);
        for part in key {
            hasher.update(part);
        }
        hasher.finalize().as_bytes().iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b))
    }

    /// The secret table of the chunker: 2048 bytes of output, as 256 little-endian words.
    pub fn gear(&self) -> Box<[u64; 256]> {
        let mut bytes = [0; 2048];
        blake3::Hasher::new_derive_key(CONTEXT_GEAR).update(self.master.expose()).finalize_xof().fill(&mut bytes);
        let mut gear = Box::new([0; 256]);
        for (word, raw) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = raw.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        }
        bytes.zeroize();
        gear
    }

    /// Key of one sealed object.
    pub fn object(&self, object_type: u8, object: ObjectId, salt: &[u8; 32]) -> ObjectKey {
        let mut out = [0; 64];
        blake3::Hasher::new_derive_key(CONTEXT_OBJECT)
            .update(self.master.expose())
            .update(&[object_type])
            .update(&self.repository.0)
            .update(&object.0)
            .update(salt)
            .finalize_xof()
            .fill(&mut out);
        let mut halves = ObjectKey { key: [0; 32], commitment: [0; 32] };
        halves.key.copy_from_slice(&out[..32]);
        halves.commitment.copy_from_slice(&out[32..]);
        out.zeroize();
        halves
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys {{ repository: {}, *** }}", self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(RepositoryId([7; 16]), MasterKey::from_bytes([1; 32]))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed by another implementation of BLAKE3 from section 4 of FORMAT.md.
    #[test]
    fn what_is_derived_is_what_the_format_says() {
        let keys = keys();
        let chunk = keys.chunk_id(ChunkKind::Data, b"hello").to_string();
        assert_eq!(chunk, "2d069e93947cb1c94e77bcbad483b4da855924c72e7a31877f39c95f7b78ec1e");
        assert_eq!(keys.boundary(&[b"folder", b"/", b"name"]), 0x6df5_22bb_93cb_4494);
        let gear = keys.gear();
        assert_eq!((gear[0], gear[255]), (0x2b1f_df6c_01d1_f457, 0x491e_5c35_f0cb_5c6a));
        let object = keys.object(3, ObjectId([9; 16]), &[5; 32]);
        assert_eq!(hex(&object.key), "b17a9c03cd6684761990d76534930b92ff194c4ddd0b313c23fd257fac12534e");
        assert_eq!(hex(&object.commitment), "a085a2d6eef00cc3e9e96480f56736921cb81c9654eca90226086672464e99ab");
    }

    #[test]
    fn how_a_chunk_is_hashed_does_not_matter_to_its_name() {
        let bytes: Vec<u8> = (0..=2 * JOINED_BYTES).map(|at| (at % 251) as u8).collect();
        for len in [0, 1, 1023, JOINED_BYTES - 2, JOINED_BYTES - 1, JOINED_BYTES, bytes.len()] {
            let mut hasher = blake3::Hasher::new_keyed(&keys().chunk_id);
            hasher.update(&[ChunkKind::NodePage.byte()]);
            for byte in bytes[..len].chunks(1) {
                hasher.update(byte);
            }
            assert_eq!(keys().chunk_id(ChunkKind::NodePage, &bytes[..len]).0, *hasher.finalize().as_bytes(), "{len}");
        }
    }

    #[test]
    fn keys_are_random_and_never_shown() {
        assert_ne!(random::<16>(), random::<16>());
        assert_ne!(MasterKey::generate().expose(), MasterKey::generate().expose());
        assert_eq!(format!("{:?}", keys().master()), "MasterKey(***)");
        let shown = format!("{:?}", keys());
        assert!(shown.contains("07070707") && !shown.contains("01010101") && !shown.contains("1, 1"), "{shown}");
    }
}
