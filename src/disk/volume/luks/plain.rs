//! The plain bytes of an encrypted disk. They lie nowhere, so they are always handed out as bytes.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::source::beyond_end;
use crate::disk::volume::luks::xts::Cipher;
use crate::disk::volume::luks::xts::SECTOR_BYTES;
use crate::disk::volume::luks::xts::Xts;
use std::ops::Range;
use zeroize::Zeroizing;

/// Bytes decrypted at once.
const STEP_BYTES: u64 = 1 << 20;

/// Which part of a disk is encrypted, and how.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) start: u64,
    /// `None`: to the end of the disk.
    pub(super) len: Option<u64>,
    pub(super) cipher: Cipher,
    /// 512, 1024, 2048 or 4096.
    pub(super) sector_bytes: u32,
    /// Number of the first sector, counted in 512 bytes.
    pub(super) first_sector: u64,
}

/// A segment with its key.
pub(super) struct Plain {
    below: Source,
    start: u64,
    len: u64,
    xts: Xts,
    sector_bytes: u32,
    first_sector: u64,
}

impl Plain {
    /// `segment` of `below`, decrypted with the volume key.
    pub(super) fn new(below: Source, segment: &Segment, key: &[u8]) -> Result<Plain> {
        let fault = |why| Error::damaged("LUKS segment", segment.start, why);
        if !matches!(segment.sector_bytes, 512 | 1024 | 2048 | 4096) {
            return Err(fault("no such length of a sector"));
        }
        let there = below.len().checked_sub(segment.start).ok_or_else(|| fault("it lies behind the disk"))?;
        let len = segment.len.unwrap_or(there);
        if len > there {
            return Err(fault("it is longer than the disk"));
        }
        let sector = u64::from(segment.sector_bytes);
        Ok(Plain {
            start: segment.start,
            len: len - len % sector,
            xts: segment.cipher.with_key(key)?,
            sector_bytes: segment.sector_bytes,
            first_sector: segment.first_sector,
            below,
        })
    }

    /// Reads and decrypts the sectors around a few bytes, at most one step of them.
    fn part(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let sector = u64::from(self.sector_bytes);
        let first = offset - offset % sector;
        let end = (offset + buf.len() as u64).next_multiple_of(sector);
        let mut sectors = Zeroizing::new(vec![0; (end - first) as usize]);
        self.below.read_at(self.start + first, &mut sectors)?;
        let number = self.first_sector.wrapping_add(first / SECTOR_BYTES);
        self.xts.decrypt(&mut sectors, self.sector_bytes as usize, number);
        let within = (offset - first) as usize;
        buf.copy_from_slice(sectors.get(within..within + buf.len()).ok_or_else(|| beyond_end(offset))?);
        Ok(())
    }
}

impl BlockSource for Plain {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len);
        end.ok_or_else(|| beyond_end(offset))?;
        let mut at = offset;
        for part in buf.chunks_mut(STEP_BYTES as usize) {
            self.part(at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let len = range.end.checked_sub(range.start).filter(|_| range.end <= self.len);
        let len = len.ok_or_else(|| beyond_end(range.end))?;
        if len > RUNS_BYTES_MAX {
            return Err(Error::unsupported("so much encrypted content at once"));
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(range.start, &mut bytes)?;
        Run::Bytes(bytes).push(runs);
        Ok(())
    }
}
