//! One node of an image: looked up in the target, written if need be, compared if asked for.
//! Always: the file gets its name when it is complete; zeros that lie nowhere in the image are holes.

use crate::browse::Inside;
use crate::browse::InsideError;
use crate::disk::Run as DiskRun;
use crate::disk::fs::NodeId;
use crate::meta::Kind;
use crate::restore::Error;
use crate::restore::choice::Choice;
use crate::restore::inside::Fault;
use crate::restore::problem::Problem;
use crate::restore::run::Run;
use crate::restore::work::Item;
use crate::restore::work::Origin;
use crate::restore::work::Outcome;
use crate::restore::work::blocking;
use crate::target::ExistingFile;
use crate::target::NewFile;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use std::pin::pin;
use std::sync::Arc;

/// Bytes of a file that are looked up in the image at once.
const SPAN_BYTES: u64 = 64 << 20;
/// Bytes read at once, and how many such reads go on at the same time.
const READ_BYTES: u64 = 1 << 20;
const READS_MAX: usize = 4;
/// Bytes compared with zeros at once.
const ZEROS_BYTES: u64 = 64 << 10;

/// Restores one node that is no folder. Fails only if the whole restore must end.
pub(super) async fn restore_item(run: &Run<'_>, inside: &Arc<Inside>, item: Item) -> Result<(), Error> {
    let mut told = 0;
    let outcome = match attempt(run, inside, &item, &mut told).await {
        Ok(outcome) => outcome,
        Err(Fault::This(problem)) => Outcome::Failed(problem),
        Err(Fault::All(error)) => return Err(error),
    };
    run.finish(&item, outcome, told)
}

async fn attempt(run: &Run<'_>, inside: &Arc<Inside>, item: &Item, told: &mut u64) -> Result<Outcome, Fault> {
    let (work, wanted) = (run.work.clone(), item.clone());
    let chosen = blocking(move || work.choose(&wanted)).await??;
    let (work, wanted) = (run.work.clone(), item.clone());
    match chosen {
        (Choice::Leave, _) => Ok(Outcome::Left),
        (Choice::Same { stale }, Some(existing)) => {
            let missed = blocking(move || work.keep(&wanted, &existing, stale)).await??;
            Ok(Outcome::Same { missed, verified: verify(run, inside, item).await? })
        }
        _ if run.work.dry_run => {
            Ok(Outcome::Written { bytes: item.node().content.len(), missed: Vec::new(), verified: false })
        }
        _ if item.node().kind != Kind::File => {
            let missed = blocking(move || work.put(&wanted, &Bytes::new())).await??;
            Ok(Outcome::Written { bytes: 0, missed, verified: false })
        }
        _ => {
            let begin = move || {
                let (target, folder) = work.enter(&wanted.place)?;
                Ok::<_, Problem>(target.begin_file(&folder, &wanted.node().name, wanted.node().size())?)
            };
            let sink = Sink::Write(blocking(begin).await??);
            let sink = pour(run, inside, item, sink, told).await?;
            let (work, wanted) = (run.work.clone(), item.clone());
            let finish = move || match sink {
                Sink::Write(file) => Ok(work.placed(&wanted, file.finish(&wanted.node().meta)?)),
                Sink::Compare(_) => Ok(Vec::new()),
            };
            let missed = blocking(finish).await?.map_err(Problem::Target)?;
            Ok(Outcome::Written { bytes: *told, missed, verified: verify(run, inside, item).await? })
        }
    }
}

/// Reads a file of the target and of the image, and compares them, if that is asked for.
async fn verify(run: &Run<'_>, inside: &Arc<Inside>, item: &Item) -> Result<bool, Fault> {
    if !run.work.verify || item.node().kind != Kind::File {
        return Ok(false);
    }
    let (work, wanted) = (run.work.clone(), item.clone());
    let file = blocking(move || work.open(&wanted)).await??;
    pour(run, inside, item, Sink::Compare(file), &mut 0).await?;
    Ok(true)
}

/// Where the bytes of a file go.
enum Sink {
    Write(NewFile),
    Compare(ExistingFile),
}

/// Some bytes of a file.
enum Piece {
    Bytes(Bytes),
    Zeros(u64),
}

impl Sink {
    fn take(self, at: u64, piece: &Piece) -> Result<Sink, Problem> {
        match (&self, piece) {
            (Sink::Write(file), Piece::Bytes(bytes)) => file.write_at(at, bytes)?,
            (Sink::Write(_), Piece::Zeros(_)) => {}
            (Sink::Compare(file), Piece::Bytes(bytes)) => compare(file, at, bytes)?,
            (Sink::Compare(file), Piece::Zeros(len)) => {
                let zeros = vec![0; ZEROS_BYTES.min(*len) as usize];
                let mut done = 0;
                while done < *len {
                    let part = ZEROS_BYTES.min(len - done);
                    compare(file, at + done, &zeros[..part as usize])?;
                    done += part;
                }
            }
        }
        Ok(self)
    }
}

fn compare(file: &ExistingFile, at: u64, wanted: &[u8]) -> Result<(), Problem> {
    let mut found = vec![0; wanted.len()];
    let mut have = 0;
    while have < found.len() {
        match file.read_at(at + have as u64, &mut found[have..])? {
            0 => return Err(Problem::Differs),
            more => have += more,
        }
    }
    if found == wanted { Ok(()) } else { Err(Problem::Differs) }
}

/// Gives all bytes of a file to the sink; adds to `told` how many of them are data.
async fn pour(run: &Run<'_>, inside: &Arc<Inside>, item: &Item, sink: Sink, told: &mut u64) -> Result<Sink, Fault> {
    let Origin::Image(node, id, _) = &item.origin else { return Ok(sink) };
    let (id, size): (NodeId, u64) = (*id, node.size());
    let (mut sink, mut at) = (sink, 0);
    while at < size {
        let span = at..size.min(at.saturating_add(SPAN_BYTES));
        let runs = inside.ask(async |reader| reader.map(id, span).await).await?;
        if runs.iter().all(DiskRun::is_empty) {
            return Err(Problem::Short { at, size }.into());
        }
        let mut read = pin!(stream::iter(parts(runs)).map(|part| read(inside, part)).buffered(READS_MAX));
        while let Some(piece) = read.next().await {
            if run.is_over() {
                return Err(Error::Cancelled.into());
            }
            let piece = piece?;
            let (len, data) = match &piece {
                Piece::Bytes(bytes) => (bytes.len() as u64, bytes.len() as u64),
                Piece::Zeros(len) => (*len, 0),
            };
            let from = at;
            sink = blocking(move || sink.take(from, &piece)).await??;
            at += len;
            if matches!(sink, Sink::Write(_)) {
                *told += data;
                run.done(0, data);
            }
        }
    }
    Ok(sink)
}

/// Runs in parts that can be read at once.
fn parts(runs: Vec<DiskRun>) -> impl Iterator<Item = DiskRun> {
    runs.into_iter().flat_map(|run| {
        let (whole, step) = match &run {
            DiskRun::Below { len, .. } => (*len, READ_BYTES),
            other => (other.len(), other.len().max(1)),
        };
        let count = whole.div_ceil(step);
        (0..count).map(move |number| match &run {
            DiskRun::Below { offset, len } => {
                let skip = number * step;
                DiskRun::Below { offset: offset + skip, len: step.min(len - skip) }
            }
            other => other.clone(),
        })
    })
}

async fn read(inside: &Arc<Inside>, part: DiskRun) -> Result<Piece, Problem> {
    Ok(match part {
        DiskRun::Zero { len } => Piece::Zeros(len),
        DiskRun::Bytes(bytes) => Piece::Bytes(bytes.into()),
        DiskRun::Below { offset, len } => {
            let bytes = inside.read_image(offset, len as usize).await.map_err(|error| match error {
                InsideError::Repo(error) => Problem::Content(error),
                other => Problem::Inside(other),
            })?;
            if bytes.len() as u64 != len {
                return Err(Problem::Short { at: offset, size: offset.saturating_add(len) });
            }
            Piece::Bytes(bytes)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_read_in_parts() {
        let below = |offset, len| DiskRun::Below { offset, len };
        let runs = vec![below(5, READ_BYTES * 2 + 1), DiskRun::Zero { len: 1 << 40 }, DiskRun::Bytes(vec![1])];
        let expected = [
            below(5, READ_BYTES),
            below(5 + READ_BYTES, READ_BYTES),
            below(5 + READ_BYTES * 2, 1),
            DiskRun::Zero { len: 1 << 40 },
            DiskRun::Bytes(vec![1]),
        ];
        assert_eq!(parts(runs).collect::<Vec<_>>(), expected);
    }
}
