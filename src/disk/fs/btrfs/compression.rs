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
        let segment_len = packed.u32(at)? as usize;
        let bytes = packed.bytes(at.saturating_add(LENGTH_LEN), segment_len)?;
        let written = lzokay::decompress::decompress(bytes, &mut segment)
            .map_err(|_| packed.damaged("LZO does not unpack it"))?;
        at = at.saturating_add(LENGTH_LEN).saturating_add(segment_len);
        let left = sector_bytes - at % sector_bytes;
        if left < LENGTH_LEN {
            // Filled up with zeros, which count in the length of all even where nothing follows.
            at = at.saturating_add(left);
        }
        // Every segment but the last is a whole sector: a hole here would move what follows.
        if written < sector_bytes && at < end && plain.len().saturating_add(written) < len {
            return Err(packed.damaged("a segment of it is too short"));
        }
        plain.extend_from_slice(segment.get(..written).unwrap_or_default());
    }
    plain.truncate(len);
    Ok(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::Compression as Level;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    const SECTOR: usize = 4096;

    fn unpack(compression: Compression, packed: &[u8], len: usize) -> Result<Vec<u8>> {
        compression.unpack(&Fields::new(packed, "test", 0), len, SECTOR)
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len as u32).map(|n| (n / 7 + n / 1000 * (n % 11)) as u8).collect()
    }

    /// A stream of one literal, as long as it is at least 4 and less than 239.
    fn literal(bytes: &[u8]) -> Vec<u8> {
        [&[bytes.len() as u8 + 17][..], bytes, &[0x11, 0, 0]].concat()
    }

    fn segments(segments: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![0; 4];
        for segment in segments {
            if out.len() % SECTOR > SECTOR - 4 {
                out.resize(out.len().next_multiple_of(SECTOR), 0);
            }
            out.extend_from_slice(&(segment.len() as u32).to_le_bytes());
            out.extend_from_slice(segment);
        }
        let len = (out.len() as u32).to_le_bytes();
        out[..4].copy_from_slice(&len);
        out
    }

    /// A whole sector of zeros: a literal of `len`, then one long match at distance 1.
    fn zeros(len: u8) -> Vec<u8> {
        // SECTOR - len = 2 + 31 + 15 * 255 + (238 - len).
        [&literal(&vec![0; len.into()])[..usize::from(len) + 1], &[0x20], &[0; 15], &[238 - len, 0, 0, 0x11, 0, 0]]
            .concat()
    }

    #[test]
    fn zlib_and_zstd() {
        let plain = text(10_000);
        let mut zlib = ZlibEncoder::new(Vec::new(), Level::default());
        zlib.write_all(&plain).unwrap();
        let mut zstd = Vec::new();
        compress::compress(&plain, 3, &mut zstd).unwrap();
        for (compression, mut packed) in [(Compression::Zlib, zlib.finish().unwrap()), (Compression::Zstd, zstd)] {
            packed.extend_from_slice(&[0; 500]);
            let filled = [&plain[..], &[0; 2288]].concat();
            assert_eq!(unpack(compression, &packed, 12_288).unwrap(), filled, "the rest of the last sector");
            assert!(unpack(compression, &packed, 16_384).is_err(), "a whole sector is missing");
            assert!(unpack(compression, &packed[..50], 10_000).is_err());
            assert!(unpack(compression, b"", 10_000).is_err());
        }
    }

    #[test]
    fn lzo_in_segments() {
        let packed = segments(&[zeros(4), literal(b"the end")]);
        let plain = [&[0; SECTOR][..], b"the end"].concat();
        assert_eq!(unpack(Compression::Lzo, &packed, SECTOR + 7).unwrap(), plain);
        assert_eq!(unpack(Compression::Lzo, &packed, SECTOR + 3).unwrap(), plain[..SECTOR + 3]);
        assert!(unpack(Compression::Lzo, &packed, SECTOR * 3).is_err());
        assert!(unpack(Compression::Lzo, &segments(&[literal(b"short"), zeros(4)]), SECTOR * 2).is_err());
        for cut in 0..packed.len() {
            assert!(unpack(Compression::Lzo, &packed[..cut], SECTOR + 7).is_err());
        }
    }

    #[test]
    fn lengths_do_not_cross_sectors() {
        let mut all = vec![zeros(33)];
        all.extend((0..130).map(|_| zeros(4)));
        assert_eq!(segments(&all).len() % SECTOR, SECTOR - 2);
        // The last segment is short, and only the end of a sector follows.
        let mut last = segments(&[&all[1..], &[zeros(22), literal(b"end")]].concat());
        let filled = (last.len() as u32 + 2).to_le_bytes();
        last[..4].copy_from_slice(&filled);
        last.resize(3 * SECTOR, 0);
        let plain = [&vec![0; SECTOR * 131], &b"end"[..], &[0; SECTOR - 3]].concat();
        assert_eq!(unpack(Compression::Lzo, &last, SECTOR * 132).unwrap(), plain);
        all.extend([zeros(5), zeros(6)]);
        assert_eq!(unpack(Compression::Lzo, &segments(&all), SECTOR * 133).unwrap(), vec![0; SECTOR * 133]);
    }
}
