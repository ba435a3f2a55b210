//! AES in XTS mode (IEEE 1619), sector by sector, with the sector's number as tweak (`plain64`).

use crate::disk::Error;
use crate::disk::Result;
use aes::Aes128;
use aes::Aes256;
use aes::Block;
use aes::cipher::Array;
use aes::cipher::BlockCipherDecrypt;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::KeyInit;

/// Numbers of sectors count these, however long a sector is.
pub(super) const SECTOR_BYTES: u64 = 512;
const BLOCK_BYTES: usize = 16;
/// Blocks that are given to the processor at once.
const PARALLEL: usize = 32;
/// What x^128 is in the field of the tweaks.
const POLYNOMIAL: u128 = 0x87;

/// A cipher by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cipher {
    /// The number of a sector loses its upper half: `plain`.
    is_short: bool,
}

impl Cipher {
    /// `aes-xts-plain64`, or its older brother.
    pub(super) fn from_name(name: &str) -> Result<Cipher> {
        match name {
            "aes-xts-plain64" => Ok(Cipher { is_short: false }),
            "aes-xts-plain" => Ok(Cipher { is_short: true }),
            _ => Err(Error::unsupported(format!("LUKS cipher {name:.40}"))),
        }
    }

    /// With a key: 32 bytes for AES-128, 64 for AES-256.
    pub(super) fn with_key(&self, key: &[u8]) -> Result<Xts> {
        let (data, tweak) = key.split_at(key.len() / 2);
        let keys = match key.len() {
            32 => Aes128::new_from_slice(data)
                .ok()
                .zip(Aes128::new_from_slice(tweak).ok())
                .map(|keys| Keys::Short(Box::new(keys))),
            64 => Aes256::new_from_slice(data)
                .ok()
                .zip(Aes256::new_from_slice(tweak).ok())
                .map(|keys| Keys::Long(Box::new(keys))),
            _ => None,
        };
        let keys = keys.ok_or_else(|| Error::unsupported(format!("LUKS key of {} bytes", key.len())))?;
        Ok(Xts { keys, is_short: self.is_short })
    }
}

/// Key schedules for data and tweak; wiped when dropped.
enum Keys {
    Short(Box<(Aes128, Aes128)>),
    Long(Box<(Aes256, Aes256)>),
}

/// A cipher with its key.
pub(super) struct Xts {
    keys: Keys,
    is_short: bool,
}

impl Xts {
    /// Decrypts whole sectors of `sector_bytes` in place; the first is at number `first`, counted in 512 bytes.
    pub(super) fn decrypt(&self, bytes: &mut [u8], sector_bytes: usize, first: u64) {
        let step = sector_bytes as u64 / SECTOR_BYTES;
        for (n, sector) in bytes.chunks_exact_mut(sector_bytes).enumerate() {
            let number = first.wrapping_add(step.wrapping_mul(n as u64));
            let number = if self.is_short { number & u64::from(u32::MAX) } else { number };
            match &self.keys {
                Keys::Short(keys) => decrypt_sector(&keys.0, &keys.1, sector, number),
                Keys::Long(keys) => decrypt_sector(&keys.0, &keys.1, sector, number),
            }
        }
    }

    /// The way back, for tests.
    #[cfg(test)]
    pub(super) fn encrypt(&self, bytes: &mut [u8], sector_bytes: usize, first: u64) {
        let Keys::Long(keys) = &self.keys else { return };
        let (data, tweak) = &**keys;
        for (n, sector) in bytes.chunks_exact_mut(sector_bytes).enumerate() {
            let mut tweak = first_tweak(tweak, first + (n * sector_bytes) as u64 / SECTOR_BYTES);
            for block in Array::slice_as_chunks_mut(sector).0 {
                xor(block, tweak);
                data.encrypt_block(block);
                xor(block, tweak);
                tweak = next_tweak(tweak);
            }
        }
    }
}

fn decrypt_sector<C>(data: &C, tweak: &C, sector: &mut [u8], number: u64)
where
    C: BlockCipherDecrypt<BlockSize = aes::cipher::consts::U16> + BlockCipherEncrypt,
{
    let mut tweak = first_tweak(tweak, number);
    for part in sector.chunks_mut(BLOCK_BYTES * PARALLEL) {
        let (blocks, _) = Array::slice_as_chunks_mut(part);
        let mut tweaks = [0; PARALLEL];
        for (block, kept) in blocks.iter_mut().zip(&mut tweaks) {
            *kept = tweak;
            xor(block, tweak);
            tweak = next_tweak(tweak);
        }
        data.decrypt_blocks(blocks);
        for (block, tweak) in blocks.iter_mut().zip(tweaks) {
            xor(block, tweak);
        }
    }
}

fn first_tweak<C>(cipher: &C, number: u64) -> u128
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    let mut block: Block = u128::from(number).to_le_bytes().into();
    cipher.encrypt_block(&mut block);
    u128::from_le_bytes(block.into())
}

fn next_tweak(tweak: u128) -> u128 {
    tweak << 1 ^ if tweak >> 127 == 1 { POLYNOMIAL } else { 0 }
}

fn xor(block: &mut Block, tweak: u128) {
    let bytes: [u8; BLOCK_BYTES] = (*block).into();
    *block = (u128::from_le_bytes(bytes) ^ tweak).to_le_bytes().into();
}
