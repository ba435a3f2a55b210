//! The tables of the cache, and how the database is opened.
//!
//! Nothing is synced: after a power cut the database may be damaged, which the first opening after a restart of the
//! machine finds out. A process that is killed harms nothing. Sums are kept by triggers, so that no statement can
//! forget them.

use crate::cache::budget::Budget;
use crate::cache::fault::Fault;
use crate::cache::slots::free_bytes;
use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::OptionalExtension;
use rusqlite::TransactionBehavior;
use std::path::Path;
use std::time::Duration;

/// `BYGC`: tells our databases from others.
const APPLICATION: i32 = 0x4259_4743;
/// Version of the tables. Another one is thrown away, not converted.
const VERSION: i32 = 1;
/// How long a writer waits for another one; what cannot wait is not kept.
pub(super) const WRITER_WAIT: Duration = Duration::from_secs(5);
const READER_WAIT: Duration = Duration::from_millis(200);

/// A database above this is not looked through: damage is then found when it is met.
const CHECK_BYTES_MAX: i64 = 64 << 20;

/// States of a slot.
pub(super) const HOLE: i64 = 0;
pub(super) const FREE: i64 = 1;
pub(super) const DATA: i64 = 2;
pub(super) const METADATA: i64 = 3;
/// Added to the state of a slot that is pinned.
pub(super) const PINNED: i64 = 2;
/// In the table of sums: bytes of all objects.
pub(super) const OBJECT_BYTES: i64 = 10;

const SCHEMA: &str = "
    -- A slot of the file: a hole (0), allocated and free (1), or a run of data (2) or metadata (3), pinned (4, 5).
    CREATE TABLE slot (
        slot INTEGER PRIMARY KEY, state INTEGER NOT NULL, used INTEGER NOT NULL,
        pack BLOB, run INTEGER, lens BLOB) STRICT;
    CREATE UNIQUE INDEX slot_of ON slot (pack, run) WHERE pack IS NOT NULL;
    CREATE INDEX slot_turn ON slot (state, used);

    CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE object (
        id INTEGER PRIMARY KEY, place INTEGER NOT NULL, name TEXT NOT NULL, len INTEGER NOT NULL,
        used INTEGER NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX object_of ON object (place, name);
    CREATE INDEX object_turn ON object (used);

    CREATE TABLE pin (
        id INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE, place INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;
    CREATE TABLE pinned (
        pack BLOB NOT NULL, first INTEGER NOT NULL, past INTEGER NOT NULL, pin INTEGER NOT NULL,
        PRIMARY KEY (pack, first, past, pin)) STRICT, WITHOUT ROWID;
    CREATE INDEX pinned_by ON pinned (pin);

    CREATE TABLE setting (name TEXT PRIMARY KEY, number INTEGER, text TEXT) STRICT;
    CREATE TABLE tally (what INTEGER PRIMARY KEY, sum INTEGER NOT NULL) STRICT;
    INSERT INTO tally VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (10, 0);
    CREATE TRIGGER slot_added AFTER INSERT ON slot BEGIN
        UPDATE tally SET sum = sum + 1 WHERE what = NEW.state;
    END;
    CREATE TRIGGER slot_gone AFTER DELETE ON slot BEGIN
        UPDATE tally SET sum = sum - 1 WHERE what = OLD.state;
    END;
    CREATE TRIGGER slot_turned AFTER UPDATE OF state ON slot WHEN OLD.state <> NEW.state BEGIN
        UPDATE tally SET sum = sum - 1 WHERE what = OLD.state;
        UPDATE tally SET sum = sum + 1 WHERE what = NEW.state;
    END;
    CREATE TRIGGER object_added AFTER INSERT ON object BEGIN
        UPDATE tally SET sum = sum + NEW.len WHERE what = 10;
    END;
    CREATE TRIGGER object_gone AFTER DELETE ON object BEGIN
        UPDATE tally SET sum = sum - OLD.len WHERE what = 10;
    END;
";

/// Opens the database for writing; makes it if there is none.
pub(super) fn open(path: &Path, folder: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
    db.busy_timeout(WRITER_WAIT)?;
    // Only a database without tables takes this; elsewhere it changes nothing.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Unsupported("share memory between processes"));
    }
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    db.pragma_update(None, "cache_size", -2048)?;
    db.pragma_update(None, "journal_size_limit", 0)?;
    // Nobody is waited for if there is nothing to write.
    if !is_known(&db)? {
        let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if number(&txn, "schema_version")? == 0 {
            create(&txn, folder)?;
        }
        check_once_a_boot(&txn)?;
        txn.commit()?;
    }
    limit(&db)?;
    // What one commit leaves in the log is moved to the database as soon as there is enough of it.
    db.pragma_update(None, "wal_autocheckpoint", 64)?;
    Ok(db)
}

/// Opens it for reading alone.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(READER_WAIT)?;
    db.pragma_update(None, "query_only", "ON")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    db.pragma_update(None, "cache_size", -2048)?;
    Ok(db)
}

fn create(db: &Connection, folder: &Path) -> Result<(), Fault> {
    db.execute_batch(SCHEMA)?;
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)?;
    set_limit(db, Budget::default_limit(free_bytes(folder)?))?;
    db.execute("INSERT INTO setting (name, number) VALUES ('clock', 0)", [])?;
    Ok(())
}

/// A number that SQLite knows of the database.
pub(super) fn number(db: &Connection, pragma: &str) -> Result<i32, Fault> {
    Ok(db.pragma_query_value(None, pragma, |row| row.get(0))?)
}

/// The limit that holds for everybody.
pub(super) fn limit(db: &Connection) -> Result<u64, Fault> {
    let limit: i64 = db.query_row("SELECT number FROM setting WHERE name = 'limit'", [], |row| row.get(0))?;
    u64::try_from(limit).map_err(|_| Fault::Damaged("the limit is negative"))
}

/// Changes the limit for everybody.
pub(super) fn set_limit(db: &Connection, limit: u64) -> Result<(), Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    db.execute("INSERT OR REPLACE INTO setting (name, number) VALUES ('limit', ?1)", [limit])?;
    Ok(())
}

/// What tells one run of this machine from the next; empty if nothing does.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether the database is ours and was looked through since the machine started; false for an empty one.
fn is_known(db: &Connection) -> Result<bool, Fault> {
    if number(db, "schema_version")? == 0 {
        return Ok(false);
    }
    if number(db, "application_id")? != APPLICATION || number(db, "user_version")? != VERSION {
        return Err(Fault::Damaged("the database is of another version"));
    }
    let seen: Option<Option<String>> =
        db.query_row("SELECT text FROM setting WHERE name = 'boot'", [], |row| row.get(0)).optional()?;
    Ok(seen.flatten().is_some_and(|seen| !seen.is_empty() && seen == boot()))
}

/// Only a machine that went down can have lost writes: one look after each start is enough.
fn check_once_a_boot(db: &Connection) -> Result<(), Fault> {
    let bytes = i64::from(number(db, "page_count")?) * i64::from(number(db, "page_size")?);
    if bytes <= CHECK_BYTES_MAX {
        let verdict: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Fault::Damaged("the database is corrupt"));
        }
    }
    db.execute("INSERT OR REPLACE INTO setting (name, text) VALUES ('boot', ?1)", [boot()])?;
    Ok(())
}
