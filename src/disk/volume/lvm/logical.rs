//! The bytes of a logical volume: those of its physical ones, in another order.

use crate::disk::BlockSource;
use crate::disk::Error;
use crate::disk::RUNS_BYTES_MAX;
use crate::disk::Result;
use crate::disk::Run;
use crate::disk::fs::Source;
use crate::disk::source::beyond_end;
use crate::disk::volume::lvm::LogicalVolume;
use crate::disk::volume::lvm::group::Group;
use crate::disk::volume::lvm::group::Segment;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// A part of a logical volume.
struct Part {
    start: u64,
    len: u64,
    stripe_bytes: u64,
    /// Place of each physical volume in `Logical::below`, and first byte on it.
    stripes: Vec<(usize, u64)>,
}

/// A logical volume.
struct Logical {
    below: Vec<Source>,
    /// In order, without gaps.
    parts: Vec<Part>,
    len: u64,
}

/// The volumes of a group. `known`: the place in `pvs` of each physical volume, by UUID.
pub(super) fn of(group: Group, pvs: &[Source], known: &BTreeMap<String, usize>) -> Vec<LogicalVolume> {
    let Group { name: group_name, physical, volumes, .. } = group;
    let volumes = volumes.into_iter();
    let found = volumes.map(|volume| {
        let opened = volume.segments.and_then(|segments| open(&segments, volume.len, &physical, pvs, known));
        let (content, below) = match opened {
            Ok((source, below)) => (Ok(source), below),
            Err(error) => (Err(error), None),
        };
        let name = format!("{group_name}/{}", volume.name);
        LogicalVolume { name, uuid: volume.uuid, len: volume.len, content, below }
    });
    found.collect()
}

fn open(
    segments: &[Segment],
    len: u64,
    physical: &BTreeMap<String, (String, u64)>,
    pvs: &[Source],
    known: &BTreeMap<String, usize>,
) -> Result<(Source, Option<usize>)> {
    let mut parts = Vec::new();
    let mut used = BTreeSet::new();
    for segment in segments {
        let mut stripes = Vec::new();
        for (name, offset) in &segment.stripes {
            // Stripes may also lie on other logical volumes: while a physical one is emptied.
            let pv = physical.get(name).ok_or_else(|| Error::unsupported("LVM volume that stands on other volumes"))?;
            let index = known.get(&pv.0).ok_or_else(|| Error::unsupported("LVM volume with a missing disk"))?;
            let fault = || Error::damaged("LVM volume", 0, "it is longer than its disk");
            let source = pvs.get(*index).ok_or_else(fault)?;
            let start = pv.1.checked_add(*offset).ok_or_else(fault)?;
            let end = start.checked_add(segment.len / segment.stripes.len() as u64);
            end.filter(|end| *end <= source.len()).ok_or_else(fault)?;
            used.insert(*index);
            stripes.push((*index, start));
        }
        parts.push(Part { start: segment.start, len: segment.len, stripe_bytes: segment.stripe_bytes, stripes });
    }
    let only = used.first().copied().filter(|_| used.len() == 1);
    Ok((Arc::new(Logical { below: pvs.to_vec(), parts, len }), only))
}

impl Logical {
    /// Calls `take` with the pieces of `range`: physical volume, first byte, number of bytes.
    fn each(&self, range: Range<u64>, take: &mut dyn FnMut(usize, u64, u64) -> Result<()>) -> Result<()> {
        if range.start > range.end || range.end > self.len {
            return Err(beyond_end(range.end));
        }
        let mut at = range.start;
        while at < range.end {
            let next = self.parts.partition_point(|part| part.start <= at);
            let part = next.checked_sub(1).and_then(|index| self.parts.get(index));
            let part = part.filter(|part| at - part.start < part.len).ok_or_else(|| beyond_end(at))?;
            let within = at - part.start;
            let (chunk, rest) = (within / part.stripe_bytes, within % part.stripe_bytes);
            let count = part.stripes.len() as u64;
            let stripe = part.stripes.get((chunk % count) as usize);
            let (pv, start) = stripe.ok_or_else(|| beyond_end(at))?;
            let len = (part.stripe_bytes - rest).min(range.end - at);
            take(*pv, start + chunk / count * part.stripe_bytes + rest, len)?;
            at += len;
        }
        Ok(())
    }

    fn is_on_one(&self) -> bool {
        let mut all = self.parts.iter().flat_map(|part| &part.stripes).map(|(pv, _)| pv);
        let first = all.next();
        all.all(|pv| Some(pv) == first)
    }
}

impl BlockSource for Logical {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).ok_or_else(|| beyond_end(offset))?;
        let mut left = buf;
        self.each(offset..end, &mut |pv, at, len| {
            let (part, rest) = std::mem::take(&mut left).split_at_mut(len as usize);
            left = rest;
            self.below.get(pv).ok_or_else(|| beyond_end(at))?.read_at(at, part)
        })
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        if self.is_on_one() {
            return self.each(range, &mut |_, offset, len| {
                Run::Below { offset, len }.push(runs);
                Ok(())
            });
        }
        let len = range.end.saturating_sub(range.start);
        if len > RUNS_BYTES_MAX {
            return Err(Error::unsupported("so much at once of a volume on several disks"));
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(range.start, &mut bytes)?;
        Run::Bytes(bytes).push(runs);
        Ok(())
    }
}
