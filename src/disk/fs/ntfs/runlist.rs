//! Runlists: which clusters hold a value.
//!
//! Layout: Linux-NTFS documentation, concept "Data Runs". Each run is a count and a signed distance from the run before;
//! one without a distance is a hole.

use crate::disk::Fields;
use crate::disk::Result;
use crate::disk::Run;
use std::ops::Range;

/// Clusters of a value that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First cluster of the value.
    pub(super) vcn: u64,
    /// Number of clusters, not 0.
    pub(super) len: u64,
    /// First cluster of the volume; `None` for a hole.
    pub(super) lcn: Option<u64>,
}

impl Extent {
    /// After the last cluster of the value.
    pub(super) fn end(&self) -> u64 {
        self.vcn.saturating_add(self.len)
    }
}

/// How clusters are counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clusters {
    pub(super) bytes: u64,
    pub(super) count: u64,
}

/// Decodes the mapping pairs of clusters from `first_vcn` on, up to `end_vcn` if that is told.
pub(super) fn decode(
    pairs: &Fields<'_>,
    first_vcn: u64,
    end_vcn: Option<u64>,
    clusters: Clusters,
) -> Result<Vec<Extent>> {
    let vcn_max = i64::MAX as u64 / clusters.bytes;
    let (mut extents, mut at, mut vcn, mut lcn) = (Vec::new(), 0usize, first_vcn, 0i64);
    while at < pairs.len() {
        let (len_bytes, distance_bytes) = match pairs.u8(at)? {
            0 => break,
            header => (usize::from(header & 15), usize::from(header >> 4)),
        };
        let len = signed(pairs.bytes(at + 1, len_bytes)?);
        let len = len.and_then(|len| u64::try_from(len).ok()).filter(|len| *len != 0);
        let len = len.ok_or_else(|| pairs.damaged("a run has an impossible length"))?;
        let place = match pairs.bytes(at + 1 + len_bytes, distance_bytes)? {
            [] => None,
            distance => {
                let next = signed(distance).and_then(|distance| lcn.checked_add(distance));
                lcn = next.ok_or_else(|| pairs.damaged("a run lies nowhere"))?;
                let end = u64::try_from(lcn).ok().and_then(|lcn| lcn.checked_add(len));
                if end.is_none_or(|end| end > clusters.count) {
                    return Err(pairs.damaged("a run lies outside of the volume"));
                }
                Some(lcn as u64)
            }
        };
        let end = vcn.checked_add(len).filter(|end| *end <= vcn_max);
        extents.push(Extent { vcn, len, lcn: place });
        vcn = end.ok_or_else(|| pairs.damaged("its runs are longer than can be counted"))?;
        at += 1 + len_bytes + distance_bytes;
    }
    if end_vcn.is_some_and(|end| end != vcn) {
        return Err(pairs.damaged("its runs are not as long as it says"));
    }
    Ok(extents)
}

/// A little-endian number with a sign of up to eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let top = *bytes.last()?;
    let mut wide = if top & 0x80 == 0 { [0; 8] } else { [0xff; 8] };
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

/// The extent that holds a cluster.
pub(super) fn find(extents: &[Extent], vcn: u64) -> Option<Extent> {
    let after = extents.partition_point(|extent| extent.vcn <= vcn);
    let extent = *extents.get(after.checked_sub(1)?)?;
    (vcn < extent.end()).then_some(extent)
}

/// Appends where the bytes of `range` lie, as far as `extents` go; returns the first byte they do not hold.
pub(super) fn map(extents: &[Extent], clusters: Clusters, range: Range<u64>, runs: &mut Vec<Run>) -> u64 {
    let mut at = range.start;
    while at < range.end {
        let Some(extent) = find(extents, at / clusters.bytes) else { break };
        let end = extent.end().saturating_mul(clusters.bytes).min(range.end);
        let run = match extent.lcn {
            Some(lcn) => {
                Run::Below { offset: lcn * clusters.bytes + (at - extent.vcn * clusters.bytes), len: end - at }
            }
            None => Run::Zero { len: end - at },
        };
        run.push(runs);
        at = end;
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CLUSTERS: Clusters = Clusters { bytes: 4096, count: 0x10_0000 };

    fn decoded(bytes: &[u8], end_vcn: Option<u64>) -> Result<Vec<Extent>> {
        decode(&Fields::new(bytes, "pairs", 0), 0, end_vcn, CLUSTERS)
    }

    #[test]
    fn runs_and_holes() {
        let extents = decoded(&[0x21, 0x18, 0x34, 0x56, 0x01, 0x08, 0x11, 0x10, 0xff, 0, 9], Some(0x30)).unwrap();
        let runs = [(0, 0x18, Some(0x5634)), (0x18, 8, None), (0x20, 0x10, Some(0x5633))];
        assert_eq!(extents, runs.map(|(vcn, len, lcn)| Extent { vcn, len, lcn }));
        let mut runs = Vec::new();
        assert_eq!(map(&extents, CLUSTERS, 0x17_f00..u64::MAX, &mut runs), 0x30_000);
        let below = [Run::Below { offset: 0x0563_4000 + 0x1_7f00, len: 0x100 }, Run::Zero { len: 0x8000 }];
        assert_eq!(runs[..2], below);
        assert_eq!(runs[2], Run::Below { offset: 0x0563_3000, len: 0x1_0000 });
    }

    #[test]
    fn runs_that_cannot_be() {
        for pairs in [
            &[0x11, 0, 5][..],                                    // no length
            &[0x11, 0x80, 5],                                     // less than none
            &[0x10, 5],                                           // a length of no bytes
            &[0x11, 1, 0xff],                                     // before the volume
            &[0x41, 1, 0, 0, 0, 1],                               // behind it
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],                // nine bytes
            &[0x21, 1, 1],                                        // cut off
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // a hole beyond all numbers
        ] {
            assert!(decoded(pairs, None).is_err(), "{pairs:x?}");
        }
        assert!(decoded(&[0x11, 1, 5], Some(2)).is_err());
        assert!(decoded(&[], None).unwrap().is_empty());
    }
}
