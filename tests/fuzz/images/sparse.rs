//! A disk of which only few bytes are there; the others are zeros.

use bygone::disk::BlockSource;
use bygone::disk::Error;
use bygone::disk::Result;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

const PAGE: u64 = 4096;
/// Longest disk.
const LEN_MAX: u64 = 1 << 48;
/// Reads, and KiB that are read, of one image: far more than a look takes that ends.
const WORK_MAX: u64 = 2 << 20;
const HEAD: usize = 10;
const PIECE: usize = 8;

#[derive(Default)]
pub(super) struct Sparse {
    len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
    work: AtomicU64,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

pub(super) fn bytes_from(data: &[u8]) -> Option<usize> {
    let from = HEAD + PIECE * number(data.get(8..HEAD)?) as usize;
    (from < data.len()).then_some(from)
}

impl Sparse {
    pub(super) fn decode(data: &[u8]) -> Option<Sparse> {
        let len = number(data.get(..8)?).min(LEN_MAX);
        let mut image = Sparse { len, ..Sparse::default() };
        let (table, mut bytes) = data.split_at_checked(bytes_from(data)?)?;
        for piece in table[HEAD..].chunks_exact(PIECE) {
            let (at, wanted) = (number(&piece[..6]), number(&piece[6..]) as usize);
            let part;
            (part, bytes) = bytes.split_at(wanted.min(bytes.len()));
            image.write(at, part);
        }
        Some(image)
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..self.len).zip(bytes) {
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }

    /// Bytes, as far as they are there.
    pub(super) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let len = len.min(self.len.saturating_sub(at) as usize);
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes);
        bytes
    }

    /// Where pages are that hold anything.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().map(|page| page * PAGE)
    }

    pub(super) fn copied(&self) -> Sparse {
        Sparse { len: self.len, pages: self.pages.clone(), work: AtomicU64::new(0) }
    }

    fn fill(&self, offset: u64, buf: &mut [u8]) {
        buf.fill(0);
        let end = offset + buf.len() as u64;
        for (page, bytes) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + PAGE).min(end));
            let part = &bytes[(from - start) as usize..(to - start) as usize];
            buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
        }
    }
}

impl BlockSource for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let work = self.work.fetch_add(1 + (buf.len() as u64 >> 10), Ordering::Relaxed);
        assert!(work < WORK_MAX, "it reads without end");
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(Error::Read { at: offset, source: io::ErrorKind::UnexpectedEof.into() });
        }
        self.fill(offset, buf);
        Ok(())
    }
}
