//! `bygone restore`: files of a snapshot back into a folder, or to where they came from.

use crate::browse::Browse;
use crate::browse::SnapshotPath;
use crate::cli::error::CommandError;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::global::moved;
use crate::cli::human;
use crate::cli::inside;
use crate::cli::inside::Place;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::point;
use crate::cli::progress::Progress;
use crate::cli::restore_disk::DiskRestoreArgs;
use crate::cli::restore_disk::Wanted;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::cli::unlock::UnlockArgs;
use crate::disk::fs::NodeKind;
use crate::path;
use crate::restore;
use crate::restore::Options;
use crate::restore::Overwrite;
use crate::restore::Summary;
use crate::store::Location;
use crate::target::FileId;
use clap::ValueEnum;
use serde_json::json;
use std::ffi::OsStr;
use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

/// Files restored at once at most, unless there are fewer processors.
const THREADS_MAX: usize = 16;

const EXAMPLES: &str = "Examples:
  bygone restore latest:/home/ada --to /tmp/ada       ada's files directly into /tmp/ada
  bygone restore latest:/home/ada/cv.odt --to ~       one file, as ~/cv.odt
  bygone restore latest --to / --include /etc         a part, to where it came from
  bygone restore 1a2b3c4d --original --dry-run        everything to where it came from
  bygone restore 'latest:/sda.img!/2/home/ada' --to . a folder from inside a disk image
  bygone restore --image latest:/sda.img /dev/sdb     a whole disk onto another one
  bygone restore --image latest vm.img --delta --yes  bring a file up to date, only where it differs

Patterns are those of .gitignore, relative to the chosen folder. The exit code is 3 if some files could not be \
restored.";

/// Bring files back from a snapshot
///
/// The contents of the chosen folder go into DIR, with owners, times, modes and all the rest. A file that is there
/// already and did not change is left as it is, so an interrupted restore goes on where it stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["to", "original", "image"]))]
pub(super) struct RestoreArgs {
    /// Which snapshot, and which folder or file in it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    at: SnapshotPath,

    /// Restore into this folder; made if it is missing
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,

    /// Restore everything to where it came from
    #[arg(long)]
    original: bool,

    /// With --original and --image: do not ask, and write over what is there
    #[arg(short, long, conflicts_with = "to")]
    yes: bool,

    /// Only what matches (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    include: Vec<String>,

    /// Not what matches (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,

    /// What to do with files that are there already
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::IfChanged)]
    overwrite: When,

    /// Remove what is in the folder but not in the snapshot; never the repository, the folders of state and
    /// cache, or a disk mounted on what is an empty folder in the snapshot
    #[arg(long)]
    delete: bool,

    /// Change nothing, only tell what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Read every file back afterwards and compare
    #[arg(long)]
    verify: bool,

    /// Restore owners by number even where users of the same name exist
    #[arg(long)]
    numeric_ids: bool,

    /// Do not restore owners, setuid bits, capabilities and devices, even as root
    #[arg(long)]
    no_owner: bool,

    #[command(flatten)]
    disk: DiskRestoreArgs,

    #[command(flatten)]
    unlock: UnlockArgs,

    #[command(flatten)]
    filter: FilterArgs,
}

/// When a file that is there already is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum When {
    /// Never
    Never,
    /// If the one in the snapshot is newer
    IfNewer,
    /// If size or time differ
    IfChanged,
    /// Always
    Always,
}

/// One restore: this folder or file of the snapshot into that folder.
#[derive(Debug, PartialEq, Eq)]
struct Job {
    base: Vec<u8>,
    to: PathBuf,
}

impl RestoreArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let browse = opened.browse(opened.select(&self.at, &filter)?);
        if self.disk.image {
            let wanted = Wanted { at: self.at, yes: self.yes, verify: self.verify, dry_run: self.dry_run };
            return self.disk.run(global, &opened, &browse, &wanted);
        }
        let place = opened.runtime.block_on(inside::find(&browse, &self.at.path, &self.unlock.passphrase()?))?;
        let jobs = opened.runtime.block_on(self.jobs(&browse, &place))?;
        check_outside(&opened.location, &jobs)?;
        let problems = browse.snapshot().figures.problems;
        if self.delete && problems > 0 {
            let problems = human::plural(problems, "problem", "problems");
            out::warning(
                global.json,
                format_args!(
                    "this snapshot was taken with {problems}: what could not be read then is not in it, and --delete removes \
                     it here. '--dry-run --verbose' shows what would go"
                ),
            );
        }
        if self.original && !self.yes && !self.dry_run {
            confirm(&browse, &jobs, self.delete)?;
        }
        let began = Instant::now();
        let progress = Progress::start(global, &opened.runtime, "Restoring");
        let done = opened.runtime.block_on(async {
            let (options, mut sum) = (self.options(&opened.own_folders(global)), Summary::default());
            for job in &jobs {
                let done = match &place {
                    Place::Inside(inside, id, _) => {
                        restore::restore_inside(inside, *id, &job.base, &job.to, &options, &progress).await?
                    }
                    _ => restore::restore(&browse, &job.base, &job.to, &options, &progress).await?,
                };
                add(&mut sum, done);
            }
            Ok::<_, CommandError>(sum)
        });
        let problems = progress.finish();
        let summary = done?;
        let problems = problems.max(summary.problems);
        if global.json {
            let body = summary_json(&browse, &summary, problems, self.dry_run, began, &opened);
            out::line(json::line("summary", &body))?;
        } else if !global.quiet {
            out::line(summary_text(&summary, self.dry_run, began))?;
        }
        if summary.nodes == 0 && !self.include.is_empty() {
            out::warning(global.json, "nothing matches --include: its patterns are relative to what is restored");
        }
        opened.tell_requests(global);
        if problems == 0 {
            return Ok(Exit::Done);
        }
        if !global.json {
            let problems = human::plural(problems, "problem", "problems");
            out::note(format_args!("{problems}; everything else was restored"));
        }
        Ok(Exit::Incomplete)
    }

    async fn jobs(&self, browse: &Browse, place: &Place) -> Result<Vec<Job>> {
        let is_folder = match place {
            Place::Node(found) => found.node().is_folder(),
            Place::Inside(_, _, node) if self.to.is_some() => node.kind == NodeKind::Folder,
            Place::Inside(..) => {
                return Err(usage("what lies in a disk image goes into a folder; choose it with --to"));
            }
            Place::Disk(_) => {
                return Err(usage(
                    "this is a whole disk: name a partition in it ('bygone ls' lists them), or use --image",
                ));
            }
            Place::Raw(..) => {
                return Err(usage("the files of this partition cannot be read; 'bygone cat' prints its bytes"));
            }
        };
        if !is_folder && (self.delete || !self.include.is_empty() || !self.exclude.is_empty()) {
            return Err(usage("--include, --exclude and --delete need a folder"));
        }
        if let Some(to) = &self.to {
            return Ok(vec![Job { base: self.at.path.clone(), to: to.clone() }]);
        }
        let mut jobs = Vec::new();
        for base in originals(&browse.snapshot().sources, &self.at.path) {
            let found = select::node(browse, &base).await?;
            let folder = if found.node().is_folder() { &base[..] } else { path::split(&base).0 };
            let to = PathBuf::from(OsStr::from_bytes(&json::rooted(folder)));
            jobs.push(Job { base, to });
        }
        if jobs.is_empty() {
            return Err(usage("nothing of this was a source of the backup; choose a folder with --to"));
        }
        Ok(jobs)
    }

    /// Our own folders may lie within what is restored, and are in no snapshot.
    fn options(&self, own: &[PathBuf]) -> Options {
        let is_root = rustix::process::geteuid().is_root();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            includes: self.include.clone(),
            excludes: self.exclude.clone(),
            overwrite: match self.overwrite {
                When::Never => Overwrite::Never,
                When::IfNewer => Overwrite::IfNewer,
                When::IfChanged => Overwrite::IfChanged,
                When::Always => Overwrite::Always,
            },
            delete: self.delete,
            spared: own.iter().filter_map(|folder| FileId::of(folder).ok()).collect(),
            dry_run: self.dry_run,
            verify: self.verify,
            privileged: is_root && !self.no_owner,
            numeric_ids: self.numeric_ids,
            threads: cores.min(THREADS_MAX),
        }
    }
}

/// The repository is no place to restore to.
fn check_outside(location: &Location, jobs: &[Job]) -> Result<()> {
    let Location::Folder(repository) = location else { return Ok(()) };
    match jobs.iter().find(|job| point::is_inside(&job.to, repository)) {
        Some(Job { to, .. }) => {
            Err(usage(format!("'{}' lies inside the repository: choose a folder elsewhere", to.display())))
        }
        None => Ok(()),
    }
}

/// What of the sources lies at or below the chosen path; or the path itself, if it lies below a source.
fn originals(sources: &[Vec<u8>], chosen: &[u8]) -> Vec<Vec<u8>> {
    if sources.iter().any(|source| path::is_below(chosen, source)) {
        return vec![chosen.to_vec()];
    }
    sources.iter().filter(|source| path::is_below(source, chosen)).cloned().collect()
}

/// Asks before files that people work with are replaced.
fn confirm(browse: &Browse, jobs: &[Job], delete: bool) -> Result<()> {
    let snapshot = browse.snapshot();
    ask_for_yes(|| {
        out::note(format_args!(
            "Snapshot {} of {} will replace what is at",
            short(snapshot.id),
            human::time(snapshot.time)
        ));
        for job in jobs {
            out::note(format_args!("  {}", path::Show(&json::rooted(&job.base))));
        }
        if delete {
            out::note("and remove what is there but not in the snapshot.");
        }
    })
}

/// Tells what would happen, and fails unless somebody at a terminal agrees.
pub(super) fn ask_for_yes(tell: impl FnOnce()) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Fault::NotConfirmed.into());
    }
    tell();
    out::note("Type yes to go on:");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|_| Fault::NotConfirmed)?;
    if answer.trim().eq_ignore_ascii_case("yes") { Ok(()) } else { Err(Fault::NotConfirmed.into()) }
}

fn add(sum: &mut Summary, part: Summary) {
    sum.nodes += part.nodes;
    sum.bytes += part.bytes;
    sum.written += part.written;
    sum.bytes_written += part.bytes_written;
    sum.unchanged += part.unchanged;
    sum.removed += part.removed;
    sum.verified += part.verified;
    sum.problems += part.problems;
}

fn summary_text(summary: &Summary, dry_run: bool, began: Instant) -> String {
    let mut text = format!(
        "{}: {}, {} in {}; {} there already",
        if dry_run { "Would restore" } else { "Restored" },
        human::plural(summary.written, "file", "files"),
        human::size(summary.bytes_written),
        human::duration(began.elapsed()),
        human::count(summary.unchanged),
    );
    if summary.removed > 0 {
        text += &format!("; {} removed", human::count(summary.removed));
    }
    if summary.verified > 0 {
        text += &format!("; {} read back and found equal", human::count(summary.verified));
    }
    text
}

fn summary_json(
    browse: &Browse,
    summary: &Summary,
    problems: u64,
    dry_run: bool,
    began: Instant,
    opened: &Opened,
) -> serde_json::Value {
    json!({
        "command": "restore",
        "dry_run": dry_run,
        "snapshot": browse.snapshot().id.to_string(),
        "nodes": summary.nodes,
        "bytes": summary.bytes,
        "written": summary.written,
        "bytes_written": summary.bytes_written,
        "unchanged": summary.unchanged,
        "removed": summary.removed,
        "verified": summary.verified,
        "problems": problems,
        "millis": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "store": json::totals(&opened.counted.totals(), &moved()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn originals_are_the_sources_or_a_part_of_one() {
        let sources = [b"etc".to_vec(), b"home/ada".to_vec(), b"home/bob".to_vec()];
        assert_eq!(originals(&sources, b""), sources);
        assert_eq!(originals(&sources, b"home"), sources[1..]);
        assert_eq!(originals(&sources, b"home/ada/x"), [b"home/ada/x".to_vec()]);
        assert_eq!(originals(&sources, b"home/ada"), [b"home/ada".to_vec()]);
        assert_eq!(originals(&[vec![]], b""), [Vec::<u8>::new()]);
        assert!(originals(&sources, b"usr").is_empty());
    }
}
