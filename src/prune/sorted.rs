//! Sorting more than fits into memory: fixed rows, sorted in runs that go to a scratch file each, merged when they are read.
//!
//! Rows compare byte by byte, so whatever they are sorted by stands first in them. Scratch files have no names: they go
//! with the process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes read at once of each run.
const READ_BYTES: usize = 64 << 10;

/// Where and in how much memory.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    /// Folder for runs; one that is not there yet is made.
    pub(super) folder: PathBuf,
    /// Rows in memory, in bytes.
    pub(super) memory_bytes: usize,
}

/// Takes rows in any order.
pub(super) struct Sorter<const N: usize> {
    scratch: Scratch,
    rows: Vec<[u8; N]>,
    runs: Vec<File>,
}

/// Rows in order, each once; read as often as one likes.
pub(super) struct Sorted<const N: usize> {
    rows: Vec<[u8; N]>,
    runs: Vec<Run>,
}

struct Run {
    file: File,
    rows: u64,
}

impl<const N: usize> Sorter<N> {
    pub(super) fn new(scratch: &Scratch) -> Sorter<N> {
        Sorter { scratch: scratch.clone(), rows: Vec::new(), runs: Vec::new() }
    }

    pub(super) fn push(&mut self, row: [u8; N]) -> io::Result<()> {
        if (self.rows.len() + 1) * N > self.scratch.memory_bytes {
            self.spill()?;
        }
        self.rows.push(row);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        // What is there many times may fit after all.
        self.rows.sort_unstable();
        self.rows.dedup();
        if (self.rows.len() + 1) * N <= self.scratch.memory_bytes / 2 {
            return Ok(());
        }
        std::fs::create_dir_all(&self.scratch.folder)?;
        let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(&self.scratch.folder)?);
        self.rows.iter().try_for_each(|row| out.write_all(row))?;
        self.rows.clear();
        self.runs.push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    /// Everything that was pushed so far; more can be pushed behind it with [`Sorted::open`].
    pub(super) fn finish(mut self) -> io::Result<Sorted<N>> {
        self.rows.sort_unstable();
        self.rows.dedup();
        self.rows.shrink_to_fit();
        let run = |file: File| Ok(Run { rows: file.metadata()?.len() / N as u64, file });
        Ok(Sorted { rows: self.rows, runs: self.runs.into_iter().map(run).collect::<io::Result<_>>()? })
    }
}

impl<const N: usize> Sorted<N> {
    /// The same rows, to push more.
    pub(super) fn open(self, scratch: &Scratch) -> Sorter<N> {
        Sorter { scratch: scratch.clone(), rows: self.rows, runs: self.runs.into_iter().map(|run| run.file).collect() }
    }

    /// All rows in order, each once.
    pub(super) fn iter(&self) -> Merge<'_, N> {
        let mut sources = vec![Source::Rows(self.rows.iter())];
        for run in &self.runs {
            let rest = Rest { run, next: 0 };
            sources.push(Source::File(BufReader::with_capacity(READ_BYTES, rest)));
        }
        let mut merge = Merge { sources, heads: BinaryHeap::new(), last: None, error: None };
        (0..merge.sources.len()).for_each(|at| merge.pull(at));
        merge
    }

    /// All rows that begin with `key`, in no order.
    pub(super) fn find(&self, key: &[u8]) -> io::Result<Vec<[u8; N]>> {
        let start = self.rows.partition_point(|row| row[..key.len()] < *key);
        let mut found: Vec<[u8; N]> =
            self.rows[start..].iter().take_while(|row| row.starts_with(key)).copied().collect();
        for run in &self.runs {
            let (mut low, mut high) = (0, run.rows);
            while low < high {
                let middle = low + (high - low) / 2;
                if run.row::<N>(middle)?[..key.len()] < *key { low = middle + 1 } else { high = middle }
            }
            while low < run.rows {
                let row = run.row::<N>(low)?;
                if !row.starts_with(key) {
                    break;
                }
                found.push(row);
                low += 1;
            }
        }
        Ok(found)
    }
}

impl Run {
    fn row<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        let mut row = [0; N];
        self.file.read_exact_at(&mut row, at * N as u64)?;
        Ok(row)
    }
}

/// A run read from its beginning, whoever else reads it.
struct Rest<'a> {
    run: &'a Run,
    next: u64,
}

impl Read for Rest<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.run.file.read_at(out, self.next)?;
        self.next += read as u64;
        Ok(read)
    }
}

enum Source<'a, const N: usize> {
    Rows(std::slice::Iter<'a, [u8; N]>),
    File(BufReader<Rest<'a>>),
}

/// Rows of several runs in order. Ends early where a scratch file fails: ask [`Merge::end`].
pub(super) struct Merge<'a, const N: usize> {
    sources: Vec<Source<'a, N>>,
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
    last: Option<[u8; N]>,
    error: Option<io::Error>,
}

impl<const N: usize> Merge<'_, N> {
    fn pull(&mut self, at: usize) {
        let row = match &mut self.sources[at] {
            Source::Rows(rows) => rows.next().copied(),
            Source::File(file) => {
                let mut row = [0; N];
                match file.read_exact(&mut row) {
                    Ok(()) => Some(row),
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
                    Err(e) => {
                        self.error = Some(e);
                        None
                    }
                }
            }
        };
        self.heads.extend(row.map(|row| Reverse((row, at))));
    }

    /// Whether all rows came.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }
}

impl<const N: usize> Iterator for Merge<'_, N> {
    type Item = [u8; N];

    fn next(&mut self) -> Option<[u8; N]> {
        loop {
            if self.error.is_some() {
                return None;
            }
            let Reverse((row, at)) = self.heads.pop()?;
            self.pull(at);
            if self.last != Some(row) {
                self.last = Some(row);
                return Some(row);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn sorted(count: u32, memory_bytes: usize) -> (Sorted<8>, BTreeSet<[u8; 8]>) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(&Scratch { folder: folder.path().to_owned(), memory_bytes });
        let mut all = BTreeSet::new();
        for n in 0..count {
            let row = (u64::from(n.wrapping_mul(2_654_435_761)) % 5000 * 77_777).to_le_bytes();
            sorter.push(row).unwrap();
            all.insert(row);
        }
        (sorter.finish().unwrap(), all)
    }

    #[test]
    fn rows_come_in_order_and_once_however_little_memory_there_is() {
        for memory in [400, 4000, 1 << 20] {
            let (rows, all) = sorted(20_000, memory);
            for _ in 0..2 {
                let mut merge = rows.iter();
                assert!(merge.by_ref().eq(all.iter().copied()));
                merge.end().unwrap();
            }
            for wanted in all.iter().take(50) {
                assert!(rows.find(&wanted[..7]).unwrap().contains(wanted));
            }
            assert!(rows.find(&[255; 7]).unwrap().is_empty());
        }
    }

    #[test]
    fn more_can_be_pushed_behind() {
        let (rows, mut all) = sorted(3000, 4000);
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = rows.open(&Scratch { folder: folder.path().to_owned(), memory_bytes: 4000 });
        for n in 0..1000u64 {
            sorter.push(n.to_le_bytes()).unwrap();
            all.insert(n.to_le_bytes());
        }
        assert!(sorter.finish().unwrap().iter().eq(all));
    }
}
