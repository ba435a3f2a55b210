//! Stretches of a pack's payload, and the segments they lie in. Pure.

use crate::format::sealed::ObjectType;
use crate::format::sealed::SEGMENT_BYTES;
use crate::id::ObjectId;
use bytes::Bytes;
use std::ops::Range;

/// Gap between wanted ranges that is read through: a request costs more than these bytes (256 KiB).
const GAP_SEGMENTS_MAX: u64 = 4;
/// Ranges that can still grow while others are begun: contents that lie by turns in a few packs.
const GROWING_MAX: usize = 8;

/// Bytes of a pack's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) pack: ObjectId,
    pub(crate) object_type: ObjectType,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl Span {
    /// The segments it lies in; at least one.
    pub(super) fn segments(&self) -> Range<u64> {
        let segment = SEGMENT_BYTES as u64;
        self.offset / segment..(self.offset + self.len).div_ceil(segment).max(self.offset / segment + 1)
    }

    /// What fetching this after the other moves, bytes of payload: what lies between if that is little, whole segments
    /// if it begins anew.
    pub(super) fn cost_after(&self, other: Option<&Span>) -> u64 {
        let (range, segment) = (self.segments(), SEGMENT_BYTES as u64);
        let begins_anew = (range.end - range.start) * segment;
        let Some(other) = other.filter(|other| other.pack == self.pack) else { return begins_anew };
        let before = other.segments();
        if range.start < before.start || range.start > before.end + GAP_SEGMENTS_MAX {
            return begins_anew;
        }
        let (end, other_end) = (self.offset + self.len, other.offset + other.len);
        end.saturating_sub(other_end).max(self.len)
    }
}

/// Puts spans together that one request can fetch, gaps read through; in the order in which they are wanted.
pub(super) fn merged(spans: impl Iterator<Item = Span>) -> Vec<(Span, Range<u64>)> {
    let mut all: Vec<(Span, Range<u64>)> = Vec::new();
    for span in spans {
        let range = span.segments();
        let fits = |(first, whole): &(Span, Range<u64>)| {
            first.pack == span.pack && range.start >= whole.start && range.start <= whole.end + GAP_SEGMENTS_MAX
        };
        let growing = all.len().saturating_sub(GROWING_MAX);
        match all[growing..].iter_mut().rev().find(|one| fits(one)) {
            Some((_, whole)) => whole.end = whole.end.max(range.end),
            None => all.push((span, range)),
        }
    }
    all
}

/// The bytes of a span out of its segments; without a copy if there is only one.
pub(super) fn cut(parts: &[Bytes], span: &Span) -> Option<Bytes> {
    let start = (span.offset % SEGMENT_BYTES as u64) as usize;
    let len = span.len as usize;
    if let [only] = parts {
        return (start + len <= only.len()).then(|| only.slice(start..start + len));
    }
    let mut out = Vec::with_capacity(len);
    for (i, part) in parts.iter().enumerate() {
        let from = if i == 0 { start } else { 0 };
        let to = part.len().min(from + (len - out.len()));
        out.extend_from_slice(part.get(from..to)?);
    }
    (out.len() == len).then(|| out.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u64 = SEGMENT_BYTES as u64;

    fn span(pack: u8, offset: u64, len: u64) -> Span {
        Span { pack: ObjectId([pack; 16]), object_type: ObjectType::DataPack, offset, len }
    }

    fn ranges(spans: &[Span]) -> Vec<(u8, Range<u64>)> {
        merged(spans.iter().copied()).into_iter().map(|(span, range)| (span.pack.0[0], range)).collect()
    }

    #[test]
    fn neighbours_are_one_request_and_so_are_those_near() {
        let near = [span(1, 0, 100), span(1, 100, SEGMENT), span(1, 6 * SEGMENT, 1)];
        assert_eq!(ranges(&near), [(1, 0..7)]);
        let far = [span(1, 0, 100), span(1, 6 * SEGMENT, 1)];
        assert_eq!(ranges(&far), [(1, 0..1), (1, 6..7)]);
        let back = [span(1, 6 * SEGMENT, 1), span(1, 0, 100)];
        assert_eq!(ranges(&back), [(1, 6..7), (1, 0..1)]);
    }

    #[test]
    fn contents_that_lie_by_turns_in_two_packs_are_two_requests() {
        let spans: Vec<Span> = (0..40).map(|i| span((i % 2) as u8, i / 2 * 70_000, 70_000)).collect();
        assert_eq!(ranges(&spans), [(0, 0..22), (1, 0..22)]);
    }

    #[test]
    fn bytes_are_cut_out_of_one_segment_or_several() {
        let parts: Vec<Bytes> = (0..3u8).map(|i| vec![i; SEGMENT_BYTES].into()).collect();
        assert_eq!(cut(&parts[1..2], &span(1, SEGMENT + 7, 3)).unwrap(), [1, 1, 1][..]);
        let across = cut(&parts, &span(1, SEGMENT - 1, SEGMENT + 2)).unwrap();
        assert_eq!((across.len() as u64, across[0], across[1], across[across.len() - 1]), (SEGMENT + 2, 0, 1, 2));
        let short = [parts[0].clone(), parts[1].slice(..10)];
        assert!(cut(&short, &span(1, 0, SEGMENT + 10)).is_some());
        assert_eq!(cut(&short, &span(1, 0, SEGMENT + 11)), None);
        assert_eq!(cut(&short[1..], &span(1, SEGMENT + 9, 2)), None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_wanted_is_left_out_and_little_else_is_fetched(
            spans in prop::collection::vec((0u8..3, 0u64..(32 << 20), 1u64..(1 << 20)), 1..100)
        ) {
            let spans: Vec<Span> = spans.into_iter().map(|(pack, offset, len)| span(pack, offset, len)).collect();
            let all = merged(spans.iter().copied());
            for span in &spans {
                let range = span.segments();
                let covers = |one: &(Span, Range<u64>)| {
                    one.0.pack == span.pack && one.1.start <= range.start && range.end <= one.1.end
                };
                prop_assert!(all.iter().any(covers));
            }
            for (first, whole) in &all {
                let is_wanted = |segment: u64| {
                    spans.iter().any(|span| span.pack == first.pack && span.segments().contains(&segment))
                };
                let mut gap = 0;
                for segment in whole.clone() {
                    gap = if is_wanted(segment) { 0 } else { gap + 1 };
                    prop_assert!(gap <= GAP_SEGMENTS_MAX);
                }
                prop_assert!(is_wanted(whole.start) && gap == 0);
            }
            let cost: u64 = (0..spans.len()).map(|i| spans[i].cost_after(i.checked_sub(1).map(|at| &spans[at]))).sum();
            prop_assert!(cost >= spans.iter().map(|span| span.len).sum());
        }
    }
}
