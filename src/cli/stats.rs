//! `bygone stats`: how much is backed up, how much of it is stored, and how that grows.

use crate::browse::Filter;
use crate::browse::Selector;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::out::Out;
use crate::cli::progress::Progress;
use crate::cli::snapshots::chosen;
use crate::cli::snapshots::short;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::format::record::Snapshot;
use crate::id::SnapshotId;
use crate::prune;
use crate::prune::Share;
use crate::repo;
use serde_json::json;
use std::collections::BTreeSet;

const EXAMPLES: &str = "Examples:
  bygone stats
  bygone stats --growth                  what each snapshot added
  bygone stats --growth --host laptop
  bygone stats --json
  bygone stats latest~3                  what comes free if this one is forgotten; reads all pages once

Stored is what the storage lists now. What a snapshot added is what its backup wrote, as it was noted then: what earlier
snapshots had already is not in it.";

/// Memory for sorting.
const SORT_BYTES: usize = 24 << 20;

/// Show how much is backed up and how much is stored
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatsArgs {
    /// Show what these snapshots need, and what of it no other snapshot needs
    #[arg(value_name = "SNAPSHOT", conflicts_with = "growth")]
    snapshots: Vec<Selector>,

    /// Show what each snapshot added
    #[arg(long)]
    growth: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// The sums over the snapshots of interest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    snapshots: u64,
    /// Sizes of all files in all of them.
    raw: u64,
    /// What was new to the repository, before and after compression.
    new: u64,
    added: u64,
}

/// What the storage lists.
#[derive(Debug, Default, Clone, Copy)]
struct Listed {
    packs: u64,
    pack_bytes: u64,
    others: u64,
    other_bytes: u64,
}

impl StatsArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        if !self.snapshots.is_empty() {
            return self.shares(global, &opened, &filter);
        }
        let mut snapshots = opened.log.snapshots();
        snapshots.retain(|snapshot| filter.admits(snapshot));
        let listed = opened.runtime.block_on(list(&opened))?;
        let sums = sum(&snapshots);
        let mut out = Out::new();
        if global.json {
            if self.growth {
                for snapshot in &snapshots {
                    out.text(json::line("snapshot", &json::snapshot(snapshot)))?;
                    out.bytes(b"\n")?;
                }
            }
            out.text(json::line("stats", &body(&sums, &listed, self.filter.is_empty())))?;
            out.bytes(b"\n")?;
        } else {
            if self.growth {
                out.text(growth(&snapshots))?;
                out.bytes(b"\n")?;
            }
            out.text(text(&sums, &listed, self.filter.is_empty()))?;
        }
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

impl StatsArgs {
    /// What the named snapshots need.
    fn shares(&self, global: &Global, opened: &Opened, filter: &Filter) -> Result<Exit> {
        let chosen = chosen(opened.json, &self.snapshots, &opened.log.snapshots(), filter)?;
        let share = share(global, opened, &chosen.iter().map(|snapshot| snapshot.id).collect())?;
        let raw: u64 = chosen.iter().fold(0, |sum, snapshot| sum.saturating_add(snapshot.bytes));
        if global.json {
            let body = json!({
                "snapshots": chosen.len(),
                "bytes": raw,
                "chunks": share.chunks,
                "plain_bytes": share.plain_bytes,
                "stored_bytes": share.stored_bytes,
                "unique_chunks": share.unique_chunks,
                "unique_bytes": share.unique_bytes,
            });
            out::line(json::line("share", &body))?;
        } else {
            let rows = [
                ("Snapshots", human::count(chosen.len() as u64)),
                ("Files in them", human::size(raw)),
                ("Contents, each once", human::size(share.plain_bytes)),
                ("They take", human::size(share.stored_bytes)),
                ("No other snapshot needs", format!("{} of that", human::size(share.unique_bytes))),
            ];
            rows.iter().try_for_each(|(name, value)| out::line(format_args!("{name:<26}{value}")))?;
        }
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

/// What these snapshots take, and how much of it they alone. Reads the pages of all snapshots.
pub(super) fn share(global: &Global, opened: &Opened, ids: &BTreeSet<SnapshotId>) -> Result<Share> {
    let scratch = global.cache_folder().unwrap_or_else(std::env::temp_dir);
    let progress = Progress::counting(global, &opened.runtime, "Reading", ("page", "pages"));
    let found = prune::share(&opened.repo, &opened.log, ids, scratch, SORT_BYTES, &progress);
    let found = opened.runtime.block_on(found);
    progress.finish();
    Ok(found?)
}

async fn list(opened: &Opened) -> Result<Listed> {
    let mut listed = Listed::default();
    for prefix in ["packs", "index", "log", "keys", "copies", "parity"] {
        for stored in opened.repo.store().list(prefix).await? {
            match repo::pack_of(&stored.name) {
                Some(_) => {
                    listed.packs += 1;
                    listed.pack_bytes += stored.len;
                }
                None => {
                    listed.others += 1;
                    listed.other_bytes += stored.len;
                }
            }
        }
    }
    Ok(listed)
}

fn sum(snapshots: &[&Snapshot]) -> Sums {
    snapshots.iter().fold(Sums::default(), |sums, snapshot| Sums {
        snapshots: sums.snapshots + 1,
        raw: sums.raw.saturating_add(snapshot.bytes),
        new: sums.new.saturating_add(snapshot.figures.bytes_new),
        added: sums.added.saturating_add(snapshot.figures.bytes_stored),
    })
}

/// How many times smaller; `None` where nothing is stored.
fn ratio(large: u64, small: u64) -> Option<f64> {
    (small > 0).then(|| (large as f64 / small as f64 * 100.0).round() / 100.0)
}

fn body(sums: &Sums, listed: &Listed, is_all: bool) -> serde_json::Value {
    json!({
        "snapshots": sums.snapshots,
        "bytes": sums.raw,
        "bytes_new": sums.new,
        "bytes_added": sums.added,
        "packs": listed.packs,
        "pack_bytes": listed.pack_bytes,
        "other_objects": listed.others,
        "other_bytes": listed.other_bytes,
        "dedup_ratio": ratio(sums.raw, sums.new),
        "compression_ratio": ratio(sums.new, sums.added),
        "total_ratio": is_all.then(|| ratio(sums.raw, listed.pack_bytes + listed.other_bytes)).flatten(),
    })
}

fn text(sums: &Sums, listed: &Listed, is_all: bool) -> String {
    let times = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2} : 1"));
    let mut rows = vec![
        ("Snapshots", human::count(sums.snapshots)),
        ("Files in all of them", human::size(sums.raw)),
        (
            "New when they were taken",
            format!("{}  (deduplication {})", human::size(sums.new), times(ratio(sums.raw, sums.new))),
        ),
        (
            "Added to the storage",
            format!("{}  (compression {})", human::size(sums.added), times(ratio(sums.new, sums.added))),
        ),
    ];
    let total = listed.pack_bytes + listed.other_bytes;
    let all = if is_all { format!("  (altogether {})", times(ratio(sums.raw, total))) } else { String::new() };
    rows.push(("Stored now", format!("{}{all}", human::size(total))));
    rows.push((
        "- packs",
        format!("{} in {}", human::size(listed.pack_bytes), human::plural(listed.packs, "object", "objects")),
    ));
    rows.push((
        "- indexes, records, keys",
        format!("{} in {}", human::size(listed.other_bytes), human::plural(listed.others, "object", "objects")),
    ));
    rows.iter().map(|(name, value)| format!("{name:<26}{value}\n")).collect()
}

fn growth(snapshots: &[&Snapshot]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("HOST", Align::Left),
        ("SIZE", Align::Right),
        ("NEW", Align::Right),
        ("ADDED", Align::Right),
        ("SUM", Align::Right),
    ]);
    let mut added = 0u64;
    for snapshot in snapshots {
        added = added.saturating_add(snapshot.figures.bytes_stored);
        table.row([
            short(snapshot.id),
            human::time(snapshot.time),
            snapshot.host.clone(),
            human::size(snapshot.bytes),
            human::size(snapshot.figures.bytes_new),
            human::size(snapshot.figures.bytes_stored),
            human::size(added),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_told_where_there_are_any() {
        assert_eq!(ratio(300, 100), Some(3.0));
        assert_eq!(ratio(1, 3), Some(0.33));
        assert_eq!(ratio(1, 0), None);
        let sums = Sums { snapshots: 2, raw: 4096, new: 2048, added: 1024 };
        let listed = Listed { packs: 1, pack_bytes: 1024, others: 2, other_bytes: 1024 };
        let told = text(&sums, &listed, true);
        assert!(told.contains("deduplication 2.00 : 1") && told.contains("altogether 2.00 : 1"), "{told}");
        assert!(!text(&sums, &listed, false).contains("altogether"));
    }
}
