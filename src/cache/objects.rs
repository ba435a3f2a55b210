//! Whole small objects and listings, in the database itself.
//!
//! Each carries a hash of its place, name and bytes: what does not match is not given out. Nobody's key is needed for
//! that, so it finds damage, not forgery; forgery is the reader's business, as with the storage.

use crate::cache::fault::Fault;
use crate::cache::ledger::Ledger;
use crate::cache::schema::OBJECT_BYTES;
use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::OptionalExtension;

/// Objects evicted by one transaction.
const EVICT_AT_ONCE: usize = 64;

/// One object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name below the root of the store.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// Last modification by the store's clock, seconds since 1970.
    pub modified_secs: i64,
}

/// What an object of a place is called here: listings and objects never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: String,
    name: String,
}

impl Key {
    pub(super) fn object(place: &str, name: &str) -> Key {
        Key { place: place.to_owned(), name: format!("o{name}") }
    }

    pub(super) fn listing(place: &str, prefix: &str) -> Key {
        Key { place: place.to_owned(), name: format!("l{prefix}") }
    }

    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.place.as_bytes(), self.name.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.update(bytes).finalize().as_bytes()
    }
}

/// The bytes of an object; `Err(Damaged)` never: what is wrong is just not there.
pub(super) fn read(db: &Connection, key: &Key) -> Result<Option<Bytes>, Fault> {
    let mut query = db.prepare_cached(
        "SELECT bytes, hash FROM object WHERE place = (SELECT id FROM place WHERE name = ?1) AND name = ?2",
    )?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?));
    let found = query.query_row((&key.place, &key.name), read).optional()?;
    Ok(found.filter(|(bytes, hash)| key.hash(bytes) == hash[..]).map(|(bytes, _)| bytes.into()))
}

/// A listing as bytes: a line each. `None` if a name cannot stand in a line.
pub(super) fn encode_listing(listed: &[Listed]) -> Option<Bytes> {
    let mut text = String::new();
    for Listed { name, len, modified_secs } in listed {
        if name.contains('\n') {
            return None;
        }
        text += &format!("{len} {modified_secs} {name}\n");
    }
    Some(text.into())
}

/// The listing in these bytes.
pub(super) fn decode_listing(bytes: &[u8]) -> Option<Vec<Listed>> {
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (len, modified_secs) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Listed { name: words.next()?.to_owned(), len, modified_secs })
    };
    std::str::from_utf8(bytes).ok()?.split_terminator('\n').map(line).collect()
}

impl Ledger<'_> {
    /// The number of a place, which is made if it is new.
    pub(super) fn make_place(&self, place: &str) -> Result<i64, Fault> {
        self.run("INSERT OR IGNORE INTO place (name) VALUES (?1)", [place])?;
        let id = self.one("SELECT id FROM place WHERE name = ?1", [place], |row| row.get(0))?;
        id.ok_or(Fault::Damaged("a place has no number"))
    }

    /// Keeps an object; the oldest ones of places without pins make room.
    pub(super) fn keep_object(&mut self, key: &Key, bytes: &[u8]) -> Result<(), Fault> {
        let used = self.tick();
        let place = self.make_place(&key.place)?;
        let hash = key.hash(bytes);
        let same = "UPDATE object SET used = ?3 WHERE place = ?1 AND name = ?2 AND hash = ?4 AND bytes = ?5";
        if self.run(same, (place, &key.name, used, hash, bytes))? > 0 {
            return Ok(());
        }
        // Deleted and not replaced: a replaced row does not call its trigger.
        self.run("DELETE FROM object WHERE place = ?1 AND name = ?2", (place, &key.name))?;
        let statement = "INSERT INTO object (place, name, len, used, hash, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.run(statement, (place, &key.name, len, used, hash, bytes))?;
        Ok(())
    }

    /// Evicts objects until they and those to come take no more than their part; false if there is more to do.
    pub(super) fn trim_objects(&self, incoming: u64) -> Result<bool, Fault> {
        let max = i64::try_from(self.budget.objects_bytes().saturating_sub(incoming)).unwrap_or(i64::MAX);
        let pinned = i64::try_from(self.pinned_object_bytes()?).unwrap_or(i64::MAX);
        for _ in 0..EVICT_AT_ONCE {
            let sum = self.one("SELECT sum FROM tally WHERE what = ?1", [OBJECT_BYTES], |row| row.get::<_, i64>(0))?;
            if sum.unwrap_or(0).saturating_sub(pinned) <= max {
                return Ok(true);
            }
            let oldest = "DELETE FROM object WHERE id = (
                 SELECT id FROM object WHERE place NOT IN (SELECT place FROM pin) ORDER BY used LIMIT 1)";
            if self.run(oldest, [])? == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops an object.
    pub(super) fn forget_object(&self, key: &Key) -> Result<(), Fault> {
        let statement = "DELETE FROM object WHERE place = (SELECT id FROM place WHERE name = ?1) AND name = ?2";
        self.run(statement, (&key.place, &key.name)).map(drop)
    }

    /// Notes that an object was read.
    pub(super) fn touch_object(&mut self, key: &Key) -> Result<(), Fault> {
        let used = self.tick();
        let statement =
            "UPDATE object SET used = ?3 WHERE place = (SELECT id FROM place WHERE name = ?1) AND name = ?2";
        self.run(statement, (&key.place, &key.name, used)).map(drop)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listed(name: &str, len: u64, modified_secs: i64) -> Listed {
        Listed { name: name.to_owned(), len, modified_secs }
    }

    #[test]
    fn listings_round_trip() {
        for listing in [
            vec![],
            vec![listed("", 0, 0)],
            vec![listed("log/a b/0", u64::MAX, i64::MIN), listed("log/ä", 1, -1), listed(" ", 7, 7)],
        ] {
            assert_eq!(decode_listing(&encode_listing(&listing).unwrap()), Some(listing));
        }
        assert_eq!(encode_listing(&[listed("a\nb", 1, 1)]), None);
        for bad in [&b"x"[..], b"1 1\n", b"1 x name\n", b"\xff"] {
            assert_eq!(decode_listing(bad), None);
        }
    }

    #[test]
    fn a_hash_belongs_to_place_name_and_bytes() {
        let key = Key::object("a", "b");
        assert_ne!(key.hash(b"x"), Key::object("ao", "b").hash(b"x"));
        assert_ne!(key.hash(b"x"), Key::listing("a", "b").hash(b"x"));
        assert_ne!(key.hash(b"x"), key.hash(b"y"));
    }
}
