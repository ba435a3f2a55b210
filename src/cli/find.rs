//! `bygone find`: where things are that were once there, in all snapshots.

use crate::browse::Filter;
use crate::browse::SnapshotPath;
use crate::cli::error::CommandError;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::Out;
use crate::cli::out::OutError;
use crate::cli::place;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::format::record::Snapshot;
use crate::history;
use crate::history::Catalogue;
use crate::history::CatalogueError;
use crate::history::Hit;
use crate::history::Info;
use crate::history::Patterns;
use crate::history::Search;
use crate::history::Type;
use crate::meta::Time;
use crate::monitor::chain;
use clap::ValueEnum;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  bygone find cv.odt                       every snapshot's cv.odt
  bygone find '*.jpg' --larger 10M --newer 30d
  bygone find '/home/ada/**/*.rs' --ignore-case
  bygone find --deleted '*.odt'            what is gone, and how to get it back

A pattern without a slash is compared with names, one with a slash with whole paths; one that does not begin with a slash
may end any path. '*' and '?' stand for anything but slashes, '**' for anything, [a-z] for one character.

The first search reads the names in all snapshots and keeps them on this machine, sealed with the key of the repository, in
the folder for local state. Later ones read only what changed since.

Names inside disk images are not among them: 'bygone mount' shows them, and 'bygone ls -R latest:/disk.img!/1'.";

/// Search for files in all snapshots
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FindArgs {
    /// What to look for; several: any of them
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<OsString>,

    /// Let upper and lower case be the same
    #[arg(short, long)]
    ignore_case: bool,

    /// Only files, folders or links
    #[arg(short, long = "type", value_name = "KIND", value_enum)]
    kind: Option<Wanted>,

    /// Only files larger than this
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    larger: Option<u64>,

    /// Only files smaller than this
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    smaller: Option<u64>,

    /// Only what was modified after this day or time, or so long ago at most (7d)
    #[arg(long, value_name = "MOMENT", value_parser = human::parse_moment)]
    newer: Option<Time>,

    /// Only what was modified before this day or time, or at least so long ago
    #[arg(long, value_name = "MOMENT", value_parser = human::parse_moment)]
    older: Option<Time>,

    /// Only what the newest snapshot of its host and sources does not have any more, and how to get it back
    #[arg(long, conflicts_with_all = ["latest", "snapshot"])]
    deleted: bool,

    /// Only in the newest snapshot of each host and its sources
    #[arg(long)]
    latest: bool,

    /// Only in this snapshot (repeatable)
    #[arg(long, value_name = "SNAPSHOT", value_parser = select::parser())]
    snapshot: Vec<SnapshotPath>,

    /// Keep nothing on this machine: read the names in the snapshots for this search alone
    #[arg(long)]
    no_catalogue: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Files
    #[value(name = "f", alias = "file")]
    File,
    /// Folders
    #[value(name = "d", alias = "folder")]
    Folder,
    /// Symbolic links
    #[value(name = "l", alias = "link")]
    Link,
}

/// Where the names are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Where they were.
    Still,
    /// There, after what was there turned out to be of no use.
    Anew,
    /// Nowhere.
    No,
}

/// Why a search ended early.
enum Failure {
    Catalogue(CatalogueError),
    Out(OutError),
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Failure {
        Failure::Catalogue(error)
    }
}

impl From<OutError> for Failure {
    fn from(error: OutError) -> Failure {
        Failure::Out(error)
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> CommandError {
        match failure {
            Failure::Catalogue(CatalogueError::Repo(error)) => error.into(),
            Failure::Catalogue(error) => error.into(),
            Failure::Out(error) => error.into(),
        }
    }
}

impl FindArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let snapshots = self.snapshots(&opened, &filter)?;
        let folder = place::state_folder().filter(|_| !self.no_catalogue);
        let mut kept = if folder.is_some() { Kept::Still } else { Kept::No };
        let mut teller = Teller { as_json: global.json, deleted: self.deleted, told: 0, unread: 0, out: Out::new() };
        loop {
            let failure = match self.search(&opened, global, (kept, folder.as_ref()), &snapshots, &mut teller) {
                Ok(()) => break,
                Err(Failure::Catalogue(error)) if !matches!(error, CatalogueError::Repo(_)) => error,
                Err(other) => return Err(other.into()),
            };
            if kept == Kept::No || teller.told > 0 {
                return Err(failure.into());
            }
            if kept == Kept::Still && failure.is_damage() {
                tracing::info!(error = %chain(&failure), "The catalogue is made anew");
                kept = Kept::Anew;
            } else {
                out::warning(global.json, format_args!("{}; going on without a catalogue", chain(&failure)));
                kept = Kept::No;
            }
        }
        let (told, unread) = (teller.told, teller.unread);
        if global.json {
            let body = json!({ "command": "find", "found": told, "snapshots": snapshots.len(), "unread": unread });
            teller.out.text(format_args!("{}\n", json::line("summary", &body)))?;
        }
        teller.out.finish()?;
        if !global.json && told == 0 && !global.quiet {
            out::note(format_args!(
                "nothing found in {}",
                human::plural(snapshots.len() as u64, "snapshot", "snapshots")
            ));
        }
        opened.tell_requests(global);
        Ok(if unread == 0 { Exit::Done } else { Exit::Incomplete })
    }

    /// The snapshots of interest, oldest first.
    fn snapshots<'a>(&self, opened: &'a Opened, filter: &Filter) -> Result<Vec<&'a Snapshot>> {
        let mut snapshots = opened.log.snapshots();
        snapshots.retain(|snapshot| filter.admits(snapshot));
        if !self.snapshot.is_empty() {
            let chosen =
                self.snapshot.iter().map(|at| Ok(opened.select(at, filter)?.id)).collect::<Result<HashSet<_>>>()?;
            snapshots = opened.log.snapshots();
            snapshots.retain(|snapshot| chosen.contains(&snapshot.id));
        }
        if self.latest {
            let newest: HashMap<_, _> = snapshots.iter().map(|s| ((&s.host, &s.sources), s.id)).collect();
            let newest: HashSet<_> = newest.into_values().collect();
            snapshots.retain(|snapshot| newest.contains(&snapshot.id));
        }
        Ok(snapshots)
    }

    fn search(
        &self,
        opened: &Opened,
        global: &Global,
        (kept, folder): (Kept, Option<&PathBuf>),
        snapshots: &[&Snapshot],
        teller: &mut Teller,
    ) -> std::result::Result<(), Failure> {
        let keys = opened.repo.keys();
        let mut catalogue = match folder {
            Some(folder) if kept != Kept::No => {
                if kept == Kept::Anew {
                    Catalogue::remove(folder, keys)?;
                }
                Catalogue::open(folder, keys)?
            }
            _ => Catalogue::passing(keys)?,
        };
        // A chain is kept whole, or the next search would have to begin it again.
        let mut wanted = opened.log.snapshots();
        let chains: HashSet<_> = snapshots.iter().map(|s| (&s.host, &s.sources)).collect();
        wanted.retain(|s| chains.contains(&(&s.host, &s.sources)));
        if kept == Kept::No {
            wanted = snapshots.to_vec();
        }
        let chunks = opened.chunks(&opened.chunks_options());
        let unreadable = opened.runtime.block_on(catalogue.update(&chunks, &opened.log, &wanted))?;
        let of_interest: HashSet<_> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        teller.unread = 0;
        for (id, error) in unreadable.iter().filter(|(id, _)| of_interest.contains(id)) {
            teller.unread += 1;
            out::warning(global.json, format_args!("snapshot {} is left out: {}", short(*id), chain(error)));
        }
        let patterns: Vec<Vec<u8>> = self.patterns.iter().map(|text| text.clone().into_vec()).collect();
        let patterns = Patterns::new(&patterns, self.ignore_case);
        let search = Search {
            snapshots,
            names: &|parent, name| !name.is_empty() && patterns.matches(parent, name),
            infos: &|info| self.admits(info),
        };
        history::find(&catalogue, &search, &mut |hit| Ok::<_, Failure>(teller.tell(&hit)?))
    }

    fn admits(&self, info: &Info) -> bool {
        let is_kind = match self.kind {
            None => true,
            Some(Wanted::File) => info.kind == Type::File,
            Some(Wanted::Folder) => info.kind == Type::Folder,
            Some(Wanted::Link) => info.kind == Type::Symlink,
        };
        let is_sized = self.larger.is_none() && self.smaller.is_none()
            || info.kind == Type::File
                && self.larger.is_none_or(|size| info.size > size)
                && self.smaller.is_none_or(|size| info.size < size);
        let is_timed =
            self.newer.is_none_or(|time| info.mtime > time) && self.older.is_none_or(|time| info.mtime < time);
        is_kind && is_sized && is_timed
    }
}

struct Teller {
    as_json: bool,
    deleted: bool,
    told: u64,
    /// Snapshots that could not be read.
    unread: u64,
    out: Out,
}

impl Teller {
    fn tell(&mut self, hit: &Hit<'_>) -> std::result::Result<(), OutError> {
        if self.deleted && !hit.is_deleted {
            return Ok(());
        }
        self.told += 1;
        if self.as_json {
            self.out.text(json::line("found", &hit_json(hit)))?;
            return self.out.bytes(b"\n");
        }
        self.out.name(&shown(hit))?;
        if hit.info.kind == Type::File {
            self.out.text(format_args!("  {}", human::size(hit.info.size)))?;
        }
        let (first, last) = (hit.first, hit.last);
        self.out.text(format_args!("  {}", human::plural(hit.snapshots, "snapshot", "snapshots")))?;
        if hit.versions > 1 {
            self.out.text(format_args!(", {}", human::plural(hit.versions, "version", "versions")))?;
        }
        self.out.text(format_args!(": {} {}", short(first.id), human::time(first.time)))?;
        if first.id != last.id {
            self.out.text(format_args!(" - {} {}", short(last.id), human::time(last.time)))?;
        }
        if hit.is_deleted {
            self.out.text(", deleted since")?;
        }
        self.out.bytes(b"\n")?;
        if self.deleted {
            self.out.text(format_args!("  {}\n", restore_command(hit)))?;
        }
        Ok(())
    }
}

fn shown(hit: &Hit<'_>) -> Vec<u8> {
    let mut path = json::rooted(&hit.path);
    if hit.info.kind == Type::Folder {
        path.push(b'/');
    }
    path
}

fn restore_command(hit: &Hit<'_>) -> String {
    let path = json::rooted(&hit.path);
    let at = format!("{}:{}", short(hit.last.id), String::from_utf8_lossy(&path));
    format!("bygone restore {} --to .", human::shell(&at))
}

fn hit_json(hit: &Hit<'_>) -> Value {
    let mut map = Map::new();
    json::put_bytes(&mut map, "path", &json::rooted(&hit.path));
    let kind = match hit.info.kind {
        Type::File => "file",
        Type::Folder => "folder",
        Type::Symlink => "symlink",
        Type::Other => "other",
    };
    let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
    put("kind", kind.into());
    put("size", hit.info.size.into());
    put("mtime", json::time(hit.info.mtime));
    put("host", hit.last.host.clone().into());
    put("snapshots", hit.snapshots.into());
    put("versions", hit.versions.into());
    put("first_snapshot", hit.first.id.to_string().into());
    put("first_time", json::time(hit.first.time));
    put("last_snapshot", hit.last.id.to_string().into());
    put("last_time", json::time(hit.last.time));
    put("deleted", hit.is_deleted.into());
    if hit.is_deleted {
        put("restore", restore_command(hit).into());
    }
    Value::Object(map)
}
