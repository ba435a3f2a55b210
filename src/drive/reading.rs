//! Reading files of a snapshot: out of memory at once, else later, and what will be read next is decoded ahead.

use crate::browse::NeverRead;
use crate::browse::Unreadable;
use crate::drive::refuse;
use crate::drive::shown::Asked;
use crate::drive::shown::Shown;
use crate::extent::Extent;
use crate::meta::Content;
use crate::meta::Node;
use crate::monitor::chain;
use crate::repo;
use crate::tree::Found;
use crate::tree::NodeTree;
use crate::tree::Pages;
use crate::tree::Piece;
use crate::tree::Stop;
use crate::tree::pieces;
use bygone_mount::Answer;
use bygone_mount::DriveError;
use bygone_mount::drive::Ino;
use bygone_mount::drive::Seek;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::PoisonError;

/// How far ahead of a sequential reader chunks are decoded, if there is memory for it.
const AHEAD_BYTES: u64 = 2 << 20;
/// Less than that is not worth it.
const AHEAD_BYTES_MIN: u64 = 512 << 10;

impl Shown {
    pub(super) fn seek(self: &Arc<Self>, ino: Ino, offset: u64, what: Seek) -> Answer<u64> {
        self.ask(ino, move |this, tree, pages| {
            let found = match this.node(tree, pages, ino)? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            Ok(seek(pages, found.node(), offset, what)?.ok_or(DriveError::BeyondEnd))
        })
    }

    pub(super) fn read(self: &Arc<Self>, ino: Ino, offset: u64, len: u32) -> Answer<Bytes> {
        let chunks = self.browse.chunks();
        let len = len as usize;
        if let Ok(found) = self.node(self.browse.tree(), &**chunks, ino) {
            return match found {
                Ok(found) if found.node().is_folder() => refuse(DriveError::IsAFolder),
                Ok(found) => self.read_content(ino, &found, offset, len),
                Err(error) => refuse(error),
            };
        }
        let this = self.clone();
        Answer::later(async move {
            let question = move |this: &Shown, tree: &NodeTree, pages: &dyn Pages| this.node(tree, pages, ino);
            let found = this.ask_later(ino, question).await?;
            this.read_content(ino, &found, offset, len).wait().await
        })
    }

    /// The whole of a small file, if it is in memory.
    pub(super) fn small(&self, ino: Ino, bytes_max: u64) -> Option<Bytes> {
        let Ok(Ok(found)) = self.node(self.browse.tree(), &**self.browse.chunks(), ino) else { return None };
        let content = &found.node().content;
        let len = content.len();
        if found.node().is_folder() || !(1..=bytes_max).contains(&len) {
            return None;
        }
        unread(found.node(), 0, len).ok()?;
        let read = self.browse.read_now(content, 0, usize::try_from(len).ok()?)?.ok()?;
        self.ahead.note(found.rank, 0, len, false);
        Some(read)
    }

    /// True if reading this file needs nothing fetched.
    pub(super) fn is_kept(self: &Arc<Self>, ino: Ino) -> Answer<bool> {
        self.ask_disk(move |this| {
            let found = this.node(this.browse.tree(), &this.browse.chunks().kept(), ino);
            Ok(matches!(found, Ok(Ok(found)) if this.browse.is_kept(&found.node().content)))
        })
    }

    /// Reads out of memory and the cache on disk alone: fetches nothing, not even ahead. `None` if something would have
    /// to be fetched.
    pub(super) fn read_kept(self: &Arc<Self>, ino: Ino, offset: u64, len: u32) -> Answer<Option<Bytes>> {
        let told =
            move |this: &Shown, read: repo::Result<Bytes>| read.map(Some).map_err(|error| this.failed(ino, &error));
        match self.node(self.browse.tree(), &**self.browse.chunks(), ino) {
            Ok(Ok(found)) if found.node().is_folder() => return refuse(DriveError::IsAFolder),
            Ok(Err(error)) => return refuse(error),
            Ok(Ok(found)) => {
                if let Err(error) = self.check(ino, found.node(), offset, len.into()) {
                    return refuse(error);
                }
                if let Some(read) = self.browse.read_at_hand(&found.node().content, offset, len as usize) {
                    return Answer::Now(told(self, read));
                }
            }
            Err(_) => {}
        }
        self.ask_disk(move |this| match this.node(this.browse.tree(), &this.browse.chunks().kept(), ino) {
            Ok(found) => {
                let found = found?;
                this.check(ino, found.node(), offset, len.into())?;
                let read = this.browse.read_kept(&found.node().content, offset, len as usize);
                read.map_or(Ok(None), |read| told(this, read))
            }
            Err(_) => Ok(None),
        })
    }

    /// Fails like [`unread`], and takes note of it.
    fn check(&self, ino: Ino, node: &Node, offset: u64, len: u64) -> Asked<()> {
        unread(node, offset, len).map_err(|error| {
            self.note(ino, chain(&error));
            DriveError::Io
        })
    }

    /// Asks something that may have to wait for the disk.
    fn ask_disk<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Shown) -> Asked<T> + Send + 'static,
    ) -> Answer<T> {
        let this = self.clone();
        Answer::later(async move {
            let asked = tokio::task::spawn_blocking(move || question(&this));
            asked.await.unwrap_or(Err(DriveError::Io))
        })
    }

    fn read_content(self: &Arc<Self>, ino: Ino, found: &Found, offset: u64, len: usize) -> Answer<Bytes> {
        let content = &found.node().content;
        if let Err(error) = self.check(ino, found.node(), offset, len as u64) {
            return refuse(error);
        }
        if let Some(read) = self.browse.read_now(content, offset, len) {
            self.ahead.note(found.rank, offset, len as u64, false);
            self.decode_ahead(ino, content, offset, len as u64);
            return Answer::Now(read.map_err(|error| self.failed(ino, &error)));
        }
        self.ahead.note(found.rank, offset, len as u64, true);
        let (this, content) = (self.clone(), content.clone());
        Answer::later(async move {
            let read = this.browse.read(&content, offset, len).await;
            this.decode_ahead(ino, &content, offset, len as u64);
            read.map_err(|error| this.failed(ino, &error))
        })
    }

    /// If this read continues the last one of the same file, starts to decode the chunks that come next.
    fn decode_ahead(&self, ino: Ino, content: &Content, offset: u64, len: u64) {
        if !matches!(content, Content::Extents { .. }) {
            return;
        }
        let end = offset + len;
        let last = self.readers.lock().unwrap_or_else(PoisonError::into_inner).put(ino, end);
        // Requests of one reader come in several threads, so "the last one" is any nearby.
        if last.is_none_or(|last| last.abs_diff(offset) > AHEAD_BYTES) {
            return;
        }
        let chunks = self.browse.chunks();
        let ahead = AHEAD_BYTES.min(chunks.decoded_bytes_max() / self.ahead.active().max(1));
        if ahead < AHEAD_BYTES_MIN {
            return;
        }
        let _pages_not_at_hand = pieces(&**chunks, content, end..end + ahead, &mut |piece| {
            if let Extent::Data(chunk) = &piece.extent {
                chunks.prefetch(chunk);
            }
            true
        });
    }
}

/// Fails where zeros stand for what of a disk could not be read when it was backed up.
fn unread(node: &Node, offset: u64, len: u64) -> Result<(), NeverRead> {
    Unreadable::of(node).check(&(offset..offset.saturating_add(len)))
}

/// The next data or hole from an offset on; `None` beyond the end, or if there is no more data. What could not be read
/// counts as data: whoever passes over holes would take it for zeros.
fn seek(pages: &dyn Pages, node: &Node, offset: u64, what: Seek) -> Result<Option<u64>, Stop> {
    let (content, unreadable) = (&node.content, Unreadable::of(node));
    let len = content.len();
    if offset >= len {
        return Ok(None);
    }
    let Content::Extents { .. } = content else {
        return Ok(Some(if what == Seek::Data { offset } else { len }));
    };
    let mut answer = None;
    pieces(pages, content, offset..len, &mut |piece: Piece| {
        let is_hole = matches!(piece.extent, Extent::Hole(_));
        let from = piece.offset.max(offset);
        let unread = unreadable.next(from).filter(|unread| is_hole && unread.start < piece.end());
        let data = if is_hole { unread.map(|unread| unread.start.max(from)) } else { Some(from) };
        let hole = match unread {
            Some(unread) if unread.start <= from => Some(unread.end).filter(|end| *end < piece.end()),
            _ => Some(from).filter(|_| is_hole),
        };
        answer = if what == Seek::Hole { hole } else { data };
        answer.is_none()
    })?;
    Ok(answer.or((what == Seek::Hole).then_some(len)))
}
