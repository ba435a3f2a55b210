//! Second copies of config, password slots and records: whole, and the same as the first. Parity: there, and whole; and packs that
//! it can mend.

use crate::check::Kind;
use crate::check::Note;
use crate::check::Result;
use crate::check::Run;
use crate::check::object;
use crate::check::object::Named;
use crate::check::object::first_of;
use crate::format::parity;
use crate::id::ObjectId;
use crate::monitor::chain;
use crate::repo::COPIES_FOLDER;
use crate::repo::PARITY_FOLDER;
use crate::repo::Rebuilt;
use crate::repo::parity_of;
use crate::store;
use crate::store::ErrorKind;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::HashMap;
use std::collections::HashSet;

/// Copies read at once.
const READS_AT_ONCE: usize = 16;
/// Parity objects read at once: each is some hundred KiB.
const PARITY_AT_ONCE: usize = 4;
/// Damaged packs for which parity is tried, at most.
const TRIED_MAX: usize = 100;

impl Run<'_> {
    /// Reads every second copy, after all the firsts. That one is missing is a note: repositories had none once.
    pub(super) async fn copies(&mut self) -> Result<()> {
        let store = self.repo.store().clone();
        let mut seen = HashSet::new();
        let listed = store.list(COPIES_FOLDER).await?;
        let reads = listed.into_iter().map(|stored| {
            let store = store.clone();
            async move { (store.get(&stored.name).await, stored.name) }
        });
        let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        while let Some((bytes, name)) = reads.next().await {
            self.go_on()?;
            let Some((first, named)) = first_of(&name) else {
                self.inventory.strange += 1;
                continue;
            };
            seen.insert(first.to_owned());
            // It may be new, or just being removed: then the copy goes first.
            if !self.firsts.contains_key(first) && (store.head(first).await.is_ok() || store.head(&name).await.is_err())
            {
                continue;
            }
            self.copy(&name, first, named, bytes)?;
        }
        let without = self.firsts.iter().filter(|(name, hash)| hash.is_some() && !seen.contains(*name)).count();
        if without > 0 {
            let message = format!(
                "{without} objects without which nobody can open the repository (config, password slots, log) have no \
                 second copy; 'bygone repair' makes them"
            );
            self.notes.push(Note { what: "no_copies", message });
        }
        Ok(())
    }

    fn copy(&mut self, name: &str, first: &str, named: Named, bytes: store::Result<Bytes>) -> Result<()> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            // A slot that is being removed loses its copy first.
            Err(error) => return self.unreadable(name, error),
        };
        self.done(1, bytes.len() as u64);
        let checked = match named {
            Named::Record(writer, seq) => object::record(self.repo, writer, seq, &bytes).map(drop),
            _ => object::clear(self.repo, first, &bytes),
        };
        if let Err(source) = checked {
            self.findings.add(name, Kind::Damaged, name, source.to_string());
            return Ok(());
        }
        match self.firsts.get(first) {
            Some(Some(hash)) if *hash == *blake3::hash(&bytes).as_bytes() => {}
            Some(Some(_)) => {
                let message = format!("is not what '{first}' is: one of them was replaced");
                self.findings.add(name, Kind::Contradiction, name, message);
            }
            // Told already; the copy is whole.
            Some(None) => {}
            None => {
                let message = "is missing, but its second copy is there: 'bygone repair' puts it back".to_owned();
                self.findings.add(first, Kind::Missing, first, message);
            }
        }
        Ok(())
    }

    /// Looks whether packs have parity, where any has; with `reads`, whether it is whole.
    pub(super) async fn parity(&mut self, reads: bool) -> Result<()> {
        let store = self.repo.store().clone();
        let listed = store.list(PARITY_FOLDER).await?;
        let there: HashMap<ObjectId, String> =
            listed.into_iter().filter_map(|stored| Some((parity_of(&stored.name)?, stored.name))).collect();
        let without = self.inventory.listed.keys().filter(|pack| !there.contains_key(pack)).count();
        if without > 0 && !there.is_empty() {
            let message = format!(
                "{without} packs have no parity, others have: 'bygone repair --read-data' makes what is missing"
            );
            self.notes.push(Note { what: "no_parity", message });
        }
        let wanted: Vec<_> = there.into_iter().filter(|(pack, _)| self.inventory.listed.contains_key(pack)).collect();
        let reads = wanted.into_iter().filter(|_| reads).map(|(pack, name)| {
            let store = store.clone();
            async move { (store.get(&name).await, pack, name) }
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(PARITY_AT_ONCE);
        while let Some((bytes, pack, name)) = reads.next().await {
            self.go_on()?;
            match bytes {
                // It goes with its pack.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                // It is an extra: what was found of the rest is told all the same.
                Err(error) if error.is_transient() => {
                    let message = format!("parity was not looked at any further: {}", chain(&error));
                    self.notes.push(Note { what: "parity_unread", message });
                    return Ok(());
                }
                Err(error) => self.unreadable(&name, error)?,
                Ok(bytes) => {
                    self.done(1, bytes.len() as u64);
                    if let Err(source) = parity::check(Some(self.repo.config().repository), pack, &bytes) {
                        let message = format!("{source}; 'bygone repair --read-data' makes it anew");
                        self.findings.add(&name, Kind::Damaged, &name, message);
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries, without writing anything, which of the damaged packs their parity can mend.
    pub(super) async fn note_repairable(&mut self) -> Result<()> {
        let mut mendable = 0;
        for pack in self.damaged_packs.iter().take(TRIED_MAX) {
            self.go_on()?;
            mendable += usize::from(matches!(self.repo.rebuild_pack(*pack).await?, Rebuilt::Whole(_)));
        }
        if mendable > 0 {
            let message =
                format!("{mendable} of the damaged packs can be rebuilt from parity: 'bygone repair --read-data'");
            self.notes.push(Note { what: "mendable", message });
        }
        Ok(())
    }
}
