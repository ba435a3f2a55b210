//! Bytes that can be read anywhere: the seam under everything on a disk.

use crate::disk::Error;
use crate::disk::Result;
use lru::LruCache;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Where a run of bytes comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// It lies in what is below, from `offset` on.
    Below {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Zeros that lie nowhere.
    Zero {
        /// Number of bytes.
        len: u64,
    },
    /// The bytes themselves, because they lie nowhere as they are.
    Bytes(Vec<u8>),
}

impl Run {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Run::Below { len, .. } | Run::Zero { len } => *len,
            Run::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// True for no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the run; one that continues the last becomes part of it.
    pub fn push(self, runs: &mut Vec<Run>) {
        match (runs.last_mut(), self) {
            (_, run) if run.is_empty() => {}
            (Some(Run::Below { offset, len }), Run::Below { offset: next, len: more })
                if offset.checked_add(*len) == Some(next) =>
            {
                *len += more;
            }
            (Some(Run::Zero { len }), Run::Zero { len: more }) => *len = len.saturating_add(more),
            (Some(Run::Bytes(bytes)), Run::Bytes(more)) => bytes.extend_from_slice(&more),
            (_, run) => runs.push(run),
        }
    }
}

/// Bytes that can be read anywhere: a file, a device, a virtual disk, a partition.
pub trait BlockSource: Send + Sync {
    /// Number of bytes. Must never change.
    fn len(&self) -> u64;

    /// True for no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on; an error if they are not all there.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Appends where the bytes of `range` come from: runs over what this source stands on, in order, as long together
    /// as the range, which lies within the source. What stands on nothing says so of itself.
    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        Run::Below { offset: range.start, len: range.end.saturating_sub(range.start) }.push(runs);
        Ok(())
    }
}

impl<S: BlockSource + ?Sized> BlockSource for Arc<S> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (**self).read_at(offset, buf)
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        (**self).map(range, runs)
    }
}

/// Bytes in memory.
impl BlockSource for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let wanted = self.get(start..start.saturating_add(buf.len())).ok_or_else(|| beyond_end(offset))?;
        buf.copy_from_slice(wanted);
        Ok(())
    }
}

/// The error of a read that leaves its source.
pub(crate) fn beyond_end(at: u64) -> Error {
    Error::Read { at, source: io::Error::new(io::ErrorKind::UnexpectedEof, "the disk ends before") }
}

/// Part of a source, as a source of its own: a partition.
pub struct Window<S> {
    below: S,
    range: Range<u64>,
}

impl<S: BlockSource> Window<S> {
    /// The part of `below` in `range`, as far as it is there.
    pub fn new(below: S, range: Range<u64>) -> Window<S> {
        let end = range.end.min(below.len());
        Window { range: range.start.min(end)..end, below }
    }
}

impl<S: BlockSource> BlockSource for Window<S> {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len());
        end.ok_or_else(|| beyond_end(offset))?;
        self.below.read_at(self.range.start + offset, buf)
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        if range.start > range.end || range.end > self.len() {
            return Err(beyond_end(range.end));
        }
        Run::Below { offset: self.range.start + range.start, len: range.end - range.start }.push(runs);
        Ok(())
    }
}

/// A source behind a cache of blocks: parsers read a few bytes here and there.
pub struct Cached<S> {
    below: S,
    blocks: Mutex<LruCache<u64, Arc<[u8]>>>,
}

impl<S: BlockSource> Cached<S> {
    /// Bytes of a block.
    pub const BLOCK_BYTES: u64 = 64 << 10;

    /// Keeps `bytes` of blocks, at least two.
    pub fn new(below: S, bytes: u64) -> Cached<S> {
        let count = usize::try_from(bytes / Self::BLOCK_BYTES).unwrap_or(usize::MAX).max(2);
        let count = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Cached { below, blocks: Mutex::new(LruCache::new(count)) }
    }

    fn block(&self, index: u64) -> Result<Arc<[u8]>> {
        let known = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned();
        if let Some(block) = known {
            return Ok(block);
        }
        let start = index * Self::BLOCK_BYTES;
        let len = self.below.len().saturating_sub(start).min(Self::BLOCK_BYTES);
        let mut block = vec![0; len as usize];
        self.below.read_at(start, &mut block)?;
        let block: Arc<[u8]> = block.into();
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).put(index, block.clone());
        Ok(block)
    }
}

impl<S: BlockSource> BlockSource for Cached<S> {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len());
        end.ok_or_else(|| beyond_end(offset))?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let within = (at % Self::BLOCK_BYTES) as usize;
            let Ok(block) = self.block(at / Self::BLOCK_BYTES) else {
                // What is wanted may be whole although its neighbours cannot be read.
                let len = (Self::BLOCK_BYTES as usize - within).min(buf.len() - done);
                self.below.read_at(at, &mut buf[done..done + len])?;
                done += len;
                continue;
            };
            let part = block.get(within..).unwrap_or_default();
            let len = part.len().min(buf.len() - done);
            if len == 0 {
                return Err(beyond_end(at));
            }
            buf[done..done + len].copy_from_slice(&part[..len]);
            done += len;
        }
        Ok(())
    }

    fn map(&self, range: Range<u64>, runs: &mut Vec<Run>) -> Result<()> {
        self.below.map(range, runs)
    }
}

/// Most bytes that [`read_runs`] gives at once.
pub const RUNS_BYTES_MAX: u64 = 256 << 20;

/// The bytes of `runs` over `below`, for what is needed whole: metadata.
pub fn read_runs(below: &dyn BlockSource, runs: &[Run]) -> Result<Vec<u8>> {
    let total = runs.iter().fold(0u64, |sum, run| sum.saturating_add(run.len()));
    if total > RUNS_BYTES_MAX {
        return Err(Error::damaged("metadata", 0, "it is too long"));
    }
    let mut out = Vec::new();
    for run in runs {
        let start = out.len();
        match run {
            Run::Below { offset, len } => {
                if offset.checked_add(*len).is_none_or(|end| end > below.len()) {
                    return Err(beyond_end(*offset));
                }
                out.resize(start + *len as usize, 0);
                below.read_at(*offset, &mut out[start..])?;
            }
            Run::Zero { len } => out.resize(start + *len as usize, 0),
            Run::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn disk() -> Vec<u8> {
        (0..300_000u32).map(|n| (n / 7) as u8).collect()
    }

    #[test]
    fn a_window_of_a_cached_disk() {
        let window = Window::new(Cached::new(disk(), 0), 1000..200_000);
        let mut buf = vec![0; 140_000];
        window.read_at(5, &mut buf).unwrap();
        assert_eq!(buf, disk()[1005..141_005]);
        let mut runs = Vec::new();
        window.map(5..10, &mut runs).unwrap();
        assert_eq!(runs, [Run::Below { offset: 1005, len: 5 }]);
    }

    /// A disk with bytes that cannot be read.
    struct Torn(Vec<u8>, Range<u64>);

    impl BlockSource for Torn {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            if offset < self.1.end && offset + buf.len() as u64 > self.1.start {
                return Err(beyond_end(offset));
            }
            self.0.read_at(offset, buf)
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_take_its_neighbours_with_it() {
        let cached = Cached::new(Torn(disk(), 70_000..70_010), 1 << 20);
        let mut buf = vec![0; 10_000];
        for (at, is_whole) in [(0, true), (60_000, true), (60_001, false), (70_009, false), (70_010, true)] {
            assert_eq!(cached.read_at(at, &mut buf).is_ok(), is_whole, "at {at}");
            assert!(!is_whole || disk()[at as usize..].starts_with(&buf), "at {at}");
        }
        assert!(cached.read_at(0, &mut vec![0; 140_000]).is_err());
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let window = Window::new(disk(), 1000..2000);
        assert!(window.read_at(999, &mut [0; 2]).is_err());
        assert!(window.read_at(u64::MAX, &mut [0; 2]).is_err());
        assert!(Cached::new(disk(), 0).read_at(299_999, &mut [0; 2]).is_err());
        assert_eq!(Window::new(disk(), 299_990..u64::MAX).len(), 10);
        assert_eq!(Window::new(disk(), 400_000..500_000).len(), 0);
    }

    #[test]
    fn runs_join() {
        let mut runs = Vec::new();
        for run in [
            Run::Below { offset: 10, len: 5 },
            Run::Below { offset: 15, len: 5 },
            Run::Zero { len: 3 },
            Run::Zero { len: 0 },
            Run::Zero { len: 4 },
            Run::Bytes(vec![1]),
            Run::Bytes(vec![2]),
        ] {
            run.push(&mut runs);
        }
        let joined = vec![Run::Below { offset: 10, len: 10 }, Run::Zero { len: 7 }, Run::Bytes(vec![1, 2])];
        assert_eq!(runs, joined);
        let bytes = read_runs(&disk(), &runs).unwrap();
        assert_eq!(bytes, [&disk()[10..20], &[0; 7], &[1, 2]].concat());
    }
}
