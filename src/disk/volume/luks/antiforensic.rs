//! The anti-forensic splitter: a key spread over so many bytes that a lost few destroy it.

use crate::disk::volume::luks::kdf::Hash;
use zeroize::Zeroizing;

/// The key of `len` bytes out of its stripes, each as long as the key.
pub(super) fn merge(stripes: &[u8], len: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; len]);
    let mut left = stripes.chunks_exact(len.max(1)).peekable();
    while let Some(stripe) = left.next() {
        key.iter_mut().zip(stripe).for_each(|(byte, other)| *byte ^= other);
        if left.peek().is_some() {
            diffuse(&mut key, hash);
        }
    }
    key
}

/// Replaces each part as long as a digest with the digest of its number and itself.
fn diffuse(key: &mut [u8], hash: Hash) {
    for (number, part) in (0u32..).zip(key.chunks_mut(hash.len())) {
        let digest = hash.digest(&[&be32(number), part]);
        part.iter_mut().zip(digest.iter()).for_each(|(byte, new)| *byte = *new);
    }
}

fn be32(number: u32) -> [u8; 4] {
    number.swap_bytes().to_le_bytes()
}
