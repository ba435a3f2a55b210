//! Bytes of files out of their chunks.

use crate::extent::Extent;
use crate::format::FormatError;
use crate::meta::Content;
use crate::repo::Chunks;
use crate::repo::Error;
use crate::repo::Result;
use crate::tree::Pages;
use crate::tree::Piece;
use crate::tree::Stop;
use crate::tree::pieces;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Chunks that are decoded ahead of a sequential copy.
const CHUNKS_AHEAD: usize = 8;

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

/// Appends what a piece contributes to a range.
fn append(out: &mut Vec<u8>, piece: &Piece, range: &Range<u64>, chunk: Option<&Bytes>) -> Result<()> {
    let part = overlap(piece, range);
    match chunk {
        None => out.resize(out.len() + part.len(), 0),
        Some(bytes) => out.extend_from_slice(bytes.get(part).ok_or_else(too_short)?),
    }
    Ok(())
}

fn too_short() -> Error {
    Error::Object { object: "chunk of a file".to_owned(), source: FormatError::Short { what: "chunk" } }
}

/// Up to `len` bytes from `offset`.
pub(super) async fn read(chunks: &Arc<Chunks>, content: &Content, offset: u64, len: usize) -> Result<Bytes> {
    let range = clip(content, offset, len);
    if let Some(bytes) = inline(content, &range) {
        return Ok(bytes);
    }
    let found = chunks.ask(|pages| find_pieces(pages, content, &range)).await?;
    for piece in &found {
        if let Extent::Data(chunk) = &piece.extent {
            chunks.prefetch(chunk);
        }
    }
    if let [piece @ Piece { extent: Extent::Data(chunk), .. }] = &found[..] {
        let bytes = chunks.data(chunk).await?;
        let part = overlap(piece, &range);
        return if part.end <= bytes.len() { Ok(bytes.slice(part)) } else { Err(too_short()) };
    }
    let mut out = Vec::with_capacity((range.end - range.start) as usize);
    for piece in &found {
        let bytes = match &piece.extent {
            Extent::Data(chunk) => Some(chunks.data(chunk).await?),
            Extent::Hole(_) => None,
        };
        append(&mut out, piece, &range, bytes.as_ref())?;
    }
    Ok(out.into())
}

/// The same without waiting: `None` if something is not in memory.
pub(super) fn read_now(chunks: &Arc<Chunks>, content: &Content, offset: u64, len: usize) -> Option<Result<Bytes>> {
    let range = clip(content, offset, len);
    if let Some(bytes) = inline(content, &range) {
        return Some(Ok(bytes));
    }
    let found = find_pieces(&**chunks, content, &range).ok()?;
    let mut parts = Vec::with_capacity(found.len());
    for piece in &found {
        parts.push(match &piece.extent {
            Extent::Data(chunk) => Some(chunks.data_now(chunk)?),
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

/// Hands a file's bytes to `take` in order, chunk by chunk, with its holes left out: `take(offset, bytes)`.
/// Decodes a few chunks ahead. `take` stops the copy by an error of its own.
pub async fn copy_content<E: From<Error>>(
    chunks: &Arc<Chunks>,
    content: &Content,
    mut take: impl FnMut(u64, Bytes) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    /// Bytes of a file looked up in its extent tree at once.
    const SPAN_BYTES: u64 = 64 << 20;
    let len = content.len();
    if let Content::Inline(bytes) = content {
        return take(0, Bytes::copy_from_slice(bytes));
    }
    let mut from = 0;
    while from < len {
        let range = from..len.min(from + SPAN_BYTES);
        let found = chunks.ask(|pages| find_pieces(pages, content, &range)).await?;
        let Some(end) = found.last().map(Piece::end) else {
            return Err(too_short().into());
        };
        let data: Vec<_> = found
            .iter()
            .filter(|piece| piece.offset >= from)
            .filter_map(|piece| if let Extent::Data(chunk) = piece.extent { Some((piece.offset, chunk)) } else { None })
            .collect();
        for (i, (offset, chunk)) in data.iter().enumerate() {
            for (_, next) in data.iter().skip(i).take(CHUNKS_AHEAD) {
                chunks.prefetch(next);
            }
            let bytes = chunks.data(chunk).await?;
            if bytes.len() != chunk.len as usize {
                return Err(too_short().into());
            }
            take(*offset, bytes)?;
        }
        from = end;
    }
    Ok(())
}
