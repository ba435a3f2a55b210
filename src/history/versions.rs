//! How one path changed over time: a look-up of a few pages in each snapshot, many at once.

use crate::browse::Browse;
use crate::browse::Changes;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::repo::Chunks;
use crate::repo::Log;
use crate::repo::Result;
use crate::tree::Change;
use crate::tree::Found;
use crate::tree::What;
use crate::tree::content_id;
use futures::StreamExt;
use futures::TryStreamExt;
use std::collections::HashMap;
use std::sync::Arc;

/// Snapshots that are looked into at once.
const AT_ONCE: usize = 16;

/// Numbers of contents, the same for the same content wherever it is met.
#[derive(Debug, Default)]
pub struct Numbers {
    known: HashMap<(u8, Option<ChunkId>), u64>,
    last: u64,
}

impl Numbers {
    fn of(&mut self, found: &Found, chunks: &Chunks) -> u64 {
        let (node, fresh) = (found.node(), self.last + 1);
        let number = match node.is_folder() {
            true => fresh,
            false => {
                let content = content_id(node, |kind, bytes| chunks.repo().keys().chunk_id(kind, bytes));
                *self.known.entry((kind_number(found), content)).or_insert(fresh)
            }
        };
        self.last = self.last.max(number);
        number
    }
}

/// What stood at a path in several snapshots in a row.
#[derive(Debug, Clone)]
pub struct Version {
    /// Same number, same content; from 1, in order of appearance. `None`: nothing was there.
    pub number: Option<u64>,
    /// What stood there in the first of the snapshots.
    pub found: Option<Found>,
    /// First of the snapshots, by place in the list.
    pub first: usize,
    /// Last of them.
    pub last: usize,
}

/// The versions of a path, oldest first. `snapshots`: of one host, oldest first. Nodes that differ in their metadata
/// alone are the same version; a folder is another one if anything below it came, went or changed its content.
pub async fn versions(
    chunks: &Arc<Chunks>,
    log: &Log,
    snapshots: &[&Snapshot],
    full_path: &[u8],
    numbers: &mut Numbers,
) -> Result<Vec<Version>> {
    let browses: Vec<Browse> = snapshots.iter().map(|snapshot| Browse::open(chunks, log, snapshot)).collect();
    let gets = futures::stream::iter(browses.iter().map(|browse| browse.get(full_path)));
    let found: Vec<Option<Found>> = gets.buffered(AT_ONCE).try_collect().await?;
    let mut all: Vec<Version> = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        if let Some(version) = all.last_mut() {
            let is_same = match (&version.found, &found) {
                (None, None) => true,
                (Some(old), Some(new)) => {
                    let (before, browse) = (&browses[version.last], &browses[at]);
                    !What::between(old.node(), new.node()).is_content()
                        && (!new.node().is_folder() || is_same_below(before, browse, full_path).await?)
                }
                _ => false,
            };
            if is_same {
                version.last = at;
                continue;
            }
        }
        let number = found.as_ref().map(|found| numbers.of(found, chunks));
        all.push(Version { number, found, first: at, last: at });
    }
    Ok(all)
}

/// Tells kinds of nodes apart.
fn kind_number(found: &Found) -> u8 {
    use crate::meta::Kind;
    match found.node().kind {
        Kind::File => 0,
        Kind::Folder => 1,
        Kind::Symlink(_) => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharDevice { .. } => 5,
        Kind::BlockDevice { .. } => 6,
    }
}

async fn is_same_below(old: &Browse, new: &Browse, folder: &[u8]) -> Result<bool> {
    let mut changes = Changes::new((old, folder), (new, folder));
    while let Some(change) = changes.next().await? {
        match change {
            Change::Changed(_, what) if !what.is_content() => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}
