//! Bytes of files out of their chunks.

use crate::extent::ChunkRef;
use crate::extent::Extent;
use crate::format::FormatError;
use crate::meta::Content;
use crate::repo::Chunks;
use crate::repo::Error;
use crate::repo::KeptHere;
use crate::repo::Result;
use crate::tree::Pages;
use crate::tree::Piece;
use crate::tree::Stop;
use crate::tree::pieces;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of a chunk that fall into a range, checked against the length its page gave it.
fn overlap(piece: &Piece, range: &Range<u64>) -> Range<usize> {
    let start = range.start.max(piece.offset) - piece.offset;
    let end = range.end.min(piece.end()) - piece.offset;
    start as usize..end as usize
}

fn clip(content: &Content, offset: u64, len: usize) -> Range<u64> {
    let end = offset.saturating_add(len as u64).min(content.len());
    offset.min(end)..end
}

/// Bytes that stand in the node itself.
fn inline(content: &Content, range: &Range<u64>) -> Option<Bytes> {
    match content {
        _ if range.is_empty() => Some(Bytes::new()),
        Content::Inline(bytes) => bytes.get(range.start as usize..range.end as usize).map(Bytes::copy_from_slice),
        _ => None,
    }
}

fn find_pieces<P: Pages>(pages: &P, content: &Content, range: &Range<u64>) -> std::result::Result<Vec<Piece>, Stop> {
    let mut found = Vec::new();
    pieces(pages, content, range.clone(), &mut |piece| {
        found.push(piece);
        true
    })?;
    Ok(found)
}

/// The pieces that touch a range.
pub(crate) async fn pieces_of(chunks: &Arc<Chunks>, content: &Content, range: Range<u64>) -> Result<Vec<Piece>> {
    chunks.ask(|pages| find_pieces(pages, content, &range)).await
}

/// Appends what a piece contributes to a range.
fn append(out: &mut Vec<u8>, piece: &Piece, range: &Range<u64>, chunk: Option<&Bytes>) -> Result<()> {
    let part = overlap(piece, range);
    match chunk {
        None => out.resize(out.len() + part.len(), 0),
        Some(bytes) => out.extend_from_slice(bytes.get(part).ok_or_else(too_short)?),
    }
    Ok(())
}

pub(super) fn too_short() -> Error {
    Error::Object { object: "chunk of a file".to_owned(), source: FormatError::Short { what: "chunk" } }
}

/// Up to `len` bytes from `offset`.
pub(super) async fn read(chunks: &Arc<Chunks>, content: &Content, offset: u64, len: usize) -> Result<Bytes> {
    let range = clip(content, offset, len);
    if let Some(bytes) = inline(content, &range) {
        return Ok(bytes);
    }
    let found = pieces_of(chunks, content, range.clone()).await?;
    if let [piece @ Piece { extent: Extent::Data(chunk), .. }] = &found[..] {
        let bytes = chunks.data(chunk).await?;
        let part = overlap(piece, &range);
        return if part.end <= bytes.len() { Ok(bytes.slice(part)) } else { Err(too_short()) };
    }
    let begin = |piece: &Piece| match &piece.extent {
        Extent::Data(chunk) => Some(chunks.begin_data(chunk)),
        Extent::Hole(_) => None,
    };
    let coming: Vec<_> = found.iter().map(begin).collect();
    let mut out = Vec::with_capacity((range.end - range.start) as usize);
    for (piece, coming) in found.iter().zip(coming) {
        let bytes = match coming {
            Some(coming) => Some(coming.await?),
            None => None,
        };
        append(&mut out, piece, &range, bytes.as_ref())?;
    }
    Ok(out.into())
}

/// True if all of it is in memory or in the cache on disk. Looks at so many chunks at once, and stops at the first that
/// are not.
pub(super) fn is_kept(kept: &KeptHere<'_>, content: &Content) -> bool {
    const AT_ONCE: usize = 128;
    let (mut chunks, mut has_all) = (Vec::with_capacity(AT_ONCE), true);
    let seen = pieces(kept, content, 0..content.len(), &mut |piece| {
        if let Extent::Data(chunk) = piece.extent {
            chunks.push(chunk);
        }
        if chunks.len() >= AT_ONCE {
            has_all = kept.has(&chunks);
            chunks.clear();
        }
        has_all
    });
    seen.is_ok() && has_all && kept.has(&chunks)
}

/// The same without waiting: `None` if something is not here, as `pages` and `chunk_now` see it.
pub(super) fn read_now<P: Pages>(
    pages: &P,
    content: &Content,
    offset: u64,
    len: usize,
    chunk_now: impl Fn(&ChunkRef) -> Option<Bytes>,
) -> Option<Result<Bytes>> {
    let range = clip(content, offset, len);
    if let Some(bytes) = inline(content, &range) {
        return Some(Ok(bytes));
    }
    let found = find_pieces(pages, content, &range).ok()?;
    let mut parts = Vec::with_capacity(found.len());
    for piece in &found {
        parts.push(match &piece.extent {
            Extent::Data(chunk) => Some(chunk_now(chunk)?),
            Extent::Hole(_) => None,
        });
    }
    if let ([piece], [Some(bytes)]) = (&found[..], &parts[..]) {
        let part = overlap(piece, &range);
        return (part.end <= bytes.len()).then(|| Ok(bytes.slice(part)));
    }
    let mut out = Vec::with_capacity((range.end - range.start) as usize);
    for (piece, bytes) in found.iter().zip(&parts) {
        if let Err(e) = append(&mut out, piece, &range, bytes.as_ref()) {
            return Some(Err(e));
        }
    }
    Some(Ok(out.into()))
}
