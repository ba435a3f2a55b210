//! `bygone pin` and `bygone unpin`: folders that are in the cache as a whole, and stay there.

use crate::browse::Selector;
use crate::browse::SnapshotPath;
use crate::cache::Cache;
use crate::cache::PinInfo;
use crate::cli::error::CommandError;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::progress::Progress;
use crate::cli::select;
use crate::cli::snapshots::short;
use crate::id::SnapshotId;
use crate::path::Show;
use crate::pin;
use serde_json::json;
use std::sync::Arc;

const PIN_EXAMPLES: &str = "Examples:
  bygone pin latest:/home/ada/Documents
  bygone mount --offline latest:/home/ada/Documents ~/Old     without a network
  bygone cache status                                         shows what is pinned
  bygone unpin 3f2a91c0:/home/ada/Documents";

const UNPIN_EXAMPLES: &str = "Examples:
  bygone unpin 3f2a91c0:/home/ada/Documents
  bygone unpin --all";

/// Bring a folder of a snapshot into the cache as a whole, and keep it there
///
/// What is pinned is read without the storage, and offline. It is counted apart from the limit of the cache and never
/// takes the last twentieth of the disk. Running it again brings what is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = PIN_EXAMPLES)]
pub(super) struct PinArgs {
    /// Which snapshot, and which folder or file in it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    at: SnapshotPath,

    #[command(flatten)]
    filter: FilterArgs,
}

/// Let pinned folders go
///
/// Nothing is deleted at once: what was pinned is from now on like everything else in the cache.
#[derive(Debug, clap::Args)]
#[command(after_help = UNPIN_EXAMPLES)]
pub(super) struct UnpinArgs {
    /// What was pinned, as it was named then or as 'bygone cache status' shows it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser(), required_unless_present = "all")]
    at: Option<SnapshotPath>,

    /// Everything that is pinned
    #[arg(long, conflicts_with = "at")]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

/// What a pin is called in the cache.
fn label(snapshot: SnapshotId, path: &[u8]) -> String {
    let path = if path.is_empty() { String::new() } else { format!(":/{}", Show(path)) };
    format!("{snapshot}{path}")
}

impl PinArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let Some(cache) = opened.repo.cache() else {
            return Err(usage("there is no cache to pin anything in")
                .hint("a repository in a folder is cached only with --cache-size, and nothing is with --no-cache"));
        };
        let snapshot = opened.select(&self.at, &filter)?;
        let browse = opened.browse(snapshot);
        let path = &self.at.path;
        opened.runtime.block_on(select::node(&browse, path))?;
        let label = label(snapshot.id, path);
        // One that was whole stays so, unless something turns out to be missing.
        if cache.pins()?.iter().all(|pin| pin.label != label) {
            cache.note_whole(&label, false)?;
        }
        let progress = Progress::start(global, &opened.runtime, "Pinning");
        let done = opened.runtime.block_on(pin::pin(&browse, path, &label, human::now().secs, &progress));
        progress.finish();
        let summary = match done {
            Err(error) if matches!(error, pin::Error::Cancelled) => return Err(error.into()),
            Err(error) => {
                cache.note_whole(&label, false)?;
                let hint = "what has come stays, and is shown as incomplete: the same command again brings the rest";
                return Err(CommandError::from(error).hint(hint));
            }
            Ok(summary) => summary,
        };
        cache.note_whole(&label, true)?;
        if global.json {
            let body = json!({
                "label": label,
                "nodes": summary.nodes,
                "bytes": summary.bytes,
                "bytes_fetched": summary.fetched,
            });
            out::line(json::line("pinned", &body))?;
        } else if !global.quiet {
            out::line(format_args!(
                "Pinned {}, {}; {} fetched. To let it go: bygone unpin {}",
                human::plural(summary.nodes, "entry", "entries"),
                human::size(summary.bytes),
                human::size(summary.fetched),
                human::shell(&shown(snapshot.id, path)),
            ))?;
        }
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

fn shown(snapshot: SnapshotId, path: &[u8]) -> String {
    let path = if path.is_empty() { String::new() } else { format!(":/{}", Show(path)) };
    format!("{}{path}", short(snapshot))
}

impl UnpinArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let cache = global.cache()?.ok_or_else(|| usage("there is no cache, so nothing is pinned"))?;
        let pins = cache.pins()?;
        let wanted: Vec<&PinInfo> = match &self.at {
            None => pins.iter().collect(),
            Some(at) => vec![chosen(&pins, &self.digits(global, at)?, &at.path)?],
        };
        for pin in &wanted {
            let_go(global, &cache, pin)?;
        }
        Ok(Exit::Done)
    }
}

impl UnpinArgs {
    /// The first digits of the id of a snapshot. Which one is `latest` only the repository knows.
    fn digits(&self, global: &Global, at: &SnapshotPath) -> Result<String> {
        match &at.snapshot {
            Selector::Id(digits) => Ok(digits.clone()),
            Selector::Latest(_) => Ok(Opened::new(global)?.select(at, &self.filter.filter()?)?.id.to_string()),
        }
    }
}

fn let_go(global: &Global, cache: &Arc<Cache>, pin: &PinInfo) -> Result<()> {
    cache.unpin(&pin.label)?;
    if global.json {
        out::line(json::line("unpinned", &json!({ "label": pin.label, "bytes": pin.bytes })))?;
    } else if !global.quiet {
        out::line(format_args!("{} is not pinned any more ({}).", pin.label, human::size(pin.bytes)))?;
    }
    Ok(())
}

/// The one pin that was meant.
fn chosen<'a>(pins: &'a [PinInfo], digits: &str, path: &[u8]) -> Result<&'a PinInfo> {
    let path = if path.is_empty() { String::new() } else { format!(":/{}", Show(path)) };
    let is_it =
        |pin: &&PinInfo| pin.label.strip_suffix(path.as_str()).is_some_and(|id| is_id(id) && id.starts_with(digits));
    let found: Vec<&PinInfo> = pins.iter().filter(is_it).collect();
    match found[..] {
        [only] => Ok(only),
        [] => Err(usage(format!("'{digits}{path}' is not pinned")).hint("'bygone cache status' shows what is")),
        _ => Err(usage(format!("several pins begin with '{digits}'")).hint("write more digits of the id")),
    }
}

fn is_id(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}
