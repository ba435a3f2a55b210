//! Compressed clusters: as many bytes come out as were asked for, never more.

use crate::disk::Error;
use crate::disk::Result;
use flate2::Decompress;
use flate2::FlushDecompress;
use zstd::stream::raw::Decoder;
use zstd::stream::raw::InBuffer;
use zstd::stream::raw::Operation;
use zstd::stream::raw::OutBuffer;

/// How a cluster is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Deflate without any frame (RFC 1951).
    Deflate,
    /// Deflate in a zlib frame (RFC 1950).
    Zlib,
    /// zstd (RFC 8878), in one or more frames.
    Zstd,
}

const WHAT: &str = "compressed cluster";

/// Up to `len` bytes out of what was stored `at`; less only if the stream ends there. Behind its end may be anything.
pub(super) fn inflate(packing: Packing, stored: &[u8], len: usize, at: u64) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    let done = match packing {
        Packing::Deflate => deflate(Decompress::new(false), stored, &mut out),
        Packing::Zlib => deflate(Decompress::new(true), stored, &mut out),
        Packing::Zstd => unzstd(stored, &mut out),
    };
    let done = done.ok_or(Error::damaged(WHAT, at, "it cannot be unpacked"))?;
    out.truncate(done);
    Ok(out)
}

fn deflate(mut stream: Decompress, stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let status = stream.decompress(stored, out, FlushDecompress::Finish).ok()?;
    let done = stream.total_out() as usize;
    // Neither full nor at its end: the stream is cut off.
    (done == out.len() || status == flate2::Status::StreamEnd).then_some(done)
}

fn unzstd(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut decoder = Decoder::new().ok()?;
    let mut input = InBuffer::around(stored);
    let mut output = OutBuffer::around(out);
    while output.pos() < output.capacity() {
        let before = (input.pos(), output.pos());
        decoder.run(&mut input, &mut output).ok()?;
        if before == (input.pos(), output.pos()) {
            return None;
        }
    }
    Some(output.pos())
}
