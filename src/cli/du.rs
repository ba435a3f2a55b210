//! `bygone du`: what takes the space in a snapshot, out of the sums in its pages.

use crate::browse::Browse;
use crate::browse::SnapshotPath;
use crate::browse::Sums;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::filter::FilterArgs;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out::Out;
use crate::cli::select;
use crate::tree::Found;
use futures::StreamExt;
use futures::TryStreamExt;
use serde_json::Map;
use serde_json::Value;

/// Folders that are summed up at once.
const AT_ONCE: usize = 16;

const EXAMPLES: &str = "Examples:
  bygone du latest                     the largest folders at the top
  bygone du latest:/home/ada --all     folders and files in one folder
  bygone du latest --depth 3 | head -20

Sizes are those of the files, before anything is stored only once or compressed. A file with several names counts for
each of them.";

/// Show what takes the space in a snapshot, largest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DuArgs {
    /// Which snapshot, and which folder in it
    #[arg(value_name = "SNAPSHOT[:/PATH]", value_parser = select::parser())]
    at: SnapshotPath,

    /// How many levels of folders to show
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    depth: usize,

    /// Show files as well
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,
}

struct Entry {
    path: Vec<u8>,
    is_folder: bool,
    sums: Sums,
}

impl DuArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let filter = self.filter.filter()?;
        let opened = Opened::new(global)?;
        let browse = opened.browse(opened.select(&self.at, &filter)?);
        let mut entries = opened.runtime.block_on(self.entries(&browse))?;
        // The top stays first, whatever else is as large.
        entries[1..].sort_by(|a, b| b.sums.bytes.cmp(&a.sums.bytes).then_with(|| a.path.cmp(&b.path)));
        let mut out = Out::new();
        for entry in &entries {
            let mut path = json::rooted(&entry.path);
            if global.json {
                let mut map = Map::new();
                json::put_bytes(&mut map, "path", &path);
                map.insert("kind".to_owned(), if entry.is_folder { "folder" } else { "file" }.into());
                map.insert("bytes".to_owned(), entry.sums.bytes.into());
                map.insert("nodes".to_owned(), entry.sums.nodes.into());
                out.text(json::line("usage", &Value::Object(map)))?;
            } else {
                if entry.is_folder && !entry.path.is_empty() {
                    path.push(b'/');
                }
                out.text(format_args!(
                    "{:>9}  {:>11}  ",
                    human::size(entry.sums.bytes),
                    human::count(entry.sums.nodes)
                ))?;
                out.name(&path)?;
            }
            out.bytes(b"\n")?;
        }
        out.finish()?;
        opened.tell_requests(global);
        Ok(Exit::Done)
    }

    /// The chosen folder, then what is in it.
    async fn entries(&self, browse: &Browse) -> Result<Vec<Entry>> {
        let top = select::node(browse, &self.at.path).await?;
        let sums = browse.sums(&top).await?;
        let mut entries = vec![Entry { path: self.at.path.clone(), is_folder: top.node().is_folder(), sums }];
        let mut level = if top.node().is_folder() { vec![self.at.path.clone()] } else { Vec::new() };
        for _ in 0..self.depth {
            let mut below = Vec::new();
            for folder in &level {
                let mut found: Vec<Found> = Vec::new();
                let mut walk = browse.walk(browse.children(folder).await?);
                while let Some(child) = walk.next().await? {
                    if child.node().is_folder() || self.all {
                        found.push(child);
                    }
                }
                let sums = futures::stream::iter(found.iter().map(|child| browse.sums(child))).buffered(AT_ONCE);
                let sums: Vec<Sums> = sums.try_collect().await?;
                for (child, sums) in found.iter().zip(sums) {
                    let (path, is_folder) = (child.path(), child.node().is_folder());
                    if is_folder {
                        below.push(path.clone());
                    }
                    entries.push(Entry { path, is_folder, sums });
                }
            }
            level = below;
        }
        Ok(entries)
    }
}
