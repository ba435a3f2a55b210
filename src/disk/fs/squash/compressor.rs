//! How blocks are compressed. What comes out is bounded before it is there.

use crate::disk::Error;
use crate::disk::Result;
use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;
use lzma_rust2::XzReader;
use std::io::Read;

/// Dictionaries are at most as long as a block of data, 1 MiB, and the decoder wants some memory besides.
const XZ_KIB_MAX: u32 = 2 << 10;

/// The one way all blocks of a file system are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compressor {
    Gzip,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Compressor {
    pub(super) fn from_number(number: u16) -> Result<Compressor> {
        let name = match number {
            1 => return Ok(Compressor::Gzip),
            3 => return Ok(Compressor::Lzo),
            4 => return Ok(Compressor::Xz),
            5 => return Ok(Compressor::Lz4),
            6 => return Ok(Compressor::Zstd),
            2 => "lzma",
            _ => "of an unknown kind",
        };
        Err(Error::unsupported(format!("SquashFS compression {name}")))
    }

    /// The plain bytes of the block at `at`, at most `max`.
    pub(super) fn decompress(self, block: &[u8], max: usize, at: u64) -> Result<Vec<u8>> {
        let plain = match self {
            Compressor::Gzip => gzip(block, max),
            Compressor::Lzo => lzo(block, max),
            Compressor::Xz => xz(block, max),
            Compressor::Lz4 => lz4(block, max),
            Compressor::Zstd => zstd::bulk::decompress(block, max).ok(),
        };
        // Nothing is never stored.
        let plain = plain.filter(|plain| !plain.is_empty());
        plain.ok_or_else(|| Error::damaged("SquashFS block", at, "it cannot be decompressed"))
    }
}

fn gzip(block: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; max];
    let mut stream = Decompress::new(true);
    let status = stream.decompress(block, &mut plain, FlushDecompress::Finish).ok()?;
    plain.truncate(usize::try_from(stream.total_out()).ok()?);
    (status == Status::StreamEnd).then_some(plain)
}

fn lzo(block: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; max];
    let len = lzokay::decompress::decompress(block, &mut plain).ok()?;
    plain.truncate(len);
    Some(plain)
}

fn xz(block: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(max);
    // One byte more than there may be: only so is the end of the stream seen, and with it the check of the content.
    let more = max as u64 + 1;
    XzReader::new_mem_limit(block, false, XZ_KIB_MAX).take(more).read_to_end(&mut plain).ok()?;
    (plain.len() <= max).then_some(plain)
}

fn lz4(block: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; max];
    let len = lz4_flex::block::decompress_into(block, &mut plain).ok()?;
    plain.truncate(len);
    Some(plain)
}
