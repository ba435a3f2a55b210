//! `bygone prune`: removing what no snapshot needs any more.

use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::locks::extend_if_due;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::parity::ParityArgs;
use crate::cli::place;
use crate::cli::progress::Progress;
use crate::meta::Time;
use crate::plan::keep::Age;
use crate::plan::keep::ParseAgeError;
use crate::prune;
use crate::prune::Found;
use crate::prune::Options;
use crate::prune::Report;
use crate::prune::Step;
use crate::prune::Unused;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

const EXAMPLES: &str = "Examples:
  bygone prune                          frees what was marked a week ago, marks what is free to go now
  bygone prune --dry-run                tells what there is to free
  bygone prune --grace 0                frees everything at once: there is no undo-forget after that
  bygone prune --max-repack-size 10G    copies at most so much this time

Run it as often as 'bygone forget', by cron or by hand, on one machine or on several: it asks for no lock, and backups, drives \
and other prunes go on beside it.";

/// Memory for sorting.
const MEMORY_BYTES: usize = 24 << 20;
/// How long what is marked can be taken back.
const GRACE: &str = "7d";
/// How much unused space may stay.
const MAX_UNUSED: &str = "5%";

/// Free the space of what no snapshot needs any more
///
/// Space comes free in two steps: what nothing needs is marked, and removed by a prune that runs a grace period later. Until then
/// 'bygone undo-forget' brings forgotten snapshots back whole. What is needed in packs that are partly unused is copied
/// into new ones, and so are small packs once they are more than a few. May be interrupted at any time; the next one goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    rules: PruneRules,

    /// Only tell what would be done
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// What is removed when, and what is moved.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PruneRules {
    /// How long what is marked can still be taken back: 7d, 36h, 2w; 0: not at all
    #[arg(long, value_name = "AGE", default_value = GRACE, value_parser = grace)]
    grace: Age,

    /// How much unused space may stay in packs that are needed: in percent of what is needed, as a size, or 'unlimited': then
    /// nothing is copied
    #[arg(long, value_name = "P%|SIZE|unlimited", default_value = MAX_UNUSED, value_parser = unused)]
    max_unused: Unused,

    /// Copy at most so many bytes out of badly used or small packs; the rest waits for another time
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    max_repack_size: Option<u64>,

    /// Prune although records of the log are missing or damaged: snapshots that only they tell of are given up
    #[arg(long)]
    despite_log: bool,

    #[command(flatten)]
    parity: ParityArgs,
}

fn grace(text: &str) -> std::result::Result<Age, ParseAgeError> {
    if text == "0" { Ok(Age::default()) } else { text.parse() }
}

fn unused(text: &str) -> std::result::Result<Unused, String> {
    if text == "unlimited" {
        return Ok(Unused::Unlimited);
    }
    match text.strip_suffix('%').map(str::parse::<f64>) {
        Some(Ok(percent)) if percent.is_finite() && percent >= 0.0 => Ok(Unused::Percent(percent)),
        Some(_) => Err(format!("'{text}' is not a share: write it like 5%")),
        None if text.parse().is_ok_and(|number: u64| (1..=100).contains(&number)) => {
            Err(format!("'{text}' of what? Write {text}% or a size like {text}G"))
        }
        None => human::parse_size(text).map(Unused::Bytes),
    }
}

impl PruneArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        if global.offline {
            return Err(usage("a prune asks the storage: it cannot do with --offline"));
        }
        let opened = Opened::to_free_space(global)?;
        let exit = self.rules.prune(global, &opened, self.dry_run)?;
        if !self.dry_run {
            extend_if_due(global, &opened)?;
        }
        opened.tell_requests(global);
        Ok(exit)
    }
}

impl Default for PruneRules {
    fn default() -> PruneRules {
        let expect = "the defaults can be read";
        PruneRules {
            grace: grace(GRACE).expect(expect),
            max_unused: unused(MAX_UNUSED).expect(expect),
            max_repack_size: None,
            despite_log: false,
            parity: ParityArgs::default(),
        }
    }
}

impl PruneRules {
    /// Prunes an open repository.
    pub(super) fn prune(&self, global: &Global, opened: &Opened, dry_run: bool) -> Result<Exit> {
        let now = human::now();
        let options = Options {
            now,
            grace_secs: self.grace_secs(now)?,
            max_unused: self.max_unused,
            max_repack_bytes: self.max_repack_size,
            despite_log: self.despite_log,
            dry_run,
            scratch: global.cache_folder().unwrap_or_else(std::env::temp_dir),
            memory_bytes: MEMORY_BYTES,
        };
        let machine = place::machine();
        let progress = Progress::counting(global, &opened.runtime, "Pruning", ("object", "objects"));
        let tell = |step| tell(global, dry_run, step);
        let repo = self.parity.repo(opened);
        let pruned = prune::prune(&repo, opened.author(&machine), &options, &progress, &tell);
        let done = opened.runtime.block_on(pruned);
        progress.finish();
        let report = done?;
        Told { report: &report, dry_run, at_once: options.grace_secs == 0 }.all(global)?;
        Ok(if report.lost_count == 0 && report.unread.is_empty() { Exit::Done } else { Exit::Damaged })
    }

    fn grace_secs(&self, now: Time) -> Result<u64> {
        let now = Timestamp::from_second(now.secs).map_err(|_| usage("the clock of this machine is wrong"))?;
        let now = now.to_zoned(TimeZone::system());
        let before = self.grace.before(&now).ok_or_else(|| usage("--grace is too long"))?;
        Ok(u64::try_from(now.timestamp().as_second() - before.timestamp().as_second()).unwrap_or(0))
    }
}

/// What is going to be done, while it is.
fn tell(global: &Global, dry_run: bool, step: Step) {
    let text = match step {
        Step::Found(found) => found_text(&found),
        Step::Move { packs, chunks, bytes, requests } => format!(
            "{} {} in {} out of {} that are partly unused: as much is fetched and stored again, by about {}.",
            if dry_run { "Would copy" } else { "Copying" },
            human::size(bytes),
            human::plural(chunks, "chunk", "chunks"),
            human::plural(packs, "pack", "packs"),
            human::plural(requests, "request", "requests"),
        ),
        Step::Rescue { chunks, bytes } => format!(
            "Copying {} ({}) that came to be needed again.",
            human::plural(chunks, "chunk", "chunks"),
            human::size(bytes),
        ),
        Step::Remove { packs, bytes, requests } => format!(
            "Removing {} ({}), by {}.",
            human::plural(packs, "pack", "packs"),
            human::size(bytes),
            human::plural(requests, "request", "requests"),
        ),
    };
    let told = match (global.json, global.quiet) {
        (true, _) => out::line(json::line("step", &step_json(&step))),
        (false, true) => Ok(()),
        (false, false) => out::line(text),
    };
    // Whoever stopped reading does not stop the prune.
    drop(told);
}

/// A report, and how it is told.
struct Told<'a> {
    report: &'a Report,
    dry_run: bool,
    /// Without a grace, what is marked goes in the same run.
    at_once: bool,
}

impl Told<'_> {
    fn all(&self, global: &Global) -> Result<()> {
        let report = self.report;
        if global.json {
            return Ok(out::line(json::line("summary", &self.json()))?);
        }
        for (pack, why) in &report.unread {
            out::warning(false, format_args!("pack {pack} stays, because something in it cannot be read: {why}"));
        }
        if report.lost_count > 0 {
            let lost = human::plural(report.lost_count, "chunk", "chunks");
            out::warning(
                false,
                format_args!("{lost} that snapshots need are nowhere to be found; 'bygone check' tells whose they are"),
            );
        }
        if global.quiet {
            return Ok(());
        }
        if report.removed_packs > 0 {
            let packs = human::plural(report.removed_packs, "pack", "packs");
            let size = human::size(report.removed_bytes);
            match self.dry_run {
                true => out::line(format_args!("Would remove {packs}: {size} would come free."))?,
                false => out::line(format_args!("Removed {packs}: {size} came free."))?,
            }
        }
        if report.stored_bytes > 0 {
            out::line(format_args!("Stored {} for what was copied.", human::size(report.stored_bytes)))?;
        }
        let has_changed = report.removed_packs > 0 || report.stored_bytes > 0;
        if let (true, Some(before), Some(after)) = (has_changed, report.before_bytes, report.after_bytes()) {
            let verb = if self.dry_run { "would be" } else { "are" };
            out::line(format_args!("All packs: {} before, {} {verb} left.", human::size(before), human::size(after)))?;
        }
        self.mark()
    }

    /// What comes free next, and when.
    fn mark(&self) -> Result<()> {
        let report = self.report;
        if report.marked_packs == 0 && report.marked_snapshots == 0 {
            let nothing = report.removed_packs == 0;
            return if nothing { Ok(out::line("Nothing more is to be freed.")?) } else { Ok(()) };
        }
        let packs = human::plural(report.marked_packs, "pack", "packs");
        let snapshots = match report.marked_snapshots {
            0 => String::new(),
            count => format!(" and {}", human::plural(count, "forgotten snapshot", "forgotten snapshots")),
        };
        let size = human::size(report.marked_bytes);
        if self.dry_run && report.ripe_secs.is_none() {
            let (verb, to) = if self.at_once { ("remove", "would come free") } else { ("mark", "to come free") };
            return Ok(out::line(format_args!("Would {verb} {packs}{snapshots}: {size} {to}."))?);
        }
        let when = report.ripe_secs.map_or_else(String::new, |secs| human::time(Time { secs, nanos: 0 }));
        out::line(format_args!("Marked: {packs}{snapshots}; a prune after {when} frees {size}."))?;
        if report.marked_snapshots == 0 {
            return Ok(());
        }
        Ok(out::line("Until then 'bygone undo-forget' brings them back; 'bygone prune --grace 0' does not wait.")?)
    }

    fn json(&self) -> serde_json::Value {
        let report = self.report;
        let unread = report.unread.iter().map(|(pack, why)| json!({ "pack": pack.to_string(), "message": why }));
        json!({
            "dry_run": self.dry_run,
            "found": report.found.as_ref().map(found_json),
            "before_bytes": report.before_bytes,
            "after_bytes": report.after_bytes(),
            "removed_packs": report.removed_packs,
            "removed_bytes": report.removed_bytes,
            "stored_bytes": report.stored_bytes,
            "marked_packs": report.marked_packs,
            "marked_bytes": report.marked_bytes,
            "marked_snapshots": report.marked_snapshots,
            "ripe_secs": report.ripe_secs,
            "index_removed": report.index_removed,
            "index_stored": report.index_stored,
            "lost_chunks": report.lost_count,
            "lost": report.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unread": unread.collect::<Vec<_>>(),
        })
    }
}

fn found_text(found: &Found) -> String {
    let young = match found.young_packs {
        0 => String::new(),
        count => {
            format!("; {} too new to be judged (a backup may be running)", human::plural(count, "pack is", "packs are"))
        }
    };
    format!(
        "Found {} in {}: {} needed, {} unused among it, {} in {} that nothing needs{young}.",
        human::size(found.bytes),
        human::plural(found.packs, "pack", "packs"),
        human::size(found.needed_bytes),
        human::size(found.unused_bytes),
        human::size(found.garbage_bytes),
        human::plural(found.garbage_packs, "pack", "packs"),
    )
}

fn found_json(found: &Found) -> serde_json::Value {
    json!({
        "packs": found.packs,
        "bytes": found.bytes,
        "needed_bytes": found.needed_bytes,
        "unused_bytes": found.unused_bytes,
        "garbage_packs": found.garbage_packs,
        "garbage_bytes": found.garbage_bytes,
        "young_packs": found.young_packs,
    })
}

fn step_json(step: &Step) -> serde_json::Value {
    match step {
        Step::Found(found) => json!({ "step": "found", "found": found_json(found) }),
        Step::Move { packs, chunks, bytes, requests } => {
            json!({ "step": "move", "packs": packs, "chunks": chunks, "bytes": bytes, "requests": requests })
        }
        Step::Rescue { chunks, bytes } => json!({ "step": "rescue", "chunks": chunks, "bytes": bytes }),
        Step::Remove { packs, bytes, requests } => {
            json!({ "step": "remove", "packs": packs, "bytes": bytes, "requests": requests })
        }
    }
}
