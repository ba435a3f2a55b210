//! Keeps the cache open: the files behind it may vanish, be damaged or be full, and readers must not notice.
//!
//! One thread does all the writing. Damage empties the cache; any other trouble makes it quiet for a while: readers
//! find what can be found, and nothing new is kept.

use crate::cache::Status;
use crate::cache::budget::Budget;
use crate::cache::fault::Fault;
use crate::cache::folder::Folder;
use crate::cache::folder::Inodes;
use crate::cache::lock;
use crate::cache::queue::Queue;
use crate::cache::reader::Reader;
use crate::cache::slot_bytes;
use crate::cache::slots::free_bytes;
use crate::cache::writer::Work;
use crate::cache::writer::Writer;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// How long nothing is written after a failure.
const QUIET: Duration = Duration::from_secs(30);
/// How often an idle cache looks whether the disk has become short.
const IDLE: Duration = Duration::from_secs(20);

/// Shared by the cache and its thread.
pub(super) struct Keeper {
    pub(super) folder: Folder,
    limit: Option<u64>,
    reader: RwLock<Option<Arc<Reader>>>,
    desk: Mutex<Option<Desk>>,
    pub(super) queue: Queue,
    is_damaged: AtomicBool,
    has_warned: AtomicBool,
}

struct Desk {
    writer: Writer,
    inodes: Inodes,
}

impl Keeper {
    /// Opens the cache. A limit of this process replaces that of all.
    pub(super) fn new(folder: Folder, limit: Option<u64>) -> Result<Keeper, Fault> {
        let keeper = Keeper {
            folder,
            limit,
            reader: RwLock::default(),
            desk: Mutex::default(),
            queue: Queue::default(),
            is_damaged: AtomicBool::new(false),
            has_warned: AtomicBool::new(false),
        };
        keeper.with_writer(|_| Ok(()))?;
        Ok(keeper)
    }

    fn reopen(&self, desk: &mut Option<Desk>) -> Result<(), Fault> {
        *desk = None;
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = None;
        let opened = self.folder.open()?;
        let slots = Arc::new(opened.slots);
        let reader = Reader::new(slots.clone(), self.folder.clone());
        let mut writer = Writer::new(opened.writer, slots, self.folder.clone(), self.limit);
        writer.trim_now()?;
        *desk = Some(Desk { writer, inodes: opened.inodes });
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(reader));
        Ok(())
    }

    fn empty(&self, desk: &mut Option<Desk>) -> Result<(), Fault> {
        tracing::warn!(folder = %self.folder.path.display(), "The chunk cache is damaged and starts empty");
        *desk = None;
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.folder.wipe()?;
        self.reopen(desk)
    }

    /// Writes something now. Files that have vanished are made anew before, damaged ones after.
    pub(super) fn with_writer<T>(&self, deed: impl FnOnce(&mut Writer) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut desk = lock(&self.desk);
        if self.is_damaged.swap(false, Ordering::Relaxed) {
            self.empty(&mut desk)?;
        }
        let (opened, now) = (desk.as_ref().map(|desk| desk.inodes), self.folder.inodes().ok());
        if opened.zip(now).is_some_and(|(opened, now)| opened.lost_log(&now)) {
            self.empty(&mut desk)?;
        } else if opened.is_none() || opened != now {
            match self.reopen(&mut desk) {
                Err(fault) if fault.is_damage() => self.empty(&mut desk)?,
                other => other?,
            }
        }
        let open = desk.as_mut().ok_or(Fault::Busy)?;
        let done = deed(&mut open.writer);
        if matches!(&done, Err(fault) if fault.is_damage()) {
            self.empty(&mut desk)?;
        }
        done
    }

    /// Reads something; `None` if it cannot be read now.
    pub(super) fn with_reader<T>(&self, deed: impl FnOnce(&Reader) -> Result<T, Fault>) -> Option<T> {
        let reader = self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        match deed(&reader) {
            Ok(found) => Some(found),
            Err(fault) => {
                if fault.is_damage() {
                    self.is_damaged.store(true, Ordering::Relaxed);
                }
                tracing::debug!(?fault, "The chunk cache cannot be read");
                None
            }
        }
    }

    /// The bound that holds now.
    pub(super) fn budget(&self) -> Result<Budget, Fault> {
        self.with_writer(|writer| writer.budget())
    }

    /// What is kept.
    pub(super) fn status(&self) -> Result<Status, Fault> {
        let (budget, counts) = self.with_writer(|writer| Ok((writer.budget()?, writer.counts()?)))?;
        let tally = counts.tally;
        let taken = tally.data.saturating_add(tally.metadata).saturating_add(tally.pinned);
        Ok(Status {
            folder: self.folder.path.clone(),
            limit: budget.limit,
            disk_bytes: self.folder.disk_bytes(),
            data_bytes: slot_bytes(tally.data),
            metadata_bytes: slot_bytes(tally.metadata),
            object_bytes: tally.object_bytes,
            pinned_bytes: slot_bytes(tally.pinned).saturating_add(counts.pinned_row_bytes),
            spare_bytes: slot_bytes(tally.free),
            runs: u64::try_from(taken).unwrap_or(0),
            objects: counts.objects,
            disk_free_bytes: free_bytes(&self.folder.path)?,
        })
    }

    /// The thread that writes.
    pub(super) fn run(&self) {
        let mut quiet_until: Option<Instant> = None;
        while let Some(mut work) = self.queue.take(IDLE) {
            if quiet_until.is_some_and(|until| Instant::now() < until) {
                continue;
            }
            if let Err(fault) = self.write(&mut work) {
                quiet_until = self.tell(&fault).then(|| Instant::now() + QUIET);
            }
        }
        self.queue.end();
    }

    fn write(&self, work: &mut Vec<Work>) -> Result<(), Fault> {
        if work.is_empty() {
            return self.with_writer(Writer::trim);
        }
        while !work.is_empty() && !self.queue.is_over() {
            match self.with_writer(|writer| writer.batch(work)) {
                // This part is lost, the next one may fare better.
                Err(Fault::Busy) => tracing::debug!("The chunk cache is busy"),
                other => other?,
            }
        }
        Ok(())
    }

    /// Tells once what is wrong; true if it is better to leave the disk alone for a while.
    fn tell(&self, fault: &Fault) -> bool {
        if fault.is_damage() {
            return false;
        }
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(folder = %self.folder.path.display(), ?fault, "The chunk cache cannot be written to");
        }
        true
    }
}
