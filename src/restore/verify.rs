//! Comparing a file of the target with the snapshot: by the ids of its chunks, so nothing is fetched but their list.

use crate::crypto::Keys;
use crate::extent::ChunkKind;
use crate::extent::Extent;
use crate::meta::Content;
use crate::meta::Kind;
use crate::restore::Error;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::work::Item;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use crate::target;
use crate::target::ExistingFile;
use crate::tree::Piece;
use std::sync::Arc;

/// Bytes of a file looked up in its extent tree at once.
const SPAN_BYTES: u64 = 64 << 20;
/// Bytes of a hole read at once.
const HOLE_BYTES: usize = 1 << 20;

impl Work {
    /// Compares a file whose content is no tree of extents. Not files are taken for compared without being so.
    pub(super) fn verify_small(&self, item: &Item) -> Result<bool, Problem> {
        if !self.verify || item.node().kind != Kind::File {
            return Ok(false);
        }
        let content = &item.node().content;
        let file = self.open(item)?;
        let extent = match content {
            Content::Chunk(chunk) => Extent::Data(*chunk),
            _ => Extent::Hole(content.len()),
        };
        let is_right = match content {
            Content::Inline(bytes) => read(&file, 0, bytes.len())?.is_some_and(|found| found == *bytes),
            _ => is_equal(&file, &Piece { offset: 0, extent }, &self.keys)?,
        };
        if is_right { Ok(true) } else { Err(Problem::Differs) }
    }

    /// Opens what should be the file of an item, and sees to its length.
    pub(super) fn open(&self, item: &Item) -> Result<ExistingFile, Problem> {
        let target = self.target().expect("only a dry run has no target, and it verifies nothing");
        let file = target.open_existing(&item.path())?.ok_or(Problem::Differs)?;
        if file.existing().size == item.node().size() { Ok(file) } else { Err(Problem::Differs) }
    }
}

/// Compares a file of any size.
pub(super) async fn verify_large(run: &Run<'_>, item: &Item) -> Result<Result<bool, Problem>, Error> {
    if !run.work.verify {
        return Ok(Ok(false));
    }
    let (work, wanted) = (run.work.clone(), item.clone());
    let file = match blocking(move || work.open(&wanted)).await? {
        Ok(file) => Arc::new(file),
        Err(problem) => return Ok(Err(problem)),
    };
    let content = &item.node().content;
    let mut from = 0;
    while from < content.len() {
        let range = from..content.len().min(from + SPAN_BYTES);
        let pieces = match run.browse.pieces(content, range).await {
            Ok(pieces) if pieces.last().is_some_and(|last| last.end() > from) => pieces,
            Ok(_) => return Ok(Err(Problem::Differs)),
            Err(error) => return Ok(Err(Problem::Content(error))),
        };
        for piece in pieces {
            if run.is_over() {
                return Err(Error::Cancelled);
            }
            from = piece.end();
            let (work, file) = (run.work.clone(), file.clone());
            match blocking(move || is_equal(&file, &piece, &work.keys)).await? {
                Ok(true) => {}
                Ok(false) => return Ok(Err(Problem::Differs)),
                Err(error) => return Ok(Err(error.into())),
            }
        }
    }
    Ok(Ok(true))
}

fn is_equal(file: &ExistingFile, piece: &Piece, keys: &Keys) -> Result<bool, target::Error> {
    match piece.extent {
        Extent::Data(chunk) => Ok(read(file, piece.offset, chunk.len as usize)?
            .is_some_and(|bytes| keys.chunk_id(ChunkKind::Data, &bytes) == chunk.id)),
        Extent::Hole(_) => {
            let mut at = piece.offset;
            while at < piece.end() {
                let len = (piece.end() - at).min(HOLE_BYTES as u64);
                if !read(file, at, len as usize)?.is_some_and(|bytes| bytes.iter().all(|&b| b == 0)) {
                    return Ok(false);
                }
                at += len;
            }
            Ok(true)
        }
    }
}

/// Exactly so many bytes, or `None` if the file ends before.
fn read(file: &ExistingFile, offset: u64, len: usize) -> Result<Option<Vec<u8>>, target::Error> {
    let mut bytes = vec![0; len];
    let mut have = 0;
    while have < len {
        match file.read_at(offset + have as u64, &mut bytes[have..])? {
            0 => return Ok(None),
            more => have += more,
        }
    }
    Ok(Some(bytes))
}
