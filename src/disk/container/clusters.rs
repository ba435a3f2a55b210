//! What all virtual disks have in common: pieces that lie in a file, or nowhere, or have to be unpacked.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::source::beyond_end;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Bytes of tables that a container keeps.
pub(super) const TABLES_BYTES: u64 = 4 << 20;
/// Bytes of unpacked units that a container keeps.
const UNITS_BYTES: u64 = 4 << 20;
/// Most bytes of one unit.
pub(super) const UNIT_BYTES_MAX: u64 = 2 << 20;

/// Where a piece of a virtual disk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, from this byte on.
    Below(u64),
    /// Nowhere: zeros.
    Zero,
    /// In something that has to be unpacked, from its byte `within` on.
    Unit {
        /// Which one, in the format's own terms.
        key: u64,
        /// First byte.
        within: u64,
    },
}

impl Place {
    /// The place `by` bytes further on; no place is near the end of what numbers can say.
    pub(super) fn advanced(self, by: u64) -> Place {
        match self {
            Place::Below(at) => Place::Below(at.saturating_add(by)),
            Place::Zero => Place::Zero,
            Place::Unit { key, within } => Place::Unit { key, within: within.saturating_add(by) },
        }
    }
}

/// The tables of a virtual disk.
pub(super) trait Clusters: Send + Sync {
    /// Bytes of the virtual disk.
    fn len(&self) -> u64;

    /// Where byte `at` lies, and for how many bytes from there on the answer goes on in the same way. More than `wanted`
    /// need not be looked at.
    fn find(&self, at: u64, wanted: u64) -> Result<(Place, u64)>;

    /// The bytes of a unit, no more than [`UNIT_BYTES_MAX`].
    fn unpack(&self, key: u64) -> Result<Vec<u8>>;
}

/// A virtual disk as a source.
pub(super) struct Disk<C> {
    clusters: C,
    below: Source,
    units: Mutex<LruCache<u64, Arc<[u8]>>>,
}

impl<C: Clusters> Disk<C> {
    /// Of its tables; `unit_bytes` are in most units.
    pub(super) fn new(clusters: C, below: Source, unit_bytes: u64) -> Disk<C> {
        let count = usize::try_from(UNITS_BYTES / unit_bytes.max(512)).unwrap_or_default();
        let count = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Disk { clusters, below, units: Mutex::new(LruCache::new(count)) }
    }

    /// The place of the first bytes of `range`, and how many they are. Never none, never outside of the file.
    fn piece(&self, range: &Range<u64>) -> Result<(Place, u64)> {
        let wanted = range.end - range.start;
        let (place, len) = self.clusters.find(range.start, wanted)?;
        let len = len.min(wanted);
        if len == 0 {
            return Err(Error::damaged("virtual disk", range.start, "its tables lead nowhere"));
        }
        match place {
            Place::Below(at) if at.checked_add(len).is_none_or(|end| end > self.below.len()) => {
                Err(Error::damaged("virtual disk", at, "its file ends before"))
            }
            Place::Unit { within, .. } => {
                let unit_len = UNIT_BYTES_MAX.saturating_sub(within).min(len);
                Ok((place, unit_len))
            }
            _ => Ok((place, len)),
        }
    }

    fn unit(&self, key: u64) -> Result<Arc<[u8]>> {
        let known = self.units.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(unit) = known {
            return Ok(unit);
        }
        let unit: Arc<[u8]> = self.clusters.unpack(key)?.into();
        self.units.lock().unwrap_or_else(PoisonError::into_inner).put(key, unit.clone());
        Ok(unit)
    }

    fn within_unit(&self, key: u64, within: u64, len: u64, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        let unit = self.unit(key)?;
        let short = Error::damaged("compressed cluster", 0, "it is too short");
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        let part = unit.get(within..within.saturating_add(len as usize)).ok_or(short)?;
        take(part);
        Ok(())
    }

    fn check(&self, offset: u64, len: u64) -> Result<Range<u64>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.clusters.len());
        end.map(|end| offset..end).ok_or_else(|| beyond_end(offset))
    }
}

impl<C: Clusters> BlockSource for Disk<C> {
    fn len(&self) -> u64 {
        self.clusters.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut range = self.check(offset, buf.len() as u64)?;
        let mut rest = buf;
        while range.start < range.end {
            let (place, len) = self.piece(&range)?;
            let (part, later) = rest.split_at_mut(len as usize);
            match place {
                Place::Below(at) => self.below.read_at(at, part)?,
                Place::Zero => part.fill(0),
                Place::Unit { key, within } => {
                    self.within_unit(key, within, len, &mut |bytes| part.copy_from_slice(bytes))?;
                }
            }
            rest = later;
            range.start += len;
        }
        Ok(())
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let len = range.end.checked_sub(range.start).ok_or_else(|| beyond_end(range.start))?;
        let mut range = self.check(range.start, len)?;
        let mut unpacked = 0;
        while range.start < range.end {
            let (place, len) = self.piece(&range)?;
            match place {
                Place::Below(offset) => Run::Below { offset, len }.push(runs),
                Place::Zero => Run::Zero { len }.push(runs),
                Place::Unit { key, within } => {
                    unpacked += len;
                    if unpacked > RUNS_BYTES_MAX {
                        return Err(Error::unsupported("unpacking so much of a virtual disk at once"));
                    }
                    self.within_unit(key, within, len, &mut |bytes| Run::Bytes(bytes.to_vec()).push(runs))?;
                }
            }
            range.start += len;
        }
        Ok(())
    }
}
