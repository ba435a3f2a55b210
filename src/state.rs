//! What this machine remembers of a repository: its own writer id, and the heads of the log it has seen.
//!
//! A small SQLite file per repository. Losing it is harmless: the next backup starts a new chain. It is also the lock
//! that keeps two processes of one writer from appending at the same time.

use crate::id::RepositoryId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The state cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the local state in '{}'", path.display())]
pub struct StateError {
    /// The file or folder.
    pub path: PathBuf,
    /// What SQLite or the system said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A record this machine has seen at the end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Whose chain.
    pub writer: WriterId,
    /// Its number.
    pub seq: u64,
    /// Hash of the record object.
    pub hash: [u8; 32],
}

/// A snapshot this machine has read of: what to call it if its record is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSnapshot {
    /// Which one.
    pub id: SnapshotId,
    /// In whose chain it stood.
    pub writer: WriterId,
    /// In which record.
    pub seq: u64,
    /// When it was taken, seconds since 1970.
    pub secs: i64,
    /// Of which machine.
    pub host: String,
}

/// Open state of one repository.
#[derive(Debug)]
pub struct State {
    db: Connection,
    path: PathBuf,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS writer (id BLOB NOT NULL, machine BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS unfinished (backup INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS unacknowledged (snapshot BLOB PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS locked (mode TEXT PRIMARY KEY, until INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS head (writer BLOB PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS seen (
        writer BLOB NOT NULL, seq INTEGER NOT NULL, snapshot BLOB NOT NULL, time INTEGER NOT NULL, host TEXT NOT NULL,
        PRIMARY KEY (writer, seq, snapshot)) WITHOUT ROWID;
";

impl State {
    /// Opens or makes the state below `folder`.
    pub fn open(folder: &Path, repository: RepositoryId) -> Result<State, StateError> {
        let path = folder.join(format!("{repository}.db"));
        let fault = |source| StateError { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(|e| fault(e.into()))?;
        let db = Connection::open(&path).map_err(|e| fault(e.into()))?;
        let prepare = || {
            db.busy_timeout(Duration::from_secs(120))?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.execute_batch(SCHEMA)
        };
        prepare().map_err(|e| fault(e.into()))?;
        Ok(State { db, path })
    }

    /// State that lasts as long as the process: for machines where nothing can be written.
    pub fn in_memory() -> Result<State, StateError> {
        let path = PathBuf::from(":memory:");
        let open = || -> rusqlite::Result<Connection> {
            let db = Connection::open_in_memory()?;
            db.execute_batch(SCHEMA)?;
            Ok(db)
        };
        match open() {
            Ok(db) => Ok(State { db, path }),
            Err(e) => Err(StateError { path, source: e.into() }),
        }
    }

    fn fault(&self, source: rusqlite::Error) -> StateError {
        StateError { path: self.path.clone(), source: source.into() }
    }

    /// The writer id of this machine, if it has one. A copied disk (other machine id) has none of its own.
    pub fn writer(&self, machine: &[u8]) -> Result<Option<WriterId>, StateError> {
        self.db
            .query_row("SELECT id FROM writer WHERE machine = ?1", [machine], |row| row.get::<_, [u8; 16]>(0))
            .optional()
            .map(|id| id.map(WriterId))
            .map_err(|e| self.fault(e))
    }

    /// Keeps a new writer id.
    pub fn set_writer(&self, machine: &[u8], writer: WriterId) -> Result<(), StateError> {
        let set = || {
            self.db.execute("DELETE FROM writer", [])?;
            self.db.execute("INSERT INTO writer (id, machine) VALUES (?1, ?2)", (writer.0, machine))
        };
        set().map(drop).map_err(|e| self.fault(e))
    }

    /// Takes the lock that other processes of this machine wait for. [`State::unlock`] keeps what was written.
    pub fn lock(&self) -> Result<(), StateError> {
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.fault(e))
    }

    /// Ends what [`State::lock`] began.
    pub fn unlock(&self) -> Result<(), StateError> {
        self.db.execute_batch("COMMIT").map_err(|e| self.fault(e))
    }

    /// True if a backup of this machine began and did not end well.
    pub fn is_unfinished(&self) -> Result<bool, StateError> {
        let count = self.db.query_row("SELECT count(*) FROM unfinished", [], |row| row.get::<_, i64>(0));
        count.map(|count| count > 0).map_err(|e| self.fault(e))
    }

    /// Notes that a backup begins, or has ended well.
    pub fn set_unfinished(&self, unfinished: bool) -> Result<(), StateError> {
        let statement =
            if unfinished { "INSERT OR IGNORE INTO unfinished VALUES (1)" } else { "DELETE FROM unfinished" };
        self.db.execute(statement, []).map(drop).map_err(|e| self.fault(e))
    }

    /// True if a backup of this machine was going to write this snapshot's record, and did not come to say that the snapshot is
    /// done: some of it may be missing.
    pub fn is_unacknowledged(&self, snapshot: SnapshotId) -> Result<bool, StateError> {
        let query = "SELECT count(*) FROM unacknowledged WHERE snapshot = ?1";
        let count = self.db.query_row(query, [snapshot.0], |row| row.get::<_, i64>(0));
        count.map(|count| count > 0).map_err(|e| self.fault(e))
    }

    /// Notes that the record of a snapshot is going to be written, or that the snapshot is done.
    pub fn set_unacknowledged(&self, snapshot: SnapshotId, unacknowledged: bool) -> Result<(), StateError> {
        let statement = if unacknowledged {
            "INSERT OR IGNORE INTO unacknowledged VALUES (?1)"
        } else {
            "DELETE FROM unacknowledged WHERE snapshot = ?1"
        };
        self.db.execute(statement, [snapshot.0]).map(drop).map_err(|e| self.fault(e))
    }

    /// Until when this machine has locked all that is needed in this mode of Object Lock, seconds since 1970.
    pub fn locked_until(&self, mode: &str) -> Result<Option<i64>, StateError> {
        let query = self.db.query_row("SELECT until FROM locked WHERE mode = ?1", [mode], |row| row.get(0));
        query.optional().map_err(|e| self.fault(e))
    }

    /// Notes that all that is needed was locked until then.
    pub fn set_locked_until(&self, mode: &str, until: i64) -> Result<(), StateError> {
        let set = self.db.execute("INSERT OR REPLACE INTO locked VALUES (?1, ?2)", (mode, until));
        set.map(drop).map_err(|e| self.fault(e))
    }

    /// The heads this machine has seen.
    pub fn heads(&self) -> Result<Vec<Head>, StateError> {
        let read = || -> rusqlite::Result<Vec<Head>> {
            let mut query = self.db.prepare("SELECT writer, seq, hash FROM head")?;
            let rows = query.query_map([], |row| {
                let (writer, seq, hash): (_, i64, _) = (WriterId(row.get(0)?), row.get(1)?, row.get(2)?);
                Ok(Head { writer, seq: seq.cast_unsigned(), hash })
            })?;
            rows.collect()
        };
        read().map_err(|e| self.fault(e))
    }

    /// Remembers these heads and no others: what people know of went backwards. This machine becomes a new writer: a record of its
    /// old chain may be known elsewhere under a number that would be given again.
    pub fn accept(&self, heads: &[Head]) -> Result<(), StateError> {
        let accept = || -> rusqlite::Result<()> {
            let all = self.db.unchecked_transaction()?;
            all.execute("DELETE FROM head", [])?;
            all.execute("DELETE FROM seen", [])?;
            all.execute("DELETE FROM writer", [])?;
            for Head { writer, seq, hash } in heads {
                all.execute(
                    "INSERT INTO head (writer, seq, hash) VALUES (?1, ?2, ?3)",
                    (writer.0, seq.cast_signed(), hash),
                )?;
            }
            all.commit()
        };
        accept().map_err(|e| self.fault(e))
    }

    /// Remembers a head; never goes back to an older one.
    pub fn remember(&self, head: Head) -> Result<(), StateError> {
        self.db
            .execute(
                "INSERT INTO head (writer, seq, hash) VALUES (?1, ?2, ?3) ON CONFLICT (writer)
                 DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq > seq",
                (head.writer.0, head.seq.cast_signed(), head.hash),
            )
            .map(drop)
            .map_err(|e| self.fault(e))
    }

    /// The snapshots this machine has seen in a chain, from this record on.
    pub fn seen(&self, writer: WriterId, from_seq: u64) -> Result<Vec<SeenSnapshot>, StateError> {
        let read = || -> rusqlite::Result<Vec<SeenSnapshot>> {
            let query = "SELECT snapshot, seq, time, host FROM seen WHERE writer = ?1 AND seq >= ?2 ORDER BY seq";
            let mut query = self.db.prepare_cached(query)?;
            let rows = query.query_map((writer.0, from_seq.cast_signed()), |row| {
                let (id, seq) = (SnapshotId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned());
                Ok(SeenSnapshot { id, writer, seq, secs: row.get(2)?, host: row.get(3)? })
            })?;
            rows.collect()
        };
        read().map_err(|e| self.fault(e))
    }

    /// The newest record of a chain in which this machine has seen a snapshot.
    pub fn newest_seen(&self, writer: WriterId) -> Result<Option<u64>, StateError> {
        let query = "SELECT max(seq) FROM seen WHERE writer = ?1";
        let newest = self.db.query_row(query, [writer.0], |row| row.get::<_, Option<i64>>(0));
        newest.map(|seq| seq.map(i64::cast_unsigned)).map_err(|e| self.fault(e))
    }

    /// Remembers snapshots, all in one step.
    pub fn see(&self, snapshots: &[SeenSnapshot]) -> Result<(), StateError> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let see = || -> rusqlite::Result<()> {
            // It may be within a lock, which is a transaction.
            self.db.execute_batch("SAVEPOINT see")?;
            let mut insert = self.db.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for SeenSnapshot { id, writer, seq, secs, host } in snapshots {
                insert.execute((writer.0, seq.cast_signed(), id.0, secs, host))?;
            }
            self.db.execute_batch("RELEASE see")
        };
        see().map_err(|e| self.fault(e))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn remembers_across_opens_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let repository = RepositoryId([1; 16]);
        let (old, new) = (
            Head { writer: WriterId([2; 16]), seq: 3, hash: [3; 32] },
            Head { writer: WriterId([2; 16]), seq: 4, hash: [4; 32] },
        );
        let state = State::open(folder.path(), repository).unwrap();
        assert_eq!(state.writer(b"machine").unwrap(), None);
        state.lock().unwrap();
        state.set_writer(b"machine", WriterId([9; 16])).unwrap();
        state.remember(new).unwrap();
        state.remember(old).unwrap();
        state.unlock().unwrap();
        let again = State::open(folder.path(), repository).unwrap();
        assert_eq!(again.writer(b"machine").unwrap(), Some(WriterId([9; 16])));
        assert_eq!(again.writer(b"other").unwrap(), None);
        assert_eq!(again.heads().unwrap(), [new]);
        again.accept(&[old]).unwrap();
        assert_eq!(again.writer(b"machine").unwrap(), None);
        assert_eq!(again.heads().unwrap(), [old]);
        again.remember(new).unwrap();
        let snapshot = |seq, host: &str| {
            let (id, host) = (SnapshotId([seq as u8; 16]), host.to_owned());
            SeenSnapshot { id, writer: old.writer, seq, secs: 7, host }
        };
        assert_eq!(again.newest_seen(old.writer).unwrap(), None);
        let two = [snapshot(2, "house"), snapshot(5, "garden")];
        again.lock().unwrap();
        again.see(&two).unwrap();
        again.see(&two[..1]).unwrap();
        again.unlock().unwrap();
        assert_eq!(state.newest_seen(old.writer).unwrap(), Some(5));
        assert_eq!(
            (state.seen(old.writer, 0).unwrap(), state.seen(old.writer, 3).unwrap()),
            (two.to_vec(), two[1..].to_vec())
        );
        assert_eq!(state.seen(WriterId([8; 16]), 0).unwrap(), []);
        state.accept(&[old]).unwrap();
        assert_eq!(state.newest_seen(old.writer).unwrap(), None);
        let (done, open) = (SnapshotId([5; 16]), SnapshotId([6; 16]));
        for snapshot in [done, open, open] {
            state.set_unacknowledged(snapshot, true).unwrap();
        }
        state.set_unacknowledged(done, false).unwrap();
        assert!(again.is_unacknowledged(open).unwrap() && !again.is_unacknowledged(done).unwrap());
    }
}
