//! Readers of pages, told apart by where they read: who makes progress through a pack has more of it read ahead.

use crate::format::sealed::SEGMENT_BYTES;
use crate::id::ObjectId;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Widest read-ahead (8 MiB).
const WINDOW_SEGMENTS_MAX: u64 = 128;
/// Read-ahead of the second access in a row (256 KiB).
const WINDOW_SEGMENTS_MIN: u64 = 4;
/// Sequential readers that are told apart.
const STREAMS_MAX: usize = 32;

/// A reader that makes progress through one pack.
#[derive(Debug, Clone, Copy)]
struct Stream {
    pack: ObjectId,
    /// Segment behind the last one read.
    next: u64,
    /// Segment behind the last one asked for ahead.
    until: u64,
    window: u64,
}

/// All that were seen lately, the last first.
pub(super) struct Streams {
    list: Mutex<VecDeque<Stream>>,
    window_max: u64,
}

impl Streams {
    /// None yet. None of them will have more read ahead than so many bytes.
    pub(super) fn new(bytes_max: u64) -> Streams {
        let window_max = (bytes_max / SEGMENT_BYTES as u64).clamp(WINDOW_SEGMENTS_MIN, WINDOW_SEGMENTS_MAX);
        Streams { list: Mutex::default(), window_max }
    }

    /// The range to read ahead, if this access continues a stream and the length of the pack is known.
    pub(super) fn progress(&self, pack: ObjectId, range: &Range<u64>, segments: Option<u64>) -> Option<Range<u64>> {
        let mut streams = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let near = |s: &Stream| s.pack == pack && range.start + 2 >= s.next && range.start <= s.until.max(s.next) + 2;
        let Some(at) = streams.iter().position(near) else {
            // A stream that runs into a new pack begins at its front: it need not prove itself again.
            let window = if range.start == 0 { 2 * WINDOW_SEGMENTS_MIN } else { WINDOW_SEGMENTS_MIN };
            streams.push_front(Stream { pack, next: range.end, until: range.end, window });
            streams.truncate(STREAMS_MAX);
            return None;
        };
        let mut stream = streams.remove(at)?;
        let moved = range.end > stream.next;
        stream.next = stream.next.max(range.end);
        let mut ahead = None;
        if let Some(end) = segments
            && moved
            && stream.until.saturating_sub(stream.next) <= stream.window / 2
        {
            let from = stream.until.max(stream.next);
            stream.window = (stream.window * 2).min(self.window_max);
            stream.until = stream.next + stream.window;
            ahead = Some(from.min(end)..stream.until.min(end));
        }
        streams.push_front(stream);
        ahead
    }
}
