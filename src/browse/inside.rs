//! Files inside a disk image that lies in a snapshot.
//!
//! The structure of the image comes from the process that reads it ([`crate::image`]); the bytes of the files come from
//! the snapshot, as those of any other file do, and what lies behind them on the disk is fetched ahead: files of a folder
//! mostly follow each other there.

use crate::browse::Ahead;
use crate::browse::Browse;
use crate::browse::NeverRead;
use crate::browse::Unreadable;
use crate::browse::image_file::ImageFile;
use crate::browse::image_file::LastFault;
use crate::browse::nearby::Nearby;
use crate::browse::windows;
use crate::browse::windows::Window;
use crate::disk::Run;
use crate::disk::fs::NODE_ID_END;
use crate::disk::fs::Node;
use crate::disk::fs::NodeId;
use crate::disk::fs::NodeKind;
use crate::extent::Extent;
use crate::image;
use crate::image::Fault;
use crate::image::ImageReader;
use crate::image::Part;
use crate::meta;
use crate::meta::Content;
use crate::repo;
use crate::tree::pieces;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Part of a file that is mapped at once. One answer holds all of it, even if all of it is compressed.
const WINDOW_BYTES: u64 = 1 << 20;
/// How far ahead of a reader the image is decoded, if there is memory for it.
const DECODE_BYTES: u64 = 512 << 10;
/// Stands for the part itself among its files.
const ITSELF: NodeId = NODE_ID_END;

/// Why something inside an image cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InsideError {
    /// The image itself.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The repository it lies in.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The disk, when it was backed up.
    #[error(transparent)]
    NeverRead(#[from] NeverRead),
}

impl InsideError {
    /// What is wrong with the image, if it is that.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            InsideError::Image(image::Error::Fault(fault)) => Some(fault),
            _ => None,
        }
    }
}

/// Result of a question.
type Result<T> = std::result::Result<T, InsideError>;

/// Gives each part that is opened a number of its own.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// A disk image of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct ImageAt<'a> {
    /// Its place in the tree.
    pub rank: u64,
    /// The file that holds it.
    pub node: &'a meta::Node,
    /// True if these are surely a disk as it is, and not one in a container.
    pub is_raw: bool,
}

/// A part of a disk image, open.
pub struct Inside {
    browse: Browse,
    rank: u64,
    content: Content,
    is_raw: bool,
    unreadable: Unreadable,
    /// Files that were written one after the other lie one behind the other.
    ahead: Arc<Ahead>,
    reader: Arc<ImageReader>,
    nearby: Mutex<Nearby>,
    fault: LastFault,
    /// Which part this is among those whose windows are remembered.
    number: u64,
}

impl Inside {
    /// The part of an image; `None` for its layout alone. Nothing is read yet.
    pub fn new(browse: &Browse, image: ImageAt<'_>, part: Option<Part>, passphrase: &[u8]) -> Arc<Inside> {
        let ImageAt { rank, node, is_raw } = image;
        let (content, unreadable) = (node.content.clone(), Unreadable::of(node));
        let (file, fault) = ImageFile::new(browse, node, is_raw);
        let reader = ImageReader::new(Arc::new(file), part, passphrase, browse.chunks().runtime());
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let (browse, ahead) = (browse.clone(), Ahead::new(browse.clone()));
        let nearby = Mutex::default();
        Arc::new(Inside { browse, rank, content, is_raw, unreadable, ahead, reader, nearby, fault, number })
    }

    /// The snapshot it lies in.
    pub fn browse(&self) -> &Browse {
        &self.browse
    }

    /// Asks the process that reads the image.
    pub async fn ask<T>(&self, question: impl AsyncFnOnce(&Arc<ImageReader>) -> image::Result<T>) -> Result<T> {
        let answer = question(&self.reader).await;
        answer.map_err(|error| match (&error, self.last_fault()) {
            (image::Error::Fault(Fault::Read { .. }), Some(cause)) => cause,
            _ => InsideError::Image(error),
        })
    }

    fn last_fault(&self) -> Option<InsideError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Its root folder.
    pub async fn root(&self) -> Result<(NodeId, Node)> {
        let (root, _) = self.ask(async |reader| reader.about().await).await?;
        Ok((root, self.ask(async |reader| reader.node(root).await).await?))
    }

    /// The node at a path of names from the root on; links are not followed.
    pub async fn get(&self, path: &[u8]) -> Result<(NodeId, Node)> {
        let mut found = self.root().await?;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if found.1.kind != NodeKind::Folder {
                return Err(image::Error::from(Fault::NotAFolder).into());
            }
            found = self.ask(async |reader| reader.lookup(found.0, name).await).await?;
        }
        Ok(found)
    }

    /// What lies where around a byte of a file, if that is known.
    fn known(&self, file: NodeId, at: u64) -> Option<Window> {
        windows::known(&(self.number, file, at / WINDOW_BYTES))
    }

    fn keep(&self, file: NodeId, at: u64, window: &Window) {
        windows::keep((self.number, file, at / WINDOW_BYTES), window);
    }

    /// Up to `len` bytes from `offset` of a part that is shown as it is, as it lies at `range` of the disk, which is empty for a
    /// volume; fewer only at its end.
    pub async fn read_raw(&self, range: &Range<u64>, offset: u64, len: usize) -> Result<Bytes> {
        if !self.is_raw || range.is_empty() {
            return self.read(ITSELF, offset, len).await;
        }
        let (at, len) = within(range, offset, len);
        self.note_read(at, len as u64, true);
        self.read_image(at, len).await
    }

    /// The same, if that needs no waiting.
    pub fn read_raw_now(&self, range: &Range<u64>, offset: u64, len: usize) -> Option<Result<Bytes>> {
        if !self.is_raw || range.is_empty() {
            return self.read_now(ITSELF, offset, len);
        }
        let (at, len) = within(range, offset, len);
        self.read_image_now(at, len).inspect(|_| self.note_read(at, len as u64, false))
    }

    /// Up to `len` bytes of the image itself from `offset`. Fails where it could not be read when it was backed up.
    pub async fn read_image(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.unreadable.check(&(offset..offset.saturating_add(len as u64)))?;
        Ok(self.browse.read(&self.content, offset, len).await?)
    }

    /// The same, if that needs no waiting.
    fn read_image_now(&self, offset: u64, len: usize) -> Option<Result<Bytes>> {
        if let Err(never) = self.unreadable.check(&(offset..offset.saturating_add(len as u64))) {
            return Some(Err(never.into()));
        }
        Some(self.browse.read_now(&self.content, offset, len)?.map_err(InsideError::Repo))
    }

    /// Up to `len` bytes of a file from `offset`, if that needs no waiting.
    pub fn read_now(&self, file: NodeId, offset: u64, len: usize) -> Option<Result<Bytes>> {
        let window = self.known(file, offset)?;
        let start = offset % WINDOW_BYTES;
        let total: u64 = window.iter().map(Run::len).sum();
        let mut end = start + len as u64;
        if end > WINDOW_BYTES && total == WINDOW_BYTES {
            return None;
        }
        end = end.min(total);
        let parts = parts(&window, start..end);
        let longest = longest_below(&parts);
        let found = self.join_now(parts);
        if let (Some((offset, len)), Some(_)) = (longest, &found) {
            self.note_read(offset, len, false);
        }
        found
    }

    /// Takes note of a read of the image itself; what lies behind it is fetched and decoded if it continues another.
    fn note_read(&self, offset: u64, len: u64, waited: bool) {
        if !self.ahead.note(self.rank, offset, len, waited) {
            return;
        }
        let (chunks, end) = (self.browse.chunks(), offset.saturating_add(len));
        let bytes = DECODE_BYTES.min(chunks.decoded_bytes_max() / self.ahead.active().max(1));
        let _pages_not_at_hand = pieces(&**chunks, &self.content, end..end.saturating_add(bytes), &mut |piece| {
            if let Extent::Data(chunk) = &piece.extent {
                chunks.decode_ahead(chunk);
            }
            true
        });
    }

    fn join_now(&self, parts: Vec<Run>) -> Option<Result<Bytes>> {
        if let [Run::Below { offset, len }] = &parts[..] {
            return self.read_image_now(*offset, *len as usize);
        }
        let mut out = Vec::new();
        for part in parts {
            match part {
                Run::Below { offset, len } => match self.read_image_now(offset, len as usize)? {
                    Ok(bytes) => out.extend_from_slice(&bytes),
                    Err(error) => return Some(Err(error)),
                },
                Run::Zero { len } => out.resize(out.len() + len as usize, 0),
                Run::Bytes(bytes) => out.extend_from_slice(&bytes),
            }
        }
        Some(Ok(out.into()))
    }

    /// Up to `len` bytes of a file from `offset`; fewer only at its end.
    pub async fn read(&self, file: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let mut out: Vec<u8> = Vec::new();
        while out.len() < len {
            let at = offset + out.len() as u64;
            let runs = self.runs(file, at, (len - out.len()) as u64).await?;
            let found: u64 = runs.iter().map(Run::len).sum();
            if found == 0 {
                break;
            }
            if let Some((offset, len)) = longest_below(&runs) {
                self.note_read(offset, len, true);
            }
            if let ([Run::Below { offset, len: all }], true) = (&runs[..], out.is_empty() && found == len as u64) {
                return self.read_image(*offset, *all as usize).await;
            }
            for run in runs {
                match run {
                    Run::Below { offset, len } => {
                        out.extend_from_slice(&self.read_image(offset, len as usize).await?);
                    }
                    Run::Zero { len } => out.resize(out.len() + len as usize, 0),
                    Run::Bytes(bytes) => out.extend_from_slice(&bytes),
                }
            }
        }
        Ok(out.into())
    }

    /// The next data or hole of a file from `offset` on; `None` beyond the end, or if there is no more data.
    pub async fn seek(&self, file: NodeId, offset: u64, data: bool) -> Result<Option<u64>> {
        let size = self.ask(async |reader| reader.node(file).await).await?.size;
        let mut at = offset;
        while at < size {
            let runs = self.ask(async |reader| reader.map(file, at..size).await).await?;
            if runs.is_empty() {
                break;
            }
            for run in runs {
                if matches!(run, Run::Zero { .. }) != data {
                    return Ok(Some(at));
                }
                at = at.saturating_add(run.len());
            }
        }
        Ok((!data && offset < size).then_some(size))
    }

    /// Where bytes of a file from `at` on lie in the image: at least one unless the file ends there, at most `len`.
    async fn runs(&self, file: NodeId, at: u64, len: u64) -> Result<Vec<Run>> {
        let base = at - at % WINDOW_BYTES;
        let start = at - base;
        let len = len.min(WINDOW_BYTES - start);
        let window = match self.known(file, at) {
            Some(window) => window,
            None => {
                let range = base..base + WINDOW_BYTES;
                let first = if base == 0 { self.start(file).await? } else { None };
                let whole = match first {
                    Some(first) => first,
                    None if file == ITSELF => self.ask(async |reader| reader.map_part(range).await).await?,
                    None => self.ask(async |reader| reader.map(file, range).await).await?,
                };
                let window = Arc::new(whole);
                self.keep(file, at, &window);
                window
            }
        };
        Ok(parts(&window, start..start + len))
    }

    /// The first window of a file, found along with those of other files that will probably be read next; `None` if none will be.
    async fn start(&self, file: NodeId) -> Result<Option<Vec<Run>>> {
        let batch = {
            let mut nearby = self.nearby.lock().unwrap_or_else(PoisonError::into_inner);
            nearby.batch(file, |other| self.known(other, 0).is_some())
        };
        if batch.len() == 1 {
            return Ok(None);
        }
        let mut found = self.ask(async |reader| reader.starts(batch.clone(), WINDOW_BYTES).await).await?.into_iter();
        let first = found.next().flatten();
        for (other, runs) in batch.iter().skip(1).zip(found) {
            if let Some(runs) = runs {
                self.keep(*other, 0, &Arc::new(runs));
            }
        }
        Ok(first)
    }

    /// Takes note of files that were listed in a folder; `is_first` if the listing begins with them.
    pub fn note_listed(&self, folder: NodeId, is_first: bool, files: impl Iterator<Item = NodeId>) {
        self.nearby.lock().unwrap_or_else(PoisonError::into_inner).note(folder, is_first, files);
    }
}

/// What is meant by up to `len` bytes from `offset` of what lies at `range`.
fn within(range: &Range<u64>, offset: u64, len: usize) -> (u64, usize) {
    let at = range.start.saturating_add(offset).min(range.end);
    (at, len.min(usize::try_from(range.end - at).unwrap_or(usize::MAX)))
}

/// Where most of the bytes of a read lie in the image. One place tells of a reader; each piece of a file in many pieces would
/// be taken for a reader of its own.
fn longest_below(runs: &[Run]) -> Option<(u64, u64)> {
    let below = runs.iter().filter_map(|run| match run {
        Run::Below { offset, len } => Some((*offset, *len)),
        _ => None,
    });
    below.max_by_key(|(_, len)| *len)
}

/// The parts of runs that fall into `range`, counted from the first of them.
fn parts(runs: &[Run], range: Range<u64>) -> Vec<Run> {
    let (mut found, mut at) = (Vec::new(), 0);
    for run in runs {
        let end = at + run.len();
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            let (skip, len) = (from - at, to - from);
            found.push(match run {
                Run::Below { offset, .. } => Run::Below { offset: offset + skip, len },
                Run::Zero { .. } => Run::Zero { len },
                Run::Bytes(bytes) => Run::Bytes(bytes[skip as usize..(skip + len) as usize].to_vec()),
            });
        }
        at = end;
        if at >= range.end {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_runs() {
        let runs = [Run::Below { offset: 100, len: 10 }, Run::Zero { len: 5 }, Run::Bytes(vec![1, 2, 3])];
        let below = |offset, len| Run::Below { offset, len };
        assert_eq!(parts(&runs, 0..18), runs);
        assert_eq!(parts(&runs, 3..5), [below(103, 2)]);
        assert_eq!(parts(&runs, 9..17), [below(109, 1), Run::Zero { len: 5 }, Run::Bytes(vec![1, 2])]);
        assert_eq!(parts(&runs, 16..30), [Run::Bytes(vec![2, 3])]);
        assert_eq!(parts(&runs, 18..30), []);
    }
}
