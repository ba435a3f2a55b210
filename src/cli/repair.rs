//! `bygone repair`: put right what can be put right, and tell what cannot.

use crate::check;
use crate::check::Data;
use crate::check::Kind;
use crate::check::Report;
use crate::cli::check::Told;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::from::FromArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::parity::Amount;
use crate::cli::parity::ParityArgs;
use crate::cli::place;
use crate::cli::progress::Progress;
use crate::extent::ChunkKind;
use crate::format::parity::PerMille;
use crate::id::ObjectId;
use crate::monitor::Monitor;
use crate::repair;
use crate::repair::Deed;
use crate::repair::Job;
use crate::repair::Mended;
use crate::repair::What;
use crate::repo;
use crate::repo::Chunks;
use crate::repo::Log;
use crate::repo::Repo;
use crate::repo::pack_name;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  bygone repair --dry-run                       what would be done
  bygone repair                                 index, config, passwords and log
  bygone repair --read-data                     read every byte, mend what is damaged
  bygone repair --read-data --from /mnt/copy    lost parts out of a copy made with 'init --from'
  bygone repair --parity 2                      parity for what was stored without";

/// Put right what is damaged
///
/// Makes the index anew from the packs, puts config, password slots and records of the log back from their second copies,
/// rebuilds damaged packs from parity, makes lost parity anew (with --read-data), and takes lost parts from another
/// repository if there is one. Then it checks, and tells what is still lost with the snapshots and files that need it; the
/// exit code is then 4. What remains damaged is marked, so that the next backup stores again what its source still has.
/// May be interrupted and run again, and runs beside backups and drives.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RepairArgs {
    /// Change nothing, only tell what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Read and decode everything that is stored, and mend what is damaged
    #[arg(long)]
    read_data: bool,

    /// Take lost parts from this repository: one that shares its chunks with this one (init --from)
    #[arg(long, value_name = "LOCATION")]
    from: Option<String>,

    /// The repository was put back from an older copy, and that is fine: forget what this machine has seen beyond it
    #[arg(long, conflicts_with = "dry_run")]
    accept_rollback: bool,

    #[command(flatten)]
    opening: FromArgs,

    #[command(flatten)]
    parity: ParityArgs,
}

impl RepairArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        if global.offline {
            return Err(usage("a repair asks the storage: it cannot do with --offline"));
        }
        // What the cache remembers says nothing about the storage.
        let global = &Global { no_cache: true, ..global.clone() };
        let mut opened = Opened::new(global)?;
        if self.accept_rollback {
            opened.log.accept_heads(&opened.state)?;
        }
        let from = self.from.as_ref().map(|from| self.opening.open(from, global)).transpose()?;
        if let Some(from) = &from {
            shares_chunks(&opened, from)?;
        }
        let progress = Progress::counting(global, &opened.runtime, "Repairing", ("object", "objects"));
        let done = self.repair(global, &mut opened, from.as_ref(), &progress);
        progress.finish();
        let Done { deeds, mended, report, marked } = done?;
        self.tell(global, &deeds, &mended, marked)?;
        Told { global, report: &report, seed: None }.all()?;
        if !report.is_clean() && !global.json {
            next_steps(self.read_data, marked > 0)?;
        }
        opened.tell_requests(global);
        Ok(if report.is_clean() { Exit::Done } else { Exit::Damaged })
    }

    fn repair(
        &self,
        global: &Global,
        opened: &mut Opened,
        from: Option<&Opened>,
        monitor: &dyn Monitor,
    ) -> Result<Done> {
        let repo = self.parity.repo(opened);
        let handle = opened.runtime.handle().clone();
        let mut job = Job::new(&repo, &opened.log, monitor, self.dry_run);
        handle.block_on(repair::copies(&mut job))?;
        let mut deeds = job.deeds;
        if !deeds.is_empty() && !self.dry_run {
            opened.read_log(global)?;
        }
        let other = from.map(|from| from.chunks(&from.chunks_options()));
        let mut job = Job::new(&repo, &opened.log, monitor, self.dry_run);
        let (mended, first) = handle.block_on(self.packs(&mut job, opened, other.as_ref()))?;
        deeds.append(&mut job.deeds);
        if first.is_clean() && deeds.is_empty() || self.dry_run {
            return Ok(Done { deeds, mended, report: first, marked: 0 });
        }
        let marked = mark(opened, &repo, &mended)?;
        if marked > 0 {
            opened.read_log(global)?;
        }
        let (data, packs) = match mended.left.is_empty() {
            true => (Data::None, Vec::new()),
            false => (Data::All, mended.left.iter().map(|(pack, _)| *pack).collect()),
        };
        let options = check::Options { data, packs, chunks: opened.chunks_options(), ..check::Options::default() };
        let report = handle.block_on(check::check(&repo, &opened.log, &options, monitor))?;
        Ok(Done { deeds, mended, report, marked })
    }

    /// Index and packs. Returns what was found before packs were mended.
    async fn packs(&self, job: &mut Job<'_>, opened: &Opened, other: Option<&Arc<Chunks>>) -> Result<(Mended, Report)> {
        let mut survey = repair::survey(job.repo, job.monitor).await?;
        let unnamed = std::mem::take(&mut survey.unnamed);
        let mut silent = repair::name_packs(job, unnamed).await?;
        let mut suspects: BTreeSet<ObjectId> = silent.iter().copied().collect();
        let data = if self.read_data { Data::All } else { Data::None };
        let options = check::Options { data, chunks: opened.chunks_options(), ..check::Options::default() };
        let report = check::check(job.repo, job.log, &options, job.monitor).await?;
        suspects.extend(&report.damaged_packs);
        let is_hurt = |kind: Kind| matches!(kind, Kind::Damaged | Kind::Unreadable | Kind::Missing);
        let hurt = report.problems.iter().filter(|problem| is_hurt(problem.kind));
        suspects.extend(hurt.filter_map(|problem| repo::pack_of(&problem.object)));
        let suspects: Vec<ObjectId> = suspects.into_iter().collect();
        let mut mended = repair::mend(job, &survey, &suspects, other).await?;
        mended.left.retain(|(pack, _)| survey.listed.contains_key(pack));
        if !mended.rebuilt.is_empty() && !job.dry_run {
            survey = repair::survey(job.repo, job.monitor).await?;
            let unnamed = std::mem::take(&mut survey.unnamed);
            silent = repair::name_packs(job, unnamed).await?;
        }
        repair::tidy_index(job, &survey, silent.is_empty()).await?;
        let amount = match self.parity.parity {
            Some(Amount::PerMille(amount)) => Some(amount),
            Some(Amount::Off) => None,
            // What was protected once stays so.
            None if self.read_data && !job.repo.store().list(repo::PARITY_FOLDER).await?.is_empty() => {
                Some(job.repo.parity().unwrap_or(PerMille::TYPICAL))
            }
            None => None,
        };
        if let Some(amount) = amount {
            repair::add_parity(job, &survey, amount, self.parity.parity.is_some()).await?;
        }
        Ok((mended, report))
    }

    fn tell(&self, global: &Global, deeds: &[Deed], mended: &Mended, marked: usize) -> Result<()> {
        for Deed { what, object } in deeds {
            if global.json {
                let body = json!({ "what": what.name(), "object": object, "message": what.to_string(), "dry_run": self.dry_run });
                out::line(json::line("repaired", &body))?;
            } else if !global.quiet && *what != What::Copied {
                out::line(format_args!("{}{object}: {what}", if self.dry_run { "would be done: " } else { "" }))?;
            }
        }
        let copied = deeds.iter().filter(|deed| deed.what == What::Copied).count() as u64;
        if copied > 0 && !global.json && !global.quiet {
            let would = if self.dry_run { "would be done: " } else { "" };
            let objects = human::plural(copied, "object", "objects");
            out::line(format_args!("{would}second copies made of {objects} (config, passwords, log)"))?;
        }
        for (pack, why) in &mended.left {
            match global.json {
                true => out::line(json::line("left", &json!({ "object": pack_name(*pack), "message": why })))?,
                false => out::line(format_args!("cannot be rebuilt: {}: {why}", pack_name(*pack)))?,
            }
        }
        if global.json {
            let body = json!({ "deeds": deeds.len(), "marked": marked, "dry_run": self.dry_run });
            return Ok(out::line(json::line("repair", &body))?);
        }
        if !global.quiet && deeds.is_empty() {
            out::line("Nothing to put right.")?;
        }
        Ok(())
    }
}

/// What a repair has come to.
struct Done {
    deeds: Vec<Deed>,
    mended: Mended,
    /// What is damaged still.
    report: Report,
    /// Packs that the next backup does not build on.
    marked: usize,
}

/// Notes packs that stay damaged, so that the next backup stores again what its source still has, and those that are whole
/// again.
fn mark(opened: &Opened, repo: &Repo, mended: &Mended) -> Result<usize> {
    let left: Vec<ObjectId> = mended.left.iter().map(|(pack, _)| *pack).collect();
    if left.is_empty() && mended.rebuilt.is_empty() {
        return Ok(0);
    }
    let machine = place::machine();
    let marking = Log::note_damage(repo, opened.author(&machine), human::now(), &left, &mended.rebuilt);
    opened.runtime.block_on(marking)?;
    Ok(left.len())
}

fn shares_chunks(opened: &Opened, from: &Opened) -> Result<()> {
    const PROBE: &[u8] = b"probe";
    let id = |opened: &Opened| opened.repo.keys().chunk_id(ChunkKind::Data, PROBE);
    if opened.repo.config().repository == from.repo.config().repository {
        return Err(usage("both are the same repository"));
    }
    if id(opened) != id(from) {
        return Err(usage("the two repositories do not share their chunks: the other was not made with 'init --from'"));
    }
    Ok(())
}

fn next_steps(read_data: bool, is_marked: bool) -> Result<()> {
    out::line("What to do:")?;
    out::line("  - Everything not named above can be read: 'bygone restore' brings it back.")?;
    if is_marked {
        out::line("  - Damaged packs are marked: the next 'bygone backup' stores again what its source still has.")?;
    }
    if !read_data {
        out::line("  - 'bygone repair --read-data' also finds and mends damage within contents.")?;
    }
    out::line("  - 'bygone repair --from LOCATION' takes what is lost from a copy of the repository.")?;
    Ok(out::line("  - 'bygone backup --force' stores again what is gone, as long as the source has it.")?)
}
