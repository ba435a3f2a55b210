//! AES-256-GCM behind one door. Bulk segments go through aws-lc-rs where it is built (feature `aws-lc`, on unless
//! switched off), for it is several times as fast per core as the portable `aes-gcm`; that one seals password slots,
//! serves everything where aws-lc cannot be built, and is the cross-check in the tests. `scripts/bench/aead` measures
//! what the difference is worth.

#[cfg(feature = "aws-lc")]
pub use native::Aead;
#[cfg(not(feature = "aws-lc"))]
pub use portable::Aead;

/// Bytes a tag adds to each sealed message.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// The message is not what was sealed under this key, nonce and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Forged;

/// Through aws-lc.
#[cfg(feature = "aws-lc")]
pub mod native {
    use super::Forged;
    use super::NONCE_BYTES;
    use super::TAG_BYTES;
    use aws_lc_rs::aead::AES_256_GCM;
    use aws_lc_rs::aead::Aad;
    use aws_lc_rs::aead::LessSafeKey;
    use aws_lc_rs::aead::Nonce;
    use aws_lc_rs::aead::UnboundKey;

    /// One key, ready to seal and open. The caller never uses a nonce twice.
    pub struct Aead(LessSafeKey);

    impl Aead {
        /// Prepares a key.
        pub fn new(key: &[u8; 32]) -> Aead {
            let unbound = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
            Aead(LessSafeKey::new(unbound))
        }

        /// Encrypts in place and returns the tag.
        pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = self
                .0
                .seal_in_place_separate_tag(nonce, Aad::from(aad), message)
                .expect("segments are far below the length limit of GCM");
            let mut out = [0; TAG_BYTES];
            out.copy_from_slice(tag.as_ref());
            out
        }

        /// Decrypts `message || tag` in place; the plaintext is the returned front part.
        pub fn open<'a>(
            &self,
            nonce: [u8; NONCE_BYTES],
            aad: &[u8],
            message_and_tag: &'a mut [u8],
        ) -> Result<&'a mut [u8], Forged> {
            let nonce = Nonce::assume_unique_for_key(nonce);
            self.0.open_in_place(nonce, Aad::from(aad), message_and_tag).map_err(|_| Forged)
        }
    }
}

/// In Rust alone, same construction.
pub mod portable {
    use super::Forged;
    use super::NONCE_BYTES;
    use super::TAG_BYTES;
    use aes_gcm::Aes256Gcm;
    use aes_gcm::KeyInit;
    use aes_gcm::aead::AeadInOut;

    /// One key, ready to seal and open. The caller never uses a nonce twice.
    pub struct Aead(Aes256Gcm);

    impl Aead {
        /// Prepares a key.
        pub fn new(key: &[u8; 32]) -> Aead {
            Aead(Aes256Gcm::new(key.into()))
        }

        /// Encrypts in place and returns the tag.
        pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
            let tag = self.0.encrypt_inout_detached(&nonce.into(), aad, message.into());
            tag.expect("segments are far below the length limit of GCM").into()
        }

        /// Decrypts `message || tag` in place; the plaintext is the returned front part.
        pub fn open<'a>(
            &self,
            nonce: [u8; NONCE_BYTES],
            aad: &[u8],
            message_and_tag: &'a mut [u8],
        ) -> Result<&'a mut [u8], Forged> {
            let (message, tag) = message_and_tag.split_last_chunk_mut::<TAG_BYTES>().ok_or(Forged)?;
            let opened = self.0.decrypt_inout_detached(&nonce.into(), aad, (&mut *message).into(), &(*tag).into());
            opened.map(|()| message).map_err(|_| Forged)
        }
    }
}

#[cfg(feature = "aws-lc")]
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Test case 16 of the GCM specification (McGrew and Viega), the one with AES-256, 96-bit nonce and associated data.
    #[test]
    fn both_implementations_meet_the_specification() {
        let unhex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        };
        let key: [u8; 32] =
            unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308").try_into().unwrap();
        let nonce: [u8; 12] = unhex("cafebabefacedbaddecaf888").try_into().unwrap();
        let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = unhex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let sealed = unhex(concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        ));
        let tag = unhex("76fc6ece0f4e1768cddf8853bb2d551b");
        let mut fast = plain.clone();
        assert_eq!(native::Aead::new(&key).seal(nonce, &aad, &mut fast).to_vec(), tag);
        assert_eq!(fast, sealed);
        let mut slow = plain.clone();
        assert_eq!(portable::Aead::new(&key).seal(nonce, &aad, &mut slow).to_vec(), tag);
        assert_eq!(slow, sealed);
    }

    #[test]
    fn each_opens_what_the_other_sealed_and_refuses_a_flipped_bit() {
        for len in [0, 1, 15, 16, 17, 65_536] {
            let key: [u8; 32] = crate::crypto::random();
            let plain: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let (native, portable) = (native::Aead::new(&key), portable::Aead::new(&key));
            let mut message = plain.clone();
            let tag = native.seal([1; 12], b"aad", &mut message);
            let joined = [&message[..], &tag].concat();
            assert_eq!(native.open([1; 12], b"aad", &mut joined.clone()).unwrap(), &plain);
            assert_eq!(portable.open([1; 12], b"aad", &mut joined.clone()).unwrap(), &plain);
            assert_eq!(portable.open([2; 12], b"aad", &mut joined.clone()), Err(Forged));
            let mut flipped = joined;
            flipped[len / 2] ^= 1;
            assert_eq!(native.open([1; 12], b"aad", &mut flipped.clone()), Err(Forged));
            assert_eq!(portable.open([1; 12], b"aad", &mut flipped), Err(Forged));
        }
        assert_eq!(portable::Aead::new(&[0; 32]).open([0; 12], b"", &mut [0; TAG_BYTES - 1]), Err(Forged));
    }
}
