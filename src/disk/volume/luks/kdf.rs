//! From a passphrase to a key: PBKDF2 and Argon2, no dearer than a person would make them.

use crate::disk::Error;
use crate::disk::Result;
use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::Version;
use pbkdf2::pbkdf2_hmac;
use rayon::ThreadPool;
use rayon::ThreadPoolBuildError;
use rayon::ThreadPoolBuilder;
use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;
use sha2::Sha512;
use zeroize::Zeroizing;

/// About a minute. cryptsetup makes them so dear that they take two seconds.
const ITERATIONS_MAX: u32 = 1 << 27;
/// cryptsetup's own bound.
const MEMORY_KIB_MAX: u32 = 1 << 20;
/// Passes over all of the memory, in KiB.
const WORK_KIB_MAX: u64 = 64 << 20;
/// cryptsetup takes at most four.
const LANES_MAX: u32 = 16;

/// A hash function by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn from_name(name: &str) -> Result<Hash> {
        match name {
            "sha1" => Ok(Hash::Sha1),
            "sha256" => Ok(Hash::Sha256),
            "sha512" => Ok(Hash::Sha512),
            _ => Err(Error::unsupported(format!("LUKS hash {name:.40}"))),
        }
    }

    /// Bytes of a digest.
    pub(super) fn len(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    /// The digest of all parts, one after the other.
    pub(super) fn digest(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
            let mut hash = D::new();
            parts.iter().for_each(|part| hash.update(part));
            Zeroizing::new(hash.finalize().to_vec())
        }
        match self {
            Hash::Sha1 => of::<Sha1>(parts),
            Hash::Sha256 => of::<Sha256>(parts),
            Hash::Sha512 => of::<Sha512>(parts),
        }
    }

    /// PBKDF2 with HMAC of this hash; `len` bytes.
    pub(super) fn pbkdf2(self, secret: &[u8], salt: &[u8], iterations: u32, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        if iterations == 0 || iterations > ITERATIONS_MAX {
            return Err(Error::unsupported(format!("LUKS key that takes {iterations} iterations")));
        }
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Hash::Sha1 => pbkdf2_hmac::<Sha1>(secret, salt, iterations, &mut key),
            Hash::Sha256 => pbkdf2_hmac::<Sha256>(secret, salt, iterations, &mut key),
            Hash::Sha512 => pbkdf2_hmac::<Sha512>(secret, salt, iterations, &mut key),
        }
        Ok(key)
    }
}

/// Argon2 gives its lanes to a pool of threads. In this one there is only the thread that asks, for a process that reads
/// images may start no others. It fails if the thread is in such a pool already, which is as good.
fn alone() -> std::result::Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(1).use_current_thread().build()
}

/// How a slot makes its key.
#[derive(Debug, Clone)]
pub(super) enum Kdf {
    Pbkdf2 { hash: Hash, iterations: u32, salt: Vec<u8> },
    Argon2 { algorithm: Algorithm, passes: u32, memory_kib: u32, lanes: u32, salt: Vec<u8> },
}

impl Kdf {
    /// The key of `len` bytes.
    pub(super) fn derive(&self, passphrase: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Kdf::Pbkdf2 { hash, iterations, salt } => hash.pbkdf2(passphrase, salt, *iterations, len),
            Kdf::Argon2 { algorithm, passes, memory_kib, lanes, salt } => {
                let (passes, memory_kib, lanes) = (*passes, *memory_kib, *lanes);
                if memory_kib > MEMORY_KIB_MAX {
                    return Err(Error::unsupported(format!("LUKS key that takes {memory_kib} KiB of memory")));
                }
                if u64::from(passes) * u64::from(memory_kib) > WORK_KIB_MAX || lanes > LANES_MAX {
                    let what = format!("LUKS key that takes {passes} passes over {memory_kib} KiB in {lanes} lanes");
                    return Err(Error::unsupported(what));
                }
                let fault = |_| Error::damaged("LUKS key slot", 0, "no such parameters of Argon2 can be");
                let params = Params::new(memory_kib, passes, lanes, Some(len)).map_err(fault)?;
                let mut key = Zeroizing::new(vec![0; len]);
                let argon2 = Argon2::new(*algorithm, Version::V0x13, params);
                let _pool = alone();
                argon2.hash_password_into(passphrase, salt, &mut key).map_err(|error| match error {
                    argon2::Error::OutOfMemory => {
                        Error::unsupported(format!("LUKS key that takes {memory_kib} KiB, more memory than there is,"))
                    }
                    error => fault(error),
                })?;
                Ok(key)
            }
        }
    }
}
