//! Large files: piece by piece in file order, a few chunks decoded ahead, holes left as holes.
//! Always: the file gets its name when it is complete; a piece that cannot be read leaves nothing behind.

use crate::extent::Extent;
use crate::format::FormatError;
use crate::meta::Content;
use crate::repo;
use crate::restore::Error;
use crate::restore::choice::Choice;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::verify::verify_large;
use crate::restore::work::Item;
use crate::restore::work::Outcome;
use crate::restore::work::Work;
use crate::restore::work::blocking;
use crate::target::NewFile;
use crate::tree::Piece;
use crate::tree::pieces;
use bytes::Bytes;
use futures::StreamExt;
use std::pin::pin;

/// Chunks on their way or decoded ahead of the one being written.
const CHUNKS_AHEAD: usize = 8;
/// Bytes of a file looked up in its extent tree at once.
const SPAN_BYTES: u64 = 64 << 20;

/// Restores one large file. Fails only if the whole restore must end.
pub(super) async fn restore_large(run: &Run<'_>, item: Item) -> Result<(), Error> {
    let mut told = 0;
    let outcome = match attempt(run, &item, &mut told).await {
        Ok(outcome) => outcome?,
        Err(problem) => Outcome::Failed(problem),
    };
    run.finish(&item, outcome, told)
}

/// The outer result is about this file, the inner one about the restore.
async fn attempt(run: &Run<'_>, item: &Item, told: &mut u64) -> Result<Result<Outcome, Error>, Problem> {
    let (work, wanted) = (run.work.clone(), item.clone());
    let choice = match blocking(move || work.prepare(&wanted)).await {
        Ok(choice) => choice?,
        Err(error) => return Ok(Err(error)),
    };
    let data = if let Content::Extents { data, .. } = item.node().content { data } else { 0 };
    let (bytes, missed) = match choice {
        Prepared::Leave => return Ok(Ok(Outcome::Left)),
        Prepared::Same(missed) => (None, missed),
        Prepared::Dry => return Ok(Ok(Outcome::Written { bytes: data, missed: Vec::new(), verified: false })),
        Prepared::Write(file) => {
            let file = match fill(run, item, file, told).await? {
                Ok(file) => file,
                Err(error) => return Ok(Err(error)),
            };
            let (work, wanted) = (run.work.clone(), item.clone());
            let finish = move || file.finish(&wanted.node().meta).map(|placed| work.placed(&wanted, placed));
            match blocking(finish).await {
                Ok(missed) => (Some(data), missed?),
                Err(error) => return Ok(Err(error)),
            }
        }
    };
    let verified = match verify_large(run, item).await {
        Ok(verified) => verified?,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(match bytes {
        Some(bytes) => Outcome::Written { bytes, missed, verified },
        None => Outcome::Same { missed, verified },
    }))
}

enum Prepared {
    Leave,
    Same(Vec<crate::target::Missed>),
    /// It would be written.
    Dry,
    Write(NewFile),
}

impl Work {
    fn prepare(&self, item: &Item) -> Result<Prepared, Problem> {
        Ok(match self.choose(item)? {
            (Choice::Leave, _) => Prepared::Leave,
            (Choice::Same { stale }, Some(existing)) => Prepared::Same(self.keep(item, &existing, stale)?),
            _ if self.dry_run => Prepared::Dry,
            _ => {
                let (target, folder) = self.enter(&item.place)?;
                Prepared::Write(target.begin_file(&folder, &item.node().name, item.node().size())?)
            }
        })
    }
}

/// Writes all data of a file.
async fn fill(run: &Run<'_>, item: &Item, file: NewFile, told: &mut u64) -> Result<Result<NewFile, Error>, Problem> {
    let content = &item.node().content;
    let mut file = file;
    let mut from = 0;
    while from < content.len() {
        let found = pieces_from(run, content, from).await.map_err(Problem::Content)?;
        from = found.last().map_or(content.len(), Piece::end);
        let data = found.into_iter().filter_map(|piece| match piece.extent {
            Extent::Data(chunk) => Some((piece.offset, chunk)),
            Extent::Hole(_) => None,
        });
        // Held here and not only in the cache, which may be too small for all files at once.
        let chunks = futures::stream::iter(data)
            .map(|(offset, chunk)| async move { run.browse.chunks().data(&chunk).await.map(|bytes| (offset, bytes)) });
        let mut chunks = pin!(chunks.buffered(CHUNKS_AHEAD));
        while let Some(next) = chunks.next().await {
            if run.is_over() {
                return Ok(Err(Error::Cancelled));
            }
            let (offset, bytes) = next.map_err(Problem::Content)?;
            let len = bytes.len() as u64;
            file = match blocking(move || write(file, offset, &bytes)).await {
                Ok(written) => written?,
                Err(error) => return Ok(Err(error)),
            };
            *told += len;
            run.done(0, len);
        }
    }
    Ok(Ok(file))
}

fn write(file: NewFile, offset: u64, bytes: &Bytes) -> Result<NewFile, Problem> {
    file.write_at(offset, bytes)?;
    Ok(file)
}

/// The next pieces of a content from an offset where a piece begins; at least one.
pub(super) async fn pieces_from(run: &Run<'_>, content: &Content, from: u64) -> Result<Vec<Piece>, repo::Error> {
    let range = from..content.len().min(from + SPAN_BYTES);
    let find = |_: &_, pages: &repo::View<'_>| {
        let mut found = Vec::new();
        pieces(pages, content, range.clone(), &mut |piece| {
            found.push(piece);
            true
        })?;
        Ok(found)
    };
    let found = run.browse.ask(find).await?;
    match found.last() {
        Some(last) if last.end() > from => Ok(found),
        _ => Err(repo::Error::Object {
            object: "list of chunks".to_owned(),
            source: FormatError::Short { what: "file" },
        }),
    }
}
