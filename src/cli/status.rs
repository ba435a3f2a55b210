//! What a drive has to tell about itself: gathered by the process that serves it, shown by `drives`.

use crate::cache::Cache;
use crate::cli::human;
use crate::cli::json;
use crate::cli::socket;
use crate::cli::socket::Device;
use crate::cli::socket::Listening;
use crate::drive;
use crate::drive::Fault;
use crate::drive::Previews;
use crate::drive::Reader;
use crate::drive::Watch;
use crate::format::record::Snapshot;
use crate::meta::Time;
use crate::store::Counted;
use bygone_mount::fuse::Session;
use serde::Deserialize;
use serde::Serialize;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

/// Programs that are told.
const READERS_MAX: usize = 5;
/// A storage that leaves a request waiting for longer counts as not answering.
const WAITING_MAX: Duration = Duration::from_secs(10);

/// What a drive tells. Fields may be added, and those of another version of the program may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    /// The process that serves it.
    pub(super) pid: u32,
    /// The snapshot it shows; none if it shows all.
    pub(super) snapshot: Option<Shown>,
    /// When it was mounted.
    pub(super) since: Stamp,
    /// What programs that make previews get: `on`, `cached`, `off`.
    pub(super) previews: String,
    pub(super) served: Served,
    pub(super) store: StoreFigures,
    /// What programs could not be given.
    pub(super) faults: FaultFigures,
    /// The file with all it has to say, if there is one.
    pub(super) log: Option<String>,
    pub(super) cache: CacheFigures,
    /// The programs that got most.
    pub(super) readers: Vec<ReaderFigures>,
    /// Memory of its process, bytes, and the most there ever was.
    pub(super) memory_bytes: u64,
    pub(super) memory_bytes_peak: u64,
}

/// A moment to the second: RFC 3339 for programs, local time for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(super) struct Stamp(i64);

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> String {
        json::time(Time { secs: stamp.0, nanos: 0 }).as_str().unwrap_or_default().to_owned()
    }
}

impl From<String> for Stamp {
    /// What cannot be understood is as good as nothing.
    fn from(text: String) -> Stamp {
        Stamp(text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second))
    }
}

impl From<Time> for Stamp {
    fn from(time: Time) -> Stamp {
        Stamp(time.secs)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&human::time(Time { secs: self.0, nanos: 0 }))
    }
}

/// The snapshot a drive shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) time: Stamp,
    pub(super) host: String,
}

impl From<&Snapshot> for Shown {
    fn from(snapshot: &Snapshot) -> Shown {
        Shown { id: snapshot.id.to_string(), time: snapshot.time.into(), host: snapshot.host.clone() }
    }
}

/// What programs got. What the system has in memory it gives them without asking.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Served {
    /// Content, bytes.
    pub(super) bytes: u64,
    /// Reads of content, and all requests of the system.
    pub(super) reads: u64,
    pub(super) requests: u64,
    /// Reads that failed.
    pub(super) failed: u64,
    /// Openings refused to makers of previews.
    pub(super) refused: u64,
}

/// What was asked of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoreFigures {
    /// Fetched, bytes.
    pub(super) bytes: u64,
    pub(super) requests: u64,
    /// Requests that failed, after all trying again.
    pub(super) failed: u64,
    /// False if the last request found nobody, one has been waiting for too long, or none are made.
    pub(super) online: bool,
    /// True if none are made because that was asked for.
    pub(super) offline_asked: bool,
    /// How long the oldest request has been waiting.
    pub(super) waiting_secs: u64,
    /// The last failure, and how long ago it was.
    pub(super) last_error: Option<String>,
    pub(super) last_error_secs_ago: Option<u64>,
}

/// Requests that failed because of what was backed up or where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FaultFigures {
    pub(super) count: u64,
    /// The newest.
    pub(super) last: Option<FaultFigure>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FaultFigure {
    pub(super) snapshot: String,
    /// In the snapshot; empty if it is not known.
    pub(super) path: String,
    pub(super) reason: String,
    pub(super) secs_ago: u64,
}

impl From<Fault> for FaultFigure {
    fn from(fault: Fault) -> FaultFigure {
        let path = String::from_utf8_lossy(&fault.path);
        FaultFigure {
            snapshot: fault.snapshot.to_string(),
            path: if path.is_empty() { String::new() } else { format!("/{path}") },
            reason: fault.reason,
            secs_ago: fault.when.elapsed().as_secs(),
        }
    }
}

/// What caches did for the reads of programs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CacheFigures {
    /// Reads answered from memory at once, and those that had to wait for something.
    pub(super) memory_hits: u64,
    pub(super) memory_misses: u64,
    /// The cache on disk, if there is one.
    pub(super) disk: Option<DiskFigures>,
}

/// The cache on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DiskFigures {
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// What it holds, and what it may hold.
    pub(super) bytes: u64,
    pub(super) bytes_max: u64,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ReaderFigures {
    pub(super) program: String,
    pub(super) pid: u32,
    pub(super) bytes: u64,
    pub(super) refused: u64,
}

impl From<Reader> for ReaderFigures {
    fn from(reader: Reader) -> ReaderFigures {
        ReaderFigures { program: reader.program, pid: reader.pid, bytes: reader.bytes, refused: reader.refused }
    }
}

/// The name of a rule, as in the options.
pub(super) fn previews_name(previews: Previews) -> &'static str {
    match previews {
        Previews::On => "on",
        Previews::Cached => "cached",
        Previews::Off => "off",
    }
}

/// Where the figures of a drive come from.
pub(super) struct Gauges {
    pub(super) watch: Arc<Watch>,
    pub(super) counted: Arc<Counted>,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) snapshot: Option<Shown>,
    pub(super) since: Time,
    /// True if the storage is not asked.
    pub(super) offline: bool,
    /// Where the log is, or will be.
    pub(super) log: Option<PathBuf>,
    /// Not kept alive by those who want to know about it.
    pub(super) session: Weak<Session>,
}

impl Gauges {
    /// Answers whoever asks, as long as what is returned is kept.
    pub(super) fn listen(self, device: Device) -> io::Result<Listening> {
        socket::listen(device, move || {
            let body = serde_json::to_value(self.read()).expect("figures and text can be written as JSON");
            json::line("drive_status", &body)
        })
    }

    fn read(&self) -> Status {
        let (seen, totals, health) = (self.watch.seen(), self.counted.totals(), self.counted.health());
        let waiting = health.waiting.unwrap_or_default();
        let (memory_bytes, memory_bytes_peak) = drive::memory().unwrap_or_default();
        Status {
            pid: std::process::id(),
            snapshot: self.snapshot.clone(),
            since: self.since.into(),
            previews: previews_name(self.watch.previews()).to_owned(),
            served: Served {
                bytes: seen.bytes,
                reads: seen.reads,
                requests: self.session.upgrade().map_or(0, |session| session.counts().total()),
                failed: seen.reads_failed,
                refused: seen.refused,
            },
            store: StoreFigures {
                bytes: totals.bytes_read,
                requests: totals.requests,
                failed: health.failed,
                online: !self.offline && health.reachable && waiting < WAITING_MAX,
                offline_asked: self.offline,
                waiting_secs: waiting.as_secs(),
                last_error_secs_ago: health.last_error.as_ref().map(|(_, ago)| ago.as_secs()),
                last_error: health.last_error.map(|(text, _)| text),
            },
            faults: self.faults(),
            log: self.log.as_ref().filter(|log| log.exists()).map(|log| log.to_string_lossy().into_owned()),
            cache: CacheFigures {
                memory_hits: seen.reads_at_once,
                memory_misses: seen.reads.saturating_sub(seen.reads_at_once),
                disk: self.disk(),
            },
            readers: seen.readers.into_iter().take(READERS_MAX).map(ReaderFigures::from).collect(),
            memory_bytes,
            memory_bytes_peak,
        }
    }
}

impl Gauges {
    fn faults(&self) -> FaultFigures {
        let (count, last) = self.watch.faults().seen();
        FaultFigures { count, last: last.map(FaultFigure::from) }
    }

    /// How the cache on disk serves this drive; its size is that of all drives.
    fn disk(&self) -> Option<DiskFigures> {
        let cache = self.cache.as_ref()?;
        let (stats, status) = (cache.stats(), cache.status().ok()?);
        Some(DiskFigures { hits: stats.hits, misses: stats.misses, bytes: status.disk_bytes, bytes_max: status.limit })
    }
}

/// Asks the drive with this number; `None` if nobody answers within `patience`.
pub(super) fn ask(device: Device, patience: Duration) -> Option<Status> {
    serde_json::from_str(&socket::ask(device, patience)?).ok()
}

impl Status {
    /// True if its storage answers, as far as is known.
    pub(super) fn is_online(&self) -> bool {
        self.store.online
    }
}
