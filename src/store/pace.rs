//! How fast bytes may move in one direction: a token bucket, and reading and writing in its pieces.
//!
//! Smooth: a large piece waits as long as it takes, inside a request; however many requests share a direction, together
//! they keep the rate. Without a limit nothing waits and nothing is cut into pieces.

use std::io;
use std::io::Read;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

/// What may be caught up after a pause.
const BURST: Duration = Duration::from_millis(50);
/// Pieces in a second, so that nobody waits long behind another.
const PIECES_PER_SEC: u64 = 20;
const PIECE_BYTES_MIN: u64 = 1 << 10;
const PIECE_BYTES_MAX: u64 = 64 << 10;

/// The bucket of one direction.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0 = no limit.
    bytes_per_sec: AtomicU64,
    /// When everything granted so far has moved, at this rate.
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// From now on at most so many bytes in a second; 0 = no limit.
    pub(crate) fn set(&self, bytes_per_sec: u64) {
        self.bytes_per_sec.store(bytes_per_sec, Ordering::Relaxed);
    }

    /// Grants these bytes; they may move after this time. Whoever does not use them wastes them.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        let rate = self.bytes_per_sec.load(Ordering::Relaxed);
        if rate == 0 {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = free_at.map_or(earliest, |at| at.max(earliest));
        let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *free_at = Some(until);
        until.saturating_duration_since(now)
    }

    /// How much is best moved at once.
    pub(crate) fn piece_bytes(&self) -> usize {
        let rate = self.bytes_per_sec.load(Ordering::Relaxed);
        let bytes = if rate == 0 { PIECE_BYTES_MAX } else { rate / PIECES_PER_SEC };
        bytes.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX) as usize
    }

    fn is_limited(&self) -> bool {
        self.bytes_per_sec.load(Ordering::Relaxed) != 0
    }

    /// Reads to the end, but no faster than allowed. Blocks.
    pub(crate) fn read_to_end(&self, mut from: impl Read, into: &mut Vec<u8>) -> io::Result<usize> {
        if !self.is_limited() {
            return from.read_to_end(into);
        }
        let mut total = 0;
        loop {
            let got = from.by_ref().take(self.piece_bytes() as u64).read_to_end(into)?;
            if got == 0 {
                return Ok(total);
            }
            total += got;
            thread::sleep(self.take(got as u64));
        }
    }

    /// Writes all of it, but no faster than allowed. Blocks.
    pub(crate) fn write_all(&self, mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
        if !self.is_limited() {
            return to.write_all(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.piece_bytes().min(rest.len()));
            thread::sleep(self.take(piece.len() as u64));
            to.write_all(piece)?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::pace::BURST;
    use crate::store::pace::Pace;
    use std::time::Duration;

    #[test]
    fn together_they_keep_the_rate() {
        let pace = Pace::default();
        assert_eq!(pace.take(u64::MAX), Duration::ZERO);
        pace.set(1000);
        let waits: Vec<Duration> = (0..10).map(|_| pace.take(500)).collect();
        // Five seconds' worth, asked for within moments.
        assert!(waits[9] <= Duration::from_secs(5) && waits[9] > Duration::from_secs(3), "{waits:?}");
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[0] + BURST <= Duration::from_millis(501), "{waits:?}");
    }

    #[test]
    fn pieces_are_small_enough_to_take_turns() {
        let pace = Pace::default();
        assert_eq!(pace.piece_bytes(), 64 << 10);
        for (rate, bytes) in [(1, 1 << 10), (100 << 10, 5 << 10), (1 << 30, 64 << 10)] {
            pace.set(rate);
            assert_eq!(pace.piece_bytes(), bytes);
        }
    }

    #[test]
    fn pieces_make_the_whole() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        for rate in [0, 10 << 20] {
            let pace = Pace::default();
            pace.set(rate);
            let (mut written, mut read) = (Vec::new(), Vec::new());
            assert!(pace.write_all(&mut written, &bytes).is_ok() && written == bytes);
            assert!(matches!(pace.read_to_end(&written[..], &mut read), Ok(100_000)) && read == bytes);
        }
    }
}
