//! `bygone snapshots`: what is there to go back to.

use crate::browse::Filter;
use crate::browse::Selector;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::select;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;

/// Digits of an id that are shown.
const DIGITS: usize = 8;

const EXAMPLES: &str = "Examples:
  bygone snapshots
  bygone snapshots --host laptop --tag weekly
  bygone snapshots --path /home/ada --latest 3 --json
  bygone snapshots --forgotten";

/// List the snapshots, oldest first
///
/// Other commands take the ID (its first digits suffice), 'latest', or 'latest~2' for the one two before the latest.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SnapshotsArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Those that were forgotten and can be taken back with 'bygone undo-forget'
    #[arg(long)]
    forgotten: bool,

    /// Only the newest N
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
}

/// The first digits of an id.
pub(super) fn short(id: SnapshotId) -> String {
    let mut text = id.to_string();
    text.truncate(DIGITS);
    text
}

/// The sources of a snapshot on one line.
pub(super) fn sources(snapshot: &Snapshot) -> String {
    source_text(&snapshot.sources)
}

/// Sources on one line.
pub(super) fn source_text(sources: &[Vec<u8>]) -> String {
    let sources = sources.iter().map(|path| crate::path::Show(&json::rooted(path)).to_string());
    sources.collect::<Vec<_>>().join(" ")
}

/// The snapshots that were named, out of all of them (oldest first): each once.
pub(super) fn chosen<'a>(
    json: bool,
    selectors: &[Selector],
    all: &[&'a Snapshot],
    filter: &Filter,
) -> Result<Vec<&'a Snapshot>> {
    let mut found: Vec<&'a Snapshot> = Vec::new();
    for selector in selectors {
        let snapshot = select::choose(json, selector, all, filter)?;
        if found.iter().all(|other| other.id != snapshot.id) {
            found.push(snapshot);
        }
    }
    Ok(found)
}

impl SnapshotsArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let mut snapshots = if self.forgotten { opened.log.recallable() } else { opened.log.snapshots() };
        snapshots.retain(|snapshot| filter.admits(snapshot));
        let first = snapshots.len().saturating_sub(self.latest.unwrap_or(usize::MAX));
        let snapshots = &snapshots[first..];
        let mut out = Out::new();
        if global.json {
            for snapshot in snapshots {
                out.text(json::line("snapshot", &json::snapshot(snapshot)))?;
                out.bytes(b"\n")?;
            }
        } else if snapshots.is_empty() {
            let is_filtered = !self.forgotten && !opened.log.snapshots().is_empty();
            out.text(if is_filtered { "No snapshot fits.\n" } else { "There are no snapshots.\n" })?;
        } else {
            out.text(table(snapshots))?;
        }
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

fn table(snapshots: &[&Snapshot]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("HOST", Align::Left),
        ("ENTRIES", Align::Right),
        ("SIZE", Align::Right),
        ("STORED", Align::Right),
        ("TAGS", Align::Left),
        ("SOURCES", Align::Left),
        ("DESCRIPTION", Align::Left),
    ]);
    for snapshot in snapshots {
        table.row([
            short(snapshot.id),
            human::time(snapshot.time),
            snapshot.host.clone(),
            human::count(snapshot.nodes),
            human::size(snapshot.bytes),
            human::size(snapshot.figures.bytes_stored),
            snapshot.tags.join(","),
            sources(snapshot),
            remarks(snapshot),
        ]);
    }
    table
}

/// What is said about a snapshot: whether something is missing in it, and its description.
pub(super) fn remarks(snapshot: &Snapshot) -> String {
    match (snapshot.figures.problems, snapshot.description.as_str()) {
        (0, description) => description.to_owned(),
        (count, "") => format!("[{}]", human::plural(count, "problem", "problems")),
        (count, description) => format!("[{}] {description}", human::plural(count, "problem", "problems")),
    }
}
