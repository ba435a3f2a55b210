//! `bygone backup`: a snapshot of folders, of disks, or of a stream.

use crate::backup;
use crate::backup::Disk;
use crate::backup::Options;
use crate::backup::Parent;
use crate::backup::Stdin;
use crate::backup::Summary;
use crate::browse::Filter;
use crate::browse::Selector;
use crate::browse::clean_path;
use crate::cli::disks;
use crate::cli::disks::DiskArgs;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::global::moved;
use crate::cli::human;
use crate::cli::json;
use crate::cli::listed;
use crate::cli::locks::extend_if_due;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::parity::ParityArgs;
use crate::cli::place;
use crate::cli::produced::Produced;
use crate::cli::progress::Progress;
use crate::cli::snapshots::short;
use crate::format::record::TEXT_BYTES_MAX;
use crate::meta::Time;
use crate::repo::Author;
use crate::source;
use serde_json::Value;
use serde_json::json;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Threads of a backup at most, unless asked for more.
const THREADS_TYPICAL_MAX: usize = 16;

const EXAMPLES: &str = "Examples:
  bygone backup ~/Documents ~/Pictures --exclude '*.tmp' --tag weekly
  bygone backup / --one-file-system --exclude-caches
  bygone backup --image /dev/sda              a whole disk, its files to be opened later
  bygone backup --image vm.qcow2 --tag vm
  bygone backup /dev/vg0/root --snapshot-with lvm
  find . -name '*.odt' -print0 | bygone backup --files-from-raw -
  bygone backup --stdin-name shop.sql --stdin-from-command 'pg_dump shop'

Patterns are those of .gitignore, relative to each PATH; one that begins with a PATH in full means just that place. The exit \
code is 3 if the snapshot was taken but some files \
could not be read, or a PATH beside others is missing.";

/// Take a snapshot of folders and files
///
/// Every snapshot is whole. What is stored in the repository already is not stored again, and files that did not
/// change since the snapshot before are not even read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BackupArgs {
    /// What to back up
    #[arg(value_name = "PATH", conflicts_with = "stdin_name")]
    #[arg(required_unless_present_any = ["stdin_name", "files_from", "files_from_raw"])]
    paths: Vec<PathBuf>,

    /// Also what this file lists: a path on each line, as it is ('#' begins a remark); '-' is standard input
    /// (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with = "stdin_name")]
    files_from: Vec<PathBuf>,

    /// The same with a NUL byte behind each path, as 'find -print0' writes them (repeatable)
    #[arg(long, value_name = "FILE", conflicts_with = "stdin_name")]
    files_from_raw: Vec<PathBuf>,

    #[command(flatten)]
    disks: DiskArgs,

    /// Leave out what matches (repeatable)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What to leave out")]
    exclude: Vec<String>,

    /// Back up what matches even if an exclude matches too (repeatable)
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out")]
    include: Vec<String>,

    /// Read excludes from a file, one on each line (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    exclude_file: Vec<PathBuf>,

    /// Leave out the contents of folders that hold a file of this name (and that begins with HEADER)
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = "What to leave out")]
    exclude_if_present: Vec<String>,

    /// Leave out the contents of caches: folders with a CACHEDIR.TAG
    #[arg(long, help_heading = "What to leave out")]
    exclude_caches: bool,

    /// Leave out the contents of folders with a file .nobackup
    #[arg(long, help_heading = "What to leave out")]
    exclude_nobackup: bool,

    /// Leave out larger files
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, help_heading = "What to leave out")]
    exclude_larger_than: Option<u64>,

    /// Stay on the file systems of the PATHs
    #[arg(short = 'x', long, help_heading = "What to leave out")]
    one_file_system: bool,

    /// A word to find the snapshot by (repeatable)
    #[arg(long, value_name = "TAG", help_heading = "What to write down")]
    tag: Vec<String>,

    /// What the snapshot is, in your words
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    #[arg(help_heading = "What to write down")]
    description: String,

    /// Host to write down instead of this one
    #[arg(long, value_name = "HOST", help_heading = "What to write down")]
    host: Option<String>,

    /// When the snapshot was taken, for imports: '2012-11-01 22:08', a time with its zone, or 7d for how long ago
    #[arg(long, value_name = "TIME", value_parser = human::parse_moment, help_heading = "What to write down")]
    time: Option<Time>,

    /// Compare with this snapshot instead of the newest of the same host and PATHs
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    parent: Option<Selector>,

    /// Read every file again, whether it changed or not
    #[arg(long)]
    force: bool,

    /// Store nothing, only tell what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Back up standard input as a file of this name
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<OsString>,

    /// Back up what this command of the shell prints instead; no snapshot if it fails (of a pipeline, the last part counts)
    #[arg(long, value_name = "COMMAND", requires = "stdin_name")]
    stdin_from_command: Option<String>,

    /// How hard to compress, from 1 (fast) to 22 (small)
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,

    /// How many threads read, hash and compress; as many as there are processors unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    #[command(flatten)]
    parity: ParityArgs,

    /// How often an unfinished snapshot is written down, so that an interrupted run can go on
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = human::parse_duration)]
    checkpoint_every: Duration,
}

impl BackupArgs {
    pub(super) fn run(mut self, global: &Global) -> Result<Exit> {
        self.paths.extend(listed::paths(&self.files_from, &self.files_from_raw)?);
        self.check()?;
        let mut opened = Opened::new(global)?;
        // From now on Ctrl-C is a wish: what is made below disks will be removed.
        let progress = Progress::start(global, &opened.runtime, "Backing up");
        let disks = disks::chosen(&self.paths, &self.disks, self.about_trees(), global.json)?;
        let repo = self.parity.repo(&opened);
        let mut options = self.options(&opened, global, disks.disks)?;
        options.log = Some(std::mem::take(&mut opened.log));
        let dry_run = options.dry_run;
        let machine = place::machine();
        let author = Author { state: &opened.state, machine: &machine };
        let done = backup::backup(&repo, author, opened.runtime.handle(), options, &progress);
        let problems = progress.finish();
        // All of them, whatever becomes of one.
        let left = disks.captures.into_iter().filter_map(|capture| (!capture.release()).then_some(())).count();
        let summary = done?;
        if global.json {
            out::line(json::line("summary", &summary_json(&summary, problems, dry_run, &opened)))?;
        } else if !global.quiet {
            out::line(summary_text(&summary, dry_run))?;
        }
        if summary.found_losses {
            out::warning(
                global.json,
                "parts of older snapshots are missing or damaged in the repository; what was found here was stored \
                 again. Run 'bygone backup --force' with the same PATHs once, so that large files are looked into too",
            );
        }
        if !dry_run {
            extend_if_due(global, &opened)?;
        }
        opened.tell_requests(global);
        if problems == 0 && left == 0 {
            return Ok(Exit::Done);
        }
        if problems > 0 && !global.json {
            let problems = human::plural(problems, "problem", "problems");
            out::note(format_args!("{problems}; everything else was backed up"));
        }
        Ok(Exit::Incomplete)
    }

    /// What can be told without opening the repository.
    fn check(&self) -> Result<()> {
        let texts = self.tag.iter().chain(&self.host).chain([&self.description]);
        if texts.clone().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(usage(format!("a tag, host or description is at most {TEXT_BYTES_MAX} bytes long")));
        }
        if self.tag.iter().any(String::is_empty) {
            return Err(usage("a tag is not empty"));
        }
        if self.disks.are_asked_for() && self.paths.is_empty() {
            return Err(usage("name the disks, as in 'bygone backup --image /dev/sda'"));
        }
        if self.time.is_some_and(|time| time > human::now()) {
            return Err(usage("--time lies in the future"));
        }
        if let (Some(option), Some(_)) = (self.about_trees(), &self.stdin_name) {
            return Err(usage(format!("{option} is about folders: it does not go with --stdin-name")));
        }
        if let Some(name) = &self.stdin_name {
            let clean = clean_path(name.as_bytes()).ok().filter(|path| !path.is_empty());
            clean.ok_or_else(|| usage(format!("'{}' cannot be the name of a file", name.display())))?;
        }
        Ok(())
    }

    /// The first option that was given and means only folders.
    fn about_trees(&self) -> Option<&'static str> {
        let given = [
            ("--exclude", !self.exclude.is_empty()),
            ("--include", !self.include.is_empty()),
            ("--exclude-file", !self.exclude_file.is_empty()),
            ("--exclude-if-present", !self.exclude_if_present.is_empty()),
            ("--exclude-caches", self.exclude_caches),
            ("--exclude-nobackup", self.exclude_nobackup),
            ("--exclude-larger-than", self.exclude_larger_than.is_some()),
            ("--one-file-system", self.one_file_system),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    fn options(self, opened: &Opened, global: &Global, disks: Vec<Disk>) -> Result<Options> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(cores.min(THREADS_TYPICAL_MAX), usize::from);
        let parent = match &self.parent {
            Some(selector) => Parent::Snapshot(selector.choose(&opened.log.snapshots(), &Filter::default())?.id),
            None if self.force => Parent::None,
            None => Parent::Newest,
        };
        let mut tags = self.tag;
        tags.sort();
        tags.dedup();
        let stdin = match self.stdin_name {
            Some(name) => {
                let path = clean_path(name.as_bytes()).map_err(|error| usage(error.to_string()))?;
                let stream: Box<dyn Read + Send> = match self.stdin_from_command {
                    Some(command) => Box::new(Produced::start(&command).map_err(Fault::Command)?),
                    None => Box::new(std::io::stdin()),
                };
                Some(Stdin { path, stream })
            }
            None => None,
        };
        let source = source::Options {
            roots: self.paths,
            excludes: self.exclude,
            includes: self.include,
            exclude_files: self.exclude_file,
            exclude_if_present: self.exclude_if_present,
            exclude_caches: self.exclude_caches,
            nobackup: self.exclude_nobackup,
            size_max: self.exclude_larger_than,
            one_file_system: self.one_file_system,
            skip: opened.own_folders(global),
            threads,
        };
        Ok(Options {
            source,
            stdin,
            disks,
            original: None,
            log: None,
            host: self.host.unwrap_or_else(place::host),
            user: place::user(),
            tags,
            description: self.description,
            program: concat!("bygone ", env!("CARGO_PKG_VERSION")).to_owned(),
            time: self.time.unwrap_or_else(human::now),
            parent,
            level: self.level,
            threads,
            dry_run: self.dry_run,
            checkpoint_every: self.checkpoint_every,
        })
    }
}

fn summary_text(summary: &Summary, dry_run: bool) -> String {
    let figures = &summary.figures;
    let changed = figures.nodes_changed.saturating_sub(summary.nodes_new);
    let what = match &summary.snapshot {
        Some(snapshot) => format!("Snapshot {}", short(snapshot.id)),
        None if dry_run => "Dry run".to_owned(),
        None => "No snapshot".to_owned(),
    };
    format!(
        "{what}: {}, {}; {} new, {} changed, {} removed; {} {} in {}{}",
        human::files_in_folders(summary.nodes, summary.folders),
        human::size(summary.bytes),
        human::count(summary.nodes_new),
        human::count(changed),
        human::count(summary.nodes_removed),
        if dry_run { "would store about" } else { "stored" },
        human::size(if dry_run { figures.bytes_new } else { figures.bytes_stored }),
        human::duration(Duration::from_millis(figures.millis)),
        if summary.resumed { " (continued an interrupted run)" } else { "" },
    )
}

fn summary_json(summary: &Summary, problems: u64, dry_run: bool, opened: &Opened) -> Value {
    let figures = &summary.figures;
    json!({
        "command": "backup",
        "dry_run": dry_run,
        "snapshot": summary.snapshot.as_ref().map(json::snapshot),
        "parent": summary.parent.map(|id| id.to_string()),
        "nodes": summary.nodes,
        "bytes": summary.bytes,
        "nodes_new": summary.nodes_new,
        "nodes_changed": figures.nodes_changed,
        "nodes_removed": summary.nodes_removed,
        "bytes_read": figures.bytes_read,
        "bytes_new": figures.bytes_new,
        "bytes_stored": figures.bytes_stored,
        "problems": problems,
        "millis": figures.millis,
        "resumed": summary.resumed,
        "found_losses": summary.found_losses,
        "store": json::totals(&opened.counted.totals(), &moved()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::Figures;

    #[test]
    fn the_summary_is_a_sentence() {
        let figures = Figures {
            nodes_changed: 15,
            bytes_stored: 262 << 20,
            bytes_new: 300 << 20,
            millis: 12_000,
            ..Figures::default()
        };
        let summary = Summary {
            nodes: 78_579,
            folders: 5000,
            bytes: (1 << 30) * 13 / 10,
            nodes_new: 12,
            nodes_removed: 1,
            figures,
            ..Summary::default()
        };
        assert_eq!(
            summary_text(&summary, true),
            "Dry run: 73,579 files in 5,000 folders, 1.3 GiB; 12 new, 3 changed, 1 removed; would store about 300 MiB in 12 s"
        );
        let resumed = Summary { resumed: true, ..summary };
        assert_eq!(
            summary_text(&resumed, false),
            "No snapshot: 73,579 files in 5,000 folders, 1.3 GiB; 12 new, 3 changed, 1 removed; \
             stored 262 MiB in 12 s (continued an interrupted run)"
        );
    }
}
