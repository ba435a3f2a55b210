//! zstd, one frame for a chunk or for several. What does not shrink is stored as it is; what comes back is bounded by what was declared.

use std::cell::RefCell;

/// How the bytes of an encoded chunk are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame.
    Zstd,
}

/// Compressed bytes that are not what they claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The zstd frame is damaged, or holds more than declared.
    #[error("zstd frame is damaged or longer than the declared {declared} bytes")]
    Frame {
        /// Bytes the frame should hold.
        declared: usize,
    },
    /// Fewer or more bytes than declared.
    #[error("{found} bytes where {declared} were declared")]
    Length {
        /// Bytes it should be.
        declared: usize,
        /// Bytes it is.
        found: usize,
    },
    /// No memory for a compression context.
    #[error("no memory for zstd")]
    Memory,
}

/// What a thread compresses with.
struct Work {
    level: i32,
    compressor: zstd::bulk::Compressor<'static>,
    /// Room for the worst case, kept for the next one.
    frame: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Work>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends `plain` to `out` in the smaller of the two forms and says which. At least 1/32 must be saved.
pub fn compress(plain: &[u8], level: i32, out: &mut Vec<u8>) -> Result<Codec, CompressError> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|work| work.level != level) {
            let compressor = zstd::bulk::Compressor::new(level).map_err(|_| CompressError::Memory)?;
            *slot = Some(Work { level, compressor, frame: Vec::new() });
        }
        let Work { compressor, frame, .. } = slot.as_mut().ok_or(CompressError::Memory)?;
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        compressor.compress_to_buffer(plain, frame).map_err(|_| CompressError::Memory)?;
        // Hardly smaller is not worth the work of decompressing.
        let (codec, stored) =
            if frame.len() + plain.len() / 32 >= plain.len() { (Codec::Raw, plain) } else { (Codec::Zstd, &frame[..]) };
        out.reserve_exact(stored.len());
        out.extend_from_slice(stored);
        Ok(codec)
    })
}

/// The plaintext, exactly `declared` bytes of it. The caller has checked `declared` against its limit.
pub fn decompress(codec: Codec, stored: &[u8], declared: usize) -> Result<Vec<u8>, CompressError> {
    let plain = match codec {
        Codec::Raw => stored.to_vec(),
        Codec::Zstd => decompress_frame(stored, declared)?,
    };
    if plain.len() != declared {
        return Err(CompressError::Length { declared, found: plain.len() });
    }
    Ok(plain)
}

/// The plaintext, at most `bytes_max` of it, of the zstd frame that `stored` begins with. What follows is not looked at:
/// file systems fill up their blocks.
pub fn decompress_prefix(stored: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressError> {
    let len = zstd::zstd_safe::find_frame_compressed_size(stored);
    let frame = len.ok().and_then(|len| stored.get(..len)).ok_or(CompressError::Frame { declared: bytes_max })?;
    decompress_frame(frame, bytes_max)
}

fn decompress_frame(frame: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressError> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(zstd::bulk::Decompressor::new().map_err(|_| CompressError::Memory)?);
        }
        let decompressor = slot.as_mut().ok_or(CompressError::Memory)?;
        let mut plain = Vec::with_capacity(bytes_max);
        match decompressor.decompress_to_buffer(frame, &mut plain) {
            Ok(_) => Ok(plain),
            Err(_) => Err(CompressError::Frame { declared: bytes_max }),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_round_trip_and_lies_are_found() {
        let text = b"the same words again and again ".repeat(100);
        let noise: Vec<u8> =
            (0..5000u32).flat_map(|i| blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
        for (plain, codec) in [(&text[..], Codec::Zstd), (&noise[..], Codec::Raw), (b"", Codec::Raw)] {
            let mut out = vec![7];
            assert_eq!(compress(plain, 3, &mut out).unwrap(), codec);
            assert_eq!(decompress(codec, &out[1..], plain.len()).unwrap(), plain);
            for declared in [plain.len() + 1, plain.len().wrapping_sub(1) % 100_000] {
                assert!(decompress(codec, &out[1..], declared).is_err());
            }
        }
        assert!(decompress(Codec::Zstd, b"not a frame", 100).is_err());
    }

    #[test]
    fn what_follows_a_frame_is_not_looked_at() {
        let text = b"the same words again and again ".repeat(100);
        let mut stored = Vec::new();
        compress(&text, 3, &mut stored).unwrap();
        let frame_len = stored.len();
        stored.extend_from_slice(&[0; 50]);
        assert_eq!(decompress_prefix(&stored, text.len() + 7).unwrap(), text);
        assert!(decompress_prefix(&stored, text.len() - 1).is_err());
        assert!(decompress_prefix(&stored[..frame_len - 1], text.len()).is_err());
        assert!(decompress_prefix(b"", 100).is_err());
    }
}
