//! Compressed attributes: units of (nearly always) 16 clusters, each packed for itself.
//!
//! A unit with all its clusters is stored as it is, one with none is zeros, and any other is packed into those it has.
//! (Linux-NTFS documentation, concept "Data Compression".) Only the units that are asked for are unpacked.

use crate::disk::Error;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::ntfs::lznt1;
use crate::disk::fs::ntfs::runlist;
use crate::disk::fs::ntfs::runlist::Extent;
use crate::disk::fs::ntfs::stream::Stream;
use crate::disk::fs::ntfs::volume::Volume;
use crate::disk::read_runs;
use std::ops::Range;
use std::sync::Arc;

/// Sixteen times the largest cluster for which Windows compresses is 64 KiB.
const UNIT_BYTES_MAX: u64 = 1 << 20;

impl Volume {
    /// Appends where the bytes of `range` lie, packed ones as they are unpacked.
    pub(super) fn map_compressed(&mut self, stream: &Stream, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        let (cluster_bytes, shift) = (self.boot.cluster_bytes, stream.sizes.unit_shift);
        let unit_bytes = cluster_bytes.checked_shl(u32::from(shift)).filter(|bytes| *bytes <= UNIT_BYTES_MAX);
        let (Some(unit_bytes), 1..=10) = (unit_bytes, shift) else {
            return Err(Error::unsupported(format!("NTFS compression in units of 2^{shift} clusters")));
        };
        let unit_clusters = unit_bytes / cluster_bytes;
        let (mut at, mut unpacked) = (range.start, 0u64);
        while at < range.end {
            let unit = at / unit_bytes;
            let first = self.extent(stream, unit * unit_clusters)?.ok_or_else(|| short(stream))?;
            // Whole units side by side need no look at each.
            let whole = (first.end() - unit * unit_clusters) / unit_clusters;
            if whole > 0 {
                let end = unit.saturating_add(whole).saturating_mul(unit_bytes).min(range.end);
                at = runlist::map(&[first], self.boot.clusters(), at..end, runs);
                continue;
            }
            let end = unit.saturating_add(1).saturating_mul(unit_bytes).min(range.end);
            let extents = self.unit_extents(stream, unit * unit_clusters, unit_clusters)?;
            let taken: u64 = extents.iter().filter(|extent| extent.lcn.is_some()).map(|extent| extent.len).sum();
            if taken == 0 {
                Run::Zero { len: end - at }.push(runs);
            } else if taken == unit_clusters {
                runlist::map(&extents, self.boot.clusters(), at..end, runs);
            } else {
                let bytes = self.unit(stream, unit, unit_bytes, &extents)?;
                let within = (at % unit_bytes) as usize..(at % unit_bytes + (end - at)) as usize;
                unpacked = unpacked.saturating_add(end - at);
                if unpacked > RUNS_BYTES_MAX {
                    return Err(Error::unsupported("so long a range of a compressed file"));
                }
                Run::Bytes(bytes.get(within).ok_or(Error::WrongKind)?.to_vec()).push(runs);
            }
            at = end;
        }
        Ok(())
    }

    /// The extents of one unit, cut to it.
    fn unit_extents(&mut self, stream: &Stream, first: u64, clusters: u64) -> Result<Vec<Extent>> {
        let (mut extents, mut vcn, end) = (Vec::new(), first, first.saturating_add(clusters));
        while vcn < end {
            // The last unit may end with its packed bytes.
            let Some(extent) = self.extent(stream, vcn)? else { break };
            let lcn = extent.lcn.map(|lcn| lcn + (vcn - extent.vcn));
            let len = extent.end().min(end) - vcn;
            extents.push(Extent { vcn, len, lcn });
            vcn += len;
        }
        Ok(extents)
    }

    fn unit(&mut self, stream: &Stream, unit: u64, unit_bytes: u64, extents: &[Extent]) -> Result<Arc<Vec<u8>>> {
        let key = (stream.inode.number(), stream.index, unit);
        if let Some(bytes) = self.units.get(key) {
            return Ok(bytes);
        }
        let taken = extents.iter().take_while(|extent| extent.lcn.is_some()).count();
        let (packed, hole) = extents.split_at(taken);
        if hole.iter().any(|extent| extent.lcn.is_some()) {
            return Err(stream.inode.record.fields().damaged("a compressed unit has a hole before its end"));
        }
        let mut runs = Vec::new();
        for extent in packed {
            let range = extent.vcn * self.boot.cluster_bytes..extent.end().saturating_mul(self.boot.cluster_bytes);
            runlist::map(&[*extent], self.boot.clusters(), range, &mut runs);
        }
        let packed = read_runs(&self.source, &runs)?;
        let bytes = Arc::new(lznt1::unpack(&packed, unit_bytes as usize)?);
        self.units.put(key, bytes.clone());
        Ok(bytes)
    }
}

fn short(stream: &Stream) -> Error {
    stream.inode.record.fields().damaged("its runs end before its size")
}
