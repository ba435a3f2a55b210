//! The catalogue: which names were in which snapshots, kept on this machine so that a search reads no snapshot twice.
//!
//! Snapshots of one host and the same sources form a chain. Of the first one everything is noted, of each further one
//! what changed against the one before it: a *run* of records in sealed parts ([`run`]). Whoever has the file learns ids of
//! snapshots and how much changed, no names; it is private to its user besides.
//!
//! - A snapshot counts once its row is there, which comes last: a killed process leaves parts without a row, which the
//!   next one removes.
//! - One process at a time adds; a file lock says which. Searches need no lock.
//! - It is only a copy: lost, damaged or of another version, it is made anew.
//!
//! [`run`]: crate::history::run

use crate::browse::Browse;
use crate::browse::Changes;
use crate::crypto::Keys;
use crate::crypto::random;
use crate::extent::ChunkKind;
use crate::format::FormatError;
use crate::format::record::Snapshot;
use crate::history::run::Info;
use crate::history::run::PartReader;
use crate::history::run::PartWriter;
use crate::history::run::Type;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::meta::Node;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::Log;
use crate::tree::Change;
use crate::tree::Found;
use crate::tree::content_id;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Version of the tables and records. Another one is thrown away.
const VERSION: i32 = 1;
/// Parts that are written by one transaction.
const PARTS_AT_ONCE: usize = 64;
/// A chain is made anew when this many more of its snapshots are forgotten than are left.
const DEAD_WEIGHT: usize = 16;
const WAIT: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE snapshot (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, chain BLOB NOT NULL, run BLOB NOT NULL) STRICT;
    CREATE INDEX snapshot_of ON snapshot (chain);
    CREATE TABLE part (
        key INTEGER PRIMARY KEY, run BLOB NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX part_of ON part (run, number);
";

/// Why the catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The database failed.
    #[error("the catalogue cannot be used")]
    Database(#[from] rusqlite::Error),
    /// A part does not open: damaged, or of another repository.
    #[error("the catalogue is damaged")]
    Part(#[from] FormatError),
    /// It is of another version.
    #[error("the catalogue is of another version")]
    Version,
    /// A part that should be there is not.
    #[error("the catalogue has a gap")]
    Gap,
    /// Its files cannot be made.
    #[error("cannot use '{}'", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The repository failed while snapshots were added.
    #[error(transparent)]
    Repo(#[from] repo::Error),
}

impl CatalogueError {
    /// True if making it anew helps.
    pub fn is_damage(&self) -> bool {
        match self {
            CatalogueError::Database(error) => !matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DiskFull)
            ),
            CatalogueError::Part(_) | CatalogueError::Version | CatalogueError::Gap => true,
            CatalogueError::Files { .. } | CatalogueError::Repo(_) => false,
        }
    }
}

/// Result of the catalogue's functions.
pub(super) type Result<T> = std::result::Result<T, CatalogueError>;

/// An open catalogue of one repository.
pub struct Catalogue {
    db: Connection,
    keys: Keys,
    /// Held while snapshots are added; `None` for one that lasts as long as the process.
    lock: Option<File>,
}

/// A snapshot that is in the catalogue.
pub(super) struct Row {
    pub(super) id: SnapshotId,
    pub(super) run: ObjectId,
}

/// Names the chain of a snapshot: host and sources, keyed, so that the name tells nothing.
fn chain_of(keys: &Keys, snapshot: &Snapshot) -> [u8; 16] {
    let mut text = snapshot.host.clone().into_bytes();
    for source in &snapshot.sources {
        text.push(0);
        text.extend_from_slice(source);
    }
    let ChunkId(hash) = keys.chunk_id(ChunkKind::Data, &text);
    let mut name = [0; 16];
    name.copy_from_slice(&hash[..16]);
    name
}

impl Catalogue {
    /// Opens or makes the catalogue below `folder`, private to its user.
    pub fn open(folder: &Path, keys: &Keys) -> Result<Catalogue> {
        let path = Catalogue::path(folder, keys);
        let fault = |source| CatalogueError::Files { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
        let private = |path: &Path| File::options().read(true).append(true).create(true).mode(0o600).open(path);
        let lock = private(&path.with_extension("catalogue-lock")).map_err(fault)?;
        drop(private(&path).map_err(fault)?);
        let db = Connection::open(&path)?;
        db.busy_timeout(WAIT)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        Catalogue { db, keys: keys.clone(), lock: Some(lock) }.prepared()
    }

    /// One that is gone when it is dropped.
    pub fn passing(keys: &Keys) -> Result<Catalogue> {
        Catalogue { db: Connection::open("")?, keys: keys.clone(), lock: None }.prepared()
    }

    /// Removes the catalogue of a repository.
    pub fn remove(folder: &Path, keys: &Keys) -> Result<()> {
        let path = Catalogue::path(folder, keys);
        for ending in ["catalogue", "catalogue-wal", "catalogue-shm"] {
            let path = path.with_extension(ending);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(CatalogueError::Files { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn path(folder: &Path, keys: &Keys) -> PathBuf {
        folder.join(format!("{}.catalogue", keys.repository()))
    }

    fn prepared(mut self) -> Result<Catalogue> {
        let txn = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i32 = txn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            VERSION => {}
            0 => {
                txn.execute_batch(SCHEMA)?;
                txn.pragma_update(None, "user_version", VERSION)?;
            }
            _ => return Err(CatalogueError::Version),
        }
        txn.commit()?;
        Ok(self)
    }

    /// Brings it up to date: adds snapshots that are missing, out of `snapshots`, all that the log has, oldest first.
    /// Returns those that cannot be read and are not in it.
    pub async fn update(
        &mut self,
        chunks: &Arc<Chunks>,
        log: &Log,
        snapshots: &[&Snapshot],
    ) -> Result<Vec<(SnapshotId, repo::Error)>> {
        let mut chains: BTreeMap<[u8; 16], Vec<&Snapshot>> = BTreeMap::new();
        for snapshot in snapshots {
            chains.entry(chain_of(&self.keys, snapshot)).or_default().push(snapshot);
        }
        let mut is_current = true;
        for (chain, members) in &chains {
            is_current &= !self.is_stale(chain, members)? && self.missing(chain, members)?.is_empty();
        }
        let mut unreadable = Vec::new();
        if is_current {
            return Ok(unreadable);
        }
        let lock = self.lock.as_ref().map(File::try_clone).transpose().and_then(|lock| {
            if let Some(lock) = &lock {
                lock.lock()?;
            }
            Ok(lock)
        });
        // Where files cannot be locked, two processes may do the same work; the rows stay whole.
        let lock = lock.unwrap_or_default();
        if lock.is_some() || self.lock.is_none() {
            self.db.execute("DELETE FROM part WHERE run NOT IN (SELECT run FROM snapshot)", [])?;
        }
        for (chain, members) in &chains {
            if self.is_stale(chain, members)? {
                self.drop_chain(chain)?;
            }
            for snapshot in self.missing(chain, members)? {
                match self.add(chunks, log, chain, members, snapshot).await {
                    Err(CatalogueError::Repo(error)) if !error.is_transient() => unreadable.push((snapshot.id, error)),
                    other => other?,
                }
            }
        }
        if let Some(lock) = lock {
            // Closing the file would end it as well.
            let _ends_anyway = lock.unlock();
        }
        Ok(unreadable)
    }

    /// Snapshots of a chain that are not in it, oldest first.
    fn missing<'a>(&self, chain: &[u8; 16], members: &[&'a Snapshot]) -> Result<Vec<&'a Snapshot>> {
        let known: HashSet<SnapshotId> = self.rows(chain)?.into_iter().map(|row| row.id).collect();
        Ok(members.iter().copied().filter(|snapshot| !known.contains(&snapshot.id)).collect())
    }

    /// True if nothing can be added, because the last snapshot of the chain was forgotten, or if most of it was.
    fn is_stale(&self, chain: &[u8; 16], members: &[&Snapshot]) -> Result<bool> {
        let rows = self.rows(chain)?;
        let living: HashSet<SnapshotId> = members.iter().map(|snapshot| snapshot.id).collect();
        let is_alive = |row: &Row| living.contains(&row.id);
        let alive = rows.iter().filter(|row| is_alive(row)).count();
        let ends_dead = rows.last().is_some_and(|row| !is_alive(row));
        let has_news = members.len() > alive;
        Ok((ends_dead && has_news) || rows.len() - alive > alive + DEAD_WEIGHT)
    }

    fn drop_chain(&self, chain: &[u8; 16]) -> Result<()> {
        let txn = self.db.unchecked_transaction()?;
        txn.execute("DELETE FROM part WHERE run IN (SELECT run FROM snapshot WHERE chain = ?1)", [chain])?;
        txn.execute("DELETE FROM snapshot WHERE chain = ?1", [chain])?;
        Ok(txn.commit()?)
    }

    /// The snapshots of a chain, in the order in which they were added.
    pub(super) fn rows(&self, chain: &[u8; 16]) -> Result<Vec<Row>> {
        let mut query = self.db.prepare_cached("SELECT id, run FROM snapshot WHERE chain = ?1 ORDER BY number")?;
        let rows =
            query.query_map([chain], |row| Ok(Row { id: SnapshotId(row.get(0)?), run: ObjectId(row.get(1)?) }))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes what changed against the last snapshot of the chain.
    async fn add(
        &mut self,
        chunks: &Arc<Chunks>,
        log: &Log,
        chain: &[u8; 16],
        members: &[&Snapshot],
        snapshot: &Snapshot,
    ) -> Result<()> {
        let last = self.rows(chain)?.pop();
        let last = last.and_then(|row| members.iter().find(|member| member.id == row.id));
        let browse = Browse::open(chunks, log, snapshot);
        let mut changes = match last {
            Some(last) => Changes::new((&Browse::open(chunks, log, last), b""), (&browse, b"")),
            None => Changes::whole(&browse),
        };
        let run = ObjectId(random());
        let mut parts = Parts { run, number: 0, writer: PartWriter::default(), open: Vec::new() };
        while let Some(change) = changes.next().await? {
            let (found, is_there) = match &change {
                Change::Added(found) => (found, true),
                Change::Removed(found) => (found, false),
                Change::Changed(_, what) if !what.is_content() && !what.time => continue,
                Change::Changed(both, _) => (&both.1, true),
            };
            let info = is_there.then(|| self.info(found));
            parts.push(&self.db, &self.keys, found, info.as_ref())?;
        }
        parts.finish(&self.db, &self.keys)?;
        let statement = "INSERT INTO snapshot (id, chain, run) VALUES (?1, ?2, ?3)";
        self.db.execute(statement, (snapshot.id.0, chain, run.0))?;
        Ok(())
    }

    fn info(&self, found: &Found) -> Info {
        let node: &Node = found.node();
        let content = content_id(node, |kind, bytes| self.keys.chunk_id(kind, bytes));
        let content = content.map_or(0, |id| id.0.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte)));
        Info { kind: Type::of(&node.kind), size: node.size(), mtime: node.meta.mtime, content }
    }

    /// A part of a run, open; `None` behind the last one.
    pub(super) fn part(&self, run: ObjectId, number: u32) -> Result<Option<PartReader>> {
        let mut query = self.db.prepare_cached("SELECT bytes FROM part WHERE run = ?1 AND number = ?2")?;
        let sealed: Option<Vec<u8>> = query.query_row((run.0, number), |row| row.get(0)).optional()?;
        match sealed {
            Some(sealed) if sealed.is_empty() => Ok(None),
            Some(sealed) => Ok(Some(PartReader::open(&self.keys, run, number, &sealed)?)),
            None => Err(CatalogueError::Gap),
        }
    }

    /// The chains of these snapshots, with their members in the order of `snapshots`.
    pub(super) fn chains<'a>(&self, snapshots: &[&'a Snapshot]) -> BTreeMap<[u8; 16], Vec<&'a Snapshot>> {
        let mut chains: BTreeMap<[u8; 16], Vec<&Snapshot>> = BTreeMap::new();
        for snapshot in snapshots {
            chains.entry(chain_of(&self.keys, snapshot)).or_default().push(snapshot);
        }
        chains
    }
}

/// The parts of a run that is being written.
struct Parts {
    run: ObjectId,
    number: u32,
    writer: PartWriter,
    open: Vec<(u32, Vec<u8>)>,
}

impl Parts {
    fn push(&mut self, db: &Connection, keys: &Keys, found: &Found, info: Option<&Info>) -> Result<()> {
        if self.writer.push(found.parent(), &found.node().name, info) {
            self.close(keys)?;
            if self.open.len() >= PARTS_AT_ONCE {
                self.store(db)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, keys: &Keys) -> Result<()> {
        if let Some(sealed) = self.writer.seal(keys, self.run, self.number)? {
            self.open.push((self.number, sealed));
            self.number += 1;
        }
        Ok(())
    }

    fn store(&mut self, db: &Connection) -> Result<()> {
        let txn = db.unchecked_transaction()?;
        for (number, sealed) in self.open.drain(..) {
            txn.execute("INSERT INTO part (run, number, bytes) VALUES (?1, ?2, ?3)", (self.run.0, number, sealed))?;
        }
        Ok(txn.commit()?)
    }

    /// The last part is empty: where it is missing, something was lost.
    fn finish(mut self, db: &Connection, keys: &Keys) -> Result<()> {
        self.close(keys)?;
        self.open.push((self.number, Vec::new()));
        self.store(db)
    }
}
