//! `bygone copy`: snapshots of one repository into another.

use crate::backup;
use crate::backup::CopyOptions;
use crate::backup::Original;
use crate::backup::Summary;
use crate::browse::Filter;
use crate::browse::Selector;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::from::FromArgs;
use crate::cli::global::Global;
use crate::cli::global::moved;
use crate::cli::human;
use crate::cli::json;
use crate::cli::locks::extend_if_due;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::parity::ParityArgs;
use crate::cli::place;
use crate::cli::progress::Progress;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::repo::Author;
use crate::repo::Log;
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  bygone copy --from /media/usb/backups                 everything that is not here yet
  bygone copy --from ~/backups --repo s3://bucket/copy --host laptop
  bygone copy --from ~/backups latest

The second and the third copy of your backups: run it again whenever there are new snapshots. A copy has the id of its \
original. What was forgotten here is left out; a snapshot that is named comes back even if it was pruned, then under a new id. \
The repositories may have different passwords.";

/// Copy snapshots from another repository
///
/// Snapshots that are here already are left out, and of the others only what the last copied one does not have is read. An
/// interrupted copy goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CopyArgs {
    /// Which snapshots of the other repository; all that pass the filters if left out
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<Selector>,

    /// The repository to take from
    #[arg(long, value_name = "LOCATION", env = "BYGONE_FROM_REPOSITORY", hide_env_values = true)]
    from: String,

    #[command(flatten)]
    opening: FromArgs,

    /// Store nothing, only tell what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// How hard to compress, from 1 (fast) to 22 (small)
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,

    #[command(flatten)]
    parity: ParityArgs,

    /// How often an unfinished copy is written down, so that an interrupted run can go on
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = human::parse_duration)]
    checkpoint_every: Duration,

    #[command(flatten)]
    filter: FilterArgs,
}

impl CopyArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let mut to = Opened::new(global)?;
        let from = self.opening.open(&self.from, global)?;
        if from.repo.config().repository == to.repo.config().repository {
            return Err(usage("both are the same repository"));
        }
        let mut wanted: Vec<Snapshot> = self.wanted(&from, &filter)?.into_iter().cloned().collect();
        if !self.snapshots.is_empty() {
            // Whoever names one wants it back, whatever was done with it here.
            wanted.iter_mut().for_each(|snapshot| snapshot.id = backup::copy_id(&to.log, snapshot.id));
        }
        let words = to.log.words();
        let is_back = |id| words.knows(backup::copy_id(&to.log, id));
        let is_left_out = |s: &&Snapshot| words.is_forgotten(s.id) && !(words.is_gone(s.id) && is_back(s.id));
        let forgotten: Vec<&Snapshot> = wanted.iter().filter(is_left_out).collect();
        tell_forgotten(global, &to.log, &forgotten)?;
        let mut copied = 0;
        for original in &wanted {
            // Another copy may have brought it here by now.
            if is_here(&to.log, original.id) {
                continue;
            }
            let summary = self.copy(global, &to, &from, original)?;
            if summary.was_there {
                to.read_log(global)?;
                continue;
            }
            copied += 1;
            tell(global, original, &summary, self.dry_run)?;
            if !self.dry_run {
                to.read_log(global)?;
            }
        }
        if global.json {
            let body = json!({
                "command": "copy",
                "dry_run": self.dry_run,
                "snapshots": copied,
                "here_already": wanted.len() - copied,
                "forgotten_here": forgotten.iter().map(|snapshot| snapshot.id.to_string()).collect::<Vec<_>>(),
                "store": json::totals(&to.counted.totals(), &moved()),
            });
            out::line(json::line("summary", &body))?;
        } else if !global.quiet && copied == 0 {
            out::line("Nothing to copy: every snapshot is here already.")?;
        }
        if !self.dry_run {
            extend_if_due(global, &to)?;
        }
        to.tell_requests(global);
        Ok(Exit::Done)
    }

    /// The snapshots to copy, oldest first.
    fn wanted<'a>(&self, from: &'a Opened, filter: &Filter) -> Result<Vec<&'a Snapshot>> {
        let all = from.log.snapshots();
        if self.snapshots.is_empty() {
            return Ok(all.into_iter().filter(|snapshot| filter.admits(snapshot)).collect());
        }
        let mut chosen = HashSet::new();
        for selector in &self.snapshots {
            chosen.insert(select::choose(from.json, selector, &all, filter)?.id);
        }
        Ok(all.into_iter().filter(|snapshot| chosen.contains(&snapshot.id)).collect())
    }

    fn copy(&self, global: &Global, to: &Opened, from: &Opened, original: &Snapshot) -> Result<Summary> {
        let here: HashSet<SnapshotId> = to.log.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
        let is_base = |older: &&Snapshot| {
            here.contains(&backup::copy_id(&to.log, older.id))
                && (&older.host, &older.sources) == (&original.host, &original.sources)
        };
        let all = from.log.snapshots();
        let base = all.into_iter().filter(is_base).rfind(|older| older.time <= original.time);
        let machine = place::machine();
        let author = Author { state: &to.state, machine: &machine };
        let options = CopyOptions {
            level: self.level,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            dry_run: self.dry_run,
            checkpoint_every: self.checkpoint_every,
        };
        let original = Original { browse: from.browse(original), base: base.map(|base| from.browse(base)) };
        let progress = Progress::start(global, &to.runtime, "Copying");
        let done = backup::copy(&self.parity.repo(to), author, to.runtime.handle(), original, options, &progress);
        progress.finish();
        Ok(done?)
    }
}

/// True if a repository has a snapshot, or has had it and forgot it: then it was not wanted there.
fn is_here(log: &Log, id: SnapshotId) -> bool {
    let words = log.words();
    words.knows(id) || words.is_forgotten(id)
}

/// Says which snapshots are left out because they are not wanted here any more, and how they come back all the same.
fn tell_forgotten(global: &Global, log: &Log, forgotten: &[&Snapshot]) -> Result<()> {
    if global.json || global.quiet {
        return Ok(());
    }
    let words = log.words();
    let (gone, recallable): (Vec<&Snapshot>, Vec<&Snapshot>) = forgotten.iter().partition(|s| words.is_gone(s.id));
    for (snapshots, command) in [(recallable, "undo-forget"), (gone, "copy")] {
        if let Some(first) = snapshots.first() {
            let ids: Vec<String> = snapshots.iter().map(|snapshot| short(snapshot.id)).collect();
            let (ids, first) = (ids.join(", "), short(first.id));
            out::line(format_args!(
                "Left out, because forgotten here: {ids}. 'bygone {command} {first}' brings that one back."
            ))?;
        }
    }
    Ok(())
}

fn tell(global: &Global, original: &Snapshot, summary: &Summary, dry_run: bool) -> Result<()> {
    let figures = &summary.figures;
    if global.json {
        let mut body = json::snapshot(original);
        body["bytes_read"] = figures.bytes_read.into();
        body["bytes_stored"] = figures.bytes_stored.into();
        return Ok(out::line(json::line("copied", &body))?);
    }
    if global.quiet {
        return Ok(());
    }
    Ok(out::line(format_args!(
        "{} {} of {}, {}: {}, {}; {} {}",
        if dry_run { "Would copy" } else { "Copied" },
        short(original.id),
        original.host,
        human::time(original.time),
        human::files_in_folders(summary.nodes, summary.folders),
        human::size(summary.bytes),
        if dry_run { "would store about" } else { "stored" },
        human::size(if dry_run { figures.bytes_new } else { figures.bytes_stored }),
    ))?)
}
