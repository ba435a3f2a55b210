//! The data of one file in file order, holes left out, fetched and decoded ahead of whoever takes it.

use crate::browse::content;
use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::meta::Content;
use crate::repo::Chunks;
use crate::repo::Error;
use crate::repo::Result;
use crate::tree::Piece;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Chunks being decoded, or decoded and not taken yet.
const CHUNKS_DECODED: usize = 8;
/// Stored bytes asked for ahead, as far as the memory allows.
const WINDOW_MAX: u64 = 16 << 20;
/// Bytes of a file looked up in its extent tree at once.
const SPAN_BYTES: u64 = 64 << 20;

/// A file's data, chunk by chunk.
pub struct DataStream {
    chunks: Arc<Chunks>,
    content: Content,
    /// Looked up to here.
    looked: u64,
    /// Found and not being decoded yet, each with the stored bytes it takes; the first `asked` of them are being fetched.
    found: VecDeque<(u64, ChunkRef, u64)>,
    asked: usize,
    asked_bytes: u64,
    /// Held here and not only in the cache, which may be too small for all files at once.
    decoding: VecDeque<(Range<u64>, JoinHandle<Result<Bytes>>)>,
    window: u64,
}

impl DataStream {
    /// Nothing is fetched before the first call of [`DataStream::next`].
    pub fn new(chunks: &Arc<Chunks>, content: &Content) -> DataStream {
        DataStream {
            chunks: chunks.clone(),
            content: content.clone(),
            looked: 0,
            found: VecDeque::new(),
            asked: 0,
            asked_bytes: 0,
            decoding: VecDeque::new(),
            window: WINDOW_MAX.min(chunks.ahead_bytes_max() / 2),
        }
    }

    /// A stream of nothing but what it is given by [`DataStream::add`].
    pub fn of_chunks(chunks: &Arc<Chunks>) -> DataStream {
        DataStream::new(chunks, &Content::Empty)
    }

    /// Another chunk, and where it goes: behind everything that is still to come.
    pub fn add(&mut self, offset: u64, chunk: ChunkRef) {
        // What was compressed together is fetched once.
        let is_fetched = self.found.back().is_some_and(|(_, before, _)| before.hint == chunk.hint);
        self.found.push_back((offset, chunk, if is_fetched { 0 } else { chunk.hint.len.into() }));
    }

    /// How many chunks are known and not being decoded yet.
    pub fn waiting(&self) -> usize {
        self.found.len()
    }

    /// The next data and its offset in the file; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        match self.next_or_fault().await? {
            Some((range, bytes)) => Ok(Some((range.start, bytes?))),
            None => Ok(None),
        }
    }

    /// The same for a reader that goes on behind data that cannot be had: where it belongs, and the data or why not.
    pub async fn next_or_fault(&mut self) -> Result<Option<(Range<u64>, Result<Bytes>)>> {
        if matches!(self.content, Content::Inline(_))
            && let Content::Inline(bytes) = std::mem::take(&mut self.content)
        {
            return Ok(Some((0..bytes.len() as u64, Ok(bytes.into()))));
        }
        self.look_up().await?;
        self.fetch_ahead();
        while self.decoding.len() < CHUNKS_DECODED
            && let Some((offset, chunk, bytes)) = self.found.pop_front()
        {
            self.asked = self.asked.saturating_sub(1);
            self.asked_bytes = self.asked_bytes.saturating_sub(bytes);
            let chunks = self.chunks.clone();
            let decode = async move { chunks.data(&chunk).await };
            let range = offset..offset.saturating_add(chunk.len.into());
            self.decoding.push_back((range, self.chunks.runtime().spawn(decode)));
        }
        let Some((range, decoded)) = self.decoding.pop_front() else { return Ok(None) };
        let bytes = decoded.await.map_err(|_| Error::TaskLost)?;
        Ok(Some((range, bytes)))
    }

    /// Sees to it that a window of chunks is known, or all that are left.
    async fn look_up(&mut self) -> Result<()> {
        while self.looked < self.content.len() && self.found.len() <= self.asked + CHUNKS_DECODED {
            let range = self.looked..self.content.len().min(self.looked + SPAN_BYTES);
            let pieces = content::pieces_of(&self.chunks, &self.content, range.clone()).await?;
            self.looked =
                pieces.last().map(Piece::end).filter(|end| *end > range.start).ok_or_else(content::too_short)?;
            for piece in pieces.iter().filter(|piece| piece.offset >= range.start) {
                if let Extent::Data(chunk) = piece.extent {
                    self.add(piece.offset, chunk);
                }
            }
        }
        Ok(())
    }

    /// Asks for another half of a window when half of it was taken.
    fn fetch_ahead(&mut self) {
        if self.asked_bytes > self.window / 2 {
            return;
        }
        let before = self.asked;
        while self.asked_bytes < self.window
            && let Some((.., bytes)) = self.found.get(self.asked)
        {
            self.asked += 1;
            self.asked_bytes += bytes;
        }
        let wanted: Vec<ChunkRef> = self.found.range(before..self.asked).map(|(_, chunk, _)| *chunk).collect();
        self.chunks.fetch_ahead(&wanted);
    }
}
