//! Files packed by the Windows overlay filter ("CompactOS"): the content is in a stream, chunk by chunk.
//!
//! Layout of the reparse data: Windows' `wofapi.h`. The stream is laid out as a packed resource of a WIM file
//! ("Windows Imaging File Format", chunk table).

use crate::disk::Error;
use crate::disk::Fields;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::ntfs::inode::Inode;
use crate::disk::fs::ntfs::kind;
use crate::disk::fs::ntfs::lzx;
use crate::disk::fs::ntfs::reparse::Special;
use crate::disk::fs::ntfs::stream::Stream;
use crate::disk::fs::ntfs::volume::Volume;
use crate::disk::fs::ntfs::xpress;
use std::ops::Range;
use std::sync::Arc;

const PROVIDER_WIM: u32 = 1;
const PROVIDER_FILE: u32 = 2;
const VERSION: u32 = 1;
/// The stream that holds the packed content.
const STREAM: &str = "WofCompressedData";

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// In chunks of this many bytes.
    Xpress(u64),
    /// In chunks of 32 KiB.
    Lzx,
}

/// What the data of the filter's reparse point say.
pub(super) fn provider(data: &Fields<'_>) -> Result<Special> {
    let opaque = |name: String| Ok(Special::Opaque(name));
    match (data.u32(0)?, data.u32(4)?) {
        (VERSION, PROVIDER_WIM) => opaque("a file inside a WIM image".to_owned()),
        (VERSION, PROVIDER_FILE) if data.u32(8)? == VERSION => match data.u32(12)? {
            0 => Ok(Special::Packed(Algorithm::Xpress(4 << 10))),
            1 => Ok(Special::Packed(Algorithm::Lzx)),
            2 => Ok(Special::Packed(Algorithm::Xpress(8 << 10))),
            3 => Ok(Special::Packed(Algorithm::Xpress(16 << 10))),
            method => opaque(format!("WOF compression method {method}")),
        },
        (version, provider) => opaque(format!("WOF provider {provider} of version {version}")),
    }
}

impl Algorithm {
    fn chunk_bytes(self) -> u64 {
        match self {
            Algorithm::Xpress(bytes) => bytes,
            Algorithm::Lzx => lzx::CHUNK_BYTES as u64,
        }
    }

    fn unpack(self, packed: &[u8], len: usize) -> Result<Vec<u8>> {
        match self {
            Algorithm::Xpress(_) => xpress::unpack(packed, len),
            Algorithm::Lzx => lzx::unpack(packed, len),
        }
    }
}

/// True for the stream of packed content, which is no stream for people.
pub(super) fn is_packed_stream(name: &[u16]) -> bool {
    STREAM.encode_utf16().eq(name.iter().copied())
}

/// A packed file of `size` bytes.
struct Packed {
    stream: Stream,
    algorithm: Algorithm,
    size: u64,
}

impl Packed {
    fn chunk_count(&self) -> u64 {
        self.size.div_ceil(self.algorithm.chunk_bytes())
    }

    /// Ends of all chunks but the last stand before the first; in eight bytes if four cannot tell the size.
    fn entry_bytes(&self) -> u64 {
        if self.size > u64::from(u32::MAX) { 8 } else { 4 }
    }

    fn table_bytes(&self) -> u64 {
        self.chunk_count().saturating_sub(1).saturating_mul(self.entry_bytes())
    }

    fn damaged(&self, why: &'static str) -> Error {
        self.stream.inode.record.fields().damaged(why)
    }
}

impl Volume {
    /// Appends where the bytes of the part of `range` lie that is within a packed file of `size` bytes.
    pub(super) fn map_packed(
        &mut self,
        inode: &Arc<Inode>,
        algorithm: Algorithm,
        size: u64,
        range: Range<u64>,
        runs: &mut Vec<Run>,
    ) -> Result<()> {
        let name: Vec<u16> = STREAM.encode_utf16().collect();
        let stream = self.find_stream(inode, kind::DATA, &name)?;
        let stream = stream.ok_or_else(|| inode.record.fields().damaged("its packed content is missing"))?;
        let packed = Packed { stream, algorithm, size };
        let (mut at, end, mut unpacked) = (range.start, range.end.min(size), 0u64);
        while at < end {
            let number = at / algorithm.chunk_bytes();
            let start = number * algorithm.chunk_bytes();
            let stop = start.saturating_add(algorithm.chunk_bytes()).min(size);
            let until = stop.min(end);
            let place = self.chunk_place(&packed, number)?;
            if place.end - place.start == stop - start {
                // Packing would have made it longer.
                let within = place.start + (at - start)..place.start + (until - start);
                self.map_stream(&packed.stream, within, runs)?;
            } else {
                let chunk = self.chunk(&packed, number, place, (stop - start) as usize)?;
                let within = chunk.get((at - start) as usize..(until - start) as usize);
                Run::Bytes(within.ok_or(Error::WrongKind)?.to_vec()).push(runs);
                unpacked += until - at;
            }
            if unpacked > RUNS_BYTES_MAX {
                return Err(Error::unsupported("so long a range of a packed file"));
            }
            at = until;
        }
        Ok(())
    }

    /// Where a chunk lies in the stream.
    fn chunk_place(&mut self, packed: &Packed, number: u64) -> Result<Range<u64>> {
        let table = packed.table_bytes();
        let start = match number {
            0 => 0,
            number => self.chunk_end(packed, number - 1)?,
        };
        let total = packed.stream.sizes.size.checked_sub(table);
        let total = total.ok_or_else(|| packed.damaged("its packed content is cut off"))?;
        let end = if number + 1 == packed.chunk_count() { total } else { self.chunk_end(packed, number)? };
        let len = end.checked_sub(start).filter(|len| (1..=packed.algorithm.chunk_bytes()).contains(len));
        if len.is_none() || end > total {
            return Err(packed.damaged("a packed chunk has an impossible length"));
        }
        Ok(table + start..table + end)
    }

    fn chunk_end(&mut self, packed: &Packed, number: u64) -> Result<u64> {
        let bytes = packed.entry_bytes();
        let at = number.saturating_mul(bytes);
        let entry = self.read_stream(&packed.stream, at..at.saturating_add(bytes))?;
        let fields = Fields::new(&entry, "WOF chunk table", 0);
        if bytes == 8 { fields.u64(0) } else { fields.u32(0).map(u64::from) }
    }

    fn chunk(&mut self, packed: &Packed, number: u64, place: Range<u64>, len: usize) -> Result<Arc<Vec<u8>>> {
        let key = (packed.stream.inode.number(), packed.stream.index, number);
        if let Some(chunk) = self.units.get(key) {
            return Ok(chunk);
        }
        let bytes = self.read_stream(&packed.stream, place)?;
        let chunk = Arc::new(packed.algorithm.unpack(&bytes, len)?);
        self.units.put(key, chunk.clone());
        Ok(chunk)
    }
}
