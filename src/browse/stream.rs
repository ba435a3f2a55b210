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
    /// Found and not being decoded yet; the first `asked` of them are being fetched.
    found: VecDeque<(u64, ChunkRef)>,
    asked: usize,
    asked_bytes: u64,
    /// Held here and not only in the cache, which may be too small for all files at once.
    decoding: VecDeque<(u64, JoinHandle<Result<Bytes>>)>,
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

    /// The next data and its offset in the file; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        if matches!(self.content, Content::Inline(_))
            && let Content::Inline(bytes) = std::mem::take(&mut self.content)
        {
            return Ok(Some((0, bytes.into())));
        }
        self.look_up().await?;
        self.fetch_ahead();
        while self.decoding.len() < CHUNKS_DECODED
            && let Some((offset, chunk)) = self.found.pop_front()
        {
            self.asked = self.asked.saturating_sub(1);
            self.asked_bytes = self.asked_bytes.saturating_sub(chunk.hint.len.into());
            let chunks = self.chunks.clone();
            let decode = async move { chunks.data(&chunk).await };
            self.decoding.push_back((offset, self.chunks.runtime().spawn(decode)));
        }
        let Some((offset, decoded)) = self.decoding.pop_front() else { return Ok(None) };
        let bytes = decoded.await.map_err(|_| Error::TaskLost)??;
        Ok(Some((offset, bytes)))
    }

    /// Sees to it that a window of chunks is known, or all that are left.
    async fn look_up(&mut self) -> Result<()> {
        while self.looked < self.content.len() && self.found.len() <= self.asked + CHUNKS_DECODED {
            let range = self.looked..self.content.len().min(self.looked + SPAN_BYTES);
            let pieces = content::pieces_of(&self.chunks, &self.content, range.clone()).await?;
            self.looked =
                pieces.last().map(Piece::end).filter(|end| *end > range.start).ok_or_else(content::too_short)?;
            let new = pieces.iter().filter(|piece| piece.offset >= range.start);
            self.found.extend(new.filter_map(|piece| match piece.extent {
                Extent::Data(chunk) => Some((piece.offset, chunk)),
                Extent::Hole(_) => None,
            }));
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
            && let Some((_, chunk)) = self.found.get(self.asked)
        {
            self.asked += 1;
            self.asked_bytes += u64::from(chunk.hint.len);
        }
        let wanted: Vec<ChunkRef> = self.found.range(before..self.asked).map(|(_, chunk)| *chunk).collect();
        self.chunks.fetch_ahead(&wanted);
    }
}
