//! Large files: piece by piece in file order, a few chunks decoded ahead, holes left as holes.
//! Always: the file gets its name when it is complete; a piece that cannot be read leaves nothing behind.

use crate::meta::Content;
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
use bytes::Bytes;

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
    let mut file = file;
    let mut data = run.browse.data(&item.node().content);
    while let Some((offset, bytes)) = data.next().await.map_err(Problem::Content)? {
        if run.is_over() {
            return Ok(Err(Error::Cancelled));
        }
        let len = bytes.len() as u64;
        file = match blocking(move || write(file, offset, &bytes)).await {
            Ok(written) => written?,
            Err(error) => return Ok(Err(error)),
        };
        *told += len;
        run.wrote(len);
        run.done(0, len);
    }
    Ok(Ok(file))
}

fn write(file: NewFile, offset: u64, bytes: &Bytes) -> Result<NewFile, Problem> {
    file.write_at(offset, bytes)?;
    Ok(file)
}
