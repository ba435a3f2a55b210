//! Is a repository still whole? Everything that can be known without reading contents, and on request contents, too.
//!
//! [`check()`] looks at structure: config, slots, every record, every index object, every page of every snapshot once,
//! and whether what pages refer to lies where a pack is listed that is long enough. [`Data`] says how much of the
//! packs is read as well. [`scrub()`] needs no key: magic, lengths and clear checksums.
//!
//! - Nothing is believed: neither hints nor index nor the cache; nothing is changed. (Noting what was found, [`Log::note_damage`], is a deed of its own.)
//! - What is damaged is told with the snapshots and files that need it; what nobody needs is a note, not a problem.
//! - Memory: the index (44 bytes a chunk), half a hash per page, and a few packs at once; all lists are bounded.
//!
//! Runs beside backups and drives: the log is read before the index, and the index before the packs are listed, so what
//! a snapshot needs is there when it is looked for.

mod affected;
mod copies;
mod inventory;
mod object;
mod pack;
mod packs;
mod problem;
mod records;
mod scrub;
mod subset;
mod trees;

pub use object::object;
pub use object::record_of;
pub use pack::PackFault;
pub use pack::PackFound;
pub use pack::examine;
pub use problem::Affected;
pub use problem::Kind;
pub use problem::Note;
pub use problem::Problem;
pub use scrub::scrub;
pub use subset::Subset;
pub use subset::SubsetError;

use crate::check::inventory::Inventory;
use crate::check::problem::Findings;
use crate::format::record::Snapshot;
use crate::id::ChunkId;
use crate::id::ObjectId;
use crate::id::SnapshotId;
use crate::monitor::Event;
use crate::monitor::Monitor;
use crate::monitor::chain;
use crate::repo;
use crate::repo::CONFIG_NAME;
use crate::repo::Chunks;
use crate::repo::ChunksOptions;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::pack_name;
use crate::store;
use crate::store::ErrorKind;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository cannot be asked at all.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// The user wanted it to end.
    #[error("the check was interrupted; what it had not looked at is not known")]
    Cancelled,
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::Repo(error.into())
    }
}

/// Result of a check.
pub type Result<T> = std::result::Result<T, Error>;

/// How much of the packs is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Data {
    /// Pages only.
    #[default]
    None,
    /// Everything.
    All,
    /// Some packs; a seed decides which, where chance does.
    Subset(Subset, u64),
    /// So many chunks, chosen by a seed.
    Sample(u64, u64),
}

/// What is checked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these snapshots; all if empty.
    pub snapshots: Vec<SnapshotId>,
    /// Of the packs that are read as a whole, only these; all if empty.
    pub packs: Vec<ObjectId>,
    /// How much of the packs is read.
    pub data: Data,
    /// Bounds of the memory for what is fetched.
    pub chunks: ChunksOptions,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Snapshots.
    pub snapshots: u64,
    /// Pages that were opened.
    pub pages: u64,
    /// Nodes in them.
    pub nodes: u64,
    /// References to chunks that were followed.
    pub references: u64,
    /// Records of the log.
    pub records: u64,
    /// Index objects.
    pub indexes: u64,
    /// Packs that are listed.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were read as a whole.
    pub objects_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Chunks that were decoded.
    pub chunks_read: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Damage.
    pub problems: Vec<Problem>,
    /// Problems that are not listed, because there are too many.
    pub problems_more: u64,
    /// What is strange and does no harm.
    pub notes: Vec<Note>,
    /// How much was looked at.
    pub figures: Figures,
    /// Packs in which damage was found by reading them: what is in them should be stored again.
    pub damaged_packs: Vec<ObjectId>,
}

impl Report {
    /// True if nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.problems_more == 0
    }
}

/// One run, and what it has found so far.
struct Run<'a> {
    repo: &'a Repo,
    log: &'a Log,
    chunks: Arc<Chunks>,
    monitor: &'a dyn Monitor,
    findings: Findings,
    inventory: Inventory,
    figures: Figures,
    damaged_packs: Vec<ObjectId>,
    /// Damage in packs that nobody needs.
    notes: Vec<Note>,
    /// True if every snapshot is looked at.
    is_whole: bool,
    /// Hashes of config, slots and records that are whole, by name; and names of those that are there and not.
    firsts: HashMap<String, Option<[u8; 32]>>,
    /// Root pages that came with records.
    spare_roots: HashMap<ChunkId, SnapshotId>,
}

/// Checks an open repository with its log. Must be called within a tokio runtime.
pub async fn check(repo: &Repo, log: &Log, options: &Options, monitor: &dyn Monitor) -> Result<Report> {
    let chunks = Chunks::new(repo, &options.chunks);
    let all = log.snapshots();
    let is_whole = options.snapshots.is_empty();
    let snapshots: Vec<&Snapshot> =
        all.into_iter().filter(|snapshot| is_whole || options.snapshots.contains(&snapshot.id)).collect();
    let mut run = Run {
        repo,
        log,
        chunks,
        monitor,
        findings: Findings::default(),
        inventory: Inventory::default(),
        figures: Figures { snapshots: snapshots.len() as u64, ..Figures::default() },
        damaged_packs: Vec::new(),
        notes: Vec::new(),
        is_whole,
        firsts: HashMap::new(),
        spare_roots: HashMap::new(),
    };
    run.clear_objects().await?;
    run.records().await?;
    run.copies().await?;
    let sample = if let Data::Sample(count, seed) = options.data { Some((count, seed)) } else { None };
    let sampled = run.take_inventory(sample).await?;
    run.trees(&snapshots).await?;
    match options.data {
        Data::None => {}
        Data::Sample(..) => run.read_chunks(sampled).await?,
        Data::All | Data::Subset(..) => {
            let mut packs = run.chosen(&options.data);
            packs.retain(|(pack, _)| options.packs.is_empty() || options.packs.contains(pack));
            run.read_packs(packs).await?;
            run.note_repairable().await?;
        }
    }
    if is_whole {
        run.parity(matches!(options.data, Data::All) && options.packs.is_empty()).await?;
    }
    if run.findings.has_losses() {
        run.attribute(&snapshots).await?;
    }
    Ok(run.report())
}

impl Run<'_> {
    fn go_on(&self) -> Result<()> {
        if self.monitor.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn done(&self, objects: u64, bytes: u64) {
        self.monitor.event(Event::Done { nodes: objects, bytes });
    }

    /// Notes an object that should be there and is not given; `Err` if it may be later.
    fn unreadable(&mut self, name: &str, error: store::Error) -> Result<()> {
        if error.is_transient() {
            return Err(error.into());
        }
        let kind = if error.kind == ErrorKind::NotFound { Kind::Missing } else { Kind::Unreadable };
        self.findings.add(name, kind, name, chain(&error));
        Ok(())
    }

    /// Config and password slots.
    async fn clear_objects(&mut self) -> Result<()> {
        let slots = self.repo.store().list("keys").await?;
        let names = [CONFIG_NAME.to_owned()].into_iter().chain(slots.into_iter().map(|stored| stored.name));
        for name in names {
            self.go_on()?;
            match self.repo.store().get(&name).await {
                Err(error) => {
                    self.unreadable(&name, error)?;
                    self.firsts.insert(name, None);
                }
                Ok(bytes) => {
                    self.done(1, bytes.len() as u64);
                    let checked = object::clear(self.repo, &name, &bytes);
                    self.firsts.insert(name.clone(), checked.is_ok().then(|| *blake3::hash(&bytes).as_bytes()));
                    if let Err(source) = checked {
                        self.findings.add(&name, Kind::Damaged, &name, source.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    fn report(mut self) -> Report {
        self.note_packs();
        let knows_all = self.is_whole && !self.findings.has_lost_pages();
        let going = self.log.marked_packs();
        let is_needless = |problem: &Problem| {
            let pack = repo::pack_of(&problem.object);
            let is_idle = |pack| going.contains(&pack) || !self.inventory.is_needed(pack);
            // What is missing and was not swept was lost, whoever needs it.
            knows_all && problem.kind != Kind::Missing && problem.affected.is_empty() && pack.is_some_and(is_idle)
        };
        let (needless, problems): (Vec<_>, Vec<_>) = self.findings.problems.into_iter().partition(is_needless);
        let mut notes = self.notes;
        notes.extend(needless.into_iter().map(|problem| Note {
            what: "needless_pack",
            message: format!("{}: {}; no snapshot needs it", problem.object, problem.message),
        }));
        Report {
            problems,
            problems_more: self.findings.more,
            notes,
            figures: self.figures,
            damaged_packs: self.damaged_packs,
        }
    }

    /// Packs that no index names, and those that no snapshot needs.
    fn note_packs(&mut self) {
        let (mut orphans, mut unindexed) = ((0u64, 0u64), Vec::new());
        for (pack, len) in &self.inventory.listed {
            if self.inventory.index.pack_len(*pack).is_some() {
                continue;
            }
            match self.inventory.is_needed(*pack) {
                true => unindexed.push(*pack),
                false => orphans = (orphans.0 + 1, orphans.1 + len),
            }
        }
        if orphans.0 > 0 && self.is_whole {
            let (count, bytes) = orphans;
            let message = format!(
                "{count} packs ({bytes} bytes) are named by no index and needed by no snapshot: a backup left them when \
                 it was interrupted, or is running now; the next backup takes over what is in them"
            );
            self.notes.push(Note { what: "orphans", message });
        }
        if let Some(first) = unindexed.iter().min() {
            let message = format!(
                "{} packs that snapshots need are named by no index ('{}' is one); they can be read all the same, and \
                 the next backup writes a new index",
                unindexed.len(),
                pack_name(*first)
            );
            self.findings.add("index", Kind::Missing, "index", message);
        }
        if self.inventory.strange > 0 {
            let message =
                format!("{} objects have names that are not Bygone's: they are left alone", self.inventory.strange);
            self.notes.push(Note { what: "strange", message });
        }
    }
}
