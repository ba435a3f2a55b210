//! Compression of extents: each is a stream of its own, of at most 128 KiB.

use crate::compress;
use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::Result;
use flate2::Decompress;
use flate2::FlushDecompress;
use flate2::Status;

/// How an extent is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Compression {
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    /// `compression` of a file extent.
    pub(super) fn of_type(number: u8) -> Result<Option<Compression>> {
        match number {
            0 => Ok(None),
            1 => Ok(Some(Compression::Zlib)),
            2 => Ok(Some(Compression::Lzo)),
            3 => Ok(Some(Compression::Zstd)),
            _ => Err(Error::unsupported(format!("Btrfs compression type {number}"))),
        }
    }

    /// The `len` bytes that `packed` begins with. What it lacks at the end is zeros, but never a whole sector: only
    /// the rest of the last sector of a file is left out.
    pub(super) fn unpack(self, packed: &Fields<'_>, len: usize, sector_bytes: usize) -> Result<Vec<u8>> {
        let mut plain = match self {
            Compression::Zlib => zlib(packed, len)?,
            Compression::Lzo => lzo(packed, len, sector_bytes)?,
            Compression::Zstd => {
                compress::decompress_prefix(packed.all(), len).map_err(|_| packed.damaged("zstd does not unpack it"))?
            }
        };
        if plain.len().saturating_add(sector_bytes) <= len {
            return Err(packed.damaged("it unpacks to fewer bytes"));
        }
        plain.resize(len, 0);
        Ok(plain)
    }
}

fn zlib(packed: &Fields<'_>, len: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(len);
    let mut stream = Decompress::new(true);
    let status = stream.decompress_vec(packed.all(), &mut plain, FlushDecompress::Finish);
    match status {
        Ok(Status::StreamEnd) => Ok(plain),
        // There may be more of it than is asked for.
        Ok(Status::Ok | Status::BufError) if plain.len() == len => Ok(plain),
        _ => Err(packed.damaged("zlib does not unpack it")),
    }
}

/// LZO: the length of all, then segments of at most a sector each, with their lengths before them. A length never
/// crosses the end of a sector.
fn lzo(packed: &Fields<'_>, len: usize, sector_bytes: usize) -> Result<Vec<u8>> {
    const LENGTH_LEN: usize = 4;
    let end = packed.u32(0)? as usize;
    if end > packed.len() {
        return Err(packed.damaged("its length is impossible"));
    }
    let mut plain = Vec::with_capacity(len);
    let mut segment = vec![0; sector_bytes];
    let mut at = LENGTH_LEN;
    while plain.len() < len && at < end {
        let left = sector_bytes - at % sector_bytes;
        if left < LENGTH_LEN {
            at = at.saturating_add(left);
            continue;
        }
        let segment_len = packed.u32(at)? as usize;
        let bytes = packed.bytes(at.saturating_add(LENGTH_LEN), segment_len)?;
        let written = lzokay::decompress::decompress(bytes, &mut segment)
            .map_err(|_| packed.damaged("LZO does not unpack it"))?;
        at = at.saturating_add(LENGTH_LEN).saturating_add(segment_len);
        // Every segment but the last is a whole sector: a hole here would move what follows.
        if written < sector_bytes && at < end && plain.len().saturating_add(written) < len {
            return Err(packed.damaged("a segment of it is too short"));
        }
        plain.extend_from_slice(segment.get(..written).unwrap_or_default());
    }
    plain.truncate(len);
    Ok(plain)
}
