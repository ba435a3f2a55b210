//! `bygone forget`: snapshots that are no longer wanted, by name or by policy.

use crate::browse::Filter;
use crate::browse::Selector;
use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::keep::KeepArgs;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::Out;
use crate::cli::place;
use crate::cli::prune::PruneRules;
use crate::cli::snapshots::chosen;
use crate::cli::snapshots::short;
use crate::cli::snapshots::source_text;
use crate::cli::stats;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::id::WriterId;
use crate::plan::keep::Item;
use crate::plan::keep::Policy;
use crate::plan::keep::Reason;
use crate::plan::keep::decide;
use crate::repo::Log;
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::HashMap;

const EXAMPLES: &str = "Examples:
  bygone forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --keep-yearly all --dry-run
  bygone forget --keep-within 2w --keep-within-daily 3m --keep-tag keep --host laptop
  bygone forget 3f2a91c0 latest~4
  bygone undo-forget --last            takes the last 'forget' of this machine back

Counted are only hours, days and so on that have snapshots: a machine that was off for a year loses nothing. \
Snapshots that are of the future by the clock of this machine stay and are not counted. Nothing is deleted: \
that is what 'bygone prune' does, after a grace period.";

/// Say which snapshots are no longer wanted
///
/// Either names snapshots, or says what stays: then each group of snapshots (of one host and the same paths) is looked at
/// by itself, and what no option keeps is forgotten. 'bygone snapshots --forgotten' lists what can still be taken back.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ForgetArgs {
    /// Forget these, whatever their age
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<Selector>,

    /// Change nothing, only show what would stay and what would go
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// What the snapshots of a group have in common: a 'writer' is a machine, whatever its name; 'none' makes one group of all
    #[arg(long, value_name = "WORDS", value_enum, value_delimiter = ',', default_value = "host,paths")]
    group_by: Vec<GroupBy>,

    /// Prune the repository afterwards, as 'bygone prune' does without options
    #[arg(long, conflicts_with = "dry_run")]
    prune: bool,

    /// Let a policy forget all snapshots of a group
    #[arg(long)]
    allow_none_left: bool,

    #[command(flatten)]
    keep: KeepArgs,

    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    Host,
    Paths,
    Tags,
    Writer,
    None,
}

/// What the snapshots of a group have in common; nothing where that does not matter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Common<'a> {
    host: Option<&'a str>,
    paths: Option<&'a [Vec<u8>]>,
    tags: Option<&'a [String]>,
    writer: Option<WriterId>,
}

/// A snapshot, and why it stays; it goes if there is no reason.
struct Row<'a> {
    snapshot: &'a Snapshot,
    reasons: Vec<Reason>,
}

/// The rows of each group.
type Decided<'a> = Vec<(Common<'a>, Vec<Row<'a>>)>;

impl ForgetArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let policy = self.keep.policy();
        match (self.snapshots.is_empty(), policy.is_empty()) {
            (true, true) => {
                return Err(usage("nothing says what to forget")
                    .hint("name snapshots, or say what stays, for example --keep-daily 7 --keep-monthly 12"));
            }
            (false, false) => return Err(usage("either snapshots are named, or a policy says what stays; not both")),
            _ => {}
        }
        if self.group_by.contains(&GroupBy::None) && self.group_by.len() > 1 {
            return Err(usage("--group-by none makes one group of all: it stands alone"));
        }
        let filter = self.filter.filter()?;
        let opened = Opened::to_free_space(global)?;
        let all = opened.log.snapshots();
        let decided = if policy.is_empty() {
            named(opened.json, &self.snapshots, &all, &filter)?
        } else {
            self.by_policy(&all, &opened.log.writers(), &filter, &policy)?
        };
        let gone: Vec<SnapshotId> =
            decided.iter().flat_map(|(_, rows)| rows).filter(|row| row.goes()).map(|row| row.snapshot.id).collect();
        // Only looked up where somebody wants to decide: it reads the pages of all snapshots.
        let free = if self.dry_run && !gone.is_empty() { free(global, &opened, &gone)? } else { None };
        if !self.dry_run {
            let machine = place::machine();
            let author = opened.author(&machine);
            opened.runtime.block_on(Log::forget(&opened.repo, author, human::now(), &gone))?;
        }
        if global.json {
            self.tell_json(&decided, free)?;
        } else if !global.quiet {
            self.tell(&decided, all.len(), free)?;
        }
        let exit = if self.prune { PruneRules::default().prune(global, &opened, false)? } else { Exit::Done };
        opened.tell_requests(global);
        Ok(exit)
    }

    fn by_policy<'a>(
        &self,
        all: &[&'a Snapshot],
        writers: &HashMap<SnapshotId, WriterId>,
        filter: &Filter,
        policy: &Policy,
    ) -> Result<Decided<'a>> {
        let mut groups: BTreeMap<Common<'a>, Vec<&'a Snapshot>> = BTreeMap::new();
        for snapshot in all.iter().filter(|snapshot| filter.admits(snapshot)) {
            groups.entry(self.common(snapshot, writers)).or_default().push(snapshot);
        }
        let zone = TimeZone::system();
        let mut decided = Vec::new();
        for (common, snapshots) in groups {
            let items: Vec<Item<'_>> = snapshots.iter().map(|s| Item { time: s.time, tags: &s.tags }).collect();
            let reasons = decide(&items, policy, human::now(), &zone);
            let rows: Vec<Row<'a>> =
                snapshots.into_iter().zip(reasons).map(|(snapshot, reasons)| Row { snapshot, reasons }).collect();
            if rows.iter().all(Row::goes) && !self.allow_none_left {
                return Err(Fault::NoneLeft { group: common.title() }.into());
            }
            decided.push((common, rows));
        }
        Ok(decided)
    }

    fn common<'a>(&self, snapshot: &'a Snapshot, writers: &HashMap<SnapshotId, WriterId>) -> Common<'a> {
        let has = |by: GroupBy| self.group_by.contains(&by);
        Common {
            host: has(GroupBy::Host).then_some(&snapshot.host),
            paths: has(GroupBy::Paths).then_some(&snapshot.sources),
            tags: has(GroupBy::Tags).then_some(&snapshot.tags),
            writer: writers.get(&snapshot.id).copied().filter(|_| has(GroupBy::Writer)),
        }
    }

    fn tell(&self, decided: &Decided<'_>, all: usize, free: Option<u64>) -> Result<()> {
        let mut out = Out::new();
        for (common, rows) in decided {
            let gone = rows.iter().filter(|row| row.goes()).count() as u64;
            let snapshots = human::plural(rows.len() as u64, "snapshot", "snapshots");
            out.text(format_args!("{}: {snapshots}, {} to forget\n", common.title(), human::count(gone)))?;
            out.text(table(rows))?;
            out.text("\n")?;
        }
        let gone: Vec<&Snapshot> =
            decided.iter().flat_map(|(_, rows)| rows).filter(|row| row.goes()).map(|row| row.snapshot).collect();
        let of_all =
            format!("{} of {}", human::count(gone.len() as u64), human::plural(all as u64, "snapshot", "snapshots"));
        match (gone.is_empty(), self.dry_run) {
            (true, _) => out.text("Nothing is to be forgotten.\n")?,
            (false, true) => out.text(format_args!("Would forget {of_all}.\n"))?,
            (false, false) => {
                out.text(format_args!("Forgot {of_all}; 'bygone undo-forget --last' takes that back.\n"))?;
            }
        }
        match (gone.is_empty(), free) {
            (true, _) => {}
            (false, Some(free)) => out.text(format_args!(
                "{} of what is stored is needed by no other snapshot. It comes free when 'bygone prune' is run weekly, in one \
                 or two weeks.\n",
                human::size(free),
            ))?,
            (false, None) => out.text(format_args!(
                "Estimate of the space: the backups that made them stored {}. Of that, what other snapshots share stays; \
                 the rest comes free when 'bygone prune' is run weekly, in one or two weeks.\n",
                human::size(stored(&gone)),
            ))?,
        }
        Ok(out.finish()?)
    }

    fn tell_json(&self, decided: &Decided<'_>, free: Option<u64>) -> Result<()> {
        let mut out = Out::new();
        let rows = || decided.iter().flat_map(|(common, rows)| rows.iter().map(move |row| (common, row)));
        for (common, row) in rows() {
            let mut body = json::snapshot(row.snapshot);
            body["keep"] = Value::from(!row.goes());
            body["reasons"] = row.reasons.iter().map(ToString::to_string).collect();
            body["group"] = common.json();
            out.text(json::line("decision", &body))?;
            out.bytes(b"\n")?;
        }
        let gone: Vec<&Snapshot> = rows().filter(|(_, row)| row.goes()).map(|(_, row)| row.snapshot).collect();
        let body = json!({
            "dry_run": self.dry_run,
            "kept": rows().count() - gone.len(),
            "forgotten": gone.len(),
            "bytes_stored_by_forgotten": stored(&gone),
            "bytes_unique_to_forgotten": free,
        });
        out.text(json::line("summary", &body))?;
        out.bytes(b"\n")?;
        Ok(out.finish()?)
    }
}

/// What comes free with these snapshots; nothing if that cannot be told because something is damaged.
fn free(global: &Global, opened: &Opened, gone: &[SnapshotId]) -> Result<Option<u64>> {
    match stats::share(global, opened, &gone.iter().copied().collect()) {
        Ok(share) => Ok(Some(share.unique_bytes)),
        Err(error) if error.is_damage() => {
            let message = "what comes free cannot be told: something is damaged, and 'bygone check' tells what";
            out::warning(global.json, message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The snapshots that were named: all of them go.
fn named<'a>(json: bool, selectors: &[Selector], all: &[&'a Snapshot], filter: &Filter) -> Result<Decided<'a>> {
    let chosen = chosen(json, selectors, all, filter)?;
    let rows = chosen.into_iter().map(|snapshot| Row { snapshot, reasons: Vec::new() });
    Ok(vec![(Common::default(), rows.collect())])
}

/// What the backups of these snapshots added to the repository.
fn stored(snapshots: &[&Snapshot]) -> u64 {
    snapshots.iter().fold(0, |sum, snapshot| sum.saturating_add(snapshot.figures.bytes_stored))
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("STORED", Align::Right),
        ("TAGS", Align::Left),
        ("STAYS", Align::Left),
    ]);
    for row in rows {
        let reasons: Vec<String> = row.reasons.iter().map(ToString::to_string).collect();
        table.row([
            short(row.snapshot.id),
            human::time(row.snapshot.time),
            human::size(row.snapshot.figures.bytes_stored),
            row.snapshot.tags.join(","),
            if row.goes() { "- goes".to_owned() } else { reasons.join(", ") },
        ]);
    }
    table
}

impl Row<'_> {
    fn goes(&self) -> bool {
        self.reasons.is_empty()
    }
}

impl Common<'_> {
    fn title(&self) -> String {
        let paths = self.paths.map(source_text);
        let tags = self.tags.map(|tags| if tags.is_empty() { "no tags".to_owned() } else { tags.join(",") });
        let writer = self.writer.map(|writer| format!("(writer {writer})"));
        let parts: Vec<String> = [self.host.map(str::to_owned), paths, tags, writer].into_iter().flatten().collect();
        if parts.is_empty() {
            "Snapshots".to_owned()
        } else {
            crate::path::Show(parts.join(" ").as_bytes()).to_string()
        }
    }

    fn json(&self) -> Value {
        let paths = |paths: &[Vec<u8>]| -> Vec<String> {
            paths.iter().map(|path| String::from_utf8_lossy(&json::rooted(path)).into_owned()).collect()
        };
        let writer = self.writer.map(|writer| writer.to_string());
        json!({ "host": self.host, "paths": self.paths.map(paths), "tags": self.tags, "writer": writer })
    }
}
