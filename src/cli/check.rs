//! `bygone check`: is the repository still whole?

use crate::browse::Filter;
use crate::browse::SelectError;
use crate::browse::Selector;
use crate::check;
use crate::check::Data;
use crate::check::Kind;
use crate::check::Options;
use crate::check::Problem;
use crate::check::Report;
use crate::check::Subset;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::place;
use crate::cli::progress::Progress;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::crypto::random;
use crate::id::SnapshotId;
use crate::path::Show;
use crate::repo::Author;
use crate::repo::Log;
use crate::store::AnyStore;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

const EXAMPLES: &str = "Examples:
  bygone check                              structure: cheap, reads no contents
  bygone check --read-data                  every byte
  bygone check --read-data-subset 1/12      a twelfth of it: each month another one
  bygone check --read-data-subset 5%        some of it, by chance
  bygone check --no-password                bit rot only, where no password is at hand
  bygone check --read-data --mark           what is damaged is stored again by the next backup";

/// Look whether the repository is still whole
///
/// Without options it looks at all that can be known without reading contents: every record, every index, every page of
/// every snapshot, and whether all they lead to is there. Damage is told with the snapshots and files that need what is
/// damaged; the exit code is then 4. Nothing is changed without --mark. Runs beside backups and drives.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Read and decode everything that is stored
    #[arg(long, group = "data")]
    read_data: bool,

    /// Read and decode some of it: a part like 2/10 (always the same), or by chance 5% or 1GiB
    #[arg(long, group = "data", value_name = "N/M|P%|SIZE", value_parser = subset)]
    read_data_subset: Option<Subset>,

    /// Read and decode N chunks, chosen by chance
    #[arg(long, group = "data", value_name = "N")]
    sample: Option<u64>,

    /// Choose the same by chance as the run that told this number
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Only this snapshot and what it needs (repeatable)
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Vec<Selector>,

    /// Note damaged packs in the repository, so that the next backup stores again what was in them
    #[arg(long, requires = "data")]
    mark: bool,

    /// Ask for no password: read every object, and compare the checksums that need none
    #[arg(long, conflicts_with_all = ["data", "seed", "snapshot", "host", "tag", "path"])]
    no_password: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

fn subset(text: &str) -> std::result::Result<Subset, String> {
    text.parse()
        .or_else(|error: check::SubsetError| human::parse_size(text).map(Subset::Bytes).map_err(|_| error.to_string()))
}

impl CheckArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        if global.offline {
            return Err(usage("a check asks the storage: it cannot do with --offline"));
        }
        // What the cache remembers says nothing about the storage.
        let global = &Global { no_cache: true, ..global.clone() };
        if self.no_password {
            return scrub(global);
        }
        let opened = match Opened::new(global) {
            Err(error) if error.is_damage() => {
                error.tell(global.json);
                return Ok(Exit::Damaged);
            }
            opened => opened?,
        };
        let seed = self.seed.unwrap_or_else(|| u64::from_le_bytes(random()));
        let data = match (self.read_data, self.read_data_subset, self.sample) {
            (true, ..) => Data::All,
            (_, Some(subset), _) => Data::Subset(subset, seed),
            (_, _, Some(count)) => Data::Sample(count, seed),
            _ => Data::None,
        };
        let is_chance = !matches!(data, Data::None | Data::All | Data::Subset(Subset::Part { .. }, _));
        let options =
            Options { snapshots: self.chosen(&opened)?, packs: Vec::new(), data, chunks: opened.chunks_options() };
        let progress = Progress::counting(global, &opened.runtime, "Checking", ("object", "objects"));
        let done = opened.runtime.block_on(check::check(&opened.repo, &opened.log, &options, &progress));
        progress.finish();
        let report = done?;
        let told = Told { global, report: &report, seed: is_chance.then_some(seed) };
        told.all()?;
        let marked = if self.mark { self.mark(&opened, &report)? } else { 0 };
        told.next_steps(self.mark.then_some(marked), data)?;
        opened.tell_requests(global);
        Ok(if report.is_clean() { Exit::Done } else { Exit::Damaged })
    }

    /// The snapshots that are meant; none for all.
    fn chosen(&self, opened: &Opened) -> Result<Vec<SnapshotId>> {
        let filter = self.filter.filter()?;
        let snapshots = opened.log.snapshots();
        if self.snapshot.is_empty() {
            if filter == Filter::default() {
                return Ok(Vec::new());
            }
            let fitting: Vec<_> = snapshots.iter().filter(|s| filter.admits(s)).map(|s| s.id).collect();
            return if fitting.is_empty() { Err(SelectError::None { filtered: true }.into()) } else { Ok(fitting) };
        }
        let choose = |selector: &Selector| Ok(select::choose(opened.json, selector, &snapshots, &filter)?.id);
        self.snapshot.iter().map(choose).collect()
    }

    fn mark(&self, opened: &Opened, report: &Report) -> Result<usize> {
        let machine = place::machine();
        let author = Author { state: &opened.state, machine: &machine };
        let marked = Log::note_damage(&opened.repo, author, human::now(), &report.damaged_packs, &[]);
        Ok(opened.runtime.block_on(marked)?)
    }
}

/// Without a password.
fn scrub(global: &Global) -> Result<Exit> {
    let location = global.location()?;
    let counted = open::counted(global, &location, &global.store_options()?)?;
    let runtime = open::runtime()?;
    let progress = Progress::counting(global, &runtime, "Reading", ("object", "objects"));
    let store: AnyStore = counted.clone();
    let done = runtime.block_on(check::scrub(&store, &progress));
    progress.finish();
    let report = done?;
    let told = Told { global, report: &report, seed: None };
    told.all()?;
    if !report.is_clean() && !global.json {
        out::line("What to do: 'bygone check --read-data' tells which snapshots and files need what is damaged.")?;
    }
    open::tell_requests(global, &location, &counted.totals());
    Ok(if report.is_clean() { Exit::Done } else { Exit::Damaged })
}

/// A report, and how it is told.
pub(super) struct Told<'a> {
    pub(super) global: &'a Global,
    pub(super) report: &'a Report,
    /// What decided where chance did.
    pub(super) seed: Option<u64>,
}

impl Told<'_> {
    /// Problems, notes and a summary.
    pub(super) fn all(&self) -> Result<()> {
        for problem in &self.report.problems {
            match self.global.json {
                true => out::line(json::line("problem", &problem_json(problem)))?,
                false => tell(problem)?,
            }
        }
        for note in &self.report.notes {
            if self.global.json {
                out::line(json::line("note", &json!({ "what": note.what, "message": note.message })))?;
            } else if !self.global.quiet {
                out::line(format_args!("note: {}", note.message))?;
            }
        }
        self.summary()
    }

    fn summary(&self) -> Result<()> {
        let (report, f) = (self.report, &self.report.figures);
        let problems = report.problems.len() as u64 + report.problems_more;
        if self.global.json {
            let body = json!({
                "problems": problems,
                "problems_more": report.problems_more,
                "snapshots": f.snapshots,
                "nodes": f.nodes,
                "pages": f.pages,
                "references": f.references,
                "records": f.records,
                "indexes": f.indexes,
                "packs": f.packs,
                "bytes": f.bytes,
                "objects_read": f.objects_read,
                "bytes_read": f.bytes_read,
                "chunks_read": f.chunks_read,
                "seed": self.seed,
            });
            return Ok(out::line(json::line("summary", &body))?);
        }
        if self.global.quiet && problems == 0 {
            return Ok(());
        }
        let mut looked = Vec::new();
        if f.records > 0 {
            looked.push(human::plural(f.snapshots, "snapshot", "snapshots"));
            looked.push(human::plural(f.pages, "page", "pages"));
            looked.push(human::plural(f.references, "reference", "references"));
            looked.push(human::plural(f.records, "record", "records"));
            looked.push(human::plural(f.indexes, "index", "indexes"));
            looked.push(format!("{} ({})", human::plural(f.packs, "pack", "packs"), human::size(f.bytes)));
        }
        if f.objects_read > 0 {
            let objects = human::plural(f.objects_read, "object", "objects");
            looked.push(format!("{objects} read as a whole ({})", human::size(f.bytes_read)));
        }
        if f.chunks_read > 0 {
            looked.push(format!("{} decoded", human::plural(f.chunks_read, "chunk", "chunks")));
        }
        let seed = self.seed.map_or_else(String::new, |seed| format!(" (--seed {seed})"));
        let found = match problems {
            0 => "no problems".to_owned(),
            _ => human::plural(problems, "problem", "problems"),
        };
        if looked.is_empty() {
            looked.push("nothing: the repository is empty".to_owned());
        }
        Ok(out::line(format_args!("Checked {}{seed}: {found}.", looked.join(", ")))?)
    }

    /// What people do now. `marked` tells how many packs were marked, if that was wanted.
    fn next_steps(&self, marked: Option<usize>, data: Data) -> Result<()> {
        if self.global.json {
            if let Some(marked) = marked {
                out::line(json::line("marked", &json!({ "packs": marked })))?;
            }
            return Ok(());
        }
        if self.report.is_clean() {
            if data == Data::None && !self.global.quiet {
                out::line("Contents were not read: --read-data does that, or --read-data-subset for some of them.")?;
            }
            return Ok(());
        }
        out::line("What to do:")?;
        out::line("  - Everything not named above can be read: 'bygone restore' brings it back.")?;
        if marked.is_some() {
            out::line(
                "  - Damaged packs are marked: the next 'bygone backup' stores again what its source still has.",
            )?;
        } else if !self.report.damaged_packs.is_empty() {
            out::line(
                "  - 'bygone check --read-data --mark' marks damaged packs: then the next 'bygone backup' stores again \
                 what its source still has.",
            )?;
        }
        if self.report.problems.iter().any(|problem| problem.kind == Kind::Log) {
            out::line(
                "  - If the repository was put back from an older copy, and that is fine, 'bygone repair \
                 --accept-rollback' says so.",
            )?;
        }
        out::line("  - 'bygone repair' puts right what it can: see 'bygone repair --help'.")?;
        out::line("  - 'bygone backup --force' stores again what is gone, as long as the source has it.")?;
        Ok(out::line("  - If the disk did this, do not trust it with the only copy.")?)
    }
}

fn problem_json(problem: &Problem) -> Value {
    let affected = &problem.affected;
    let file = |(snapshot, path): &(SnapshotId, Vec<u8>)| {
        let mut map = Map::new();
        map.insert("snapshot".to_owned(), snapshot.to_string().into());
        json::put_bytes(&mut map, "path", &json::rooted(path));
        Value::Object(map)
    };
    json!({
        "kind": problem.kind.name(),
        "object": problem.object,
        "message": problem.message,
        "snapshots": affected.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "snapshots_count": affected.snapshots_count,
        "files": affected.files.iter().map(file).collect::<Vec<_>>(),
        "files_count": affected.files_count,
    })
}

fn tell(problem: &Problem) -> Result<()> {
    out::line(format_args!("problem: {}: {}", Show(problem.object.as_bytes()), Show(problem.message.as_bytes())))?;
    let affected = &problem.affected;
    if affected.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<String> = affected.snapshots.iter().map(|id| short(*id)).collect();
    let more = affected.snapshots_count - ids.len() as u64;
    if more > 0 {
        ids.push(format!("and {} more", human::count(more)));
    }
    let count = human::plural(affected.snapshots_count, "snapshot needs", "snapshots need");
    out::line(format_args!("  {count} it: {}", ids.join(" ")))?;
    for (snapshot, path) in &affected.files {
        out::line(format_args!("  lost: {}:/{}", short(*snapshot), Show(path)))?;
    }
    let more = affected.files_count.saturating_sub(affected.files.len() as u64);
    if more > 0 {
        out::line(format_args!("  ... and {} more files and folders", human::count(more)))?;
    }
    Ok(())
}
