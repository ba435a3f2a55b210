//! The two looks of a backup, just before its record and just after: does all that the new snapshot stands on still
//! stand, or did a prune take some of it meanwhile? See [`plan`](crate::plan), "A backup".
//!
//! What is lost is stored again ([`mend`](crate::backup::mend)); a snapshot whose chunks cannot be had any more gets no record, or
//! is forgotten. On the usual path, when nobody prunes, the first look takes no request and the second one.

use crate::backup::Error;
use crate::backup::known::Known;
use crate::backup::mend::Ground;
use crate::backup::mend::mend;
use crate::backup::uploader::Uploader;
use crate::crypto::random;
use crate::format::record::Event;
use crate::format::record::Snapshot;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::plan::footing::Footing;
use crate::plan::footing::When;
use crate::plan::footing::footing;
use crate::plan::words::Words;
use crate::repo;
use crate::repo::Author;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::pack_name;
use crate::repo::pack_of;
use crate::store::ErrorKind;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashSet;
use tokio::runtime::Handle;

/// Looks and repairs until somebody else's prunes, one after the other, are told from a fault.
const LOOKS_MAX: usize = 32;

/// Number of the newest record of each chain.
type Ends = BTreeMap<WriterId, u64>;

/// Commits a snapshot.
pub(super) struct Looks<'a> {
    repo: &'a Repo,
    author: Author<'a>,
    runtime: &'a Handle,
    known: &'a Known,
    /// The log after which all packs that are relied on were seen in a listing, or stored.
    listed: (Words, Ends),
    /// The parent, as long as it is relied on that all of it stays.
    held: Option<SnapshotId>,
    /// The tree refers to chunks that nobody holds and that nobody has noted.
    must_walk: bool,
    /// It must not get another id: it is the copy of the snapshot that has this one.
    is_copy: bool,
}

/// What came of an attempt to append the record.
enum Appended {
    /// It stands; so the log ends now, if nobody else appends.
    Done(Ends),
    /// The snapshot stood there already, or was forgotten.
    There,
    /// Not appended: by this log, or without a look at the packs, it does not stand firm.
    Shaky(Box<(Words, Ends)>),
}

/// What the look after the record says.
enum After {
    Firm,
    Gone,
}

impl<'a> Looks<'a> {
    /// `log` was read when the backup began, **before** the packs were listed that the backup builds on. `parent`: held whole by
    /// all prunes. `must_walk`: there are references beside those to the parent and those that were noted.
    pub(super) fn new(
        (repo, author, runtime): (&'a Repo, Author<'a>, &'a Handle),
        known: &'a Known,
        log: &Log,
        parent: Option<SnapshotId>,
        must_walk: bool,
        is_copy: bool,
    ) -> Looks<'a> {
        let listed = (log.words(), log.ends());
        Looks { repo, author, runtime, known, listed, held: parent, must_walk, is_copy }
    }

    /// Appends the record of the snapshot, whose tree is stored, and sees to it that the snapshot is whole when this returns. It may
    /// have another id by then. False: the log tells of this snapshot already, or it was forgotten.
    pub(super) fn commit(
        mut self,
        uploader: &mut Uploader<'_>,
        snapshot: &mut Snapshot,
        root_page: &[u8],
    ) -> Result<bool, Error> {
        let state = self.author.state;
        for _ in 0..LOOKS_MAX {
            state.set_unacknowledged(snapshot.id, true).map_err(repo::Error::from)?;
            let is_done = match self.append(snapshot, root_page)? {
                Appended::Shaky(log) => {
                    self.steady(uploader, snapshot, *log, When::Before)?;
                    snapshot.figures.bytes_stored = uploader.bytes_stored();
                    continue;
                }
                Appended::There => Some(false),
                Appended::Done(ends) => match self.look_after(uploader, snapshot, ends)? {
                    After::Firm => Some(true),
                    After::Gone => self.is_copy.then_some(false),
                },
            };
            state.set_unacknowledged(snapshot.id, false).map_err(repo::Error::from)?;
            if let Some(is_done) = is_done {
                return Ok(is_done);
            }
            snapshot.id = SnapshotId(random());
        }
        Err(Error::Unsteady)
    }

    /// The look before, by the log that the record is appended to.
    fn append(&self, snapshot: &Snapshot, root_page: &[u8]) -> Result<Appended, Error> {
        let event = Event::Snapshot(Box::new(snapshot.clone()));
        let said = RefCell::new(Appended::There);
        let decide = |log: &Log, me: WriterId| {
            let words = log.words();
            let mut said = said.borrow_mut();
            if words.knows(snapshot.id) || words.is_forgotten(snapshot.id) {
                // Or a record of ours that was stored after all, though the store did not say so: then what others have
                // appended meanwhile is for the look after.
                return None;
            }
            let is_firm = self.is_listed(log, &words)
                && self.footing(&words, snapshot.id, |_| true, When::Before) == Footing::Firm;
            if !is_firm {
                *said = Appended::Shaky(Box::new((words, log.ends())));
                return None;
            }
            let mut ends = log.ends();
            ends.entry(me).and_modify(|seq| *seq += 1).or_insert(0);
            *said = Appended::Done(ends);
            Some(event.clone())
        };
        let appended = Log::append_decided(self.repo, self.author, snapshot.time, root_page.to_vec(), decide);
        self.runtime.block_on(appended)?;
        Ok(said.into_inner())
    }

    fn look_after(&mut self, uploader: &mut Uploader<'_>, snapshot: &Snapshot, mut ends: Ends) -> Result<After, Error> {
        for _ in 0..LOOKS_MAX {
            // If the log ends with our record, the look before has seen all the rest of it.
            let Some(log) = self.runtime.block_on(Log::read_if_moved(self.repo, &ends))? else {
                return Ok(After::Firm);
            };
            let words = log.words();
            if self.is_listed(&log, &words) {
                match self.footing(&words, snapshot.id, |_| true, When::After) {
                    Footing::Firm => return Ok(After::Firm),
                    Footing::Gone => return Ok(After::Gone),
                    Footing::Loose(_) | Footing::Unknown => {}
                }
            }
            match self.steady(uploader, snapshot, (words, log.ends()), When::After) {
                Ok(Footing::Firm) => return Ok(After::Firm),
                Ok(Footing::Gone) => return Ok(After::Gone),
                Ok(Footing::Loose(_) | Footing::Unknown) => ends = log.ends(),
                Err(error) => {
                    if let Error::Removed { .. } = error {
                        let (time, ids) = (snapshot.time, [snapshot.id]);
                        self.runtime.block_on(Log::forget(self.repo, self.author, time, &ids))?;
                    }
                    return Err(error);
                }
            }
        }
        Err(Error::Unsteady)
    }

    /// True if no pack can have been removed since they were listed: then they need not be listed again. A log that cannot be
    /// read whole must be the very same one.
    fn is_listed(&self, log: &Log, words: &Words) -> bool {
        let (before, ends) = &self.listed;
        words.sweeps_are_those_of(before) && (log.problems.is_empty() || log.ends() == *ends)
    }

    fn footing(&self, words: &Words, snapshot: SnapshotId, is_there: impl Fn(ObjectId) -> bool, when: When) -> Footing {
        match footing(words, snapshot, self.held, self.known.relied(), is_there, when) {
            Footing::Firm | Footing::Loose(_) if self.must_walk => Footing::Unknown,
            found => found,
        }
    }

    /// Lists the packs, now that the log was read, and stores again what is lost. Tells how it stood before that.
    fn steady(
        &mut self,
        uploader: &mut Uploader<'_>,
        snapshot: &Snapshot,
        (words, ends): (Words, Ends),
        when: When,
    ) -> Result<Footing, Error> {
        let there = self.runtime.block_on(self.packs())?;
        let found = self.footing(&words, snapshot.id, |pack| there.contains(&pack), when);
        match &found {
            Footing::Gone => return Ok(found),
            Footing::Firm => {}
            Footing::Loose(_) | Footing::Unknown => {
                tracing::info!(snapshot = %snapshot.id, ?when, "Packs of the snapshot are going or gone; what lies there is stored again");
                let is_held = found != Footing::Unknown;
                let ground = Ground { words: &words, there: &there, when, is_held };
                mend(self.repo, self.runtime, self.known, uploader, snapshot, &ground)?;
                if !is_held {
                    (self.held, self.must_walk) = (None, false);
                }
            }
        }
        self.listed = (words, ends);
        Ok(found)
    }

    /// The packs that are there. Those that should be and are not listed are asked for one by one: few, if any.
    async fn packs(&self) -> repo::Result<HashSet<ObjectId>> {
        let listed = self.repo.store().list("packs").await?;
        let mut there: HashSet<ObjectId> = listed.iter().filter_map(|stored| pack_of(&stored.name)).collect();
        for pack in self.known.relied() {
            if !there.contains(&pack) {
                match self.repo.store().head(&pack_name(pack)).await {
                    Ok(_) => drop(there.insert(pack)),
                    Err(error) if error.kind == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(there)
    }
}
